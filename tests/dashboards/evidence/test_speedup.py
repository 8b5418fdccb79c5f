"""Is the speed-up that was put into losses the one that is read off?"""

from __future__ import annotations

import numpy as np
import pytest

from dashboards.evidence.speedup import Speedup, speedup

LENGTHS = (1.0, 1.15, 1.3, 1.7)
KAPPA = 2.2  # loss falls as time to that power


def power_law(
    true: float, *, seeds: int = 6, noise: float = 0.0, cost: float = 1.0, seed: int = 0
) -> Speedup:
    """Losses of plain runs and of a row as good as plain training of `true` times `cost` its length. Runs on
    one seed share a part of their luck."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.1, seeds)

    def losses(length: float) -> dict[int, float]:
        own = random.normal(0, noise, seeds) if noise else np.zeros(seeds)
        return dict(enumerate(3.0 * length**-KAPPA * np.exp(shared + own)))

    found = speedup({length: losses(length) for length in LENGTHS}, losses(true * cost), cost=cost)
    assert found is not None
    return found


@pytest.mark.parametrize("true", [1.0, 1.03, 1.2, 1.6])
@pytest.mark.parametrize("cost", [1.0, 1.05])
def test_without_noise_it_is_read_off_to_the_last_digit(true: float, cost: float) -> None:
    found = power_law(true, cost=cost)
    assert found.value == pytest.approx(true, rel=1e-6)
    assert found.side == "within"
    assert (found.span.low, found.span.high) == pytest.approx((1 / cost, 1.7 / cost))


def test_beyond_the_longest_and_short_of_the_shortest_are_answers() -> None:
    beyond, short = power_law(2.0), power_law(0.8)
    assert (beyond.side, beyond.value, beyond.low, beyond.high) == ("beyond", None, None, None)
    assert (short.side, short.value) == ("short", None)
    half = power_law(1.69, noise=0.05)
    assert half.value is not None
    assert half.high is None  # the interval ends beyond what was run
    assert half.low is not None


def test_with_noise_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        found = power_law(1.2, noise=0.05, seed=seed)
        held += (found.low or 0.0) <= 1.2 <= (found.high or np.inf)
    assert held >= 60 * 0.95 - 3 * np.sqrt(60 * 0.95 * 0.05)


def test_too_few_seeds_give_a_value_and_no_interval() -> None:
    found = power_law(1.2, seeds=3, noise=0.02)
    assert found.value == pytest.approx(1.2, abs=0.1)
    assert (found.tested, found.low, found.high) == (False, None, None)


def test_only_seeds_that_all_lengths_share_are_read() -> None:
    plain = {1.0: {0: 2.0, 1: 2.0}, 1.7: {0: 1.0, 1: 1.0, 2: 9.0}}
    found = speedup(plain, {0: 1.5, 2: 0.1}, cost=1.0)
    assert found is not None
    assert found.n == 1
    assert speedup(plain, {7: 1.5}, cost=1.0) is None
    assert speedup({1.0: {0: 2.0}}, {0: 1.0}, cost=1.0) is None
    assert speedup({1.0: {0: 2.0}, 1.7: {0: 0.0}}, {0: 1.0}, cost=1.0) is None  # no log of it
