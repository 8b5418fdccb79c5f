"""What do the devices of a mesh compute? Run by test_mesh.py in processes of their own; prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer import mesh as meshes
from trainer.config import MeshConfig
from trainer.models import Settings, forward, init_params
from trainer.protocol import Place

SETTINGS = Settings(d_model=16, d_attention=16, d_ff=32, heads=4, layers=1, vocabulary=24)


def batches(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("source", "target_in", "target_out")
    return {name: rng.integers(1, 24, (count, 8, 5)).astype(np.int32) for name in names}


def loss_of(params: Any, batch: Any, key: jax.Array) -> jax.Array:
    """With dropout, whose masks must not depend on the mesh."""
    log_probabilities = jax.nn.log_softmax(forward(SETTINGS, params, batch, key=key))
    return -jnp.mean(jnp.take_along_axis(log_probabilities, batch["target_out"][..., None], axis=-1))


def pinned(params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, Any]:
    loss, grads = jax.value_and_grad(loss_of)(params, batch, key)
    return loss, meshes.pin_state(grads)


def losses_and_gradients(shape: dict[str, int]) -> dict[str, Any]:
    """On the first devices, and how the largest tensor, its gradient and a batch are split there."""
    mesh = meshes.make_mesh(MeshConfig(**shape))
    params = meshes.place_state(init_params(SETTINGS, 0), mesh)
    batch = meshes.place_batch({k: v[0] for k, v in batches(1).items()}, mesh)
    key = meshes.place_state(jax.random.key(1), mesh)
    with jax.set_mesh(mesh):
        loss, grads = jax.jit(pinned)(params, batch, key)
    return {
        "loss": float(loss),
        "gradient": np.concatenate([np.ravel(g) for g in jax.tree.leaves(grads)]).tolist(),
        "embedding_shard": params["embedding"].addressable_shards[0].data.shape,
        "gradient_shard": grads["embedding"].addressable_shards[0].data.shape,
        "batch_shard": batch["source"].addressable_shards[0].data.shape,
    }


def train(shape: dict[str, int], *, steps: int = 4) -> list[float]:
    """The losses of a few steps of gradient descent, as one chunk."""
    mesh = meshes.make_mesh(MeshConfig(**shape))
    params = meshes.place_state(init_params(SETTINGS, 0), mesh)
    chunk = meshes.place_batch(batches(steps), mesh, leading_dims=1)

    def step(params: Any, batch: Any) -> tuple[Any, jax.Array]:
        loss, grads = pinned(params, batch, jax.random.key(2))
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), loss

    with jax.set_mesh(mesh):
        losses = jax.jit(lambda params, chunk: jax.lax.scan(step, params, chunk)[1])(params, chunk)
    return [float(loss) for loss in np.asarray(losses)]


def main() -> None:
    asked = json.loads(sys.argv[1])
    meshes.start_distributed(Place(**asked["place"]))
    if asked["what"] == "train":
        answer: Any = {"losses": train(asked["shape"]), "devices": jax.device_count()}
    else:
        answer = [losses_and_gradients(shape) for shape in asked["shapes"]]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
