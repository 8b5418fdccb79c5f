"""How is a leader killed between a submit and its beginning, on real Ray?

`python -m tests.e2e.aimed_kill HOME STUDY` leads the ledger of that home. It kills itself with SIGKILL once
it has submitted attempts of the study that no worker has begun, and has asked the workers about them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import open_ledger
from orchestrator.runs.folders import Storage


def main(home: Path, study_id: str) -> None:
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    address = daemon.start(home, cpus=2)
    backend = RayBackend(address, workers=2, token_path=daemon.token_path(home))
    engine = Engine(store, backend, clock=SystemClock(), storage=Storage(home / "runs"), who="aimed")
    while True:
        engine.tick()
        unbegun = [a for a in store.live_attempts(study_id) if not a.sequence]
        if unbegun and {a.key for a in unbegun} <= set(backend.attempts()):
            engine.tick()  # the workers are asked, and none has begun: Ray takes a second to make an actor
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
