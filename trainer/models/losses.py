"""What is minimised: the cross-entropy of tokens, as their plain mean in float32."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def token_cross_entropy(
    logits: jax.Array, targets: jax.Array, *, mask: jax.Array | None = None, label_smoothing: Any = None
) -> jax.Array:
    """The mean over the tokens that the mask keeps (default: those that are not padding, id 0).

    With smoothing ε the target is (1 - ε)·onehot + ε/V. It may be traced; None leaves its mean over the
    vocabulary out of the program.
    """
    mask = targets != 0 if mask is None else mask
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing is not None:
        chosen = (1.0 - label_smoothing) * chosen + label_smoothing * jnp.mean(logits, axis=-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - chosen
    weights = mask.astype(losses.dtype)
    return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)
