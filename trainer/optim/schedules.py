"""By how much is the learning rate multiplied at a step?

A schedule is a function of the step (finished steps, so 0 at first) and of its numbers, which are arrays:
another warm-up, another length or another replayed curve does not retrace. It may bring values of
hyperparameters with it: recorded ones, or a static course of α and others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer.config.choices import SCHEDULES
from trainer.config.registry import code
from trainer.optim.hyperparameters import ACTIVATIONS, Hyper

Numbers = dict[str, Any]
Schedule = Callable[[Any, Numbers], jax.Array]
REPLAYED = "replayed"  # the schedule of a file


def _warm(step: Any, numbers: Numbers) -> Any:
    """Linear from 0 to 1 over the warm-up."""
    return jnp.where(step < numbers["warmup_steps"], step / jnp.maximum(numbers["warmup_steps"], 1), 1.0)


def _decayed(step: Any, numbers: Numbers) -> Any:
    """How much of the way from the warm-up to the last step is done: 0 to 1."""
    warmup = numbers["warmup_steps"]
    return jnp.clip((step - warmup) / jnp.maximum(numbers["steps"] - warmup, 1), 0.0, 1.0)


def inverse_sqrt(step: Any, numbers: Numbers) -> Any:
    """min(1, t/w) / sqrt(max(t, w)): the paper's C.2 and its released code, where the rate at t = 0 is 0."""
    return _warm(step, numbers) / jnp.sqrt(jnp.maximum(jnp.maximum(step, numbers["warmup_steps"]), 1))


def constant_rsqrt(step: Any, numbers: Numbers) -> Any:
    """1 for w steps, then sqrt(w/t). T5's 1/sqrt(max(t, w)) is this times 1/sqrt(w): 0.01 at w = 10,000."""
    warmup = jnp.maximum(numbers["warmup_steps"], 1)
    return jnp.sqrt(warmup / jnp.maximum(step, warmup))


def linear(step: Any, numbers: Numbers) -> Any:
    return _warm(step, numbers) * (1.0 - _decayed(step, numbers))


def cosine(step: Any, numbers: Numbers) -> Any:
    return _warm(step, numbers) * 0.5 * (1.0 + jnp.cos(jnp.pi * _decayed(step, numbers)))


def constant(step: Any, numbers: Numbers) -> Any:
    return _warm(step, numbers)


def replayed(step: Any, numbers: Numbers) -> jax.Array:
    """The recorded multiplier of this step; past the end the last one stays."""
    recorded: jax.Array = numbers["multiplier"].at[step].get(mode="clip")
    return recorded


def numbers_of(*, warmup_steps: int, steps: int) -> Numbers:
    """The numbers of every schedule but a replayed one."""
    as_float = jnp.result_type(float)
    return {"warmup_steps": jnp.asarray(warmup_steps, as_float), "steps": jnp.asarray(steps, as_float)}


def multiplier(name: str, step: jax.Array, numbers: Numbers) -> jax.Array:
    """The multiplier at a step, in the floating type of the numbers."""
    if name == REPLAYED:
        return replayed(step, numbers)
    schedule: Schedule = code(SCHEDULES[name].make)
    return schedule(step.astype(numbers["steps"].dtype), numbers)


def replayed_values(name: str, step: jax.Array, numbers: Numbers) -> dict[str, jax.Array]:
    """The values of hyperparameters at a step that take the place of the run's own: recorded ones, or those
    of a static course."""
    if name == REPLAYED:
        return {key: curve.at[step].get(mode="clip") for key, curve in numbers["values"].items()}
    return {key: _on_course(key, step, numbers) for key in numbers.get("course", ())}


def _on_course(name: str, step: jax.Array, numbers: Numbers) -> jax.Array:
    """From start to end in the raw value (log α, logit β1), by the share of the run to the power of shape."""
    course = numbers["course"][name]
    done = jnp.clip(step.astype(course["shape"].dtype) / jnp.maximum(numbers["steps"] - 1, 1), 0.0, 1.0)
    raw = course["start"] + (course["end"] - course["start"]) * done ** course["shape"]
    value: jax.Array = ACTIVATIONS[Hyper(name, 0.0).by].value(raw)
    return value


def course_of(stated: Mapping[str, Mapping[str, float]], starts: Mapping[str, float]) -> Numbers:
    """The numbers of static courses: from `start` (the run's own where it is not stated) to `end` (the start)
    by the power `shape` (1: straight). Start and end are values, and raw in what is returned."""
    as_float = jnp.result_type(float)
    numbers: Numbers = {}
    for name, course in stated.items():
        start = course.get("start", starts[name])
        activation = ACTIVATIONS[Hyper(name, start).by]
        start, end = (activation.raw(value) for value in (start, course.get("end", start)))
        # No further than float32 resolves: at a β1 of 1 there is nothing to divide by.
        start, end = (min(max(raw, -activation.reach), activation.reach) for raw in (start, end))
        told = {"start": start, "end": end, "shape": course.get("shape", 1.0)}
        numbers[name] = {key: jnp.asarray(number, as_float) for key, number in told.items()}
    return numbers


def save(path: Path, *, multiplier: Any, values: Mapping[str, Any]) -> None:
    """Write every step's learning-rate multiplier and hyperparameters, to be replayed."""
    arrays: dict[str, Any] = {k: np.asarray(v) for k, v in values.items()}
    np.savez(path, multiplier=np.asarray(multiplier), **arrays)


def load(path: Path) -> Numbers:
    """The numbers of the replayed schedule in this file. ValueError says what is wrong with it."""
    arrays = _read(path)
    if "multiplier" not in arrays:
        raise ValueError(
            f"{path.name} holds {', '.join(arrays) or 'nothing'} and no `multiplier`. "
            f"A replayed schedule has one number a step for it; export the schedule again."
        )
    lengths = {name: len(curve) if curve.ndim else 0 for name, curve in arrays.items()}
    steps = lengths["multiplier"]
    if steps == 0 or set(lengths.values()) != {steps}:
        raise ValueError(
            f"{path.name} holds curves of different lengths or none ({lengths}). "
            f"Allowed is one length, at least 1, for all; export the schedule again."
        )
    as_float = jnp.result_type(float)
    curves = {name: jnp.asarray(curve, as_float) for name, curve in arrays.items()}
    return {"multiplier": curves.pop("multiplier"), "values": curves}


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a schedule.npz, or of its export as JSON: lists by name."""
    try:
        if path.suffix == ".json":
            lists = json.loads(path.read_text())
            return {name: np.asarray(curve, np.float64) for name, curve in lists["curves"].items()}
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path.name} is no learned schedule ({problem}). Export it again.") from problem
