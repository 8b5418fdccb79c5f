"""How do raw hyperparameters move, given their hypergradients?

By Adam (0.9, 0.999, 1e-8) unless another optimizer is named, one state per hyperparameter. Left out and
never zeroed are: the first few meta-steps (at t = 1 the hypergradient of beta1 is rounding noise, which
Adam would make into full steps) and hypergradients that are not finite, which are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainer.guidance.contract import Reading
from trainer.optim import optimizers
from trainer.optim.hyperparameters import Layout, Limits, Raw

SKIPPED_FIRST = 3


class MetaState(NamedTuple):
    optimizer: dict[str, Any]
    seen: dict[str, jax.Array]  # finite hypergradients so far
    skipped: dict[str, jax.Array]  # those that were not finite


@dataclass(frozen=True)
class Meta:
    """The meta-optimizer; all of its numbers are in `numbers`."""

    optimizer: optimizers.Optimizer

    def init(self, layout: Layout, raw: Raw, numbers: Mapping[str, Any]) -> MetaState:
        hyper = _hyper(numbers)
        learned = layout.learned
        return MetaState(
            {name: self.optimizer.init(raw[name], hyper) for name in learned},
            {name: jnp.zeros((), jnp.int32) for name in learned},
            {name: jnp.zeros((), jnp.int32) for name in learned},
        )

    def step(
        self, raw: Raw, state: MetaState, reading: Reading, *, limits: Limits, numbers: Mapping[str, Any]
    ) -> tuple[Raw, MetaState]:
        raw = dict(raw)
        parts: tuple[Raw, Raw, Raw] = ({}, {}, {})
        for name, hypergrad in reading.hypergrads.items():
            ready, finite = reading.ready[name], jnp.all(jnp.isfinite(hypergrad))
            seen, skipped = state.seen[name], state.skipped[name]
            use = ready & finite & (seen >= numbers["skip"])
            old = state.optimizer[name]
            update, new = self.optimizer.update(hypergrad, old, raw[name], _hyper(numbers))
            moved = jnp.clip(raw[name] + numbers["eta"][name] * update, *limits[name])
            raw[name] = jnp.where(use, moved, raw[name])
            parts[0][name] = jax.tree.map(lambda a, b, use=use: jnp.where(use, a, b), new, old)
            parts[1][name] = seen + (ready & finite)
            parts[2][name] = skipped + (ready & ~finite)
        return raw, MetaState(*parts)


def _hyper(numbers: Mapping[str, Any]) -> dict[str, Any]:
    one = jnp.ones((), jnp.result_type(float))
    # η̂ multiplies the update from outside, since it may differ by name.
    return {**numbers["optimizer"], "learning_rate": one, "alpha": one}


def meta_optimizer(name: str = "optax.adam", **arguments: Any) -> Meta:
    return Meta(optimizers.by_name(name, **arguments))


def numbers(
    meta: Meta,
    eta: float | Mapping[str, float],
    *,
    learned: tuple[str, ...],
    skip: int = SKIPPED_FIRST,
    **values: float,
) -> dict[str, Any]:
    """The numbers of a meta-optimizer: η̂ for all or by name, its own (`beta2=0.99`: a second moment
    that forgets large early hypergradients sooner), and how many meta-steps are left out at first."""
    # Adam with a root of its own is what all guided results were found with: hypergradients can be as small.
    known = optimizers.with_root(dict(meta.optimizer.defaults))
    by_name = dict(eta) if isinstance(eta, Mapping) else dict.fromkeys(learned, eta)
    missing = [name for name in learned if name not in by_name]
    if missing:
        raise ValueError(f"There is no η̂ for {', '.join(missing)}. Give one number for all, or name each.")
    bad = {name: value for name, value in by_name.items() if not (math.isfinite(value) and value >= 0)}
    if bad:
        raise ValueError(f"η̂ is {bad}. Allowed is a finite number of at least 0.")
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(
            f"The meta-optimizer has no {', '.join(unknown)}. Allowed: {', '.join(known) or 'nothing'}."
        )
    as_float = jnp.result_type(float)
    return {
        "eta": {name: jnp.asarray(by_name[name], as_float) for name in learned},
        "skip": jnp.asarray(skip, jnp.int32),
        "optimizer": {name: jnp.asarray(value, as_float) for name, value in {**known, **values}.items()},
    }


def eta_for_reach(reach: float, *, steps: int, every_steps: int = 1, skip: int = SKIPPED_FIRST) -> float:
    """The η̂ with which a raw value can move by `reach` in a whole run: reach / meta-steps."""
    meta_steps = math.ceil(steps / every_steps) - skip
    if meta_steps < 1:
        raise ValueError(
            f"{steps} steps with one meta-step in {every_steps} and {skip} left out leave no meta-step. "
            f"Train longer, or guide more often."
        )
    return reach / meta_steps
