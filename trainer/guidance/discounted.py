"""How do the parameters depend on a hyperparameter that was the same in all past steps?

The tangents of the parameters and of the optimizer's averages are carried from step to step, shrunk by a
discount; the change of the gradient along them (the Hessian) is dropped. Discount 0 is `NextBatch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from trainer.config import TrainConfig
from trainer.guidance.contract import Advance, Estimator, Reading, Scene, Tree, added, apart, zeros
from trainer.guidance.next_batch import read_tangents
from trainer.optim.flat import as_trees, like
from trainer.optim.hyperparameters import Layout
from trainer.optim.optimizers import Optimizer


def _is_float(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _followed(opt_state: Tree, name: str, optimizer: Optimizer) -> list[int]:
    """The leaves of the state that depend on a hyperparameter. Second moments depend on the gradient
    alone, so that few hyperparameters move them: one buffer less for all others."""
    fixed = () if name in optimizer.second_moved_by else optimizer.second
    return [
        i
        for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(opt_state))
        if _is_float(leaf) and getattr(path[0], "key", None) not in fixed
    ]


@dataclass(frozen=True)
class Discounted(Estimator):
    discount: float = field(default=0.9, compare=False)  # a number of the state: it shapes no program

    through_state = True
    by_vector = True
    per_tensor = True

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount is {self.discount}. Allowed is from 0 to 1.")

    def numbers(self) -> dict[str, Any]:
        return {"discount": jnp.asarray(self.discount, jnp.result_type(float))}

    def init(self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer) -> dict[str, Any]:
        opt_state = as_trees(opt_state)
        leaves = jax.tree.leaves(opt_state)
        return {
            name: {
                "params": zeros(params),
                "state": [jnp.zeros_like(leaves[i]) for i in _followed(opt_state, name, optimizer)],
            }
            for name in layout.learned
        }

    def read(self, carry: dict[str, Any], scene: Scene) -> tuple[Reading, dict[str, Any]]:
        return read_tangents(scene, {name: kept["params"] for name, kept in carry.items()}), carry

    def advance(self, carry: dict[str, Any], scene: Scene) -> Advance:
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)

        def push() -> dict[str, Any]:
            return {name: _pushed(kept, scene, name) for name, kept in carry.items()}

        return Advance(updates, opt_state, apart(scene.step >= 0, push, carry), None)


def from_config(config: TrainConfig) -> Discounted:
    return Discounted(discount=config.guidance.discount)


def _pushed(kept: dict[str, Any], scene: Scene, name: str) -> dict[str, Any]:
    trees = as_trees(scene.opt_state)
    leaves, structure = jax.tree.flatten(trees)
    followed = _followed(trees, name, scene.optimizer)

    def step(value: jax.Array, params: Tree, moving: list[jax.Array]) -> tuple[Tree, list[jax.Array]]:
        every = list(leaves)
        for i, leaf in zip(followed, moving, strict=True):
            every[i] = leaf
        raw = {**scene.raw, name: value}
        opt_state = like(scene.opt_state, jax.tree.unflatten(structure, every))
        updates, state = scene.move(raw, params, opt_state, scene.grads)
        after = jax.tree.leaves(as_trees(state))
        return added(params, updates), [after[i] for i in followed]

    raw = scene.raw[name]
    before = jax.tree.map(lambda x: x * scene.numbers["discount"].astype(x.dtype), kept)
    at = (raw, scene.params, [leaves[i] for i in followed])
    params, state = jax.jvp(step, at, (jnp.ones_like(raw), before["params"], before["state"]))[1]
    return {"params": params, "state": state}
