"""What does a held-out batch, at the new parameters, say of the step that led there? (the paper's way)

By reverse mode through the update, or as the same number in two pieces: a gradient at θ_{t+1} and its dot
product with the tangent of the update, which leaves it apart per tensor. `every_steps` and
`batch_fraction` thin it: a step costs about 1 + fraction / every of a plain one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from trainer.config import TrainConfig
from trainer.config.learnable import IN_LOSS
from trainer.guidance.contract import (
    ETA,
    Advance,
    Estimator,
    Reading,
    Scene,
    Tree,
    always,
    apart,
    dots,
    nothing,
    tangents_apart,
)
from trainer.optim.hyperparameters import Layout
from trainer.optim.optimizers import Optimizer


def part_of(batch: Tree, part: jax.Array, fraction: float) -> Tree:
    """A share of the rows; the parts take turns, so that the whole batch is used in the end. The last part
    goes back over rows of the one before where the rows do not divide."""
    if fraction == 1.0:
        return batch
    rows = jax.tree.leaves(batch)[0].shape[0]
    size = max(1, round(rows * fraction))
    start = jnp.minimum((part % -(-rows // size)) * size, rows - size)
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), batch)


@dataclass(frozen=True)
class HeldOut(Estimator):
    mode: Literal["dot", "reverse"] = "dot"
    every_steps: int = field(default=1, compare=False)  # a number of the state: it shapes no program
    batch_fraction: float = 1.0

    needs_guidance_batch = True
    by_vector = True

    def __post_init__(self) -> None:
        if self.mode not in ("dot", "reverse"):
            raise ValueError(f"The mode is {self.mode!r}. Allowed: dot, reverse. Choose one.")
        if self.every_steps < 1:
            raise ValueError(f"every_steps is {self.every_steps}. Allowed is at least 1.")
        if not 0 < self.batch_fraction <= 1:
            raise ValueError(f"batch_fraction is {self.batch_fraction}. Allowed is above 0 and at most 1.")

    @property
    def through_gradient(self) -> bool:
        return self.mode == "reverse"

    @property
    def per_tensor(self) -> bool:
        return self.mode == "dot"

    def own_eta(self, name: str) -> float:
        return ETA * self.every_steps

    def over_plain(self, learned: int) -> float:
        return 1.0 + self.batch_fraction / self.every_steps

    def numbers(self) -> dict[str, Any]:
        return {"every_steps": jnp.asarray(self.every_steps, jnp.int32)}

    def init(
        self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer
    ) -> dict[str, jax.Array]:
        return {"part": jnp.zeros((), jnp.int32)}

    def advance(self, carry: dict[str, jax.Array], scene: Scene) -> Advance:
        due = scene.step % scene.numbers["every_steps"] == 0
        batch = part_of(scene.guidance_batch, carry["part"], self.batch_fraction)
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)
        if self.mode == "reverse":
            look = functools.partial(_by_reverse, scene, batch)
        else:
            # Before the gradient: what the update was made from need not outlive it.
            tangents = tangents_apart(due, scene, scene.layout.learned, scene.evaluated)
            look = functools.partial(_by_dot, scene, batch, scene.evaluated(updates, opt_state), tangents)
        reading = apart(due, look, nothing(scene, per_tensor=self.per_tensor))
        return Advance(updates, opt_state, {"part": carry["part"] + due}, reading)


def from_config(config: TrainConfig) -> HeldOut:
    guidance = config.guidance
    return HeldOut(
        mode="reverse" if set(IN_LOSS) & set(guidance.learn) else "dot",
        every_steps=guidance.every_steps or 1,
        batch_fraction=guidance.batch_fraction,
    )


def _by_dot(scene: Scene, batch: Tree, at: Tree, tangents: dict[str, Tree]) -> Reading:
    loss, gradient = jax.value_and_grad(scene.guided_loss)(at, batch)
    hypergrads, parts = dots(scene, gradient, tangents)
    return Reading(hypergrads, always(scene), loss, parts)


def _by_reverse(scene: Scene, batch: Tree) -> Reading:
    def loss_after(learned: dict[str, jax.Array]) -> jax.Array:
        raw = {**scene.raw, **learned}
        through = any(name in scene.layout.in_loss for name in learned)
        grads = scene.gradient(raw) if through and scene.gradient else scene.grads
        updates, opt_state = scene.move(raw, scene.params, scene.opt_state, grads)
        return scene.guided_loss(scene.evaluated(updates, opt_state), batch)

    learned = {name: scene.raw[name] for name in scene.layout.learned}
    loss, hypergrads = jax.value_and_grad(loss_after)(learned)
    return Reading(hypergrads, always(scene), loss, {})
