"""What do the devices of a mesh compute? Run by test_mesh.py in processes of their own; prints JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import jax
import numpy as np

from trainer.config import MeshConfig
from trainer.guidance import HeldOut, Hyper
from trainer.models import Settings, init_params
from trainer.models import mesh as meshes
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import layout
from trainer.protocol import Place
from trainer.training.recipes import loss_of
from trainer.training.state import Recipe, begin, declared, settings_of
from trainer.training.step import compiled_scan

LEARNED = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)

# Smooth: a rectifier's kink makes a difference in the seventh digit one in the third.
SETTINGS = Settings(16, 16, 32, heads=4, layers=1, activation="gated-gelu", vocabulary=24)


def batches(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("source", "target_in", "target_out")
    return {name: rng.integers(1, 24, (count, 8, 5)).astype(np.int32) for name in names}


def guided(shape: dict[str, int], *, stacks: str, steps: int = 4, trained: bool = True) -> dict[str, Any]:
    """Losses and hypergradients of a few guided steps with dropout, and how the largest tensor, the
    average of it and a batch are split, at the end or before it."""
    mesh = meshes.make_mesh(MeshConfig(**shape))
    of_model = dataclasses.replace(SETTINGS, stacks=stacks)
    hypers = declared(optimizers.sgd(), LEARNED)
    recipe = Recipe(loss_of(of_model), optimizers.sgd(), layout(hypers), HeldOut())
    settings = settings_of(
        recipe,
        hypers,
        learning_rate=0.5,
        schedule=schedules.curves_of("constant", warmup_steps=0, steps=steps),
        eta=0.05,
        skip=1,  # the first of beta1 is rounding noise, and Adam would make a whole step of it
    )
    guidance_batch = {k: v[0] for k, v in batches(1).items()}
    state = begin(recipe, init_params(of_model, 0), hypers, settings=settings, guidance_batch=guidance_batch)
    state = meshes.place_state(state, mesh)
    same = {name: np.repeat(array, steps, axis=0) for name, array in batches(1).items()}
    chunk = meshes.place_batch(same, mesh, leading_dims=1)
    key = meshes.place_state(jax.random.key(1), mesh)
    metrics: dict[str, Any] = {"loss": (), "hypergrad": {}}
    if trained:
        with jax.set_mesh(mesh):
            state, metrics = compiled_scan(recipe)(state, chunk, key)

    def shard(array: jax.Array) -> tuple[int, ...]:
        return array.addressable_shards[0].data.shape

    return {
        "losses": np.asarray(metrics["loss"]).tolist(),
        "hypergrads": {name: np.asarray(curve).tolist() for name, curve in metrics["hypergrad"].items()},
        "embedding_shard": shard(state.params["embedding"]),
        "average_shard": shard(state.opt_state["mu"]["embedding"]),
        "batch_shard": shard(state.guidance_batch["source"]),
        "devices": jax.device_count(),
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    meshes.start_distributed(Place(**asked["place"]))
    trained = asked.get("trained", asked["shapes"])
    stacks = asked.get("stacks", "encoder-decoder")
    print(json.dumps([guided(shape, stacks=stacks, trained=shape in trained) for shape in asked["shapes"]]))


if __name__ == "__main__":
    main()
