"""Is a fork the true derivative, and do estimators that look on disturb nothing?

In float64 on the small problem of `mlp`, against steps that are made here one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from tests.trainer.mlp import equal_bits, loss_fn, mlp_batches, row, start, stepped
from trainer.audit.forks import Forking
from trainer.guidance import Discounted, HeldOut, Hyper, Lagged, NextBatch
from trainer.guidance.contract import Estimator
from trainer.guidance.observed import Observed
from trainer.training.state import TrainState
from trainer.training.step import train_step

WARM = 6  # so that momentum has a past
LEARNED = (Hyper("alpha", 1.3, learn=True), Hyper("beta1", 0.8, learn=True))
FIXED = (Hyper("alpha", 1.3), Hyper("beta1", 0.8))
WATCHED: tuple[tuple[str, Estimator], ...] = (
    ("held-out", HeldOut()),
    ("next-batch", NextBatch()),
    ("discounted", Discounted()),
    ("lagged", Lagged(lag_steps=2, recent_steps=1, anneal_steps=2, steps=12, every_steps=1)),
)


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def forking(optimizer: str, *, size: float) -> tuple[Forking, TrainState, Any]:
    """A plain run of WARM steps on this problem, forked; and the batches that come next."""
    plain, blank = start(optimizer, None, *FIXED)
    state, _ = stepped(plain, blank, WARM)
    ahead = [jax.tree.map(lambda x: np.asarray(x[WARM:]), mlp_batches(WARM + 5))]
    return (
        Forking(
            recipe=plain,
            blank=blank._replace(params=None, opt_state=None),
            key=jax.random.key(0),
            losses=lambda params: {"held out": float(loss_fn(params, blank.guidance_batch, None, False))},
            size=size,
            put=lambda batch: batch,
        ),
        state,
        ahead,
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("optimizer", ["lamb", "adafactor"])
def test_one_step_ahead_the_true_slope_is_the_greedy_hypergradient(optimizer: str) -> None:
    fork, state, ahead = forking(optimizer, size=1e-4)
    found = {
        r.hyper: r.slope["held out"]
        for r in fork.responses(state, ahead, hypers=("alpha", "beta1"), spans=(1,))
    }
    recipe, blank = start(optimizer, HeldOut(), *LEARNED, eta=0.0)
    at = blank._replace(params=state.params, opt_state=state.opt_state, step=state.step)
    _, metrics = train_step(recipe, at, row(mlp_batches(WARM + 1), WARM), jax.random.key(0))
    greedy = {name: float(value) for name, value in metrics["hypergrad"].items()}
    # The quotient errs by size² ~ 1e-8, rounding by 1e-16 / size ~ 1e-12 of a slope above 1e-5.
    assert found == pytest.approx(greedy, rel=1e-6)
    assert min(map(abs, greedy.values())) > 1e-5


@pytest.mark.usefixtures("float64")
def test_a_longer_slope_is_that_of_runs_made_step_by_step_with_the_value_held_elsewhere() -> None:
    fork, state, ahead = forking("lamb", size=0.1)
    before = jax.tree.map(np.asarray, state)
    found = {
        (r.hyper, r.span): r for r in fork.responses(state, ahead, hypers=("alpha", "beta1"), spans=(4, 2))
    }
    assert equal_bits(before, state), "the run's own state was used up"

    def loss_after(span: int, hyper: str, moved: float) -> float:
        now = state._replace(raw={**state.raw, hyper: state.raw[hyper] + moved})
        for i in range(WARM, WARM + span):
            now, _ = train_step(fork.recipe, now, row(mlp_batches(WARM + 5), i), jax.random.key(0))
        return float(loss_fn(now.params, now.guidance_batch, None, False))

    for (hyper, span), response in found.items():
        high, low = (loss_after(span, hyper, sign * 0.1) for sign in (1, -1))
        assert response.slope["held out"] == pytest.approx((high - low) / 0.2, rel=1e-9)
        assert response.loss["held out"] == pytest.approx((high + low) / 2, rel=1e-12)
    assert {*found} == {(hyper, span) for hyper in ("alpha", "beta1") for span in (2, 4)}


@pytest.mark.usefixtures("float64")
def test_who_looks_on_says_what_he_would_say_alone_and_moves_nothing() -> None:
    steps = 6
    plain, state = start("lamb", None, *FIXED)
    unguided, _ = stepped(plain, state, steps)
    recipe, state = start("lamb", Observed(WATCHED), *LEARNED, eta=1.0, skip=0, per_tensor=True)
    looked_at, metrics = stepped(recipe, state, steps)
    assert equal_bits((unguided.params, unguided.opt_state), (looked_at.params, looked_at.opt_state))
    assert equal_bits(unguided.raw, looked_at.raw)
    for name, estimator in WATCHED:
        _, alone = stepped(*start("lamb", estimator, *LEARNED, eta=0.0), steps)
        said = metrics["hypergrad_per_tensor"][name]
        for hyper, curve in alone["hypergrad"].items():
            usable = np.isfinite(said[hyper])
            if name == "held-out":
                assert usable.all()
            else:  # the others speak from the second step on; of alpha `lagged` after twice its lag
                silent = 4 if (name, hyper) == ("lagged", "alpha") else 1
                assert usable.tolist() == [False] * silent + [True] * (steps - silent)
            np.testing.assert_allclose(said[hyper][usable], curve[usable], rtol=1e-9, atol=1e-15)
