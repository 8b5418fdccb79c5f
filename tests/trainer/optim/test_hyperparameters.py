"""Do raw values, values, bounds, trust regions and groups say the same thing?"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.optim.hyperparameters import Hyper, check, complete, layout, raw_limits, start_raw


@pytest.mark.parametrize(
    ("name", "start"),
    [("alpha", 1.0), ("alpha", 0.02), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-6), ("decay_rate", 0.8)],
)
def test_a_start_comes_back_as_its_value(name: str, start: float) -> None:
    hypers = [Hyper(name, start)]
    value = layout(hypers).values(start_raw(hypers))[name]
    assert float(value) == pytest.approx(start, rel=3e-6)
    assert value.dtype == jnp.float32


def test_the_paper_starts_at_alpha_one_exactly() -> None:
    hypers = [Hyper("alpha", 1.0)]
    assert float(layout(hypers).values(start_raw(hypers))["alpha"]) == 1.0


@pytest.mark.parametrize("name", ["beta1", "weight_decay", "label_smoothing"])
def test_a_constant_on_its_bound_is_exactly_zero(name: str) -> None:
    hypers = [Hyper(name, 0.0)]
    assert float(layout(hypers).values(start_raw(hypers))[name]) == 0.0


@pytest.mark.parametrize(("name", "start"), [("beta1", 0.9), ("beta2", 0.999), ("alpha", 1.0), ("eps", 1e-8)])
def test_a_value_at_its_limit_can_still_be_divided_by_its_distance_from_the_bound(
    name: str, start: float
) -> None:
    hypers = [Hyper(name, start, learn=True)]
    for limit in raw_limits(hypers)[name]:
        value = layout(hypers).values({name: limit})[name]
        assert 0 < float(value) < math.inf
        if name.startswith("beta"):
            assert float(1 - value) > 0  # a float32 sigmoid is 1.0 from a logit of 16.7
            assert math.isfinite(float(1 / (1 - value)))


def test_limits_are_the_tightest_of_bounds_and_trust_region() -> None:
    hypers = [
        Hyper("alpha", 1.0, learn=True, high=2.0, below=math.log(3), above=math.log(3)),
        Hyper("beta1", 0.9, learn=True, low=0.5, below=1.8),
    ]
    limits = {name: tuple(float(x) for x in pair) for name, pair in raw_limits(hypers).items()}
    assert limits["alpha"] == pytest.approx((-math.log(3), math.log(2)))
    assert limits["beta1"] == pytest.approx((math.log(9) - 1.8, 12.0))


def test_groups_go_by_the_first_pattern_that_is_found_in_the_path() -> None:
    params = {"enc": {"embedding": jnp.zeros(2), "dense": jnp.zeros(3)}, "dec": {"embedding": jnp.zeros(4)}}
    groups = (("decoder", "^dec/"), ("tables", "embedding"))
    hypers = [Hyper("alpha", 2.0, per_group=True), Hyper("beta1", 0.9)]
    whole = layout(hypers, groups=groups)
    raw = start_raw(hypers, groups=groups)
    assert raw["alpha"].shape == (3,)
    raw["alpha"] = jnp.log(jnp.asarray([1.0, 2.0, 3.0]))
    spread = whole.spread(whole.values(raw), params)
    found = jax.tree.map(float, spread["alpha"])
    np.testing.assert_allclose(
        [found["dec"]["embedding"], found["enc"]["embedding"], found["enc"]["dense"]], [1, 2, 3], rtol=1e-6
    )
    assert spread["beta1"].shape == ()
    assert whole.group_names == ("decoder", "tables", "rest")


def test_what_acts_in_the_loss_does_not_reach_the_optimizer() -> None:
    hypers = [Hyper("label_smoothing", 0.1), Hyper("beta1", 0.9)]
    whole = layout(hypers)
    assert set(whole.spread(whole.values(start_raw(hypers)), {})) == {"beta1"}
    assert whole.in_loss == ("label_smoothing",)


def test_a_layout_knows_no_numbers() -> None:
    one = layout([Hyper("alpha", 1.0, learn=True, above=1.0)])
    other = layout([Hyper("alpha", 0.3, learn=True, high=5.0)])
    assert one == other
    assert hash(one) == hash(other)


def test_what_is_left_out_becomes_a_constant() -> None:
    hypers = complete([Hyper("beta1", 0.5, learn=True)], {"beta1": 0.9, "eps": 1e-6})
    assert [(h.name, h.start, h.learn) for h in hypers] == [("beta1", 0.5, True), ("eps", 1e-6, False)]


@pytest.mark.parametrize(
    ("hyper", "sentence"),
    [
        (
            Hyper("weight_decay", 0.0, learn=True),
            "weight_decay learns and starts at 0.0, on its bound, where it cannot move. Allowed is strictly "
            "between 1.80485e-35 and 5.54062e+34. Move its start, or do not learn it.",
        ),
        (
            Hyper("alpha", 0.5, learn=True, low=0.5, high=2.0),
            "alpha learns and starts at 0.5, on its bound, where it cannot move. Allowed is strictly between "
            "0.5 and 2. Move its start, or do not learn it.",
        ),
        (
            Hyper("beta2", 0.9999999, learn=True),
            "beta2 learns and starts at 0.9999999, on its bound, where it cannot move. Allowed is strictly "
            "between 6.14417e-06 and 0.999994. Move its start, or do not learn it.",
        ),
        (Hyper("beta1", 1.0), "beta1 starts at 1.0. Allowed is from 0.0 to below 1.0. Move it inside."),
        (Hyper("alpha", -1.0), "alpha starts at -1.0. Allowed is from 0.0 to below inf. Move it inside."),
        (Hyper("alpha", math.nan), "alpha starts at nan. Allowed is from 0.0 to below inf. Move it inside."),
        (
            Hyper("alpha", 1.0, activation="tanh"),
            "alpha has the activation 'tanh'. Allowed: exp, sigmoid, identity. Choose one.",
        ),
        (
            Hyper("alpha", 1.0, per_group=True),
            "alpha is per group and there are no groups. Name some, or make it global.",
        ),
    ],
)
def test_a_bad_hyperparameter_is_refused_with_a_sentence(hyper: Hyper, sentence: str) -> None:
    assert check([hyper]) == [sentence]
    with pytest.raises(ValueError) as refused:
        layout([hyper])
    assert str(refused.value) == sentence


def test_a_name_given_twice_and_a_loss_per_group_are_refused() -> None:
    twice = [Hyper("eps", 1e-6), Hyper("eps", 1e-6)]
    assert check(twice) == ["eps is given twice. Keep one."]
    smoothing = [Hyper("label_smoothing", 0.1, per_group=True)]
    assert check(smoothing, groups=(("a", "a"),)) == [
        "label_smoothing acts through the loss, which has no parameter groups. Make it global."
    ]
