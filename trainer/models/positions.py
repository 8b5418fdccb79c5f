"""Where does a token stand, and how is the model told?"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

BUCKETS = 32  # T5's, for one stack and one head
MAX_DISTANCE = 128  # beyond it all distances share the last bucket


def positions_in_segments(segments: jax.Array) -> jax.Array:
    """0, 1, 2, … anew in every run of equal numbers of a row."""
    index = jnp.arange(segments.shape[1], dtype=jnp.int32)
    begins = jnp.concatenate(
        [jnp.ones_like(segments[:, :1], bool), segments[:, 1:] != segments[:, :-1]], axis=1
    )
    return index - jax.lax.cummax(jnp.where(begins, index, 0), axis=1)


def sinusoids(length: int, width: int) -> jax.Array:
    """(length, width), float32: sines, then cosines, of wavelengths from 2π to 10,000 · 2π.

    The layout and the exponent's denominator are tensor2tensor's, and so flax's and the paper's code's.
    """
    half = width // 2
    rates = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(10_000.0) / (half - 1)))
    angles = jnp.arange(length, dtype=jnp.float32)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def relative_buckets(query: jax.Array, key: jax.Array, *, bidirectional: bool) -> jax.Array:
    """T5's bucket for every pair of positions, (queries, keys): exact when near, logarithmic when far.

    Computed by comparing with whole-number thresholds, so that no rounding of a logarithm moves an edge.
    """
    offset = key[None, :] - query[:, None]
    buckets = BUCKETS // 2 if bidirectional else BUCKETS
    distance = jnp.abs(offset) if bidirectional else jnp.maximum(-offset, 0)
    far = jnp.sum(distance[..., None] >= _thresholds(buckets), axis=-1, dtype=jnp.int32)
    bucket = jnp.where(distance < buckets // 2, distance, buckets // 2 + far)
    return bucket + jnp.where(bidirectional & (offset > 0), buckets, 0)


def _thresholds(buckets: int) -> np.ndarray:
    """The distances at which the logarithmic half goes on to its next bucket."""
    exact = buckets // 2
    steps = np.arange(1, buckets - exact) / (buckets - exact)
    edges = exact * (MAX_DISTANCE / exact) ** steps
    return np.ceil(edges - 1e-9).astype(np.int32)
