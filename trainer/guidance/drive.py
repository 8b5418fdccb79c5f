"""What happens in one guided step, whoever asks for it? Read, move the raw values, advance, move them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainer.guidance.contract import Estimator, Scene, no_number
from trainer.guidance.meta import Meta, MetaState
from trainer.optim.hyperparameters import Raw


class Guided(NamedTuple):
    """What a step leaves. `used` are the raw values that the update was made with."""

    updates: Any
    opt_state: Any
    raw: Raw
    used: Raw
    carry: Any
    meta: MetaState
    hypergrads: Raw  # NaN where this step had none
    guidance_loss: jax.Array
    per_tensor: Raw


def guided_update(
    scene: Scene,
    *,
    estimator: Estimator | None,
    meta: Meta,
    carry: Any,
    state: MetaState,
    settings: Mapping[str, Any],
) -> Guided:
    """One update of parameters and of raw hyperparameters. Of `settings` it reads the limits of raw values
    and the numbers of the meta-optimizer."""
    if estimator is None:
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)
        return Guided(updates, opt_state, scene.raw, scene.raw, carry, state, {}, no_number(), {})

    step = functools.partial(meta.step, limits=settings["limits"], numbers=settings["meta"])
    before, carry = estimator.read(carry, scene)
    if before is not None:
        raw, state = step(scene.raw, state, before)
        scene = scene.at(raw)
    advance = estimator.advance(carry, scene)
    raw, after = scene.raw, advance.reading
    if after is not None:
        raw, state = step(raw, state, after)
    (reading,) = (r for r in (before, after) if r is not None)  # an estimator gives one of the two
    return Guided(
        advance.updates,
        advance.opt_state,
        raw,
        scene.raw,
        advance.carry,
        state,
        reading.hypergrads,
        reading.guidance_loss.astype(jnp.result_type(float)),
        reading.per_tensor,
    )
