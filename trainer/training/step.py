"""What is one training step? A pure function of (state, batch, key), compiled here and nowhere else.

`key` is the run's seed key, the same at each step. A chunk is one flat loop of the same body, and how many
steps it makes is a number: all chunks of a run are one program, and their lengths change no bit. Blocks of k
steps around a rare one would be compiled into other arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trainer.guidance.contract import Scene, added
from trainer.guidance.drive import Guided, guided_update
from trainer.models import programs
from trainer.models.mesh import pin_state
from trainer.optim import schedules
from trainer.optim.flat import as_trees
from trainer.optim.hyperparameters import Raw
from trainer.training.state import Recipe, TrainState, key_for

Metrics = dict[str, Any]


class Piece(NamedTuple):
    """Batches with the steps as their first axis, and how many of them there are; what follows is filling."""

    batches: Any
    steps: Any

    @classmethod
    def of(cls, batches: Any, *, room: int = 0) -> Piece:
        """All of these; on the host, filled up to so many steps."""

        def fill(x: np.ndarray) -> np.ndarray:
            return np.concatenate([x, np.zeros((room - len(x), *x.shape[1:]), x.dtype)])

        steps = len(jax.tree.leaves(batches)[0])
        return cls(jax.tree.map(fill, batches) if steps < room else batches, np.int32(steps))


# A kept program of a small model holds 60 to 150 MB on a CPU, and a worker may meet a dozen. A search has
# four at a time: plain, and guided for each set. One that was dropped is found on disk (models.programs).
PROGRAMS_KEPT = 4


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
        values=lambda raw: {**values(raw), "learning_rate": learning_rate},
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


def scan_steps(recipe: Recipe, state: TrainState, piece: Piece, key: jax.Array) -> tuple[TrainState, Metrics]:
    """A chunk of steps. The metrics have them as their first axis, as long as that of the batches."""
    # Inlined: a function that is traced once, for the shapes of its metrics and as the body of the loop.
    step = jax.jit(functools.partial(train_step, recipe), inline=True)
    first = jax.tree.map(lambda x: x[0], piece.batches)
    room = len(jax.tree.leaves(piece.batches)[0])
    _, shapes = jax.eval_shape(step, state, first, key)
    told = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), shapes)

    def one(number: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, told = carry
        batch = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, number, keepdims=False), piece.batches)
        state, metrics = step(state, batch, key)
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=number, axis=0)
        return state, jax.tree.map(lambda every, one: put(every, one.astype(every.dtype)), told, metrics)

    after: tuple[TrainState, Metrics] = jax.lax.fori_loop(0, piece.steps, one, (state, told))
    return after


@functools.lru_cache(PROGRAMS_KEPT)  # equal recipes share one program, whatever their numbers
def compiled_scan(recipe: Recipe) -> Callable[..., tuple[TrainState, Metrics]]:
    """`scan_steps` compiled, (state, piece, key) -> (state, metrics); batches are a piece of all of them.
    The given state is used up."""
    compiled = programs.one_at_a_time(jax.jit(functools.partial(scan_steps, recipe), donate_argnums=0))

    @functools.wraps(compiled)
    def scan(state: TrainState, batches: Any, key: jax.Array) -> tuple[TrainState, Metrics]:
        piece = batches if isinstance(batches, Piece) else Piece.of(batches)
        after: tuple[TrainState, Metrics] = compiled(state, piece, key)
        return after

    return scan


@functools.lru_cache(PROGRAMS_KEPT)
def compiled_step(recipe: Recipe) -> Callable[..., tuple[TrainState, Metrics]]:
    """`train_step` compiled, (state, batch, key) -> (state, metrics). The given state is used up."""
    return jax.jit(functools.partial(train_step, recipe), donate_argnums=0)
