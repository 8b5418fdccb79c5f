"""How does a learned schedule leave a trial? As JSON that a spec can replay, and as an optax schedule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.ground import extras
from orchestrator.ground.errors import BadSpec, NotFound
from trainer.config import TrainConfig
from trainer.config.inherit import MULTIPLIER, curves_in
from trainer.config.paths import value_at

if TYPE_CHECKING:
    import numpy as np
else:
    np = extras.Later("numpy")

LearnedSchedule = dict[str, list[Any]]

_MODULE_BEGINS = '"""The learned schedule of '
_MODULE = '''"""The learned schedule of {trial}, step by step; after its end the last value stays.

    optimizer = optax.adamw(learning_rate=learning_rate)

Of its hyperparameters: {names}. learning_rate is {rate:g} · multiplier · alpha.
"""

import json
from pathlib import Path

import jax.numpy as jnp

CURVES = json.loads(Path(__file__).with_suffix(".json").read_text())["curves"]


def curve(name):
    """An optax schedule of one of the curves."""
    values = jnp.asarray(CURVES[name])
    return lambda step: values[jnp.minimum(step, len(values) - 1)]


def learning_rate(step):
    return {rate!r} * curve("multiplier")(step) * curve("alpha")(step)
'''


def read(folder: Path) -> LearnedSchedule:
    """Every step's multiplier and hyperparameters. NotFound says that there are none."""
    try:
        return {name: _shortest(curve) for name, curve in curves_in(folder).items()}
    except FileNotFoundError as missing:
        raise NotFound(str(missing)) from missing
    except ValueError as torn:
        raise BadSpec(str(torn)) from torn


def _shortest(array: np.ndarray) -> Any:
    """0.1 and not 0.10000000149: the decimals that a float32 prints as are read as the same float32."""
    return np.array([float(str(x)) for x in array.ravel()]).reshape(array.shape).tolist()


def write(curves: LearnedSchedule, out: Path, *, trial: str, config: Mapping[str, Any]) -> tuple[Path, Path]:
    """`out` as JSON, and beside it a module with the same numbers as an optax schedule."""
    module = out.with_suffix(".py")
    if out.suffix != ".json":
        raise BadSpec(
            f"--out is {str(out)!r}. Allowed is a name that ends in .json: so the trainer reads it."
        )
    if module.exists() and not module.read_text(errors="replace").startswith(_MODULE_BEGINS):
        raise BadSpec(f"{module} is there, and is no learned schedule. Name another with --out.")
    stated = value_at(config, "optimizer.learning_rate")
    rate = TrainConfig().optimizer.learning_rate if stated is None else float(stated)
    told = {"trial": trial, "learning_rate": rate, "steps": len(curves[MULTIPLIER]), "curves": curves}
    out.write_text(json.dumps(told))
    names = ", ".join(name for name in curves if name != MULTIPLIER)
    module.write_text(_MODULE.format(trial=trial, names=names, rate=rate))
    return out, module
