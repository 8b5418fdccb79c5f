"""Where do the tokens of sources and targets stand in the one row of a single stack?

A segment's source comes first and its target directly behind it, then the next segment; padding comes last.
So the distance of two tokens of a segment is the difference of their places, whatever stands before them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Joined(NamedTuple):
    tokens: jax.Array  # (rows, source length + target length)
    segments: jax.Array  # likewise; 0 on padding
    is_source: jax.Array  # likewise
    targets: jax.Array  # (rows, target length), the place of each target position


def joined(source: jax.Array, target: jax.Array, segments: tuple[jax.Array, jax.Array] | None) -> Joined:
    """Without segments a row is one, and every position of its target belongs to it: what stands behind the
    target's end is hidden from what comes before, as in a decoder."""
    of_source, of_target = segments or ((source != 0).astype(jnp.int32), jnp.ones_like(target))
    source_rank, target_rank = _rank(of_source), _rank(of_target)
    # Numbers of segments rise along a row.
    before_source = of_target[:, None, :] < of_source[:, :, None]
    before_source &= of_target[:, None, :] > 0
    before_target = of_source[:, None, :] <= of_target[:, :, None]
    before_target &= of_source[:, None, :] > 0
    source_places = source_rank + jnp.sum(before_source, axis=2, dtype=jnp.int32)
    target_places = target_rank + jnp.sum(before_target, axis=2, dtype=jnp.int32)

    filled = jnp.concatenate([of_source, of_target], axis=1) > 0
    behind = jnp.sum(filled, axis=1, keepdims=True, dtype=jnp.int32) + _rank(~filled)
    places = jnp.where(filled, jnp.concatenate([source_places, target_places], axis=1), behind)

    is_source = jnp.concatenate([of_source > 0, jnp.zeros_like(target, bool)], axis=1)
    told = (jnp.concatenate(both, axis=1) for both in ((source, target), (of_source, of_target)))
    columns = jnp.stack([*told, is_source.astype(source.dtype)], axis=-1)
    placed = jax.vmap(_put)(columns, places)
    return Joined(placed[..., 0], placed[..., 1], placed[..., 2] > 0, places[:, source.shape[1] :])


def at_places(x: jax.Array, places: jax.Array) -> jax.Array:
    """The vectors (rows, places, width) at these places of (rows, length, width); no place stands twice."""
    return jax.vmap(lambda row, at: row.at[at].get(mode="promise_in_bounds", unique_indices=True))(x, places)


def _put(values: jax.Array, places: jax.Array) -> jax.Array:
    return jnp.zeros_like(values).at[places].set(values, mode="promise_in_bounds", unique_indices=True)


def _rank(of: jax.Array) -> jax.Array:
    """How many that are not 0 stand before each, along its row."""
    there = (of != 0).astype(jnp.int32)
    return jnp.cumsum(there, axis=1) - there
