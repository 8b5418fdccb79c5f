"""A service in a process of its own, with simulated machines; started once for those who speak to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.client import Client
from orchestrator.ground import keys
from tests.faults.world import small_study

ROOT = Path(__file__).parents[3]
ENDS_WITHIN_S = 15
SPEED = 20  # seconds of a service's machines in one of ours


@dataclass(frozen=True)
class Server:
    url: str
    home: Path
    process: subprocess.Popen[str]

    @property
    def key(self) -> str:
        """What opens it, from its home."""
        return (self.home / keys.FILE).read_text().strip()


Serve = Callable[..., Server]


def spec(name: str, **changes: Any) -> dict[str, Any]:
    return small_study(name=name, **changes).model_dump(mode="json")


def slow(name: str, *, trial_s: float = 30) -> dict[str, Any]:
    """A study whose trials take half a minute each, unless told, and save every twelfth part of it or so."""
    base = small_study().model_dump(mode="json")["base"]
    return spec(name, base={**base, "steps": 120, "rehearsal": {"seconds_per_step": SPEED * trial_s / 120}})


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts services; they are ended after the tests, however those end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, home: Path | None = None, port: int = 0, speed: str = str(SPEED)) -> Server:
        home = home or tmp_path_factory.mktemp("served")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ORCH_")},
            "ORCH_HOME": str(home),
            "ORCH_WORKERS": "2",
            "ORCH_MLFLOW": "off",
            "ORCH_TEST_SPEED": speed,
        }
        with (home / "served.log").open("a") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.orchestrator.client.simulated_server",
                    "serve",
                    f"--port={port}",
                    *arguments,
                ],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,  # closed when this process is gone, which it ends by
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        started.append(process)
        assert process.stdout is not None
        link = process.stdout.readline().strip()
        assert link.startswith("http://"), (home / "served.log").read_text()
        return Server(link.partition("/login")[0], home, process)

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)  # all at once; nothing to one that has ended
    killed = [process.args for process in started if not _ended(process)]
    assert not killed, "did not end when told to"


def stop(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert _ended(server.process)


def _ended(process: subprocess.Popen[str]) -> bool:
    """Whether it ends by itself; it is killed if not."""
    try:
        process.communicate(timeout=ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    return True


@pytest.fixture(scope="session")
def server(serve: Serve) -> Server:
    return serve("--workers=40")  # no test waits for another's trials


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, token=server.key) as client:
        yield client
