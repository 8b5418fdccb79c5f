"""`trainer.run`, which dwells at one stage of a run's first attempt, and tells by a file that it is there: a
test kills it then. Which stage is in a file beside this one, of the same name."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.config.inherit import inherit, learns
from trainer.protocol import Outcome, Place, Reporter
from trainer.training.entrypoint import check, fits, shape_key

__all__ = ["check", "fits", "inherit", "learns", "run", "shape_key"]

DWELLS_S = 3.0  # where the stage itself is short


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    from trainer.models import mesh
    from trainer.training import checkpoint, entrypoint, loop

    if workdir.name != "attempt-1":
        return entrypoint.run(config, reporter, workdir, place)
    own: dict[str, tuple[Any, str, int, float]] = {  # what is called there, which call, how long it dwells
        "joining": (mesh, "call_the_roll", 1, DWELLS_S),
        "compiling": (loop._Run, "_train", 1, 0.0),
        "training": (loop._Run, "_train", 2, 0.0),
        "saving": (checkpoint, "_write_arrays", 2, DWELLS_S),
        "scoring": (loop._Run, "_ends_with", 1, DWELLS_S),
    }
    stage = Path(__file__).with_suffix(".stage")
    owner, name, call, dwells_s = own[stage.read_text()]
    real = getattr(owner, name)
    told = stage.with_suffix(f".{place.process_index}")
    setattr(owner, name, _dwells_at(real, call, dwells_s, told))
    try:
        return entrypoint.run(config, reporter, workdir, place)
    finally:
        setattr(owner, name, real)


def _dwells_at(real: Callable[..., Any], call: int, dwells_s: float, told: Path) -> Callable[..., Any]:
    """The same function, which takes longer at the call of this number."""
    left = [call]

    @functools.wraps(real)
    def dwells(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            told.touch()
            time.sleep(dwells_s)
        return real(*args, **kwargs)

    return dwells
