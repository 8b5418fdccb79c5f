"""Are the statistics right? Against scipy, against a brute force, and by hand."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from itertools import accumulate

import numpy as np
import pytest
import scipy.stats

from dashboards.evidence import stats

RANDOM = np.random.default_rng(3)


def test_three_pairs_of_one_sign_have_a_p_of_a_quarter() -> None:
    assert stats.sign_flip_p([0.1, 0.2, 0.3]) == 0.25
    assert stats.sign_flip_p([]) == 1.0


def test_six_pairs_of_one_sign_are_the_first_to_reach_a_twentieth() -> None:
    assert stats.sign_flip_p([0.1] * 5) == 2 / 32
    assert stats.sign_flip_p([0.1] * 6) == 2 / 64
    assert stats.fewest_pairs(0.05) == 6
    assert stats.fewest_pairs(0.05 / 3) == 7  # Holm over three columns


@pytest.mark.parametrize("n", [4, 7])
def test_the_permutation_test_is_scipys(n: int) -> None:
    d = RANDOM.normal(0.5, 1, n)
    theirs = scipy.stats.permutation_test(
        (d,), lambda x: x.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert stats.sign_flip_p(d) == pytest.approx(theirs.pvalue)


def test_many_pairs_are_drawn_and_come_close_to_all_swaps() -> None:
    d = RANDOM.normal(0.4, 1, 18)
    signs = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    exact = np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9)
    assert stats.sign_flip_p(d) == pytest.approx(exact, abs=0.005)
    assert stats.sign_flip_p(d) == stats.sign_flip_p(d)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_few_values_have_students_interval() -> None:
    x = [2.1, 2.4, 1.9, 2.2]
    low, high = scipy.stats.t.interval(0.95, 3, loc=np.mean(x), scale=scipy.stats.sem(x))
    assert stats.mean_interval(x) == stats.Interval(pytest.approx(low), pytest.approx(high))
    assert stats.mean_interval([1.0]) is None


def test_the_bootstrap_interval_is_scipys() -> None:
    x = RANDOM.gamma(2, 1, 30)
    theirs = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = stats.mean_interval(x)  # 30 values: by bootstrap
    assert ours is not None
    assert (ours.low, ours.high) == (
        pytest.approx(theirs.low, abs=0.03),
        pytest.approx(theirs.high, abs=0.03),
    )
    assert stats.bca_interval([1.0, 1.0, 1.0], lambda a: a.mean(axis=-1)) == stats.Interval(1.0, 1.0)


def test_a_stratified_band_draws_within_strata_only() -> None:
    apart = [np.full((5, 3), 0.0), np.full((5, 3), 10.0)]  # all of the spread lies between the strata
    low, high = stats.stratified_band(apart, lambda a: a.mean(axis=-1))
    assert low.tolist() == high.tolist() == [5.0] * 3
    mixed = np.concatenate(apart)
    low, high = stats.stratified_band([mixed], lambda a: a.mean(axis=-1))
    # 10 draws of 0 or 10: the mean's percentiles are those of a binomial count
    expected = scipy.stats.binom.ppf([0.025, 0.975], 10, 0.5)
    assert [low[0], high[0]] == pytest.approx(expected, abs=1.0)


def test_effect_sizes_by_hand() -> None:
    assert stats.effect_size([1.0, 2.0, 3.0]) == 2.0
    assert stats.effect_size([1.0, 1.0]) == math.inf
    assert stats.effect_size([-0.1, 0.2 - 0.3, -0.1]) == -math.inf  # apart by rounding only
    assert stats.effect_size([0.0, 0.0]) == 0.0
    assert stats.effect_size([1.0]) is None


def test_the_probability_of_improvement_is_mann_and_whitneys() -> None:
    a, b = [1.0, 3.0, 3.0, 5.0], [2.0, 3.0, 4.0]
    u = scipy.stats.mannwhitneyu(a, b).statistic
    assert stats.probability_of_improvement(a, b) == pytest.approx(u / 12)
    wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(a, b)]
    assert stats.probability_of_improvement(a, b) == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_the_interquartile_mean_is_scipys_trimmed_one(n: int) -> None:
    x = RANDOM.normal(size=(2, n))
    assert stats.interquartile_mean(x) == pytest.approx(scipy.stats.trim_mean(x, 0.25, axis=-1))


@pytest.mark.parametrize(("effect", "n"), [(0.5, 34), (0.8, 15), (0.3, 90), (-0.5, 34)])
def test_for_many_pairs_the_seeds_needed_are_those_of_the_textbook(effect: float, n: int) -> None:
    """Cohen's d of pairs, two-sided .05, power .8: as G*Power tells them for the paired t test, from which
    the sign-flip test differs only where pairs are few."""
    assert stats.units_to_decide(effect) == n


def test_at_an_effect_of_one_and_a_half_seven_seeds_are_needed_and_not_the_six_of_the_t_test() -> None:
    assert stats.units_to_decide(1.5) == stats.units_to_decide(-1.5) == 7
    assert power_by_brute_force(1.5, 6) < 0.7
    assert power_by_brute_force(1.5, 7) > 0.85


def test_six_seeds_are_enough_from_where_all_six_have_one_sign_in_four_of_five_studies() -> None:
    """The only way to p <= .05 with six pairs; so this power has a closed form."""
    least = scipy.stats.norm.ppf(0.8 ** (1 / 6))
    assert [stats.units_to_decide(least + beside) for beside in (-0.01, 0.01)] == [7, 6]


@pytest.mark.parametrize("effect", [2.2, 1.25, 1.15, 1.05, 0.97, 0.92, 0.87])
def test_the_seeds_needed_reach_the_power_of_the_test_that_decides_and_one_fewer_does_not(
    effect: float,
) -> None:
    n = stats.units_to_decide(effect)
    assert n is not None
    noise = 3 * math.sqrt(0.8 * 0.2 / 4000)
    assert power_by_brute_force(effect, n) > 0.8 - noise
    assert n == 6 or power_by_brute_force(effect, n - 1) < 0.8 + noise


def power_by_brute_force(effect: float, n: int, *, studies: int = 4000) -> float:
    """How many of so many simulated studies the test of all sign flips rejects."""
    random = np.random.default_rng(17)
    flips = np.array(list(itertools.product((1, -1), repeat=n)))
    rejected = 0
    for _ in range(studies // 500):
        sums = np.abs(random.normal(effect, 1, (500, n)) @ flips.T)  # the first flip is none
        rejected += int(((sums >= sums[:, :1] - 1e-9).mean(axis=1) <= 0.05).sum())
    return rejected / studies


def test_the_brute_force_rejects_where_the_test_that_decides_does() -> None:
    random = np.random.default_rng(17)
    ps = [stats.sign_flip_p(d) for d in random.normal(1.5, 1, (500, 7))]
    assert power_by_brute_force(1.5, 7, studies=500) == np.mean(np.array(ps) <= 0.05)


def test_the_seeds_needed_keep_within_what_a_test_can_use() -> None:
    assert stats.units_to_decide(50.0) == stats.units_to_decide(math.inf) == 6
    assert stats.units_to_decide(0.01) is None


def test_a_run_without_a_value_costs_and_betters_nothing() -> None:
    line = stats.best_so_far([1, 1, 2, 1], [None, 3.0, 4.0, 2.0], minimize=True)
    assert line.cost.tolist() == [1, 2, 4, 5]
    assert line.best.tolist() == [math.inf, 3, 3, 2]
    assert stats.best_so_far([1, 1], [1.0, 2.0], minimize=False).best.tolist() == [1, 2]


def test_a_line_is_unknown_before_its_first_result_and_after_its_end() -> None:
    line = stats.best_so_far([1, 1, 2], [None, 3.0, 2.0], minimize=True)
    known = stats.at(line, np.array([0.5, 1.0, 2.0, 3.9, 4.0, 4.1]))
    assert known.tolist()[2:5] == [3.0, 3.0, 2.0]
    assert np.isnan(known[[0, 1, 5]]).all()


def test_replicates_are_joined_only_where_all_of_them_are_known() -> None:
    short = stats.best_so_far([1, 1], [4.0, 2.0], minimize=True)
    long = stats.best_so_far([1, 1, 1], [6.0, 6.0, 0.0], minimize=True)
    cost, middle, low, high = stats.over_replicates([short, long])
    assert cost.tolist() == [1, 2]  # the short one has ended at 2: nothing is carried on to 3
    assert middle.tolist() == [5.0, 4.0]
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert all(part.size == 0 for part in stats.over_replicates([]))


def test_a_long_line_is_drawn_with_few_points_and_the_same_steps() -> None:
    values = [np.random.default_rng(r).random(3_000) for r in range(2)]
    lines = [stats.best_so_far(np.ones(3_000), of, minimize=True) for of in values]
    tracemalloc.start()
    cost, middle, low, high = stats.over_replicates(lines, most=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # bytes; of all 3,000 points the draws alone would be 48e6
    assert len(cost) <= 200
    assert (cost[0], cost[-1]) == (1, 3_000)
    by_hand = [sum(pair) / 2 for pair in zip(*(accumulate(of, min) for of in values), strict=True)]
    drawn = middle[np.searchsorted(cost, np.arange(1, 3_001), side="right") - 1]
    assert drawn.tolist() == by_hand
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_a_line_that_betters_at_every_run_is_thinned_evenly() -> None:
    line = stats.best_so_far(np.ones(1_000), np.arange(1_000.0), minimize=False)
    cost, best, *_ = stats.over_replicates([line], most=4)
    assert (cost.tolist(), best.tolist()) == ([1, 334, 667, 1_000], [0, 333, 666, 999])


def test_a_band_is_the_same_however_many_draws_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    strata = [RANDOM.normal(size=(7, 3)), RANDOM.normal(size=(5, 3))]
    at_once = stats.stratified_band(strata, stats.interquartile_mean)
    monkeypatch.setattr(stats, "DRAWN_AT_ONCE", 100)  # two resamples of twelve times three
    for one, other in zip(at_once, stats.stratified_band(strata, stats.interquartile_mean), strict=True):
        assert one.tolist() == other.tolist()


def test_a_miss_is_infinite_and_keeps_its_place_in_the_median() -> None:
    line = stats.best_so_far([2, 2, 2], [5.0, 3.0, 1.0], minimize=True)
    assert stats.time_to_target(line, 3.0, minimize=True) == 4
    assert stats.time_to_target(line, 0.5, minimize=True) == math.inf
    assert stats.median_time([1.0, math.inf, 3.0]) == 3.0
    assert stats.median_time([1.0, math.inf, math.inf]) == math.inf
    assert stats.median_time([1.0, math.inf]) == math.inf
