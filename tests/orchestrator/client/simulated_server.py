"""What is `orch` where the machines are simulated, and their time runs fast? (python -m)

All else is real: the process, its socket, the engine's thread, the ledger. Whatever a study would train, the
rehearsal workload runs in its place. It ends when its standard input does: with whoever started it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator import cli
from orchestrator.backends.simulated import SimulatedBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.runs.contract import Launch
from orchestrator.runs.folders import Storage
from orchestrator.service import host, rehearse
from orchestrator.study.resources import Resources

# A step of the rehearsal lasts a twentieth of a second, here a 400th.
SPEED = float(os.environ.get("ORCH_TEST_SPEED", "20"))


class Fast:
    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * SPEED


class Rehearsing:
    """The simulated machines, where every trial is a rehearsal."""

    def __init__(self, backend: SimulatedBackend) -> None:
        self._backend = backend

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        rehearsed = replace(launch, entrypoint=rehearse.REHEARSAL, code=None)
        return self._backend.submit(rehearsed, ahead, avoid=avoid)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def open_host(
    settings: Settings, store: Store, *, workers: int | None = None, lasting: bool = False
) -> host.Host:
    slots = workers or settings.workers
    backend: Any = Rehearsing(SimulatedBackend(Fast(), slots=slots))
    engine = Engine(store, backend, clock=Fast(), storage=Storage(settings.runs), who=whoami())
    return host.Host(settings, store, Fast(), engine, slots)


def end_with_whoever_started_it() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_whoever_started_it, daemon=True).start()
    host.open_host = open_host
    sys.exit(cli.run(sys.argv[1:]))
