"""How does a machine leave the Ray that it has joined? Ray is told that it drains; its trials save, go on on
other hosts, and their workers end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.backends import daemon, ray_private
from orchestrator.backends.asking import ask
from orchestrator.ground.errors import BackendLost

LOOK_S = 0.2


def leave(
    home: str | Path,
    *,
    within_s: float,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Whether all its trials have ended in time. BackendLost where its Ray cannot be asked."""
    record = daemon.joined(home)
    if record is None:
        return True
    os.environ.update(daemon.environment(home))
    ray_private.forget_token()
    alive = daemon.pulse(home)
    accepted = ask(
        lambda: ray_private.drain(record.address, daemon.LABEL, record.mark, within_s=within_s), alive=alive
    )
    if not accepted:
        raise BackendLost(
            f"The Ray at {record.address} does not let this machine leave. End its workers with --force."
        )
    deadline = now() + within_s
    while at_work(home):
        if now() > deadline:
            return False
        wait(LOOK_S)
    return True


def at_work(home: str | Path) -> int:
    """How many of our workers live here. Ray names their processes after the actor's class."""
    return sum(daemon.titled(pid).startswith("ray::Worker") for pid in daemon.processes(home))
