"""The held-out hypergradient by forward mode: how does the guidance loss move along with one raw value?

A JVP through the update and the loss. It keeps no activations, and costs a forward pass and its tangent
per number that learns: the cheapest exact estimator for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from trainer.guidance.contract import Advance, Reading, Scene, Tree, always, apart, nothing
from trainer.optim.hyperparameters import Layout
from trainer.optim.optimizers import Optimizer


@dataclass(frozen=True)
class Forward:
    through_gradient = True
    through_state = False
    watches_loss = False
    needs_guidance_batch = True
    per_tensor = False

    def numbers(self) -> dict[str, Any]:
        return {}

    def init(self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer) -> dict[str, Any]:
        return {}

    def read(self, carry: Any, scene: Scene) -> tuple[None, Any]:
        return None, carry

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
