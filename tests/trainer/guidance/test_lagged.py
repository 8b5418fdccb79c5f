"""By what, and when, does `lagged` judge alpha and the others?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.trainer.mlp import loss_fn, mlp_batches, row, start, stepped
from trainer.guidance import Hyper, Lagged, NextBatch, guided, lagged
from trainer.training.step import compiled_scan

ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
STEPS = 18
LAG = Lagged(lag_steps=4, recent_steps=2, anneal_steps=6, steps=STEPS)


def cosine(left: Any, right: Any) -> float:
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]).astype(float) for t in (left, right))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_lagged_compares_the_gradient_with_the_path_between_two_old_boundaries() -> None:
    """K = 4: at step t with last boundary b the path is θ_{b-4} - θ_{b-8}; in the last six steps it is
    θ_t minus the parameters of the boundary before the last, of two steps each. Those follow each other
    closely from 14 on, so that 12 is the last of the others."""
    steps = 24
    estimator = Lagged(lag_steps=4, recent_steps=2, anneal_steps=6, steps=steps, every_steps=1)
    recipe, state = start("sgd", estimator, ALPHA, eta=0.0, learning_rate=0.01)
    batches, seen, found, losses = mlp_batches(steps), [], [], []
    for t in range(steps):
        seen.append(state.params)
        state, metrics = stepped(recipe, state, 1, first=t)
        found.append(float(metrics["hypergrad"]["alpha"][0]))
        losses.append(float(metrics["loss"][0]))
    fast = slow = losses[0]
    for t in range(1, steps):
        fast, slow = 0.9 * fast + 0.1 * losses[t], 0.98 * slow + 0.02 * losses[t]
        if t < 8:  # two boundaries have not passed
            continue
        b = min(t - t % 4, 12)
        path = (seen[b - 4], seen[b - 8]) if t < 18 else (seen[t], seen[t - t % 2 - 2])
        gradient = jax.grad(loss_fn)(seen[t], row(batches, t), None, True)
        expected = cosine(gradient, jax.tree.map(jnp.subtract, *path))
        expected = abs(expected) if fast > slow else expected
        assert found[t] == pytest.approx(expected, abs=2e-5), t


def test_lagged_leaves_alpha_alone_until_two_boundaries_have_passed() -> None:
    recipe, state = start("sgd", Lagged(lag_steps=4, recent_steps=2), ALPHA, eta=0.1, skip=0)
    _, metrics = stepped(recipe, state, 10)
    alpha = metrics["hyper"]["alpha"]
    assert (alpha[:8] == 1.0).all()
    assert (alpha[8:] != 1.0).all()


@pytest.mark.parametrize(("steps", "lag"), [(None, 20), (100, 20), (400, 40), (1200, 120)])
def test_lagged_looks_back_a_tenth_of_the_run_and_never_into_momentums_oscillation(
    steps: int | None, lag: int
) -> None:
    assert int(Lagged(steps=steps).numbers()["lag_steps"]) == lag
    assert int(Lagged(steps=steps, lag_steps=7).numbers()["lag_steps"]) == 7


def test_lagged_lowers_alpha_while_the_training_loss_rises() -> None:
    """A loss that grows with the step, whatever the gradients say."""
    tx = guided(
        optax.sgd, [ALPHA], learning_rate=0.01, estimator=Lagged(lag_steps=2, recent_steps=1), skip=0, eta=0.1
    )
    paths = {}
    for name, slope in (("rising", 1.0), ("falling", -1.0)):
        params = {"x": jnp.ones(4)}
        state = tx.init(params)
        for t in range(10):
            # The gradient keeps its direction: along the old path the loss falls, which says "higher".
            updates, state = tx.update({"x": jnp.ones(4)}, state, params, value=slope * t)
            params = optax.apply_updates(params, updates)
        paths[name] = float(state.values["alpha"])
    assert paths["rising"] < 1.0 < paths["falling"]


def test_lagged_takes_the_cosine_of_the_last_step_for_beta1() -> None:
    plain, at = start("lamb", NextBatch(), BETA1, eta=0.0)
    state, reference = stepped(plain, at, 4)
    recipe, begun = start("lamb", replace(LAG, every_steps=1), BETA1, eta=0.0)
    then, metrics = stepped(recipe, begun, 4)
    gradient = jax.grad(loss_fn)(then.params, row(mlp_batches(5), 4), None, True)
    _, last = stepped(recipe, then, 1, first=4)
    expected = cosine(gradient, state.carry["beta1"])  # the tangent of the last step, from that step
    assert float(last["hypergrad"]["beta1"][0]) == pytest.approx(expected, rel=1e-4)
    assert np.sign(metrics["hypergrad"]["beta1"][2:]).tolist() == (
        np.sign(reference["hypergrad"]["beta1"][2:]).tolist()
    )


def test_lagged_brings_its_trust_regions_and_meta_learning_rates() -> None:
    alpha, beta1 = lagged.trusted([ALPHA, BETA1])
    assert (alpha.below, alpha.above) == (math.log(3), math.log(2))
    assert (beta1.below, beta1.above) == (1.8, math.inf)
    own = Hyper("alpha", 1.0, learn=True, below=0.1, above=0.2)
    assert lagged.trusted([own]) == (own,)
    assert lagged.ETA == {"alpha": 0.08, "beta1": 0.04}
    for every, (alpha_eta, beta1_eta, other) in {4: (0.08, 0.04, 0.04), 1: (0.02, 0.01, 0.01)}.items():
        of = Lagged(every_steps=every)
        found = [of.own_eta(name) for name in ("alpha", "beta1", "eps")]
        assert found == pytest.approx([alpha_eta, beta1_eta, other])


def test_lagged_reads_every_fourth_step_unless_told_otherwise() -> None:
    for estimator, every in ((LAG, 4), (replace(LAG, every_steps=3), 3)):
        recipe, state = start("lamb", estimator, ALPHA, BETA1, schedule="inverse-sqrt", eta=0.05)
        _, metrics = compiled_scan(recipe)(state, mlp_batches(STEPS), jax.random.key(0))
        read = np.isfinite(metrics["hypergrad"]["beta1"])
        assert read.tolist() == [t > 0 and t % every == 0 for t in range(STEPS)]
        # The first three readings are left out; the fourth is used by the step that makes it.
        beta1 = np.asarray(metrics["hyper"]["beta1"])
        assert (beta1[: 4 * every] == beta1[0]).all()
        assert (beta1[4 * every :] != beta1[0]).all()
    often, _ = start("lamb", LAG, ALPHA, BETA1)
    seldom, _ = start("lamb", replace(LAG, every_steps=3), ALPHA, BETA1)
    assert compiled_scan(often) is compiled_scan(seldom), "how often it looks is a number of the state"
    with pytest.raises(ValueError) as refused:
        Lagged(every_steps=0)
    assert str(refused.value) == "every_steps is 0. Allowed is at least 1."
