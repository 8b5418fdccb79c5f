"""The held-out hypergradient by forward mode: how does the guidance loss move along with one raw value?

A JVP through the update and the loss. It keeps no activations, and costs a forward pass and its tangent
per number that learns: the cheapest exact estimator for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from trainer.config import TrainConfig
from trainer.guidance.contract import Advance, Estimator, Reading, Scene, always, apart, nothing


def from_config(config: TrainConfig) -> Forward:
    return Forward()


@dataclass(frozen=True)
class Forward(Estimator):
    through_gradient = True
    by_vector = True
    needs_guidance_batch = True

    def over_plain(self, learned: int) -> float:
        return 1.0 + 2 / 3 * learned  # a forward pass and its tangent for each number: 2 of a step's 3

    def advance(self, carry: Any, scene: Scene) -> Advance:
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)

        def loss_after(name: str, value: jax.Array) -> jax.Array:
            return scene.guided_loss(scene.evaluated(*scene.moved(name, value)), scene.guidance_batch)

        def look() -> Reading:
            hypergrads = {}
            for name in scene.layout.learned:
                raw = scene.raw[name]
                basis = jnp.eye(raw.size, dtype=raw.dtype).reshape(raw.size, *raw.shape)
                pairs = [jax.jvp(lambda v, n=name: loss_after(n, v), (raw,), (along,)) for along in basis]
                hypergrads[name] = jnp.stack([slope for _, slope in pairs]).reshape(raw.shape)
                loss = pairs[0][0]
            return Reading(hypergrads, always(scene), loss, {})

        return Advance(
            updates, opt_state, carry, apart(scene.step >= 0, look, nothing(scene, per_tensor=False))
        )
