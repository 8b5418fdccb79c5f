"""Is the last step's tangent, made from where the step led, the one that the step itself would have made?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.trainer.mlp import OPTIMIZERS, mlp_batches, mlp_params, start, stepped
from trainer.guidance import Hyper, Lagged
from trainer.optim import flat
from trainer.optim.optimizers import from_optax
from trainer.training.step import compiled_scan

STEPS = 24
LAGGED = Lagged(lag_steps=4, recent_steps=2, anneal_steps=6, steps=STEPS, every_steps=1)
ALPHA, BETA1 = Hyper("alpha", 1.3, learn=True), Hyper("beta1", 0.7, learn=True)
OTHERS = {  # with an ε of the gradient's size, so that it matters
    "sgd": (Hyper("weight_decay", 0.1, learn=True),),
    "adamw": (
        Hyper("beta2", 0.8, learn=True),
        Hyper("eps", 1e-2, learn=True),
        Hyper("weight_decay", 0.1, learn=True),
    ),
}
OTHERS["lamb"] = OTHERS["adamw"]
GROUPS = (("table", "^embedding"),)


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def read(optimizer: Any, *hypers: Hyper, eta: float, vector: bool = False, **more: Any) -> Any:
    """The hypergradients of a whole run, and its hyperparameters."""
    params: Any = flat.flattened(mlp_params()) if vector else mlp_params()
    recipe, state = start(
        optimizer,
        more.pop("estimator", LAGGED),
        *hypers,
        params=params,
        schedule="inverse-sqrt",
        steps=STEPS,
        eta=eta,
        skip=2,
        **more,
    )
    _, metrics = compiled_scan(recipe)(state, mlp_batches(STEPS), jax.random.key(0))
    return metrics["hypergrad"], metrics["hyper"]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "vector"),
    [("sgd", False), ("adamw", False), ("lamb", False), ("sgd", True), ("lamb", True)],
)
def test_every_reading_is_that_of_the_tangent_that_the_step_itself_made(name: str, vector: bool) -> None:
    hypers = (ALPHA, BETA1, *OTHERS[name])
    made_late, late = read(name, *hypers, eta=0.05, vector=vector)
    made_at_once, early = read(replace(OPTIMIZERS[name], before=None), *hypers, eta=0.05, vector=vector)
    for hyper in hypers:
        found, expected = np.asarray(made_late[hyper.name]), np.asarray(made_at_once[hyper.name])
        # β1 has no slope at the first step: what is read there is rounding.
        np.testing.assert_allclose(found[2:], expected[2:], rtol=1e-6, atol=1e-9, err_msg=hyper.name)
        np.testing.assert_allclose(late[hyper.name], early[hyper.name], rtol=1e-5)
        assert np.ptp(late[hyper.name]) > 1e-3, "it did not move"
        assert np.nanmax(np.abs(expected[2:])) > 1e-3, "too small to be a test"


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_in_float32_the_readings_differ_by_rounding_alone(name: str) -> None:
    defaults = [Hyper(n, v) for n, v in OPTIMIZERS[name].defaults if n != "beta1"]
    hypers = (Hyper("beta1", 0.9, learn=True), *defaults)
    made_late, _ = read(name, *hypers, eta=0.0)
    made_at_once, _ = read(replace(OPTIMIZERS[name], before=None), *hypers, eta=0.0)
    np.testing.assert_allclose(made_late["beta1"][2:], made_at_once["beta1"][2:], atol=2e-4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_each_group_has_the_reading_of_its_own_tangent(name: str) -> None:
    each = Hyper("beta1", 0.7, learn=True, per_group=True)
    made_late, _ = read(name, ALPHA, each, eta=0.05, groups=GROUPS)
    made_at_once, _ = read(replace(OPTIMIZERS[name], before=None), ALPHA, each, eta=0.05, groups=GROUPS)
    assert made_late["beta1"].shape == (STEPS, 2)
    np.testing.assert_allclose(made_late["beta1"][2:], made_at_once["beta1"][2:], rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("vector", [False, True], ids=["tree", "vector"])
@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_the_way_back_from_a_step_leads_to_where_it_started(name: str, vector: bool) -> None:
    optimizer = OPTIMIZERS[name]
    hyper = {n: jnp.asarray(0.9 * v) for n, v in optimizer.defaults}
    hyper |= {"alpha": jnp.asarray(1.5), "learning_rate": jnp.asarray(0.1), "weight_decay": jnp.asarray(0.2)}
    params: Any = flat.flattened(mlp_params()) if vector else mlp_params()
    state = optimizer.init(params, hyper)
    for t in range(4):
        hyper = {**hyper, "beta1": jnp.asarray(0.5 + 0.1 * t)}
        grads = jax.tree.map(lambda p, t=t: jnp.cos((3 + t) * p), params)
        updates, after = optimizer.update(grads, state, params, hyper)
        led_to = jax.tree.map(jnp.add, params, updates)
        assert optimizer.before is not None
        if t:  # at first an average is 0, and what is left of it rounding
            found = optimizer.before(grads, after, led_to, hyper)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, (state, params))
        params, state = led_to, after


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_without_momentum_the_way_back_is_finite(name: str) -> None:
    optimizer = OPTIMIZERS[name]
    hyper = {n: jnp.asarray(v) for n, v in optimizer.defaults}
    hyper |= {"alpha": jnp.asarray(1.0), "learning_rate": jnp.asarray(0.1), "beta1": jnp.asarray(0.0)}
    params = mlp_params()
    grads = jax.tree.map(lambda p: jnp.cos(3 * p), params)
    updates, state = optimizer.update(grads, optimizer.init(params, hyper), params, hyper)
    assert optimizer.before is not None
    back = optimizer.before(grads, state, jax.tree.map(jnp.add, params, updates), hyper)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(back))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), back[1], params)


@pytest.mark.parametrize(
    "optimizer", [OPTIMIZERS["adafactor"], from_optax(optax.amsgrad)], ids=["adafactor", "amsgrad"]
)
def test_where_the_state_does_not_tell_the_tangent_is_kept(optimizer: Any) -> None:
    assert optimizer.before is None
    every = replace(LAGGED, every_steps=4)
    each, _ = read(optimizer, Hyper("beta1", 0.7, learn=True), eta=0.0)
    seldom, _ = read(optimizer, Hyper("beta1", 0.7, learn=True), eta=0.0, estimator=every)
    read_at = np.flatnonzero(np.isfinite(seldom["beta1"]))
    assert read_at.tolist() == [4, 8, 12, 16, 20]
    np.testing.assert_allclose(seldom["beta1"][read_at], each["beta1"][read_at], rtol=1e-4, atol=1e-6)


def test_of_the_last_step_only_its_gradient_and_its_numbers_are_kept_and_only_when_they_are_read() -> None:
    recipe, state = start("adamw", replace(LAGGED, every_steps=4), Hyper("beta1", 0.9, learn=True), eta=0.0)
    after = []
    for t in range(5):
        state, _ = stepped(recipe, state, 1, first=t)
        after.append(state.carry["last"])
    assert set(state.carry) == {"last"}
    assert [float(np.abs(kept["grads"]["out"]).sum()) > 0 for kept in after] == [False] * 3 + [True] * 2
    assert float(after[3]["values"]["learning_rate"]) == pytest.approx(0.05)
    assert after[4]["grads"]["out"] is after[3]["grads"]["out"]
