"""Do the optimizers agree with optax, and with the published algorithms written out in numpy?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trainer.optim import optimizers
from trainer.optim.leaves import EPS_ROOT
from trainer.optim.optimizers import Optimizer

SHAPES = {"matrix": (7, 5), "cube": (5, 6, 7), "vector": (4,), "zero": (3, 2)}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def some_params() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    return {**params, "zero": jnp.zeros(SHAPES["zero"])}


def some_grads(steps: int) -> list[dict[str, jax.Array]]:
    rng = np.random.default_rng(1)
    return [{name: jnp.asarray(rng.normal(size=s)) for name, s in SHAPES.items()} for _ in range(steps)]


def ours(optimizer: Optimizer, hypers: list[dict[str, Any]], *, learning_rate: float = 0.1) -> list[Any]:
    """The parameters after each step; a dict of hyperparameters for each step."""
    known = {"alpha": 1.0, **dict(optimizer.defaults), "learning_rate": learning_rate}
    each = [jax.tree.map(jnp.asarray, {**known, **h}) for h in hypers]
    params = some_params()
    state, path = optimizer.init(params, each[0]), []
    for hyper, grads in zip(each, some_grads(len(hypers)), strict=True):
        updates, state = optimizer.update(grads, state, params, hyper)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


def theirs(transform: optax.GradientTransformation, steps: int) -> list[Any]:
    params = some_params()
    state, path = transform.init(params), []
    for grads in some_grads(steps):
        updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


def assert_same(left: list[Any], right: list[Any], *, rtol: float = 1e-9) -> None:
    for a, b in zip(left, right, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12), a, b)


CONSTANT = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-5, "weight_decay": 0.03}


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("lamb", optax.lamb(0.1, 0.8, 0.95, 1e-5, EPS_ROOT, 0.03)),
        ("adamw", optax.adamw(0.1, 0.8, 0.95, 1e-5, EPS_ROOT, weight_decay=0.03)),
    ],
)
def test_with_constant_values_it_is_optaxs(name: str, transform: Any) -> None:
    assert_same(ours(optimizers.by_name(name), [CONSTANT] * 5), theirs(transform, 5))


def test_sgd_averages_its_momentum_and_corrects_the_bias() -> None:
    transform = optax.chain(optax.ema(0.8), optax.add_decayed_weights(0.03), optax.scale(-0.1))
    hyper = {"beta1": 0.8, "weight_decay": 0.03}
    assert_same(ours(optimizers.sgd(), [hyper] * 5), theirs(transform, 5))


def test_adafactor_is_optaxs() -> None:
    transform = optax.adafactor(
        0.1, min_dim_size_to_factor=5, momentum=0.8, dtype_momentum=jnp.float64, weight_decay_rate=0.03
    )
    hyper = {"beta1": 0.8, "weight_decay": 0.03}
    found = ours(optimizers.adafactor(min_factored_size=5), [hyper] * 5)
    assert_same(found, theirs(transform, 5), rtol=1e-6)  # optax takes its decay in float32


def test_adafactor_without_momentum_is_that_of_a_beta1_of_0_and_keeps_no_first_moment() -> None:
    with_moment = optimizers.adafactor(min_factored_size=5)
    without = optimizers.adafactor(min_factored_size=5, momentum=False)
    expected = ours(with_moment, [{"weight_decay": 0.03, "beta1": 0.0}] * 5)
    assert_same(ours(without, [{"weight_decay": 0.03}] * 5), expected, rtol=0)
    assert "beta1" not in without.hypers
    assert set(without.init(some_params(), {})) == {"count", "nu"}
    assert optimizers.by_name("adafactor", momentum=False).defaults == without.defaults


VARYING = [
    {"alpha": 1.0 + 0.2 * t, "beta1": 0.9 - 0.1 * t, "beta2": 0.9 + 0.02 * t, "weight_decay": 0.01 * t}
    for t in range(5)
]


def test_lamb_is_the_published_algorithm_also_when_its_values_vary() -> None:
    """You et al., 2019, Algorithm 2. The bias is corrected by the weight that each average really has:
    the sum of the weights of the gradients in it, which is not 1 - β^t when β varies."""
    found = ours(optimizers.lamb(), VARYING)
    params = {name: np.asarray(p) for name, p in some_params().items()}
    mu, nu = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
    weight1 = weight2 = 0.0
    for h, grads, after in zip(VARYING, some_grads(5), found, strict=True):
        weight1 = h["beta1"] * weight1 + 1 - h["beta1"]
        weight2 = h["beta2"] * weight2 + 1 - h["beta2"]
        for name, g in grads.items():
            p, g = params[name], np.asarray(g)
            mu[name] = h["beta1"] * mu[name] + (1 - h["beta1"]) * g
            nu[name] = h["beta2"] * nu[name] + (1 - h["beta2"]) * g**2
            r = mu[name] / weight1 / (np.sqrt(nu[name] / weight2 + EPS_ROOT) + 1e-6) + h["weight_decay"] * p
            size, length = np.linalg.norm(p), np.linalg.norm(r)
            ratio = size / length if size > 0 and length > 0 else 1.0
            params[name] = p - 0.1 * h["alpha"] * ratio * r
            np.testing.assert_allclose(after[name], params[name], rtol=1e-10)


def test_adafactor_is_the_published_algorithm_with_momentum() -> None:
    """Shazeer and Stern, 2018, Algorithms 4 and 5 with relative steps; factored over the two largest
    axes. In optax's composition: the average is taken over whole updates, decay comes last."""
    found = ours(optimizers.adafactor(min_factored_size=5), VARYING)
    params = {name: np.asarray(p) for name, p in some_params().items()}
    mu = {name: np.zeros_like(p) for name, p in params.items()}
    rows: dict[str, Any] = dict.fromkeys(params, 0.0)
    cols: dict[str, Any] = dict.fromkeys(params, 0.0)
    axes = {"matrix": (1, 0), "cube": (1, 2)}
    for t, (h, grads, after) in enumerate(zip(VARYING, some_grads(5), found, strict=True), start=1):
        decay = 1 - t**-0.8
        for name, g in grads.items():
            p, g = params[name], np.asarray(g)
            square = g**2 + 1e-30
            if name in axes:
                small, large = axes[name]
                rows[name] = decay * rows[name] + (1 - decay) * square.mean(axis=large, keepdims=True)
                cols[name] = decay * cols[name] + (1 - decay) * square.mean(axis=small, keepdims=True)
                v = rows[name] * cols[name] / rows[name].mean(axis=small, keepdims=True)
            else:
                v = rows[name] = decay * rows[name] + (1 - decay) * square
            u = g / np.sqrt(v)
            u = u / max(1.0, np.sqrt((u**2).mean()))
            u = 0.1 * h["alpha"] * max(1e-3, np.sqrt((p**2).mean())) * u
            mu[name] = h["beta1"] * mu[name] + (1 - h["beta1"]) * u
            params[name] = p - mu[name] - h["weight_decay"] * p
            np.testing.assert_allclose(after[name], params[name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd", "adafactor"])
def test_values_per_leaf_act_on_their_own_leaf(name: str) -> None:
    """Two runs with global values, and one whose leaves take theirs from either."""
    optimizer = optimizers.by_name(name)
    low, high = ({"alpha": a, "beta1": b} for a, b in ((0.5, 0.6), (2.0, 0.9)))
    mixed = {
        key: {leaf: jnp.asarray((high if leaf == "cube" else low)[key]) for leaf in SHAPES} for key in low
    }
    at_low, at_high, at_both = (ours(optimizer, [h] * 3)[-1] for h in (low, high, mixed))
    for leaf in SHAPES:
        np.testing.assert_allclose(at_both[leaf], (at_high if leaf == "cube" else at_low)[leaf], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "hyper", "transform"),
    [
        ("optax.lion", {}, {"beta1": 0.8, "beta2": 0.95}, optax.lion(0.2, 0.8, 0.95)),
        ("optax.rmsprop", {"momentum": 0.5}, {"momentum": 0.7}, optax.rmsprop(0.2, momentum=0.7)),
        ("optax.contrib.muon", {"ns_steps": 3}, {"beta": 0.8}, optax.contrib.muon(0.2, beta=0.8, ns_steps=3)),
    ],
)
def test_any_of_optax_comes_with_its_float_arguments_as_hyperparameters(
    name: str, arguments: dict[str, Any], hyper: dict[str, float], transform: Any
) -> None:
    optimizer = optimizers.by_name(name, **arguments)
    found = ours(optimizer, [{**hyper, "alpha": 2.0}] * 3)
    assert_same(found, theirs(transform, 3), rtol=1e-6)


def test_an_equal_optimizer_is_the_same_one() -> None:
    assert optimizers.by_name("optax.lion") == optimizers.by_name("optax.lion")
    assert optimizers.adafactor(min_factored_size=8) == optimizers.adafactor(min_factored_size=8)
    assert optimizers.by_name("optax.lion", b1=0.8) != optimizers.by_name("optax.lion")


def test_schedule_free_is_evaluated_at_its_average_with_the_beta1_of_now() -> None:
    optimizer = optimizers.by_name("optax.contrib.schedule_free_sgd")
    known = {"alpha": 1.0, **dict(optimizer.defaults), "learning_rate": 0.1}
    params = some_params()
    state = optimizer.init(params, known)
    hyper = jax.tree.map(jnp.asarray, {**known, "beta1": 0.6})
    for grads in some_grads(3):
        updates, state = optimizer.update(grads, state, params, hyper)
        params = optax.apply_updates(params, updates)
    reference, at = optax.contrib.schedule_free_sgd(0.1, b1=0.6), some_params()
    inner = reference.init(at)
    for grads in some_grads(3):
        updates, inner = reference.update(grads, inner, at)
        at = optax.apply_updates(at, updates)
    expected = optax.contrib.schedule_free_eval_params(inner, at)
    assert_same([optimizer.eval_params(state, params)], [expected])


def test_a_hook_of_ones_own_says_where_to_evaluate() -> None:
    optimizer = optimizers.from_optax(
        optax.sgd, eval_params=lambda state, params: {"halved": params["x"] / 2}
    )
    params = {"x": jnp.ones(2)}
    state = optimizer.init(params, {})
    assert float(optimizer.eval_params(state, params)["halved"][0]) == 0.5


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("lam", {}, "The optimizer is 'lam'. Allowed: lamb, adafactor, adamw, sgd, or a dotted name"),
        ("os.system", {}, "The optimizer is 'os.system'. Allowed: lamb, adafactor, adamw, sgd, or a dotted"),
        ("optax.adamm", {}, "The optimizer is 'optax.adamm', and optax has none of that name. Check it."),
        (
            "optax.scale_by_adam",
            {},
            "scale_by_adam takes b1, b2, eps, eps_root, mu_dtype, nesterov. One with",
        ),
        (
            "optax.lion",
            {"b3": 0.1},
            "lion takes learning_rate, b1, b2, mu_dtype, weight_decay, mask, not b3.",
        ),
    ],
)
def test_an_optimizer_that_is_none_is_refused_with_a_sentence(
    name: str, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:
        optimizers.by_name(name, **arguments)
    assert str(refused.value).startswith(sentence)


def test_prodigy_is_optaxs_with_its_betas_as_hyperparameters() -> None:
    hyper = {"beta1": 0.8, "beta2": 0.99, "weight_decay": 0.01, "alpha": 2.0}
    reference = optax.contrib.prodigy(2.0, betas=(0.8, 0.99), weight_decay=0.01, safeguard_warmup=True)
    found = ours(optimizers.by_name("optax.contrib.prodigy"), [hyper] * 8, learning_rate=1.0)
    assert_same(found, theirs(reference, 8))


def test_prodigy_survives_a_warm_up_that_begins_at_zero() -> None:
    """By the published rule (Mishchenko and Defazio, 2023, Algorithm 4): without a step nothing is learned
    of the distance, and the estimate stays where it began. optax's default divides zero by zero."""
    optimizer = optimizers.by_name("optax.contrib.prodigy")
    known = jax.tree.map(jnp.asarray, {"alpha": 1.0, **dict(optimizer.defaults)})
    params = some_params()
    state = optimizer.init(params, known)
    for t, grads in enumerate(some_grads(4)):
        updates, state = optimizer.update(
            grads, state, params, {**known, "learning_rate": jnp.asarray(t / 4)}
        )
        if t == 0:
            assert all(not np.any(u) for u in jax.tree.leaves(updates))
        params = optax.apply_updates(params, updates)
    assert float(state.inner_state.estim_lr) >= 1e-6
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(params))
