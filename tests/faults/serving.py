"""How is a real `orch serve` started, asked, killed and brought back in the tests of faults?

`reached` alone says how a test's requests are let in, and `SERVE` how the service is started for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.backends import daemon
from orchestrator.ground import keys
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.records import ENDED, StudyState
from orchestrator.study.spec import StudySpec

ROOT = Path(__file__).parents[2]
SERVE = ("serve", "--port", "0")
WITHIN_S = 120.0  # for any one thing to happen
LEADS_WITHIN_S = 30.0  # of its return: what docs/faults.md promises
WORKERS = 2
POLL_S = 0.02

Seen = TypeVar("Seen")


def reached(home: Path) -> Mapping[str, str]:
    """The headers with which a test of this home may create a study."""
    return {"Authorization": f"Bearer {keys.read(home)}"}


class NotSeen(AssertionError):
    """It did not happen within the time."""


def awaited(look: Callable[[], Seen | None], *, within_s: float = WITHIN_S, what: str = "it") -> Seen:
    """What `look` finds, as soon as it does. A service that is being started is no answer yet."""
    give_up_at = time.monotonic() + within_s
    while True:
        with suppress(OSError):
            seen = look()
            if seen is not None:
                return seen
        if time.monotonic() > give_up_at:
            raise NotSeen(f"{what} did not happen within {within_s:.0f} s")
        time.sleep(POLL_S)


class Service:
    """One `orch serve` after the other on one home."""

    def __init__(
        self,
        home: Path,
        *,
        environ: Mapping[str, str] | None = None,
        module: str = "orchestrator.cli",
        ledger: str | None = None,
    ) -> None:
        self.home, self._module = home, module
        home.mkdir(parents=True, exist_ok=True)
        own = {"ORCH_HOME": str(home), "ORCH_WORKERS": str(WORKERS), "ORCH_MLFLOW": "off"}
        if ledger is not None:
            own["ORCH_LEDGER"] = ledger
        self.environ = {**own, **(environ or {})}
        self._ledger = ledger or f"sqlite:///{home / 'ledger.db'}"
        self._process: subprocess.Popen[bytes] | None = None
        self._out = home.parent / f"{home.name}.out"
        self.said = home.parent / f"{home.name}.said"
        self.started_at = 0.0
        self.lives = 0

    def start(self, *before: str) -> Service:
        """`before`: words for the module that stand before the command."""
        self.lives += 1
        self.started_at = time.monotonic()
        self._out.unlink(missing_ok=True)
        with self._out.open("wb") as out, self.said.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *before, *SERVE],
                cwd=ROOT,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=said,
                start_new_session=True,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WITHIN_S)

    def end(self) -> float:
        """By SIGTERM; how long it took."""
        begun = time.monotonic()
        self.process.terminate()
        assert self.process.wait(WITHIN_S) == 0, self.said.read_text()[-2000:]
        return time.monotonic() - begun

    # -- asking ---------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        """Its address, once it has said it; a key that stands in it is not for us."""
        lines = self._out.read_text().split()
        if not lines:
            raise ConnectionError("it has not said its address yet")
        return lines[0].split("/login")[0].rstrip("/")

    def ask(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", **reached(self.home)}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return json.load(answer)

    def leads(self, *, within_s: float = WITHIN_S) -> float:
        """Wait until it leads; how long that was after its start."""

        def leading() -> bool | None:
            assert self.alive(), self.said.read_text()[-2000:]
            return self.ask("/health/ready")["engine"] == "leading" or None

        awaited(leading, within_s=within_s, what="leading")
        return time.monotonic() - self.started_at

    def create(self, spec: StudySpec) -> str:
        study_id: str = self.ask("/studies", {"spec": spec.model_dump(mode="json")})["study_id"]
        return study_id

    @contextmanager
    def ledger(self) -> Iterator[Store]:
        store = open_ledger(self._ledger)
        try:
            yield store
        finally:
            store.close()

    def ended(self, study_id: str) -> int:
        with self.ledger() as store:
            return len(store.trials(study_id, states=ENDED))

    def runs(self, study_id: str) -> bool:
        with self.ledger() as store:
            return store.study(study_id).state is StudyState.RUNNING

    def to_the_end(self, study_id: str, *, within_s: float = WITHIN_S) -> None:
        awaited(lambda: not self.runs(study_id) or None, within_s=within_s, what=f"the end of {study_id}")

    def close(self) -> None:
        """Whatever a test has left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WITHIN_S)
        if self.home.exists():
            daemon.stop(self.home)


def settings_of(there: Service) -> Settings:
    """As the service read them."""
    return from_environment({**os.environ, **there.environ})


@contextmanager
def service(home: Path, **settings: Any) -> Iterator[Service]:
    there = Service(home, **settings)
    try:
        yield there
    finally:
        there.close()


# -- what can be killed beside the service itself ------------------------------------------------------------
def titles(home: Path) -> dict[int, str]:
    """The processes of the home's Ray, by pid, as they name themselves."""
    found = {}
    for pid in daemon.processes(home):
        with suppress(OSError):
            found[pid] = (
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
    return found


def actors(home: Path) -> list[int]:
    """The worker processes that hold an actor of ours."""
    return sorted(pid for pid, title in titles(home).items() if title.startswith("ray::Worker"))


def named(home: Path, program: str) -> list[int]:
    """`gcs_server` or `raylet`."""
    return [pid for pid, title in titles(home).items() if Path(title.split(" ")[0]).name == program]


def kill_all(pids: Sequence[int]) -> int:
    """How many of them lived."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed
