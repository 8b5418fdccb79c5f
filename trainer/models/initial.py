"""What are the parameters before training?

Every tensor is drawn by numpy from the seed and its own name: no compile (sixty small tensors cost 5 s of
CPU in JAX, eager or jitted), the same values on every mesh, and a tensor more or less changes no other.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer.models.sizes import Settings
from trainer.models.transformer import Transformer


@functools.lru_cache(maxsize=8)  # tracing a large one takes a second
def _shapes(settings: Settings) -> Any:
    row = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    batch = {"source": row, "target_in": row}
    return jax.eval_shape(Transformer(settings).init, jax.random.key(0), batch)["params"]


def param_shapes(settings: Settings) -> dict[str, Any]:
    """The tree of parameters as jax.ShapeDtypeStruct: nothing is computed."""
    return jax.tree.map(lambda leaf: leaf, _shapes(settings))  # a copy, since dicts can be changed


def init_params(settings: Settings, seed: int) -> dict[str, Any]:
    """The tree of parameters in numpy, float32."""

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return _drawn(name, leaf.shape, rng, settings)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(settings))


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator, settings: Settings) -> np.ndarray:
    """Glorot's uniform scales, or with relative positions T5's normal ones; embeddings are N(0, 1)."""
    kind = name.rpartition("/")[2]
    if kind == "scale":
        return np.ones(shape, np.float32)
    if kind == "bias":
        return np.zeros(shape, np.float32)
    if kind == "kernel" and settings.positions == "sinusoidal":
        bound = np.float32(math.sqrt(6 / (shape[0] + shape[1])))
        return rng.random(shape, np.float32) * (2 * bound) - bound
    if kind == "embedding":
        deviation = 1.0
    elif kind == "output" or kind.endswith("relative"):
        deviation = settings.d_model**-0.5
    else:
        deviation = shape[0] ** -0.5
    if name.endswith("query/kernel"):
        deviation *= settings.head_dim**-0.5  # T5 does not divide the scores by it
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)
