"""An entrypoint of which the second trial finds no memory on its GPU while the first one trains."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Reporter

NO_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."
WITHIN_S = 60.0


def check(config: Mapping[str, Any]) -> list[str]:
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    return "one"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    trials = workdir.parent.parent
    (trials / f"{workdir.parent.name}.here").touch()
    if workdir.parent.name.endswith(".1"):
        _until(lambda: len(list(trials.glob("*.here"))) == 2)
        raise RuntimeError(NO_MEMORY)
    _until((trials / "the other has ended").exists)
    return Outcome("completed", {"loss": 1.0}, {}, None, (), "")


def _until(done: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
