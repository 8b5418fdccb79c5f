"""How does a real `orch serve` die at a named moment? `python -m tests.faults.dying MOMENT serve …`.

A moment is a write of the ledger or an act of the backend, `before:` or `after:` it, and which time:
`after:end_attempt:2` is kill -9 right behind the second end of an attempt that this process writes.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tests.faults.world import ACTS, WRITES


def lay(moment: str) -> None:
    """From now on this process dies at the moment."""
    from orchestrator.backends.ray import RayBackend
    from orchestrator.ledger.sql import SqlLedger

    when, name, time = moment.split(":")
    if when not in ("before", "after") or name not in (*WRITES, *ACTS):
        raise SystemExit(f"There is no moment {moment!r}.")
    owner: Any = SqlLedger if name in WRITES else RayBackend
    function, left = getattr(owner, name), int(time)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def main() -> None:
    moment = sys.argv.pop(1)
    if moment != "never":
        lay(moment)
    from orchestrator.cli import main as orch

    orch()


if __name__ == "__main__":
    main()
