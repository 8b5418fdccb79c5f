"""Do hyperparameters move as they should, and only then?"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.trainer.mlp import (
    equal_bits,
    loss_fn,
    mlp_batches,
    mlp_params,
    row,
    start,
    stepped,
)
from trainer.guidance import (
    Discounted,
    Forward,
    HeldOut,
    Hyper,
    Lagged,
    NextBatch,
    eta_for_reach,
    guided,
)
from trainer.guidance.contract import Estimator, Reading
from trainer.guidance.held_out import part_of
from trainer.guidance.meta import meta_optimizer, numbers
from trainer.optim.hyperparameters import layout, raw_limits, start_raw
from trainer.training.step import compiled_scan, compiled_step

pytestmark = pytest.mark.usefixtures("optimized")

ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
BETA2 = Hyper("beta2", 0.99, learn=True)
LAG = Lagged(lag_steps=4, recent_steps=2, anneal_steps=6, steps=18)
ESTIMATORS = {
    "dot": HeldOut(),
    "reverse": HeldOut(mode="reverse"),
    "thinned": HeldOut(every_steps=4, batch_fraction=0.25),
    "forward": Forward(),
    "next-batch": NextBatch(),
    "discounted": Discounted(0.9),
    "lagged": LAG,
}
STEPS = 18


def run(
    optimizer: str, estimator: Estimator | None, eta: float, *, schedule: str = "inverse-sqrt"
) -> tuple[Any, Any]:
    hypers = [ALPHA, BETA1] if estimator else []
    recipe, state = start(optimizer, estimator, *hypers, schedule=schedule, eta=eta)
    return compiled_scan(recipe)(state, mlp_batches(STEPS), jax.random.key(0))


@pytest.fixture(scope="module")
def unguided() -> dict[str, Any]:
    return {name: run(name, None, 0.0)[0] for name in ("lamb", "adafactor")}


# The first two are shown of the vector in tests/trainer/optim/test_flat.py, Adafactor by another estimator.
SLOW = [("lamb", "forward"), ("lamb", "discounted"), ("adafactor", "dot")]


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        *(("lamb", name) for name in ESTIMATORS if ("lamb", name) not in SLOW),
        ("adafactor", "next-batch"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW),
    ],
)
def test_a_meta_learning_rate_of_zero_is_the_unguided_run_bit_for_bit(
    optimizer: str, name: str, unguided: dict[str, Any]
) -> None:
    still, metrics = run(optimizer, ESTIMATORS[name], 0.0)
    assert equal_bits(still.params, unguided[optimizer].params)
    assert equal_bits(still.opt_state, unguided[optimizer].opt_state)
    assert np.isfinite(metrics["hypergrad"]["alpha"]).any(), "the estimator did nothing"
    moved, _ = run(optimizer, ESTIMATORS[name], 0.05)  # the same program
    assert not equal_bits(moved.params, still.params)


def test_thinned_guidance_reads_every_kth_step_and_moves_only_then() -> None:
    estimator = HeldOut(every_steps=4)
    _, metrics = run("lamb", estimator, 0.05)
    read = np.isfinite(metrics["hypergrad"]["alpha"])
    assert read.tolist() == [t % 4 == 0 for t in range(STEPS)]
    assert np.isfinite(metrics["guidance_loss"]).tolist() == read.tolist()
    alpha = np.asarray(metrics["hyper"]["alpha"])
    # The first three readings are left out; the fourth, at step 12, moves the value of step 13.
    assert (alpha[:13] == 1.0).all()
    assert (alpha[13:17] == alpha[13]).all()
    assert alpha[13] != 1.0
    assert alpha[17] != alpha[13]
    every, _ = start("lamb", HeldOut(), ALPHA, BETA1)
    thinned, _ = start("lamb", estimator, ALPHA, BETA1)
    assert compiled_scan(every) is compiled_scan(thinned), "how often it looks is a number of the state"


def test_parts_of_the_guidance_batch_take_turns() -> None:
    batch = {"x": jnp.arange(8)}
    parts = [part_of(batch, jnp.asarray(i), 0.25)["x"].tolist() for i in range(5)]
    assert parts == [[0, 1], [2, 3], [4, 5], [6, 7], [0, 1]]
    assert part_of(batch, jnp.asarray(3), 1.0) is batch


def test_the_parts_are_the_whole_batch_where_they_do_not_divide_it() -> None:
    parts = [part_of({"x": jnp.arange(7)}, jnp.asarray(i), 0.5)["x"].tolist() for i in range(3)]
    assert parts == [[0, 1, 2, 3], [3, 4, 5, 6], [0, 1, 2, 3]]


def test_a_part_of_the_guidance_batch_is_what_the_guidance_loss_is_taken_on() -> None:
    recipe, state = start("lamb", HeldOut(batch_fraction=0.5), ALPHA, eta=0.0)
    batch, step = row(mlp_batches(1), 0), compiled_step(recipe)
    held_out = jax.tree.map(np.asarray, state.guidance_batch)
    for part in (slice(0, 4), slice(4, 8), slice(0, 4)):
        state, metrics = step(state, batch, jax.random.key(0))
        expected = loss_fn(state.params, jax.tree.map(lambda x, p=part: x[p], held_out), None, False)
        assert float(metrics["guidance_loss"]) == pytest.approx(float(expected), rel=1e-6)


# -- the meta-optimizer ----------------------------------------------------------------------------------


def moves(hypergrads: list[float], *, hyper: Hyper = ALPHA, **settings: Any) -> tuple[list[float], Any]:
    """The raw values after each of these hypergradients."""
    meta = meta_optimizer(settings.pop("name", "optax.adam"))
    all_numbers = numbers(meta, settings.pop("eta", 0.1), learned=(hyper.name,), **settings)
    raw, limits, path = start_raw([hyper]), raw_limits([hyper]), []
    state = meta.init(layout([hyper]), raw, all_numbers)
    yes = {hyper.name: jnp.asarray(True)}
    for h in hypergrads:
        reading = Reading({hyper.name: jnp.asarray(h, jnp.float32)}, yes, jnp.zeros(()), {})
        raw, state = meta.step(raw, state, reading, limits=limits, numbers=all_numbers)
        path.append(float(raw[hyper.name]))
    return path, state


def test_the_meta_optimizer_is_adam() -> None:
    slopes = [0.3, -0.1, 0.5, 0.2]
    path, _ = moves(slopes, skip=0)
    mu = nu = expected = 0.0
    for t, (h, found) in enumerate(zip(slopes, path, strict=True), start=1):
        mu, nu = 0.9 * mu + 0.1 * h, 0.999 * nu + 0.001 * h * h
        expected -= 0.1 * (mu / (1 - 0.9**t)) / (math.sqrt(nu / (1 - 0.999**t)) + 1e-8)
        assert found == pytest.approx(expected, rel=1e-5)


def test_its_memory_is_a_setting_and_another_optimizer_can_take_its_place() -> None:
    slopes = [5.0, 0.1, 0.1]
    long, short = (moves(slopes, skip=0, beta2=b)[0] for b in (0.999, 0.5))
    assert long != short
    path, _ = moves([0.3, -0.1], skip=0, name="optax.sgd")
    assert path == pytest.approx([-0.03, -0.02])


def test_the_first_hypergradients_are_left_out_entirely() -> None:
    noise, slopes = [1e-9, -1e-9, 1e-9], [0.3, -0.1]
    path, _ = moves([*noise, *slopes], skip=3)
    assert path[:3] == [0.0, 0.0, 0.0]
    assert path[3:] == moves(slopes, skip=0)[0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_hypergradient_that_is_not_finite_is_skipped_and_counted_not_zeroed(bad: float) -> None:
    path, state = moves([0.3, bad, bad, -0.1], skip=0)
    clean, _ = moves([0.3, -0.1], skip=0)
    assert path == [clean[0], clean[0], clean[0], clean[1]]
    assert int(state.skipped["alpha"]) == 2
    zeroed, _ = moves([0.3, 0.0, 0.0, -0.1], skip=0)
    assert path != zeroed


def test_a_raw_value_stays_in_its_trust_region() -> None:
    hyper = Hyper("alpha", 1.0, learn=True, below=0.25, above=math.log(3))
    assert moves([1.0] * 5, hyper=hyper, skip=0)[0] == pytest.approx(
        [-0.1, -0.2, -0.25, -0.25, -0.25], rel=1e-5
    )
    up, _ = moves([-1.0] * 13, hyper=hyper, skip=0)
    assert up[-1] == pytest.approx(math.log(3))


def test_beta1_cannot_saturate() -> None:
    path, _ = moves([-1.0] * 40, hyper=BETA1, eta=1.0, skip=0)
    assert path[-1] == 12.0
    assert float(jax.nn.sigmoid(jnp.float32(path[-1]))) < 1.0


def test_a_reach_is_how_far_a_raw_value_moves_in_a_run_of_one_sign() -> None:
    eta = eta_for_reach(0.6, steps=100, every_steps=10, skip=3)
    path, _ = moves([0.2] * 10, eta=eta, skip=3)
    assert path[-1] == pytest.approx(-0.6, rel=1e-5)
    with pytest.raises(ValueError) as refused:
        eta_for_reach(1.0, steps=20, every_steps=10)
    assert "leave no meta-step" in str(refused.value)


def test_eta_can_differ_by_name_and_must_be_there_for_each() -> None:
    meta = meta_optimizer()
    with pytest.raises(ValueError) as refused:
        numbers(meta, {"alpha": 0.1}, learned=("alpha", "beta1"))
    assert str(refused.value) == "There is no η̂ for beta1. Give one number for all, or name each."
    with pytest.raises(ValueError) as refused:
        numbers(meta, -0.1, learned=("alpha",))
    assert str(refused.value) == "η̂ is {'alpha': -0.1}. Allowed is a finite number of at least 0."
    with pytest.raises(ValueError) as refused:
        numbers(meta, 0.1, learned=("alpha",), beta3=0.1)
    assert str(refused.value).startswith("The meta-optimizer has no beta3. Allowed: beta1, beta2, eps")
    _, still = run("lamb", HeldOut(), {"alpha": 0.0, "beta1": 0.05})
    assert (np.asarray(still["hyper"]["alpha"]) == 1.0).all()
    assert float(still["hyper"]["beta1"][-1]) != float(still["hyper"]["beta1"][0])


def test_a_loss_that_is_not_finite_skips_the_meta_step_and_nothing_else() -> None:
    def broken(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
        return loss_fn(params, batch, key, train) + (0.0 if train else jnp.nan * params["bias"].sum())

    recipe, state = start("lamb", HeldOut(), ALPHA, loss=broken)
    then, metrics = stepped(recipe, state, 4)
    assert int(then.meta.skipped["alpha"]) == 4
    assert metrics["skipped"]["alpha"].tolist() == [1, 2, 3, 4]
    assert (metrics["hyper"]["alpha"] == 1.0).all()
    assert np.isfinite(metrics["loss"]).all()


# -- in a loop that is not ours --------------------------------------------------------------------------


def guided_adamw(*learned: Hyper, estimator: Estimator, eta: float = 0.05, steps: int = 4) -> tuple[Any, Any]:
    """Parameters, one of which never has a gradient and one a tiny one, and the state after some steps."""
    tx = guided(
        optax.adamw,
        learned,
        learning_rate=0.1,
        estimator=estimator,
        eta=eta,
        skip=0,
        loss_fn=lambda params, batch: jnp.sum(params["x"] * batch),
    )
    params = {"x": jnp.array([1.0, 1.0, 1.0])}
    state = tx.init(params)
    grads, update = {"x": jnp.array([0.0, 1e-9, 0.5])}, jax.jit(tx.update)
    for _ in range(steps):
        updates, state = update(grads, state, params, guidance_batch=jnp.ones(3), value=jnp.ones(()))
        params = optax.apply_updates(params, updates)
    return params, state


def test_guided_adamw_steps_as_optaxs_while_nothing_that_learns_acts_through_v() -> None:
    found, _ = guided_adamw(ALPHA, BETA1, estimator=NextBatch(), eta=0.0)
    plain, params = optax.adamw(0.1), {"x": jnp.array([1.0, 1.0, 1.0])}
    state, grads = plain.init(params), {"x": jnp.array([0.0, 1e-9, 0.5])}
    for _ in range(4):
        updates, state = jax.jit(plain.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(
        found["x"], params["x"], rtol=1e-4
    )  # 1e-9 under a root of 1e-16 would be 10 % off


@pytest.mark.parametrize(
    ("estimator", "learned", "keeps_optaxs"),
    [
        (HeldOut(mode="reverse"), (ALPHA, BETA1, Hyper("weight_decay", 0.1, learn=True)), True),
        (NextBatch(), (BETA2, ALPHA), False),
        (Discounted(0.9), (ALPHA,), False),  # it follows all of the state, v too
    ],
    ids=["beside v", "through v", "through the state"],
)
def test_hypergradients_are_finite_where_a_gradient_is_always_zero(
    estimator: Estimator, learned: tuple[Hyper, ...], keeps_optaxs: bool
) -> None:
    _, state = guided_adamw(*learned, estimator=estimator)
    assert float(state.values["eps_root"]) == pytest.approx(0.0 if keeps_optaxs else 1e-16, abs=1e-20)
    assert all(int(count) == 0 for count in state.meta.skipped.values())
    assert all(float(state.values[h.name]) != h.start for h in learned if h.name != "alpha")


@pytest.mark.parametrize(
    "estimator",
    [HeldOut(), NextBatch(), HeldOut(every_steps=2), Lagged(lag_steps=2, recent_steps=1, every_steps=2)],
    ids=str,
)
def test_in_another_loop_it_learns_what_our_step_learns(estimator: Estimator) -> None:
    steps = 16
    recipe, state = start("adamw", estimator, ALPHA, BETA1, eta=0.05)
    then, metrics = stepped(recipe, state, steps)
    tx = guided(
        recipe.optimizer,
        [ALPHA, BETA1],
        learning_rate=0.05,
        estimator=estimator,
        eta=0.05,
        loss_fn=lambda params, batch: loss_fn(params, batch, None, False),
    )
    params, batches = mlp_params(), mlp_batches(steps)
    inner = tx.init(params)
    update = jax.jit(tx.update)
    for t in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params, row(batches, t), None, True)
        updates, inner = update(grads, inner, params, guidance_batch=state.guidance_batch, value=loss)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params, then.params)
    assert float(inner.values["beta1"]) == pytest.approx(float(metrics["hyper"]["beta1"][-1]), rel=1e-5)
    assert float(inner.values["alpha"]) != 1.0


@pytest.mark.parametrize(
    ("hypers", "settings", "sentence"),
    [
        ([Hyper("beta3", 0.5)], {}, "beta3 is no hyperparameter of this optimizer. Allowed: alpha, beta1, b"),
        ([ALPHA], {"estimator": HeldOut()}, "HeldOut needs a loss. Pass loss_fn(params, batch)."),
        ([], {"estimator": NextBatch()}, "An estimator is given and nothing learns. Name what learns, or"),
        (
            [Hyper("label_smoothing", 0.1)],
            {},
            "label_smoothing acts in the training loss, whose gradient is given here. It can be learned only",
        ),
        (
            [Hyper("alpha", 1.0, learn=True, per_group=True)],
            {"groups": (("a", "a"),)},
            "alpha is per group, and an optimizer of optax takes one number for all. Allowed are lamb",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_refused_with_a_sentence(
    hypers: list[Hyper], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:
        guided(optax.adamw, hypers, learning_rate=0.1, **settings)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("estimator", "given", "sentence"),
    [
        (HeldOut(), {}, "This guided update needs a held-out batch. Pass guidance_batch= to update."),
        (Lagged(), {}, "This guided update needs the training loss. Pass value= to update."),
    ],
)
def test_an_update_without_what_it_needs_is_refused(
    estimator: Estimator, given: dict[str, Any], sentence: str
) -> None:
    tx = guided(
        optax.sgd, [ALPHA], learning_rate=0.1, estimator=estimator, loss_fn=lambda params, batch: params["x"]
    )
    params = {"x": jnp.ones(())}
    with pytest.raises(ValueError) as refused:
        tx.update(params, tx.init(params), params, **given)
    assert str(refused.value) == sentence
