"""What is `orch serve` like when its presets train nothing? The same process, with the rehearsal workload.

`python -m tests.e2e.rehearsing serve …` is `orch serve …`, except that the catalog's studies name the
rehearsal as their entrypoint: real Ray workers run it, without JAX, data or minutes of compiling.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.backends import daemon
from orchestrator.study.spec import StudySpec

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0


@contextmanager
def serving(home: Path, *words: str) -> Iterator[str]:
    """What such a service prints: its address, with a key unless it is open. It, and the workers of its home,
    end with the block."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.rehearsing", "serve", "--port", "0", *words],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    killer = threading.Timer(WITHIN_S, server.kill)
    killer.start()
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()
        assert server.wait(timeout=WITHIN_S) == 0
    finally:
        killer.cancel()
        server.kill()
        server.communicate()
        daemon.stop(home)


def main() -> None:
    from orchestrator.cli import main as orch
    from orchestrator.service.rehearse import REHEARSAL
    from studies import catalog

    trained = catalog.get

    def rehearsed(name: str, *more: Any) -> StudySpec:
        return trained(name, *more).model_copy(update={"entrypoint": REHEARSAL})

    catalog.get = rehearsed
    orch()


if __name__ == "__main__":
    main()
