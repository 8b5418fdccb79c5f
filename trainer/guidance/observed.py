"""What would several estimators say of one and the same unguided run? They look on, and nothing moves.

Each does at every step what it would do if it guided, and gets its own carry and numbers. Its hypergradients
go into a step's metrics by its name (as `per_tensor`, the one part of a reading that nothing else reads).
None is ever ready, so that raw values stay as they are and the run is the unguided one bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from trainer.guidance.contract import Advance, Estimator, Reading, Scene, Tree, nothing
from trainer.optim.hyperparameters import Layout
from trainer.optim.optimizers import Optimizer


@dataclass(frozen=True)
class Observed(Estimator):
    watched: tuple[tuple[str, Estimator], ...]  # by the names that their hypergradients are reported under

    per_tensor = True

    @property
    def needs_guidance_batch(self) -> bool:
        return any(each.needs_guidance_batch for _, each in self.watched)

    @property
    def by_vector(self) -> bool:
        return all(each.by_vector for _, each in self.watched)

    def numbers(self) -> dict[str, Any]:
        return {name: each.numbers() for name, each in self.watched}

    def init(self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer) -> dict[str, Any]:
        return {
            name: each.init(layout, params, opt_state, optimizer=optimizer) for name, each in self.watched
        }

    def read(self, carry: dict[str, Any], scene: Scene) -> tuple[None, dict[str, Any]]:
        said: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for name, each in self.watched:
            reading, kept[name] = each.read(carry[name], _own(scene, name))
            if reading is not None:
                said[name] = _usable(reading)
        return None, {"kept": kept, "said": said}  # `advance` takes them apart again

    def advance(self, carry: dict[str, Any], scene: Scene) -> Advance:
        said, kept = dict(carry["said"]), dict(carry["kept"])
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)
        for name, each in self.watched:
            after = each.advance(kept[name], _own(scene, name))
            kept[name] = after.carry
            if after.reading is not None:
                said[name] = _usable(after.reading)
        reading = nothing(scene, per_tensor=False)._replace(per_tensor=said)
        return Advance(updates, opt_state, kept, reading)


def _own(scene: Scene, name: str) -> Scene:
    return replace(scene, numbers=scene.numbers[name])


def _usable(reading: Reading) -> dict[str, jax.Array]:
    """Its hypergradients; NaN where it says that they may not be used yet."""
    return {n: jnp.where(reading.ready[n], h, jnp.nan) for n, h in reading.hypergrads.items()}
