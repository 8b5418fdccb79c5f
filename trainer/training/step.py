"""What is one training step? A pure function of (state, batch, key), compiled here and nowhere else.

`key` is the run's seed key, the same at each step. A chunk is one flat scan of the same body, so that
its length changes no bit: blocks of k steps around a rare one would be compiled into other arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from trainer.guidance.contract import Scene, added
from trainer.guidance.drive import Guided, guided_update
from trainer.models.mesh import pin_state
from trainer.optim import schedules
from trainer.optim.flat import as_trees
from trainer.optim.hyperparameters import Raw
from trainer.training.state import Recipe, TrainState, key_for

Metrics = dict[str, Any]
# A kept program of even a small model holds 100 to 200 MB on a CPU, and a worker may meet dozens. A cell of
# the study estimators has seven. One that was dropped is found on disk (training.keep_programs).
PROGRAMS_KEPT = 8


def train_step(recipe: Recipe, state: TrainState, batch: Any, key: jax.Array) -> tuple[TrainState, Metrics]:
    multiplier, told = schedules.at(state.step, state.settings["schedule"])
    learning_rate = state.settings["learning_rate"] * multiplier
    dropout = key_for(key, "dropout", state.step)

    def values(raw: Raw) -> Raw:
        return schedules.told_or_own(told, recipe.layout.values(raw))

    def loss_at(params: Any, *others: Any, **in_loss: Any) -> jax.Array:
        return recipe.loss_fn(as_trees(params), *others, **in_loss)

    def loss_and_gradient(raw: Raw) -> tuple[jax.Array, Any]:
        now = values(raw)
        in_loss = {name: now[name] for name in recipe.layout.in_loss}
        return jax.value_and_grad(loss_at)(state.params, batch, dropout, True, **in_loss)

    def move(raw: Raw, params: Any, opt_state: Any, grads: Any) -> tuple[Any, Any]:
        spread = recipe.layout.spread(values(raw), params)
        return recipe.optimizer.update(grads, opt_state, params, {**spread, "learning_rate": learning_rate})

    guidance_key = key_for(key, "guidance", state.step)
    loss, grads = loss_and_gradient(state.raw)
    grads = pin_state(grads)
    scene = Scene(
        layout=recipe.layout,
        raw=state.raw,
        params=state.params,
        opt_state=state.opt_state,
        grads=grads,
        loss=loss,
        step=state.step,
        numbers=state.settings["estimator"],
        move=move,
        gradient=(lambda raw: loss_and_gradient(raw)[1]) if recipe.layout.in_loss else None,
        guidance_loss=lambda params, held_out: loss_at(params, held_out, guidance_key, False),
        guidance_batch=state.guidance_batch,
        optimizer=recipe.optimizer,
    )
    after = guided_update(
        scene,
        estimator=recipe.estimator,
        meta=recipe.meta,
        carry=state.carry,
        state=state.meta,
        settings=state.settings,
    )
    new = state._replace(
        params=added(state.params, after.updates),
        opt_state=after.opt_state,
        raw=after.raw,
        meta=after.meta,
        carry=after.carry,
        step=state.step + 1,
    )
    return pin_state(new), _metrics(recipe, loss, multiplier, values(after.used), after)


def _metrics(recipe: Recipe, loss: Any, multiplier: Any, values: Raw, after: Guided) -> Metrics:
    """What a step has to say. `multiplier` and `hyper` are what a replay needs, exactly."""
    metrics = {
        "loss": loss,
        "multiplier": multiplier,
        "hyper": values,
        "hypergrad": after.hypergrads,
        "guidance_loss": after.guidance_loss,
        "skipped": after.meta.skipped,
    }
    if recipe.per_tensor:
        metrics["hypergrad_per_tensor"] = after.per_tensor
    return metrics


def scan_steps(recipe: Recipe, state: TrainState, batches: Any, key: jax.Array) -> tuple[TrainState, Metrics]:
    """A chunk of steps; leaves of `batches` and of the metrics have the steps as their first axis."""
    return jax.lax.scan(lambda now, batch: train_step(recipe, now, batch, key), state, batches)


@functools.lru_cache(PROGRAMS_KEPT)  # equal recipes share one program, whatever their numbers
def compiled_scan(recipe: Recipe) -> Callable[..., tuple[TrainState, Metrics]]:
    """`scan_steps` compiled, (state, batches, key) -> (state, metrics). The given state is used up."""
    return jax.jit(functools.partial(scan_steps, recipe), donate_argnums=0)


@functools.lru_cache(PROGRAMS_KEPT)
def compiled_step(recipe: Recipe) -> Callable[..., tuple[TrainState, Metrics]]:
    """`train_step` compiled, (state, batch, key) -> (state, metrics). The given state is used up."""
    return jax.jit(functools.partial(train_step, recipe), donate_argnums=0)
