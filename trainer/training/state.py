"""What does a run carry from step to step, and how is it begun?

Everything that a checkpoint needs is in the `TrainState`, all of it arrays, and so are the numbers of the
config. Nothing consumes a shared stream of randomness: a key is a function of (seed, purpose, step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trainer.guidance import meta as metas
from trainer.guidance.contract import Estimator, follows_state, refusals
from trainer.optim import hyperparameters, schedules
from trainer.optim.hyperparameters import Hyper, Layout, Raw
from trainer.optim.optimizers import Optimizer, starts

PURPOSES = ("init", "dropout", "guidance", "data")


def key_for(seed_key: jax.Array, purpose: str, step: Any = 0) -> jax.Array:
    """The random key of a purpose at a step."""
    return jax.random.fold_in(jax.random.fold_in(seed_key, PURPOSES.index(purpose)), step)


@dataclass(frozen=True)
class Recipe:
    """All that shapes the program of a run and none of its numbers: equal recipes compile once.

    `loss_fn(params, batch, key, train) -> scalar`; hyperparameters that act in the loss, such as
    label_smoothing, come as keywords while training and are left out of the guidance loss.
    """

    loss_fn: Callable[..., jax.Array]
    optimizer: Optimizer
    layout: Layout
    estimator: Estimator | None = None
    meta: metas.Meta = field(default_factory=metas.meta_optimizer)
    per_tensor: bool = False  # also report hypergradients per tensor, where the estimator has them

    def __post_init__(self) -> None:
        known = self.optimizer.hypers
        names = {s.name for s in self.layout.shapes if not s.in_loss}
        problems = refusals(self.estimator, self.layout, per_leaf=self.optimizer.per_leaf)
        if names != known:
            problems.append(
                f"The hyperparameters of the optimizer are {', '.join(sorted(known))}, and the layout has "
                f"{', '.join(sorted(names))}. Name these and no others; `declared` fills in what is left out."
            )
        if problems:
            raise ValueError("\n".join(problems))


class TrainState(NamedTuple):
    params: Any  # a tree, or a `trainer.optim.flat.Vector`; opt_state and carry likewise
    opt_state: Any
    raw: Raw  # hyperparameters before their activation
    meta: metas.MetaState
    carry: Any  # the estimator's
    step: jax.Array  # finished steps
    guidance_batch: Any
    settings: dict[str, Any]  # every number of the run, so that another one does not retrace

    def kept(self) -> TrainState:
        """What of it a checkpoint holds: all but the run's numbers, which its config tells."""
        return self._replace(settings={})


def declared(
    optimizer: Optimizer, hypers: Sequence[Hyper], estimator: Estimator | None = None
) -> tuple[Hyper, ...]:
    """These hyperparameters with alpha and the optimizer's own, constant where they are not given."""
    learned = [h.name for h in hypers if h.learn]
    return hyperparameters.complete(
        hypers, starts(optimizer, learned, through_state=follows_state(estimator))
    )


def settings_of(
    recipe: Recipe,
    hypers: Sequence[Hyper],
    *,
    learning_rate: float,
    schedule: schedules.Curves,
    eta: float | Mapping[str, float] = 0.01,
    skip: int = metas.SKIPPED_FIRST,
    meta_values: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The numbers of a run, as arrays. `schedule` is from `schedules.curves_of` or `schedules.load`."""
    learned, groups = recipe.layout.learned, recipe.layout.groups
    raw = hyperparameters.start_raw(hypers, groups=groups)
    known = {s.name for s in recipe.layout.shapes}
    unknown = [name for name in schedule["values"] if name not in known]
    if unknown:
        raise ValueError(
            f"The schedule replays {', '.join(unknown)}, and this run has {', '.join(sorted(known))}. "
            f"Replay it with the optimizer and the loss that it was learned with."
        )
    return {
        "learning_rate": jnp.asarray(learning_rate, jnp.result_type(float)),
        "schedule": schedules.with_all(schedule, [name for name in raw if name not in learned], raw),
        "limits": hyperparameters.raw_limits(hypers, groups=groups),
        "meta": metas.numbers(recipe.meta, eta, learned=learned, skip=skip, **(meta_values or {})),
        "estimator": {} if recipe.estimator is None else recipe.estimator.numbers(),
    }


def begin(
    recipe: Recipe,
    params: Any,
    hypers: Sequence[Hyper],
    *,
    settings: dict[str, Any],
    guidance_batch: Any = None,
) -> TrainState:
    """The state before the first step. It owns its arrays: a donated step may reuse them all."""
    estimator = recipe.estimator
    if estimator is not None and estimator.needs_guidance_batch and guidance_batch is None:
        raise ValueError(f"{type(estimator).__name__} needs a guidance batch. Give one.")
    raw = hyperparameters.start_raw(hypers, groups=recipe.layout.groups)
    opt_state = recipe.optimizer.init(params, recipe.layout.spread(recipe.layout.values(raw), params))
    carry = None
    if estimator is not None:
        carry = estimator.init(recipe.layout, params, opt_state, optimizer=recipe.optimizer)
    state = TrainState(
        params=params,
        opt_state=opt_state,
        raw=raw,
        meta=recipe.meta.init(recipe.layout, raw, settings["meta"]),
        carry=carry,
        step=jnp.zeros((), jnp.int32),
        guidance_batch=guidance_batch,
        settings=settings,
    )
    # One buffer a leaf: some optimizers start two leaves of their state as the same array.
    owned: TrainState = jax.tree.map(_own, state)
    return owned


def _own(leaf: Any) -> jax.Array:
    """A copy. By way of the host: on the device each shape would compile a program of its own."""
    if isinstance(leaf, jax.core.Tracer):
        return jnp.array(leaf, copy=True)
    copied: jax.Array = jax.device_put(np.array(leaf))
    return copied
