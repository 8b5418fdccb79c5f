"""Is each hypergradient the derivative that it claims to be? In float64, against finite differences of
the fourth order (their error at h = 1e-3 is about 1e-12) and against closed forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.trainer.mlp import (
    OPTIMIZERS,
    USED,
    equal_bits,
    loss_fn,
    mlp_batches,
    mlp_params,
    row,
    start,
    stepped,
)
from trainer.guidance import Discounted, Forward, HeldOut, Hyper, Lagged, NextBatch
from trainer.guidance.contract import Estimator
from trainer.optim.optimizers import from_optax
from trainer.optim.schedules import curves_of
from trainer.training.state import TrainState
from trainer.training.step import train_step

WARM = 3  # steps before the one that is checked, so that all averages hold something


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def learnable(optimizer: str, *, in_loss: bool) -> list[Hyper]:
    """All that an optimizer can learn, where it can be measured: ε must be of the gradient's size."""
    starts = {"alpha": 1.3, "beta1": 0.7, "beta2": 0.8, "decay_rate": 0.6, "eps": 1e-2, "weight_decay": 0.1}
    names = ["alpha", *(name for name, _ in OPTIMIZERS[optimizer].defaults)]
    hypers = [Hyper(name, starts[name], learn=True) for name in names]
    return [*hypers, Hyper("label_smoothing", 0.1, learn=in_loss)]


def slope(f: Callable[[float], Any]) -> float:
    h = 1e-3
    near, far = float(f(h)) - float(f(-h)), float(f(2 * h)) - float(f(-2 * h))
    return (8 * near - far) / (12 * h)


def lookahead_slopes(
    optimizer: str, state: TrainState, names: list[str], loss_batch: Any
) -> dict[str, float]:
    """The slope of the loss after one plain step, by each raw value."""
    constant = [Hyper(h.name, h.start) for h in learnable(optimizer, in_loss=False)]
    recipe, blank = start(optimizer, None, *constant)
    state = state._replace(meta=blank.meta, carry=None, settings=blank.settings)
    batch = row(mlp_batches(WARM + 1), WARM)

    def loss_at(raw: Any) -> jax.Array:
        moved, _ = train_step(recipe, state._replace(raw=raw), batch, jax.random.key(0))
        return loss_fn(moved.params, loss_batch, None, False)

    def by(name: str) -> float:
        return slope(lambda h: loss_at({**state.raw, name: state.raw[name] + h}))

    return {name: by(name) for name in names}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_exact_estimator_agrees_with_finite_differences(optimizer: str) -> None:
    plain, state = start(
        optimizer, None, *(Hyper(h.name, h.start) for h in learnable(optimizer, in_loss=False))
    )
    state, _ = stepped(plain, state, WARM)
    names = [h.name for h in learnable(optimizer, in_loss=True)]
    truth = lookahead_slopes(optimizer, state, names, state.guidance_batch)
    for estimator in (HeldOut(), HeldOut(mode="reverse"), Forward()):
        recipe, blank = start(optimizer, estimator, *learnable(optimizer, in_loss=estimator.through_gradient))
        at = blank._replace(params=state.params, opt_state=state.opt_state, step=state.step)
        _, metrics = stepped(recipe, at, 1, first=WARM)
        found = {name: float(value[0]) for name, value in metrics["hypergrad"].items()}
        expected = {name: truth[name] for name in found}
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-13), estimator
        assert min(abs(v) for v in found.values()) > 1e-7, "too small to be a test"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_next_batch_reads_the_slope_of_the_last_step(optimizer: str) -> None:
    recipe, state = start(optimizer, NextBatch(), *learnable(optimizer, in_loss=False), eta=0.0)
    before, _ = stepped(recipe, state, WARM)
    _, metrics = stepped(recipe, before, 2, first=WARM)
    found = {name: float(value[1]) for name, value in metrics["hypergrad"].items()}
    smoothed = row(mlp_batches(WARM + 2), WARM + 1)

    # The training loss is smoothed, so that its slope is taken by the same function.
    constant = [Hyper(h.name, h.start) for h in learnable(optimizer, in_loss=False)]
    plain, blank = start(optimizer, None, *constant)
    at = before._replace(meta=blank.meta, carry=None, settings=blank.settings)
    batch = row(mlp_batches(WARM + 1), WARM)

    def loss_at(raw: Any) -> jax.Array:
        moved, _ = train_step(plain, at._replace(raw=raw), batch, jax.random.key(0))
        return loss_fn(moved.params, smoothed, None, True, label_smoothing=0.1)

    expected = {name: slope(lambda h, n=name: loss_at({**at.raw, n: at.raw[n] + h})) for name in found}
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-13)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb"])
def test_the_slope_by_log_alpha_is_the_gradient_times_the_step_itself(optimizer: str) -> None:
    recipe, state = start(optimizer, HeldOut(), Hyper("alpha", 1.3, learn=True), eta=0.0)
    before, _ = stepped(recipe, state, WARM)
    then, metrics = stepped(recipe, before, 1, first=WARM)
    gradient = jax.grad(loss_fn)(then.params, then.guidance_batch, None, False)
    step = jax.tree.map(jnp.subtract, then.params, before.params)
    expected = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, step)))
    assert float(metrics["hypergrad"]["alpha"][0]) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.usefixtures("float64")
def test_adafactors_alpha_sees_only_the_fresh_part_of_its_momentum() -> None:
    recipe, state = start(
        "adafactor", HeldOut(), Hyper("alpha", 1.3, learn=True), Hyper("beta1", 0.7), eta=0.0
    )
    before, _ = stepped(recipe, state, WARM)
    then, metrics = stepped(recipe, before, 1, first=WARM)
    gradient = jax.grad(loss_fn)(then.params, then.guidance_batch, None, False)
    # mu' - β1·mu is (1 - β1) times the freshly scaled gradient, and the step is -mu'.
    fresh = jax.tree.map(lambda new, old: 0.7 * old - new, then.opt_state["mu"], before.opt_state["mu"])
    expected = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, fresh)))
    assert float(metrics["hypergrad"]["alpha"][0]) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb"])
def test_beta1_has_no_slope_at_the_first_step(optimizer: str) -> None:
    learn = [Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)]
    recipe, state = start(optimizer, HeldOut(), *learn)
    _, metrics = stepped(recipe, state, 2)
    first, second = (abs(float(v)) for v in metrics["hypergrad"]["beta1"])
    scale = abs(float(metrics["hypergrad"]["alpha"][0]))
    assert first < 1e-12 * scale
    assert second > 1e-4 * scale


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("optimizer", "cancels"), [("lamb", True), ("adamw", False)])
def test_the_slope_of_the_bias_correction_cancels_under_the_trust_ratio(
    optimizer: str, cancels: bool
) -> None:
    recipe, state = start(
        optimizer, HeldOut(), Hyper("beta1", 0.9, learn=True), Hyper("weight_decay", 0.0), eta=0.0
    )
    before, _ = stepped(recipe, state, WARM)
    then, metrics = stepped(recipe, before, 1, first=WARM)
    gradient = jax.grad(loss_fn)(then.params, then.guidance_batch, None, False)
    grads = jax.grad(loss_fn)(before.params, row(mlp_batches(WARM + 1), WARM), None, True)
    product = float(then.opt_state["beta1_product"])

    def step_of(beta1: jax.Array, name: str) -> jax.Array:
        """Written out, with the correction held fast."""
        mu = beta1 * before.opt_state["mu"][name] + (1 - beta1) * grads[name]
        root = jnp.sqrt(then.opt_state["nu"][name] / (1 - float(then.opt_state["beta2_product"])))
        direction = mu / (1 - product) / (root + (1e-6 if cancels else 1e-8))
        if cancels:
            direction *= jnp.linalg.norm(before.params[name]) / jnp.linalg.norm(direction)
        return -0.05 * direction

    fixed = 0.0
    for name in before.params:
        tangent = jax.jvp(lambda b, n=name: step_of(b, n), (jnp.float64(0.9),), (jnp.float64(1.0),))[1]
        fixed += float(jnp.vdot(gradient[name], tangent)) * 0.9 * 0.1  # dβ1/draw = β1(1 - β1)
    assert (float(metrics["hypergrad"]["beta1"][0]) == pytest.approx(fixed, rel=1e-4)) is cancels


@pytest.mark.parametrize(
    ("optimizer", "estimator"),
    [*((name, HeldOut(mode="reverse")) for name in OPTIMIZERS), ("adafactor", Forward())],
)
def test_hypergradients_are_finite_where_gradients_are_always_zero(
    optimizer: str, estimator: Estimator
) -> None:
    """Rows of the embedding, and a whole tensor that is zero itself. In float32, with the ε of each
    optimizer: v is exactly zero, or Adafactor's 1e-30."""
    defaults = dict(OPTIMIZERS[optimizer].defaults) | {"weight_decay": 0.01}
    hypers = [Hyper(name, value, learn=True) for name, value in defaults.items()]
    hypers.append(Hyper("label_smoothing", 0.1, learn=True))
    params = {**mlp_params(), "spare": jnp.zeros((6, 6))}
    recipe, state = start(optimizer, estimator, Hyper("alpha", 1.0, learn=True), *hypers, params=params)
    gradient = jax.grad(loss_fn)(params, row(mlp_batches(1), 0), None, True)
    assert not gradient["embedding"][USED:].any()
    assert not gradient["spare"].any()
    then, metrics = stepped(recipe, state, 2)
    assert all(np.isfinite(v).all() for v in jax.tree.leaves((metrics["hypergrad"], then.params)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_discount_zero_is_the_next_batch(optimizer: str) -> None:
    hypers = learnable(optimizer, in_loss=False)
    trajectories = []
    for estimator in (NextBatch(), Discounted(0.0)):
        _, metrics = stepped(*start(optimizer, estimator, *hypers, eta=0.05, skip=1), 5)
        trajectories.append((metrics["hypergrad"], metrics["hyper"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15), *trajectories)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_undiscounted_tangents_are_exact_where_the_loss_has_no_curvature(optimizer: str) -> None:
    """With a linear loss the dropped Hessian is zero, so that the slope over all steps is known."""
    weights = mlp_params(seed=5)

    def linear(params: Any, batch: Any, key: Any, train: bool, label_smoothing: Any = None) -> jax.Array:
        scale = 1.0 + 0.1 * batch["label"].mean()
        return scale * sum(jax.tree.leaves(jax.tree.map(jnp.vdot, weights, params)))

    hypers = learnable(optimizer, in_loss=False)
    recipe, state = start(optimizer, Discounted(1.0), *hypers, eta=0.0, loss=linear)
    _, metrics = stepped(recipe, state, 4)
    plain, blank = start(optimizer, None, *(Hyper(h.name, h.start) for h in hypers), loss=linear)
    last = row(mlp_batches(4), 3)

    def loss_at(raw: Any) -> jax.Array:
        moved, _ = stepped(plain, blank._replace(raw=raw), 3)
        return linear(moved.params, last, None, True)

    for name in recipe.layout.learned:
        expected = slope(lambda h, n=name: loss_at({**blank.raw, n: blank.raw[n] + h}))
        found = float(metrics["hypergrad"][name][3])
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-12), name


@pytest.mark.usefixtures("float64")
def test_hypergradients_stay_apart_per_tensor_and_per_group() -> None:
    groups = (("table", "^embedding"), ("bias", "bias"))
    each = [Hyper(n, s, learn=True, per_group=True) for n, s in (("alpha", 1.0), ("beta1", 0.9))]
    found = {}
    for estimator in (HeldOut(), HeldOut(mode="reverse"), Forward()):
        recipe, state = start("lamb", estimator, *each, groups=groups, per_tensor=True, eta=0.0)
        state, metrics = stepped(recipe, state, WARM)
        found[estimator] = jax.tree.map(lambda x: np.asarray(x[-1]), metrics)
    dot, reverse, forward = found.values()
    for name in ("alpha", "beta1"):
        assert dot["hypergrad"][name].shape == (3,)
        np.testing.assert_allclose(dot["hypergrad"][name], reverse["hypergrad"][name], rtol=1e-9)
        np.testing.assert_allclose(dot["hypergrad"][name], forward["hypergrad"][name], rtol=1e-9)
        bias, embedding, hidden, out = dot["hypergrad_per_tensor"][name]
        np.testing.assert_allclose(dot["hypergrad"][name], [embedding, bias, hidden + out], rtol=1e-12)


@pytest.mark.parametrize(
    "estimator", [HeldOut(), NextBatch(), Discounted(), Lagged()], ids=lambda e: type(e).__name__
)
def test_what_acts_through_the_gradient_is_refused_where_the_gradient_is_given(estimator: Estimator) -> None:
    with pytest.raises(ValueError) as refused:
        start("lamb", estimator, Hyper("label_smoothing", 0.1, learn=True))
    assert str(refused.value) == (
        f"label_smoothing acts through the training gradient, which {type(estimator).__name__} takes as "
        f"given. Allowed are reverse and forward mode: HeldOut(mode='reverse') or Forward()."
    )


@pytest.mark.usefixtures("float64")
def test_the_guidance_loss_is_taken_where_the_optimizer_evaluates() -> None:
    """Schedule-free's parameters are evaluated at an average, and so is the slope by alpha."""
    sf = from_optax(optax.contrib.schedule_free_sgd, b1=0.9)
    # A rate that rises: schedule-free takes the largest so far, which has a kink where it is constant.
    rising = {"numbers": curves_of("constant", warmup_steps=10, steps=20), "learning_rate": 0.5}
    recipe, state = start(sf, HeldOut(), Hyper("alpha", 1.0, learn=True), eta=0.0, **rising)
    before, _ = stepped(recipe, state, WARM)
    then, metrics = stepped(recipe, before, 1, first=WARM)
    plain, blank = start(sf, None, Hyper("alpha", 1.0), **rising)
    batch = row(mlp_batches(WARM + 1), WARM)
    at = before._replace(meta=blank.meta, carry=None, settings=blank.settings)

    def loss_at(h: float) -> jax.Array:
        begun = at._replace(raw={**at.raw, "alpha": at.raw["alpha"] + h})
        moved, _ = train_step(plain, begun, batch, jax.random.key(0))
        return loss_fn(sf.eval_params(moved.opt_state, moved.params), moved.guidance_batch, None, False)

    assert float(metrics["guidance_loss"][0]) == pytest.approx(float(loss_at(0.0)), rel=1e-12)
    assert float(metrics["hypergrad"]["alpha"][0]) == pytest.approx(slope(loss_at), rel=1e-5)
    assert not equal_bits(sf.eval_params(then.opt_state, then.params), then.params)
