"""What do a training step and an estimator of hypergradients say to each other?

An estimator is a frozen dataclass: its fields shape the program, its `numbers()` are arrays. It is a subclass
of `Estimator`, which has the defaults; `advance` has none. What it does not do at every step it puts under a
condition of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainer.config.choices import OPTIMIZERS
from trainer.config.reading import problems_among
from trainer.optim.hyperparameters import Hyper, Layout, Raw
from trainer.optim.optimizers import Optimizer

Tree = Any
ETA = 0.01  # what served the one-step estimators at 400 steps; a long run wants a reach instead


class Reading(NamedTuple):
    """Hypergradients by name, in the shape of their raw values, and whether each may be used yet."""

    hypergrads: dict[str, jax.Array]
    ready: dict[str, jax.Array]
    guidance_loss: jax.Array
    per_tensor: dict[str, jax.Array]  # the same, one number per tensor; empty where they are not apart


class Advance(NamedTuple):
    updates: Tree
    opt_state: Tree
    carry: Any
    reading: Reading | None


@dataclass(frozen=True)
class Scene:
    """One step as an estimator sees it. `move(raw, params, opt_state, grads)` gives updates and the new
    state of the optimizer; `values(raw)` are the hyperparameters that it moves by, learning_rate among them;
    `gradient(raw)` is the training gradient as a function of what acts in the
    loss, None where nothing does."""

    layout: Layout
    raw: Raw
    params: Tree
    opt_state: Tree
    grads: Tree
    loss: jax.Array
    step: jax.Array
    numbers: dict[str, Any]
    optimizer: Optimizer
    move: Callable[[Raw, Tree, Tree, Tree], tuple[Tree, Tree]]
    values: Callable[[Raw], Raw]
    gradient: Callable[[Raw], Tree] | None = None
    guidance_loss: Callable[[Tree, Tree], jax.Array] | None = None  # of parameters on a batch
    guidance_batch: Tree = None

    def at(self, raw: Raw) -> Scene:
        return replace(self, raw=raw)

    def moved(self, name: str, value: jax.Array) -> tuple[Tree, Tree]:
        """The updates with one raw value replaced, also where it acts through the gradient."""
        raw = {**self.raw, name: value}
        through = self.gradient if name in self.layout.in_loss else None
        grads = self.grads if through is None else through(raw)
        return self.move(raw, self.params, self.opt_state, grads)

    def guided_loss(self, params: Tree, batch: Tree) -> jax.Array:
        """The guidance loss, for an estimator that needs a guidance batch."""
        if self.guidance_loss is None:
            raise ValueError("This estimator calls the guidance loss, and none is given. Give `loss_fn`.")
        return self.guidance_loss(params, batch)

    def evaluated(self, updates: Tree, opt_state: Tree) -> Tree:
        """The parameters at which the next loss is to be evaluated."""
        return self.optimizer.eval_params(opt_state, added(self.params, updates))


class Estimator(ABC):
    @property
    def through_gradient(self) -> bool:
        """Can it follow what acts through the training gradient?"""
        return False

    @property
    def through_state(self) -> bool:
        """Does it take derivatives through all of the optimizer's state, v among it?"""
        return False

    @property
    def watches_loss(self) -> bool:
        """Does it read the training loss, beside its gradient, where alpha learns?"""
        return False

    @property
    def needs_guidance_batch(self) -> bool:
        return False

    @property
    def every_steps(self) -> int:
        """It reads at one step in so many."""
        return 1

    @property
    def per_tensor(self) -> bool:
        """Do its hypergradients come per tensor too?"""
        return False

    @property
    def by_vector(self) -> bool:
        """May the parameters be one `trainer.optim.flat.Vector`, a tree like any other?"""
        return False

    def own_eta(self, name: str) -> float:
        """η̂ of a hyperparameter where a config states neither eta nor reach."""
        return ETA

    def trusted(self, hypers: Sequence[Hyper]) -> tuple[Hyper, ...]:
        """The same with trust regions of the estimator's, where they have none."""
        return tuple(hypers)

    def over_plain(self, learned: int) -> float:
        """The model FLOPs of a step over those of a plain one, when so many hyperparameters learn."""
        return 1.0

    def numbers(self) -> dict[str, Any]:
        """Its numbers, as arrays: other ones do not retrace. They are `scene.numbers`."""
        return {}

    def init(self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer) -> Any:
        """What it carries from step to step, at first."""
        return {}

    def read(self, carry: Any, scene: Scene) -> tuple[Reading | None, Any]:
        """Before the update: what the training gradient says."""
        return None, carry

    @abstractmethod
    def advance(self, carry: Any, scene: Scene) -> Advance:
        """The update itself, and what is learned from it."""


def follows_state(estimator: Estimator | None) -> bool:
    return estimator is not None and estimator.through_state


def apart(due: Any, work: Callable[[], Tree], otherwise: Tree) -> Tree:
    """What `work` gives where it is due. Under a condition it is a computation of its own: the compiler
    cannot fuse it with the training step, whose bits so are those of the unguided one."""
    if isinstance(due, jax.core.Tracer):
        return jax.lax.cond(due, work, lambda: otherwise)
    return work() if due else otherwise


def changed(due: Any, change: Callable[[Tree], Tree], kept: Tree) -> Tree:
    """`change(kept)` where it is due. A loop of one round or none: what stays is not copied, as a condition
    would."""
    if not isinstance(due, jax.core.Tracer):
        return change(kept) if due else kept

    def once(state: tuple[Any, Tree]) -> tuple[Any, Tree]:
        return jnp.zeros_like(state[0]), change(state[1])

    return jax.lax.while_loop(lambda state: state[0], once, (due, kept))[1]


def nothing(scene: Scene, *, per_tensor: bool) -> Reading:
    """The reading of a step that has none: NaN, and not ready."""
    blank = {name: jnp.full_like(scene.raw[name], jnp.nan) for name in scene.layout.learned}
    parts = {}
    if per_tensor:
        size = len(jax.tree.leaves(scene.params))
        parts = {name: jnp.full((size,), jnp.nan, jnp.result_type(float)) for name in blank}
    return Reading(blank, always(scene, False), jnp.full_like(scene.loss, jnp.nan), parts)


def added(params: Tree, updates: Tree) -> Tree:
    return jax.tree.map(lambda p, u: p + u, params, updates)


def zeros(params: Tree) -> Tree:
    return jax.tree.map(jnp.zeros_like, params)


def no_number() -> jax.Array:
    return jnp.full((), jnp.nan, jnp.result_type(float))


def tangent(scene: Scene, name: str, of: Callable[[Tree, Tree], Tree]) -> Tree:
    """∂/∂raw of `of(updates, opt_state)`. For one number per group all groups move at once: an update
    depends on its own group's number alone, so that each tensor's tangent is that of its own."""
    raw = scene.raw[name]
    return jax.jvp(lambda value: of(*scene.moved(name, value)), (raw,), (jnp.ones_like(raw),))[1]


def tangents_apart(
    due: Any, scene: Scene, names: Iterable[str], of: Callable[[Tree, Tree], Tree]
) -> dict[str, Tree]:
    """The tangent by each of these, as a computation of its own; zero where it is not due."""
    zero = {name: zeros(scene.params) for name in names}
    found: dict[str, Tree] = apart(due, lambda: {name: tangent(scene, name, of) for name in names}, zero)
    return found


def per_tensor(left: Tree, right: Tree) -> list[jax.Array]:
    """The dot product of each pair of tensors, accumulated in float32 at least.

    As a sum of products, not a matrix product: the tangent's arithmetic fuses into it."""

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        wide = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
        return jnp.sum(a.astype(wide) * b.astype(wide))

    return [dot(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)]


def summed(parts: list[jax.Array], layout: Layout, name: str, params: Tree) -> jax.Array:
    """Numbers per tensor, as one number or one per group."""
    if not layout.is_per_group(name):
        return sum(parts[1:], parts[0])
    zero = jnp.zeros_like(parts[0])
    groups = [zero] * len(layout.group_names)
    for part, group in zip(parts, layout.group_of(params), strict=True):
        groups[group] = groups[group] + part
    return jnp.stack(groups)


def dots(scene: Scene, gradient: Tree, tangents: dict[str, Tree]) -> tuple[Raw, Raw]:
    """⟨gradient, tangent⟩ by name: in the shape of the raw value, and per tensor."""
    parts = {name: per_tensor(gradient, tree) for name, tree in tangents.items()}
    whole = {
        name: summed(each, scene.layout, name, scene.params).astype(scene.raw[name].dtype)
        for name, each in parts.items()
    }
    return whole, {name: jnp.stack(each).astype(jnp.result_type(float)) for name, each in parts.items()}


def always(scene: Scene, ready: Any = True) -> dict[str, jax.Array]:
    return {name: jnp.asarray(ready) for name in scene.layout.learned}


def refusals(estimator: Estimator | None, layout: Layout, *, per_leaf: bool) -> list[str]:
    """Why these hyperparameters cannot be learned this way, a sentence each."""
    problems = problems_among(
        (
            layout.learned and estimator is None,
            f"{', '.join(layout.learned)} learns and there is no estimator. Choose one.",
        ),
        (
            estimator is not None and not layout.learned,
            "An estimator is given and nothing learns. Name what learns, or leave it out.",
        ),
    )
    if estimator is not None and not estimator.through_gradient:
        problems += [
            f"{name} acts through the training gradient, which {type(estimator).__name__} takes as given. "
            f"Allowed are reverse and forward mode: HeldOut(mode='reverse') or Forward()."
            for name in layout.in_loss
            if name in layout.learned
        ]
    grouped = [shape.name for shape in layout.shapes if shape.per_group]
    if grouped and not per_leaf:
        *most, last = OPTIMIZERS
        problems.append(
            f"{', '.join(grouped)} is per group, and an optimizer of optax takes one number for all. "
            f"Allowed are {', '.join(most)} and {last}. Choose one of them, or make it global."
        )
    return problems
