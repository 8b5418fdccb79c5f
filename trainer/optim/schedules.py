"""By how much is the learning rate multiplied at each step, and which hyperparameters does a run hold where?

A schedule is a function of the step (finished steps, so 0 at first) and of its numbers. It is computed before
a run, for all its steps: a program reads curves, so that formulas, static courses of α and others, and
recorded schedules share one. Curves are longer than the run, up to the next power of two: runs of other
lengths share it too.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer.config.choices import SCHEDULES, room_for
from trainer.config.registry import code
from trainer.optim.hyperparameters import ACTIVATIONS, Hyper, Raw

Numbers = dict[str, Any]
Curves = dict[str, Any]  # `multiplier`, a number for each step, and `values`, likewise by hyperparameter
Schedule = Callable[[Any, Numbers], jax.Array]


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


def curves_of(
    name: str, *, warmup_steps: int, steps: int, courses: Mapping[str, Numbers] | None = None
) -> Curves:
    """Of a schedule by its name, with the courses of `course_of`. ValueError for a name that is unknown."""
    if name not in SCHEDULES:
        raise ValueError(f"The schedule is {name!r}. Allowed: {', '.join(SCHEDULES)}. Choose one.")
    as_float = jnp.result_type(float)
    numbers = {"warmup_steps": np.asarray(warmup_steps, as_float), "steps": np.asarray(steps, as_float)}
    computed = _computed(code(SCHEDULES[name].make), numbers, dict(courses or {}), length=room_for(steps))
    curves: Curves = jax.tree.map(np.asarray, computed)
    return curves


@functools.partial(jax.jit, static_argnums=0, static_argnames="length")
def _computed(schedule: Schedule, numbers: Numbers, courses: Mapping[str, Numbers], *, length: int) -> Curves:
    def at(step: jax.Array) -> Curves:
        """In the arithmetic of single numbers, as a step has it: that of vectors may round otherwise."""
        now = step.astype(numbers["steps"].dtype)
        values = {name: _on_course(name, course, now, numbers) for name, course in courses.items()}
        return {"multiplier": schedule(now, numbers), "values": values}

    curves: Curves = jax.lax.map(at, jnp.arange(length))
    return curves


def _on_course(name: str, course: Numbers, step: jax.Array, numbers: Numbers) -> jax.Array:
    """From start to end in the raw value (log α, logit β1), by the share of the run to the power of shape."""
    done = jnp.clip(step / jnp.maximum(numbers["steps"] - 1, 1), 0.0, 1.0)
    raw = course["start"] + (course["end"] - course["start"]) * done ** course["shape"]
    value: jax.Array = ACTIVATIONS[Hyper(name, 0.0).by].value(raw)
    return value


def with_all(curves: Curves, static: Iterable[str], raw: Raw) -> Curves:
    """The same with a curve for each of these hyperparameters: of NaN, where nothing tells it to move. What
    has a number for each parameter group has a curve for each."""
    length = len(curves["multiplier"])

    def curve(name: str) -> np.ndarray:
        shape = np.shape(raw[name])
        told = np.asarray(curves["values"].get(name, np.full(length, np.nan)))
        told = told.reshape(length, *[1] * (1 + len(shape) - told.ndim), *told.shape[1:])
        return np.broadcast_to(told, (length, *shape)).astype(jnp.result_type(float))

    return {**curves, "values": {name: curve(name) for name in static}}


def at(step: jax.Array, curves: Curves) -> tuple[jax.Array, Raw]:
    """The multiplier and the values of this step; past the end the last ones stay."""
    now = jax.tree.map(lambda curve: jax.lax.dynamic_index_in_dim(curve, step, keepdims=False), curves)
    return now["multiplier"], now["values"]


def told_or_own(told: Raw, own: Raw) -> Raw:
    """A run's own values, but for those that its schedule tells."""
    return {
        name: jnp.where(jnp.isnan(told[name]), value, told[name]) if name in told else value
        for name, value in own.items()
    }


def course_of(stated: Mapping[str, Mapping[str, float]], starts: Mapping[str, float]) -> dict[str, Numbers]:
    """The numbers of static courses: from `start` (the run's own where it is not stated) to `end` (the start)
    by the power `shape` (1: straight). Start and end are values, and raw in what is returned."""
    as_float = jnp.result_type(float)
    numbers = {}
    for name, course in stated.items():
        start = course.get("start", starts[name])
        activation = ACTIVATIONS[Hyper(name, start).by]
        start, end = (activation.raw(value) for value in (start, course.get("end", start)))
        # No further than float32 resolves: at a β1 of 1 there is nothing to divide by.
        start, end = (min(max(raw, -activation.reach), activation.reach) for raw in (start, end))
        told = {"start": start, "end": end, "shape": course.get("shape", 1.0)}
        numbers[name] = {key: np.asarray(number, as_float) for key, number in told.items()}
    return numbers


def save(path: Path, *, multiplier: Any, values: Mapping[str, Any]) -> None:
    """Write every step's learning-rate multiplier and hyperparameters, to be replayed."""
    arrays: dict[str, Any] = {k: np.asarray(v) for k, v in values.items()}
    np.savez(path, multiplier=np.asarray(multiplier), **arrays)


def load(path: Path) -> Curves:
    """The curves in this file. ValueError says what is wrong with it."""
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
    curves = {name: curve.astype(jnp.result_type(float)) for name, curve in arrays.items()}
    return {"multiplier": curves.pop("multiplier"), "values": curves}


def lasting(curves: Curves, steps: int) -> Curves:
    """The same for a run of so many steps: cut, or with the last number to the end."""
    kept = np.minimum(np.arange(room_for(steps)), len(curves["multiplier"]) - 1)
    taken: Curves = jax.tree.map(lambda curve: curve[kept], curves)
    return taken


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
