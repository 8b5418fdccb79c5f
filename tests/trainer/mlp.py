"""A problem small enough for float64 and finite differences: classify a pair of tokens by an embedding
and a hidden layer. Some rows of the embedding never occur, so that their gradient is always zero."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer.guidance.contract import Estimator
from trainer.models.losses import token_cross_entropy
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import Groups, Hyper, layout
from trainer.optim.optimizers import Optimizer
from trainer.training.state import Recipe, TrainState, begin, declared, settings_of
from trainer.training.step import train_step

TOKENS, USED, WIDTH, CLASSES = 12, 8, 6, 6  # few shapes: each operation compiles once a shape

OPTIMIZERS = {
    "sgd": optimizers.sgd(),
    "adamw": optimizers.adamw(),
    "lamb": optimizers.lamb(),
    "adafactor": optimizers.adafactor(min_factored_size=5),
}


def loss_fn(params: Any, batch: Any, key: Any, train: bool, label_smoothing: Any = None) -> jax.Array:
    hidden = params["embedding"][batch["tokens"]].mean(axis=1)
    hidden = jnp.tanh(hidden @ params["hidden"] + params["bias"])
    logits = hidden @ params["out"]
    return token_cross_entropy(
        logits, batch["label"], mask=jnp.ones(logits.shape[:-1]), label_smoothing=label_smoothing
    )


def mlp_params(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    shapes = {"embedding": (TOKENS, WIDTH), "hidden": (WIDTH, WIDTH), "out": (WIDTH, CLASSES)}
    params = {name: jnp.asarray(rng.normal(size=s), jnp.result_type(float)) for name, s in shapes.items()}
    return {**params, "bias": jnp.asarray(rng.normal(size=WIDTH), jnp.result_type(float))}


def mlp_batches(steps: int, *, rows: int = 8, seed: int = 1) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, USED, size=(steps, rows, 2))
    return {"tokens": jnp.asarray(tokens), "label": jnp.asarray(tokens.sum(axis=-1) % CLASSES)}


def row(batches: Any, i: int) -> Any:
    return jax.tree.map(lambda x: x[i], batches)


def start(
    optimizer: Optimizer | str,
    estimator: Estimator | None,
    *hypers: Hyper,
    schedule: str = "constant",
    numbers: dict[str, Any] | None = None,
    groups: Groups = (),
    learning_rate: float = 0.05,
    steps: int = 24,
    loss: Any = loss_fn,
    params: Any = None,
    per_tensor: bool = False,
    **settings: Any,
) -> tuple[Recipe, TrainState]:
    """A recipe on this problem and the state before its first step."""
    chosen = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    every = declared(chosen, hypers, estimator)
    recipe = Recipe(loss, chosen, layout(every, groups=groups), estimator, per_tensor=per_tensor)
    numbers = schedules.curves_of(schedule, warmup_steps=0, steps=steps) if numbers is None else numbers
    all_settings = settings_of(recipe, every, learning_rate=learning_rate, schedule=numbers, **settings)
    guidance_batch = row(mlp_batches(1, seed=99), 0)
    return recipe, begin(
        recipe, params or mlp_params(), every, settings=all_settings, guidance_batch=guidance_batch
    )


def stepped(recipe: Recipe, state: TrainState, steps: int, *, first: int = 0) -> tuple[TrainState, Any]:
    """Some steps, operation by operation: so small a step runs sooner than it compiles."""
    batches, rows = mlp_batches(first + steps), []
    for i in range(first, first + steps):
        state, metrics = train_step(recipe, state, row(batches, i), jax.random.key(0))
        rows.append(metrics)
    return state, jax.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *rows)


def equal_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in pairs)
