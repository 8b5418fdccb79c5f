"""What are the named hyperparameters of a run, which of them learn, and between which bounds?

Each is held as a raw value that may be any number; its activation turns that into the value that is used.
One that stays as it is takes the same way as one that learns, so that a meta learning rate of zero gives
the unguided run bit for bit. What shapes the program (names, activations, which learn, groups) is a
`Layout`, which can be hashed; all numbers are arrays, so that other numbers do not retrace.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from trainer.config.learnable import IN_LOSS, LEARNABLE
from trainer.config.scales import ENDS, Scale, to_working

Raw = dict[str, jax.Array]  # by name; one number, or one per parameter group
Limits = dict[str, tuple[jax.Array, jax.Array]]
Groups = tuple[tuple[str, str], ...]  # (name, pattern); the first whose pattern is found in the path

REST = "rest"  # the group of what no pattern finds


@dataclass(frozen=True)
class Activation:
    """A monotone map from a raw value to a value: the inverse of the scale, for traced values. `reach` keeps
    the raw value where float32 resolves it."""

    value: Callable[[Any], Any]
    scale: Scale
    reach: float

    def raw(self, value: float) -> float:
        return to_working(self.scale, value)


ACTIVATIONS: Mapping[str, Activation] = {
    # e^±80 is within float32 (e^88.7).
    "exp": Activation(jnp.exp, "log", 80.0),
    # From a logit of 16.7 a float32 sigmoid is 1.0 and 1 - β^t is 0; at 12 it still has two digits.
    "sigmoid": Activation(jax.nn.sigmoid, "logit", 12.0),
    "identity": Activation(lambda raw: raw, "linear", math.inf),
}
_BY_SCALE = {activation.scale: name for name, activation in ACTIVATIONS.items()}


@dataclass(frozen=True)
class Hyper:
    """One hyperparameter: `start`, and `low` and `high` as bounds, are values; `below` and `above` are
    how far its raw value may move from its start (a trust region: log 3 on alpha is a factor of 3)."""

    name: str
    start: float
    learn: bool = False
    activation: str | None = None  # None: by name; what has no known name is taken as it is
    low: float | None = None
    high: float | None = None
    below: float = math.inf
    above: float = math.inf
    per_group: bool = False
    in_loss: bool | None = None  # a keyword of the loss function, not of the optimizer. None: by name

    @property
    def by(self) -> str:
        known = LEARNABLE.get(self.name)
        return self.activation or _BY_SCALE[known.scale if known else "linear"]

    @property
    def acts_in_loss(self) -> bool:
        return self.name in IN_LOSS if self.in_loss is None else self.in_loss


@dataclass(frozen=True)
class Shape:
    """What of a hyperparameter shapes the program."""

    name: str
    activation: str
    learn: bool
    per_group: bool
    in_loss: bool


@dataclass(frozen=True)
class Layout:
    """The hyperparameters of a program, without their numbers."""

    shapes: tuple[Shape, ...]
    groups: Groups = ()

    @property
    def learned(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.shapes if s.learn)

    @property
    def in_loss(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.shapes if s.in_loss)

    @property
    def group_names(self) -> tuple[str, ...]:
        return (*(name for name, _ in self.groups), REST)

    def is_per_group(self, name: str) -> bool:
        return any(s.name == name and s.per_group for s in self.shapes)

    def values(self, raw: Raw) -> Raw:
        """The values at these raw values."""
        return {s.name: ACTIVATIONS[s.activation].value(raw[s.name]) for s in self.shapes}

    def spread(self, values: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """What the optimizer sees: a number for all leaves, or a tree with a number for each."""
        spread = {s.name: values[s.name] for s in self.shapes if not s.in_loss}
        if self.groups:
            tree, index = jax.tree.structure(params), self.group_of(params)
            for name in spread:
                if self.is_per_group(name):
                    spread[name] = jax.tree.unflatten(tree, [values[name][i] for i in index])
        return spread

    def group_of(self, params: Any) -> list[int]:
        """The index of each leaf's group."""
        return [self._group(_path(path)) for path, _ in jax.tree_util.tree_leaves_with_path(params)]

    def _group(self, path: str) -> int:
        found = (i for i, (_, pattern) in enumerate(self.groups) if re.search(pattern, path))
        return next(found, len(self.groups))


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def layout(hypers: Sequence[Hyper], *, groups: Groups = ()) -> Layout:
    """The layout of these hyperparameters. ValueError holds all that is wrong, a sentence each."""
    problems = check(hypers, groups=groups)
    if problems:
        raise ValueError("\n".join(problems))
    shapes = tuple(Shape(h.name, h.by, h.learn, h.per_group, h.acts_in_loss) for h in hypers)
    return Layout(shapes, tuple(groups))


def complete(hypers: Sequence[Hyper], defaults: Mapping[str, float]) -> tuple[Hyper, ...]:
    """These hyperparameters, and a constant one for each of an optimizer's that they leave out."""
    named = {h.name for h in hypers}
    return (*hypers, *(Hyper(name, start) for name, start in defaults.items() if name not in named))


def check(hypers: Sequence[Hyper], *, groups: Groups = ()) -> list[str]:
    """What is wrong with these hyperparameters, a sentence each."""
    problems = []
    for i, h in enumerate(hypers):
        if h.name in {other.name for other in hypers[:i]}:
            problems.append(f"{h.name} is given twice. Keep one.")
        if h.by not in ACTIVATIONS:
            problems.append(
                f"{h.name} has the activation {h.by!r}. Allowed: {', '.join(ACTIVATIONS)}. Choose one."
            )
            continue
        if h.per_group and not groups:
            problems.append(f"{h.name} is per group and there are no groups. Name some, or make it global.")
        if h.per_group and h.acts_in_loss:
            problems.append(f"{h.name} acts through the loss, which has no parameter groups. Make it global.")
        problems += _misplaced(h)
    return problems


def _misplaced(h: Hyper) -> list[str]:
    low, high = _bounds(h)
    if not (math.isfinite(h.start) and low <= h.start < high):
        return [f"{h.name} starts at {h.start}. Allowed is from {low} to below {high}. Move it inside."]
    if not h.learn:
        return []
    below, above = _raw_limits(h)
    raw = ACTIVATIONS[h.by].raw(h.start)
    if below < raw < above:
        return []
    low, high = (float(ACTIVATIONS[h.by].value(limit)) for limit in (below, above))
    return [
        f"{h.name} learns and starts at {h.start}, on its bound, where it cannot move. "
        f"Allowed is strictly between {low:.6g} and {high:.6g}. Move its start, or do not learn it."
    ]


def _bounds(h: Hyper) -> tuple[float, float]:
    low, high = ENDS[ACTIVATIONS[h.by].scale]
    return low if h.low is None else max(h.low, low), high if h.high is None else min(h.high, high)


def _raw_limits(h: Hyper) -> tuple[float, float]:
    """Where the raw value may go: inside its bounds, its trust region, and what float32 resolves."""
    activation = ACTIVATIONS[h.by]
    low, high = _bounds(h)
    raw = activation.raw(h.start)
    below = max(activation.raw(low), raw - h.below, -activation.reach)
    above = min(activation.raw(high) if math.isfinite(high) else math.inf, raw + h.above, activation.reach)
    return below, above


def start_raw(hypers: Sequence[Hyper], *, groups: Groups = ()) -> Raw:
    """The raw values to start from. A constant may sit on its bound: e^-inf is exactly 0."""
    return {h.name: _filled(ACTIVATIONS[h.by].raw(h.start), h, groups) for h in hypers}


def raw_limits(hypers: Sequence[Hyper], *, groups: Groups = ()) -> Limits:
    """Lowest and highest raw value of each that learns."""
    pairs = {h.name: (h, _raw_limits(h)) for h in hypers if h.learn}
    return {
        name: (_filled(low, h, groups), _filled(high, h, groups)) for name, (h, (low, high)) in pairs.items()
    }


def _filled(number: float, h: Hyper, groups: Groups) -> jax.Array:
    # An explicit dtype: a weakly typed number would retrace after the first step.
    return jnp.full((len(groups) + 1,) if h.per_group else (), number, jnp.result_type(float))
