"""How does an optimizer's arithmetic go over the leaves of a tree, each with its own hyperparameters?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

EPS_ROOT = 1e-16  # under the root of the second moment
Params = Any
Hypers = Mapping[str, Any]
Several = tuple[Any, ...]


def over_leaves(rule: Callable[..., Several], params: Params, hyper: Hypers, *trees: Any) -> Several:
    """`rule(hyperparameters of the leaf, leaf of params, leaves of trees…)` -> a tuple of trees."""
    structure: Any
    leaves, structure = jax.tree.flatten(params)
    columns = [structure.flatten_up_to(tree) for tree in trees]
    spread = {name: _column(value, structure) for name, value in hyper.items()}
    rows = [
        rule({name: column[i] for name, column in spread.items()}, leaf, *(c[i] for c in columns))
        for i, leaf in enumerate(leaves)
    ]
    return tuple(jax.tree.unflatten(structure, column) for column in zip(*rows, strict=True))


def _column(value: Any, structure: Any) -> list[Any]:
    return [value] * structure.num_leaves if hasattr(value, "shape") else structure.flatten_up_to(value)


def ones(value: Any) -> Any:
    return jax.tree.map(jnp.ones_like, value)


def times(product: Any, value: Any) -> Any:
    """The running product that corrects the bias: β^t would be wrong when β varies."""
    return jax.tree.map(jnp.multiply, product, value)


def average(old: Any, new: Any, decay: Any) -> Any:
    return decay * old + (1.0 - decay) * new


def rms(x: jax.Array, *, floor: float = 0.0) -> jax.Array:
    """Root mean square, at least `floor`."""
    return root(jnp.mean(jnp.square(x)), floor=floor)


def root(mean: jax.Array, *, floor: float = 0.0) -> jax.Array:
    """The root, at least `floor`, whose derivative at zero is zero and not NaN."""
    above = mean > floor**2
    return jnp.where(above, jnp.sqrt(jnp.where(above, mean, 1.0)), floor)


def rate(hyper: Hypers) -> Any:
    return hyper["learning_rate"] * hyper["alpha"]


def direction(h: Hypers, mu: jax.Array, nu: jax.Array) -> jax.Array:
    """Weight decay apart."""
    # The corrections as factors: two divisions of scalars, not of tensors.
    first, second = (1.0 / (1.0 - h[f"{name}_product"]) for name in ("beta1", "beta2"))
    along: jax.Array = mu * first / (jnp.sqrt(nu * second + EPS_ROOT) + h["eps"])
    return along
