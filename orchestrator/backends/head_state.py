"""How does a Ray's head come back as it was? It keeps what it knows in a store on disk, or in Redis.

Ray calls its embedded store alpha. ORCH_HEAD_STATE=off does without: a head that dies then takes its hosts'
trials along, which go on from their checkpoints, and machines have to join anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.backends import ray_private

STORE, PORT = "head", "head.port"  # in the daemon's folder
REDIS = ("RAY_REDIS_ADDRESS", "RAY_REDIS_USERNAME", "RAY_REDIS_PASSWORD")


def variables(folder: Path) -> dict[str, str]:
    """What the head must have in its environment."""
    if os.environ.get(REDIS[0]):
        return {name: os.environ[name] for name in REDIS if name in os.environ}
    store = folder / STORE
    store.mkdir(exist_ok=True)
    return ray_private.store_in(store)


def before(folder: Path) -> int | None:
    """The port of a head that was here and may come back."""
    try:
        return int((folder / PORT).read_text())
    except (OSError, ValueError):
        return None


def keep(folder: Path, address: str) -> None:
    (folder / PORT).write_text(address.rpartition(":")[2])


def forget(folder: Path) -> None:
    (folder / PORT).unlink(missing_ok=True)
    shutil.rmtree(folder / STORE, ignore_errors=True)
