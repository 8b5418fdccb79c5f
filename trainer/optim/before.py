"""What did an optimizer's last step start from? The way back from where it led.

`before(grads, state, params, hyper) -> (state, params)` takes the gradients and the hyperparameters of that
step. Exact but for rounding: an average loses what it took in, and the step is taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trainer.optim.flat import Vector
from trainer.optim.leaves import Hypers, Params, Several, direction, over_leaves, rate


def _adam(
    factor: Callable[..., Any], grads: Params, state: Any, params: Params, hyper: Hypers
) -> tuple[Any, Params]:
    """What Adam started from, when its step was -factor times the direction with its weight decay."""
    products = {f"{name}_product": state[f"{name}_product"] for name in ("beta1", "beta2")}

    def rule(h: Hypers, p: jax.Array, g: jax.Array, mu: jax.Array, nu: jax.Array) -> Several:
        along = direction(h, mu, nu)
        taken = factor(h, p, along)
        old_nu = jnp.maximum(_average_before(nu, jnp.square(g), h["beta2"]), 0.0)  # not below it by rounding
        old_p = (p + taken * along) / (1.0 - taken * h["weight_decay"])
        return old_p, _average_before(mu, g, h["beta1"]), old_nu

    old, mu, nu = over_leaves(rule, params, {**hyper, **products}, grads, state["mu"], state["nu"])
    before = {f"{n}_product": _times_before(products[f"{n}_product"], hyper[n]) for n in ("beta1", "beta2")}
    return {"mu": mu, "nu": nu, **before}, old


def adamw(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Any, Params]:
    return _adam(lambda h, p, along: rate(h), grads, state, params, hyper)


def lamb(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Any, Params]:
    parts = params.parts if isinstance(params, Vector) else None
    mean = jnp.mean if parts is None else parts.means

    def factor(h: Hypers, p: jax.Array, along: jax.Array) -> jax.Array:
        """The rate r times the trust ratio: c. With q the parameters before, D the direction and w the weight
        decay, q (1 - cw) = p + cD and c |D + wq| = r |q|. So c |D + wp| = r |p + cD|, quadratic in c.

        Not found is the ratio of a tensor that was zero, which is 1: that of its first step."""
        r = rate(h)
        size, length, product = mean(jnp.square(p)), mean(jnp.square(along)), mean(p * along)
        square = mean(jnp.square(along + h["weight_decay"] * p)) - r**2 * length
        some = square != 0
        distance = jnp.sqrt(r**2 * product**2 + square * size)
        c = jnp.where(some, r * (r * product + distance) / jnp.where(some, square, 1.0), r)
        return c if parts is None else parts.spread(c)

    return _adam(factor, grads, state, params, hyper)


def sgd(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Any, Params]:
    product = state["beta1_product"]

    def rule(h: Hypers, p: jax.Array, g: jax.Array, mu: jax.Array) -> Several:
        old_p = (p + rate(h) * mu * (1.0 / (1.0 - h["product"]))) / (1.0 - rate(h) * h["weight_decay"])
        return old_p, _average_before(mu, g, h["beta1"])

    old, mu = over_leaves(rule, params, {**hyper, "product": product}, grads, state["mu"])
    return {"mu": mu, "beta1_product": _times_before(product, hyper["beta1"])}, old


def _average_before(average: Any, new: Any, decay: Any) -> Any:
    """What an average was made of. Of a decay of 0 nothing is left, and nothing depends on it."""
    return _over(average - (1.0 - decay) * new, decay)


def _times_before(product: Any, value: Any) -> Any:
    return jax.tree.map(_over, product, value)


def _over(number: Any, by: Any) -> Any:
    return jnp.where(by > 0, number / jnp.where(by > 0, by, 1.0), 0.0)
