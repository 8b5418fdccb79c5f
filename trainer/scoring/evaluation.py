"""What is the loss of a whole split? The mean over its tokens, without dropout or smoothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trainer.models import Settings, forward, mesh
from trainer.models.losses import token_cross_entropy
from trainer.models.programs import one_at_a_time


def split_loss(settings: Settings, params: Any, batches: Any) -> float:
    """Of batches stacked along a first axis, packed or not; rows of zeros, which fill up, weigh nothing."""
    return float(_compiled(settings)(params, batches))


def placed(batches: Any, devices: jax.sharding.Mesh) -> Any:
    """Batches along a first axis on the devices."""
    return (
        jax.device_put(batches) if devices.size == 1 else mesh.place_batch(batches, devices, leading_dims=1)
    )


@functools.cache  # one program for all runs of a shape
def _compiled(settings: Settings) -> Callable[[Any, Any], jax.Array]:
    def whole(params: Any, batches: Any) -> jax.Array:
        def more(sums: tuple[jax.Array, jax.Array], batch: Any) -> tuple[tuple[jax.Array, jax.Array], None]:
            tokens = jnp.sum(batch["target_out"] != 0)
            mean = token_cross_entropy(forward(settings, params, batch), batch["target_out"])
            return (sums[0] + mean * tokens, sums[1] + tokens), None

        none = jnp.zeros((), jnp.result_type(float)), jnp.zeros((), jnp.int32)
        (loss, tokens), _ = jax.lax.scan(more, none, batches)
        return loss / jnp.maximum(tokens, 1)

    return one_at_a_time(jax.jit(whole))
