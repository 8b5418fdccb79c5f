"""Was the path of some dozen steps ago a good one, as the training gradient of today sees it?

One step ahead the learning rate's slope is weak and its sign mostly noise; dozens of steps ahead it is plain
(the study hypergradient-audit). So alpha is judged by the cosine of the next training gradient with a
displacement that lies K to 3K steps back, and in the last steps of a run, where the short view is the right
one, with the most recent displacement: that anneals by itself. All else is judged one step ahead as in
`NextBatch`, as a cosine. No optimizer calculus for alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from trainer.config import TrainConfig
from trainer.guidance import last_step
from trainer.guidance.contract import (
    Advance,
    Estimator,
    Reading,
    Scene,
    Tree,
    apart,
    changed,
    nothing,
    per_tensor,
    summed,
    zeros,
)
from trainer.optim.hyperparameters import Hyper, Layout
from trainer.optim.optimizers import Optimizer

# With four times the η̂. What that is worth: python -m benchmarks.estimator_ablation --readings
EVERY_STEPS = 4
# η̂ does not scale with the length of the run, and does with how seldom it reads: these are for EVERY_STEPS.
ETA = {"alpha": 0.08, "beta1": 0.04}
BELOW = {"alpha": math.log(3), "beta1": 1.8}  # trust regions of the raw values, downwards and upwards
# Twice, not three times. AdamW near its best rate, 300 steps: .23 (unguided .33, three times .34); LAMB loses
# .006 by it at most (benchmarks/estimator_ablation.py).
ABOVE = {"alpha": math.log(2), "beta1": math.inf}
# Above momentum's oscillation. In runs of 800 steps lags of 20 still see AdamW as too fast and lower alpha:
# .103, lags of 80 .049, unguided .055; at 300 steps 20 loses too: .74, 30 .49, unguided .53 (two seeds each).
LEAST_LAG_STEPS = 20


def trusted(hypers: Sequence[Hyper]) -> tuple[Hyper, ...]:
    """The same with this estimator's trust regions, where a hyperparameter has none of its own. They do
    real work: uncapped, alpha runs to 7 and beyond."""

    return tuple(
        replace(h, below=BELOW.get(h.name, math.inf), above=ABOVE.get(h.name, math.inf))
        if h.learn and (h.below, h.above) == (math.inf, math.inf)
        else h
        for h in hypers
    )


@dataclass(frozen=True)
class Lagged(Estimator):
    """`steps` is the length of the run, None where it is not known (then nothing anneals at its end)."""

    # Numbers of the state, which shape no program.
    lag_steps: int = field(default=0, compare=False)  # K; 0: a tenth of the run, LEAST_LAG_STEPS or more
    recent_steps: int = field(default=10, compare=False)  # near the end the path spans one to two of these
    anneal_steps: int = field(default=80, compare=False)
    steps: int | None = field(default=None, compare=False)
    every_steps: int = field(default=EVERY_STEPS, compare=False)  # it reads at one step in so many

    watches_loss = True  # for alpha's guard
    by_vector = True

    def __post_init__(self) -> None:
        if self.recent_steps < 1 or self.lag_steps < 0:
            raise ValueError(
                f"lag_steps is {self.lag_steps} and recent_steps is {self.recent_steps}. "
                f"Allowed is at least 0 for the first (by the length of the run) and 1 for the second."
            )
        if self.every_steps < 1:
            raise ValueError(f"every_steps is {self.every_steps}. Allowed is at least 1.")

    @property
    def lag(self) -> int:
        return self.lag_steps or max(LEAST_LAG_STEPS, (self.steps or 0) // 10)

    def own_eta(self, name: str) -> float:
        a_step = ETA[name] / EVERY_STEPS if name in ETA else super().own_eta(name)
        return a_step * self.every_steps

    def trusted(self, hypers: Sequence[Hyper]) -> tuple[Hyper, ...]:
        return trusted(hypers)

    def numbers(self) -> dict[str, Any]:
        last = 2**31 - 1 if self.steps is None else self.steps - self.anneal_steps
        as_float = jnp.result_type(float)
        return {
            "anneal_from": jnp.asarray(last, jnp.int32),
            "every_steps": jnp.asarray(self.every_steps, jnp.int32),
            "lag_steps": jnp.asarray(self.lag, jnp.int32),
            "recent_steps": jnp.asarray(self.recent_steps, jnp.int32),
            # The guard's averages of the training loss: about 10 and 50 steps.
            "fast": jnp.asarray(0.9, as_float),
            "slow": jnp.asarray(0.98, as_float),
        }

    def init(self, layout: Layout, params: Tree, opt_state: Tree, *, optimizer: Optimizer) -> dict[str, Any]:
        carry: dict[str, Any] = {}
        if others := [name for name in layout.learned if name != "alpha"]:
            carry = last_step.init(others, layout, params, optimizer=optimizer)
        if "alpha" in layout.learned:
            averages = {key: jnp.zeros((), jnp.result_type(float)) for key in ("fast", "slow")}
            copies = {key: jax.tree.map(jnp.copy, params) for key in ("newest", "older")}
            carry |= averages | {"snapshots": {**copies, "path": zeros(params)}}
        return carry

    def read(self, carry: dict[str, Any], scene: Scene) -> tuple[Reading, dict[str, Any]]:
        others = [name for name in scene.layout.learned if name != "alpha"]
        if "alpha" in scene.layout.learned:
            carry = self._watched(self._shifted(carry, scene), scene)
        due = (scene.step > 0) & (scene.step % scene.numbers["every_steps"] == 0)

        def look() -> Reading:
            tangents = last_step.tangents(carry, scene) if others else {}
            ready = dict.fromkeys(tangents, jnp.asarray(True))
            if "alpha" in scene.layout.learned:
                tangents["alpha"], ready["alpha"] = self._displacement(carry, scene)
            cosines = {name: _cosine(scene, name, tree) for name, tree in tangents.items()}
            if "alpha" in cosines:
                rising = carry["fast"] > carry["slow"]
                cosines["alpha"] = jnp.where(rising, jnp.abs(cosines["alpha"]), cosines["alpha"])
            return Reading(cosines, ready, scene.loss, {})

        return apart(due, look, nothing(scene, per_tensor=False)), carry

    def advance(self, carry: dict[str, Any], scene: Scene) -> Advance:
        updates, opt_state = scene.move(scene.raw, scene.params, scene.opt_state, scene.grads)
        if any(name != "alpha" for name in scene.layout.learned):
            due = (scene.step + 1) % scene.numbers["every_steps"] == 0
            carry = last_step.kept(due, carry, scene)
        return Advance(updates, opt_state, carry, None)

    def _shifted(self, carry: dict[str, Any], scene: Scene) -> dict[str, Any]:
        """At a boundary: the path becomes the displacement between the two snapshots, which move on.

        Two recent spans before the run anneals they follow each other closely, and the path stays."""
        lag, recent = scene.numbers["lag_steps"], scene.numbers["recent_steps"]
        near_end = scene.step >= scene.numbers["anneal_from"] - 2 * recent
        boundary = (scene.step % lag == 0) & ~near_end
        closely = (scene.step % recent == 0) & near_end

        def shift(snapshots: dict[str, Tree]) -> dict[str, Tree]:
            newest, older = snapshots["newest"], snapshots["older"]
            path = jax.tree.map(
                lambda new, old, path: jnp.where(boundary, new - old, path), newest, older, snapshots["path"]
            )
            return {"path": path, "older": newest, "newest": scene.params}

        return {**carry, "snapshots": changed(boundary | closely, shift, carry["snapshots"])}

    def _watched(self, carry: dict[str, Any], scene: Scene) -> dict[str, Any]:
        """Follow the training loss: alpha goes down while its fast average is above the slow one."""

        def average(name: str) -> jax.Array:
            old, loss, decay = carry[name], scene.loss.astype(carry[name].dtype), scene.numbers[name]
            return jnp.where(scene.step == 0, loss, decay * old + (1 - decay) * loss)

        return {**carry, "fast": average("fast"), "slow": average("slow")}

    def _displacement(self, carry: dict[str, Any], scene: Scene) -> tuple[Tree, jax.Array]:
        annealing = scene.step >= scene.numbers["anneal_from"]
        lag, recent = scene.numbers["lag_steps"], scene.numbers["recent_steps"]
        path = jax.tree.map(
            lambda now, older, path: jnp.where(annealing, now - older, path),
            scene.params,
            carry["snapshots"]["older"],
            carry["snapshots"]["path"],
        )
        # Before two boundaries have passed a snapshot is still the start, and says nothing.
        return path, scene.step >= jnp.where(annealing, 2 * recent, 2 * lag)


def from_config(config: TrainConfig) -> Lagged:
    guidance = config.guidance
    return Lagged(
        lag_steps=guidance.lag_steps,
        anneal_steps=guidance.anneal_steps,
        steps=config.steps,
        every_steps=EVERY_STEPS if guidance.every_steps is None else guidance.every_steps,
    )


def _cosine(scene: Scene, name: str, along: Tree) -> jax.Array:
    def total(left: Tree, right: Tree) -> jax.Array:
        return summed(per_tensor(left, right), scene.layout, name, scene.params)

    dot, square = total(scene.grads, along), total(scene.grads, scene.grads) * total(along, along)
    some = square > 0
    cosine = jnp.where(some, dot / jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)
    return jnp.where(jnp.isfinite(dot), cosine, dot).astype(scene.raw[name].dtype)
