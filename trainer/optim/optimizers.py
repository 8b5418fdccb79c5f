"""How do gradients become updates, when every hyperparameter is a traced value?

An optimizer is two pure functions over a dict of hyperparameters, each one number or a tree with a number
per leaf. `learning_rate` is the schedule's; `alpha` multiplies it. With constant values they agree with
optax, whose `eps_root` is `EPS_ROOT` in ours: under the root of the second moment v it keeps the derivatives
of beta2 and of what enters through the gradient finite where a gradient has always been zero. An optimizer of
optax keeps its own `eps_root` unless something that learns acts through v (`starts`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trainer.config.choices import OPTIMIZERS
from trainer.config.registry import code
from trainer.optim import before
from trainer.optim.flat import Vector
from trainer.optim.leaves import (
    EPS_ROOT,
    Hypers,
    Params,
    Several,
    average,
    direction,
    ones,
    over_leaves,
    rate,
    rms,
    root,
    times,
)

BESIDE_V = ("alpha", "beta1", "eps", "weight_decay")  # what acts on an update without going through v


def _same(state: Any, params: Params) -> Params:
    return params


@dataclass(frozen=True)
class Optimizer:
    """`init(params, hyper) -> state`, `update(grads, state, params, hyper) -> (updates, state)`; the
    new parameters are params + updates. `eval_params(state, params)` are those to evaluate at."""

    init: Callable[[Params, Hypers], Any]
    update: Callable[[Params, Any, Params, Hypers], tuple[Params, Any]]
    defaults: tuple[tuple[str, float], ...] = ()  # its hyperparameters, alpha apart; see `by_name`
    per_leaf: bool = True  # a leaf's update depends on that leaf's hyperparameters alone
    second: tuple[str, ...] = ()  # parts of the state that depend on the gradients …
    second_moved_by: tuple[str, ...] = ()  # … and on these hyperparameters alone
    eval_params: Callable[[Any, Params], Params] = _same
    by_vector: bool = False  # its parameters may be one `Vector`
    # `before(grads, state, params, hyper) -> (state, params)`: what an update with these gradients started
    # from, when it led to this state and these parameters. None where they do not say.
    before: Callable[[Params, Any, Params, Hypers], tuple[Any, Params]] | None = None

    @property
    def hypers(self) -> set[str]:
        """The names of its hyperparameters, alpha among them."""
        return {"alpha", *(name for name, _ in self.defaults)}


_SECOND = ("nu", "beta2_product")


def _numbers(name: str) -> tuple[tuple[str, float], ...]:
    return tuple(OPTIMIZERS[name].numbers.items())


def lamb() -> Optimizer:
    """You et al., 2019; the trust ratio is 1 where either norm is zero, as in optax."""
    return Optimizer(
        _adam_init,
        _lamb_update,
        _numbers("lamb"),
        second=_SECOND,
        second_moved_by=("beta2",),
        by_vector=True,
        before=before.lamb,
    )


def adamw() -> Optimizer:
    return Optimizer(
        _adam_init,
        _adamw_update,
        _numbers("adamw"),
        second=_SECOND,
        second_moved_by=("beta2",),
        by_vector=True,
        before=before.adamw,
    )


def sgd() -> Optimizer:
    """Momentum as an average, its bias corrected, so that beta1 does not scale the step."""
    return Optimizer(_sgd_init, _sgd_update, _numbers("sgd"), by_vector=True, before=before.sgd)


@functools.cache
def adafactor(
    *, min_factored_size: int = 128, clipping_threshold: float = 1.0, momentum: bool = True
) -> Optimizer:
    """Shazeer and Stern, 2018, as composed in optax: the learning rate comes before the momentum, and
    weight decay after both, unscaled. `decay_rate` is the exponent of the second moment's decay. Without
    momentum, T5's own default, there is no beta1, and no first moment is kept."""
    least = min_factored_size
    return Optimizer(
        functools.partial(_adafactor_init, min_factored_size=least, momentum=momentum),
        functools.partial(_adafactor_update, clipping_threshold=clipping_threshold, min_factored_size=least),
        tuple((name, value) for name, value in _numbers("adafactor") if momentum or name != "beta1"),
        second=("nu",),
        second_moved_by=("decay_rate", "eps"),
    )


def by_name(name: str, **arguments: Any) -> Optimizer:
    """One of the registry by its name, with the numbers that it has there, or any of optax by its dotted name
    and its arguments."""
    if name in OPTIMIZERS:
        made: Optimizer = code(OPTIMIZERS[name].make)(**arguments)
        # A registry's optimizer that was asked for less of itself knows which numbers it has left.
        return made if arguments and made.defaults else replace(made, defaults=_numbers(name))
    module, _, attribute = name.rpartition(".")
    if not (module == "optax" or module.startswith("optax.")):
        raise ValueError(
            f"The optimizer is {name!r}. Allowed: {', '.join(OPTIMIZERS)}, or a dotted name such as "
            f"'optax.lion'."
        )
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"The optimizer is {name!r}, and optax has none of that name. Check it.") from error
    return from_optax(_ADAPTED.get(name, factory), **arguments)


def starts(optimizer: Optimizer, learned: Iterable[str], *, through_state: bool) -> dict[str, float]:
    """Where the hyperparameters start, alpha among them, when these learn. optax's eps_root of 0 is kept
    unless one of them may act through v, or an estimator follows all of the optimizer's state
    (`through_state`): then the derivative of a root at 0 would be infinite."""
    own = {"alpha": 1.0, **dict(optimizer.defaults)}
    return with_root(own) if through_state or not set(learned) <= set(BESIDE_V) else own


def with_root(values: Mapping[str, float]) -> dict[str, float]:
    """The same with EPS_ROOT in place of an eps_root of 0."""
    return {name: EPS_ROOT if (name, value) == ("eps_root", 0.0) else value for name, value in values.items()}


# -- Adam's two moments, and what is made of them --------------------------------------------------------


def _adam_init(params: Params, hyper: Hypers) -> dict[str, Any]:
    return {
        "mu": jax.tree.map(jnp.zeros_like, params),
        "nu": jax.tree.map(jnp.zeros_like, params),
        "beta1_product": ones(hyper["beta1"]),
        "beta2_product": ones(hyper["beta2"]),
    }


def _adam(step: Callable[..., Any], grads: Params, state: Any, params: Params, hyper: Hypers) -> Several:
    products = {name: times(state[f"{name}_product"], hyper[name]) for name in ("beta1", "beta2")}
    corrections = {f"{name}_product": value for name, value in products.items()}

    def rule(h: Hypers, p: jax.Array, g: jax.Array, mu: jax.Array, nu: jax.Array) -> Several:
        mu = average(mu, g, h["beta1"])
        nu = average(nu, jnp.square(g), h["beta2"])
        return step(h, p, direction(h, mu, nu) + h["weight_decay"] * p), mu, nu

    updates, mu, nu = over_leaves(rule, params, {**hyper, **corrections}, grads, state["mu"], state["nu"])
    return updates, {"mu": mu, "nu": nu, **corrections}


def _lamb_update(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Params, Any]:
    parts = params.parts if isinstance(params, Vector) else None

    def step(h: Hypers, p: jax.Array, direction: jax.Array) -> jax.Array:
        # Norms as root mean squares: the ratio is the same, and a large tensor does not overflow.
        size, length = (rms(x) if parts is None else root(parts.means(jnp.square(x))) for x in (p, direction))
        ratio = jnp.where((size > 0) & (length > 0), size / jnp.where(length > 0, length, 1.0), 1.0)
        factor = -rate(h) * ratio
        taken: jax.Array = (factor if parts is None else parts.spread(factor)) * direction
        return taken

    return _adam(step, grads, state, params, hyper)


def _adamw_update(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Params, Any]:
    return _adam(lambda h, p, direction: -rate(h) * direction, grads, state, params, hyper)


# -- SGD -------------------------------------------------------------------------------------------------


def _sgd_init(params: Params, hyper: Hypers) -> dict[str, Any]:
    return {"mu": jax.tree.map(jnp.zeros_like, params), "beta1_product": ones(hyper["beta1"])}


def _sgd_update(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Params, Any]:
    product = times(state["beta1_product"], hyper["beta1"])

    def rule(h: Hypers, p: jax.Array, g: jax.Array, mu: jax.Array) -> Several:
        mu = average(mu, g, h["beta1"])
        return -rate(h) * (mu * (1.0 / (1.0 - h["product"])) + h["weight_decay"] * p), mu

    updates, mu = over_leaves(rule, params, {**hyper, "product": product}, grads, state["mu"])
    return updates, {"mu": mu, "beta1_product": product}


# -- Adafactor -------------------------------------------------------------------------------------------


def _factored_axes(shape: tuple[int, ...], min_factored_size: int) -> tuple[int, int] | None:
    """The second largest and the largest axis, where both are large enough; ties as in optax."""
    order = sorted(range(len(shape)), key=lambda axis: shape[axis])
    if len(shape) < 2 or shape[order[-2]] < min_factored_size:
        return None
    return order[-2], order[-1]


def _adafactor_init(
    params: Params, hyper: Hypers, *, min_factored_size: int, momentum: bool
) -> dict[str, Any]:
    def second(p: jax.Array) -> dict[str, jax.Array]:
        axes = _factored_axes(p.shape, min_factored_size)
        if axes is None:
            return {"full": jnp.zeros_like(p)}
        return {
            name: jnp.zeros_like(jnp.sum(p, axis=axis))
            for name, axis in zip(("col", "row"), axes, strict=True)
        }

    state: dict[str, Any] = {"count": jnp.zeros((), jnp.int32), "nu": jax.tree.map(second, params)}
    return state | ({"mu": jax.tree.map(jnp.zeros_like, params)} if momentum else {})


def _adafactor_update(
    grads: Params,
    state: Any,
    params: Params,
    hyper: Hypers,
    *,
    min_factored_size: int,
    clipping_threshold: float,
) -> tuple[Params, Any]:
    count = state["count"] + 1

    momentum = "mu" in state

    def rule(h: Hypers, p: jax.Array, g: jax.Array, nu: dict[str, jax.Array], *mu: jax.Array) -> Several:
        decay = 1.0 - count.astype(p.dtype) ** -h["decay_rate"]
        square = jnp.square(g) + h["eps"]
        axes = _factored_axes(p.shape, min_factored_size)
        if axes is None:
            nu = {"full": average(nu["full"], square, decay)}
            scaled = _scaled(g, (), (nu["full"],))
        else:
            small, large = axes
            nu = {
                "row": average(nu["row"], jnp.mean(square, axis=large), decay),
                "col": average(nu["col"], jnp.mean(square, axis=small), decay),
            }
            rows = jnp.expand_dims(nu["row"], large)
            scaled = _scaled(
                g, (jnp.mean(rows, axis=small, keepdims=True),), (rows, jnp.expand_dims(nu["col"], small))
            )
        scaled = scaled / jnp.maximum(1.0, rms(scaled) / clipping_threshold)
        step = rate(h) * rms(p, floor=1e-3) * scaled
        kept = tuple(average(before, step, h["beta1"]) for before in mu)
        taken = kept[0] if momentum else step
        return -(taken + h["weight_decay"] * p), nu, *kept

    moments = (state["nu"], *((state["mu"],) if momentum else ()))
    updates, nu, *mu = over_leaves(rule, params, hyper, grads, *moments)
    return updates, {"count": count, "nu": nu, **({"mu": mu[0]} if momentum else {})}


@jax.custom_jvp
def _scaled(g: jax.Array, over: tuple[jax.Array, ...], under: tuple[jax.Array, ...]) -> jax.Array:
    """g · Π sqrt(over) / Π sqrt(under)."""
    for factor in (*(jnp.sqrt(x) for x in over), *(jax.lax.rsqrt(x) for x in under)):
        g = g * factor
    return g


@_scaled.defjvp
def _scaled_jvp(primals: Several, tangents: Several) -> tuple[jax.Array, jax.Array]:
    # By the logarithmic derivative: v^-1.5 overflows float32 at Adafactor's 1e-30, and inf · 0 is NaN.
    (g, over, under), (dg, dover, dunder) = primals, tangents
    out = _scaled(g, over, under)
    slope = sum((dx / x for x, dx in zip(over, dover, strict=True)), 0.0)
    slope = slope - sum(dx / x for x, dx in zip(under, dunder, strict=True))
    return out, _scaled(dg, over, under) + 0.5 * out * slope


# -- any other of optax ----------------------------------------------------------------------------------


def prodigy(
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    estim_lr0: float = 1e-6,
    estim_lr_coef: float = 1.0,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """optax's, with its betas as numbers of their own. Its estimate is kept free of the learning rate, or
    that of a first step, where a warm-up begins at 0, would be 0/0 (its `safeguard_warmup`)."""
    return optax.contrib.prodigy(
        learning_rate,
        betas=(b1, b2),
        eps=eps,
        estim_lr0=estim_lr0,
        estim_lr_coef=estim_lr_coef,
        weight_decay=weight_decay,
        safeguard_warmup=True,
    )


_ADAPTED: Mapping[str, Callable[..., optax.GradientTransformation]] = {"optax.contrib.prodigy": prodigy}
_OPTAX_NAMES = {"beta1": "b1", "beta2": "b2"}
_SCHEDULE_FREE = ("schedule_free_adamw", "schedule_free_sgd")


def from_optax(
    factory: Callable[..., optax.GradientTransformation],
    *,
    eval_params: Callable[[Any, Params], Params] | None = None,
    **arguments: Any,
) -> Optimizer:
    """An optimizer of optax (or one made like it), each of its float arguments a hyperparameter: b1 and
    b2 under the names beta1 and beta2, the others under their own. `eval_params(state, params)` is for
    those whose parameters are evaluated elsewhere; optax's schedule-free ones bring theirs."""
    return _from_optax(factory, eval_params, tuple(sorted(arguments.items())))


@functools.cache  # an equal optimizer is the same one, so that a compiled step is found again
def _from_optax(factory: Callable[..., Any], eval_params: Any, arguments: Several) -> Optimizer:
    signature = inspect.signature(factory)
    given = dict(arguments)
    unknown = [name for name in given if name not in signature.parameters]
    if "learning_rate" not in signature.parameters or unknown:
        raise ValueError(
            f"{factory.__name__} takes {', '.join(signature.parameters)}"
            + (f", not {', '.join(unknown)}." if unknown else ". One with a learning_rate is needed.")
        )
    every = {name: p.default for name, p in signature.parameters.items() if p.default is not p.empty}
    every |= {**given, "learning_rate": 1.0}
    floats = {name: value for name, value in every.items() if isinstance(value, float)}
    # Whatever is no float shapes the program: counts, switches, types, functions.
    static = [name for name in every if name not in floats]
    transform = optax.inject_hyperparams(factory, static_args=static)(**every)
    ours = {theirs: name for name, theirs in _OPTAX_NAMES.items()}
    names = {name: ours.get(name, name) for name in floats if name != "learning_rate"}

    def update(grads: Params, state: Any, params: Params, hyper: Hypers) -> tuple[Params, Any]:
        values = {name: hyper[own] for name, own in names.items()}
        state = state._replace(hyperparams={**state.hyperparams, **values, "learning_rate": rate(hyper)})
        updates, state = transform.update(grads, state, params)
        return updates, state

    if eval_params is None and factory.__name__ in _SCHEDULE_FREE:
        eval_params = optax.contrib.schedule_free_eval_params
    defaults = tuple((own, floats[name]) for name, own in names.items())
    return Optimizer(
        lambda params, hyper: transform.init(params),
        update,
        defaults,
        per_leaf=False,
        eval_params=_same if eval_params is None else functools.partial(_at_inner, eval_params),
    )


def _at_inner(eval_params: Callable[[Any, Params], Params], state: Any, params: Params) -> Params:
    inner = state.inner_state
    if "b1" in getattr(inner, "_fields", ()):  # schedule-free keeps the b1 of its first step
        inner = inner._replace(b1=state.hyperparams["b1"])
    return eval_params(inner, params)
