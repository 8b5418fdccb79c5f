"""How are all parameters one vector? For small models, whose step is many kernels of a few microseconds.

A `Vector` stands where a tree of parameters stands: in a state, among gradients, moments and tangents. It is
a tree of one leaf, so that elementwise arithmetic is one kernel instead of one a tensor. The loss gets the
tree, which is split inside the program; so do files, which are the same either way.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any
# A sum by tensor goes by blocks that no two tensors share: the greatest common divisor of their sizes.
LEAST_BLOCK = 16


@dataclass(frozen=True)
class Parts:
    """Which tensors a vector is made of, in the order of the tree's leaves."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def block(self) -> int:
        return math.gcd(*self.sizes)

    def tree(self, pieces: Any) -> Tree:
        return jax.tree.unflatten(self.structure, list(pieces))

    def means(self, x: jax.Array) -> jax.Array:
        """The mean of each tensor."""
        by_block = jnp.sum(x.reshape(-1, self.block), axis=1)
        sums = jnp.matmul(by_block, _blocks(self).astype(x.dtype), precision="highest")
        return sums / jnp.asarray(self.sizes, x.dtype)

    def spread(self, numbers: jax.Array) -> jax.Array:
        """A number for each tensor, at all of its places. A product, whose transpose is no scatter."""
        by_block = jnp.matmul(_blocks(self).astype(numbers.dtype), numbers, precision="highest")
        return jnp.broadcast_to(by_block[:, None], (by_block.size, self.block)).reshape(-1)


@functools.lru_cache(8)
def _blocks(parts: Parts) -> np.ndarray:
    """(blocks, tensors): 1 where a block is of a tensor."""
    counts = [size // parts.block for size in parts.sizes]
    return np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=0)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["numbers"], meta_fields=["parts"])
@dataclass(frozen=True)
class Vector:
    numbers: Any
    parts: Parts


def parts_of(params: Tree) -> Parts:
    """Of a tree of arrays or of their shapes."""
    leaves, structure = jax.tree.flatten(params)
    return Parts(structure, tuple(tuple(leaf.shape) for leaf in leaves))


def flattened(params: Tree) -> Vector:
    """One vector of a tree. By way of the host, or inside a program."""
    leaves = jax.tree.leaves(params)
    joined: Any = jnp if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) else np
    return Vector(joined.concatenate([joined.ravel(leaf) for leaf in leaves]), parts_of(params))


def as_trees(state: Tree) -> Tree:
    """A state, or parameters, with a tree for each vector: on the host, as files hold it, or inside a
    program. Of shapes, shapes."""
    return jax.tree.map(lambda x: _tree(x) if isinstance(x, Vector) else x, state, is_leaf=_is_vector)


def like(state: Tree, trees: Tree) -> Tree:
    """The other way: a vector for each tree that stands where `state` has one."""

    def one(leaf: Any, tree: Tree) -> Any:
        return jax.device_put(flattened(tree)) if isinstance(leaf, Vector) else tree

    return jax.tree.map(one, state, trees, is_leaf=_is_vector)


def _is_vector(x: Any) -> bool:
    return isinstance(x, Vector)


def _tree(vector: Vector) -> Tree:
    numbers, parts = vector.numbers, vector.parts
    shaped: Any = jax.ShapeDtypeStruct
    if isinstance(numbers, shaped):
        return parts.tree(shaped(shape, numbers.dtype) for shape in parts.shapes)
    if isinstance(numbers, jax.core.Tracer):  # the transpose is one concatenation
        pieces: Any = jax.lax.split(numbers, parts.sizes)
    else:
        # A copy: a view would hold on to a buffer that the next step is to use up.
        pieces = np.split(np.array(numbers), list(itertools.accumulate(parts.sizes))[:-1])
    return parts.tree(piece.reshape(shape) for piece, shape in zip(pieces, parts.shapes, strict=True))
