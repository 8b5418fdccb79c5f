"""Do a test and the interval beside it agree, and how often are they wrong? By brute force and simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dashboards.evidence import stats

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def _outlier(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    d = random.standard_normal(shape)
    d[:, 0] += 8.0 * random.choice((-1.0, 1.0), size=shape[0])  # of either sign: the mean stays zero
    return d


DIFFERENCES: dict[str, Draw] = {  # all of mean zero
    "normal": lambda random, shape: random.standard_normal(shape),
    "lognormal": lambda random, shape: random.lognormal(size=shape) - random.lognormal(size=shape),
    "skewed": lambda random, shape: random.exponential(size=shape) - 1.0,
    "one outlier": _outlier,
}


@pytest.mark.parametrize("n", [6, 7, 8])
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_the_interval_ends_where_the_test_begins_to_reject(kind: str, n: int) -> None:
    """By brute force: p of the differences, shifted by a little more and a little less than each end."""
    for d in DIFFERENCES[kind](np.random.default_rng(n), (20, n)):
        within = stats.sign_flip_interval(d)
        assert within is not None
        step = 1e-6 * np.ptp(d)
        for end, outwards in ((within.low, -1.0), (within.high, 1.0)):
            assert stats.sign_flip_p(d - (end + outwards * step)) <= 0.05
            assert stats.sign_flip_p(d - (end - outwards * step)) > 0.05


@pytest.mark.parametrize("n", range(3, 13))
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_zero_lies_outside_exactly_where_p_is_at_most_a_twentieth(kind: str, n: int) -> None:
    random = np.random.default_rng(n)
    shifted = DIFFERENCES[kind](random, (40, n)) + random.choice((0.0, 0.5, 1.5), size=(40, 1))
    for d in [*shifted, *np.round(shifted, 1), np.full(n, 0.3), np.zeros(n)]:  # with ties, and zeros
        within, p = stats.sign_flip_interval(d), stats.sign_flip_p(d)
        assert (within is None) == (n < 6)
        assert (within is not None and not within.low <= 0 <= within.high) == (p <= 0.05)


def test_with_drawn_swaps_too_zero_lies_outside_exactly_where_p_is_at_most_a_twentieth() -> None:
    random = np.random.default_rng(5)
    said = set()
    for d in random.standard_normal((12, 18)) + np.linspace(0, 0.9, 12)[:, None]:
        within, p = stats.sign_flip_interval(d), stats.sign_flip_p(d)
        assert within is not None
        assert (not within.low <= 0 <= within.high) == (p <= 0.05)
        said.add(p <= 0.05)
    assert said == {True, False}


def test_of_six_pairs_the_interval_goes_from_the_least_to_the_largest() -> None:
    assert stats.sign_flip_interval([3.0, -1.0, 2.0, 5.0, 4.0, 0.5]) == stats.Interval(-1.0, 5.0)
    assert stats.sign_flip_interval([3.0, -1.0, 2.0, 5.0, 4.0]) is None


# What was measured with 4,000 draws of each, n from 6 to 12, in percent; a test never above its level under
# symmetry, and above it where differences are skewed (docs/report.md).
MOST_FALSE = {"normal": 0.05, "lognormal": 0.05, "skewed": 0.10, "one outlier": 0.05}


@pytest.mark.parametrize("n", range(3, 13))
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_false_alarms_and_coverage_are_what_the_report_says(kind: str, n: int) -> None:
    draws = 400
    rejected = covered = one_sided = 0
    for d in DIFFERENCES[kind](np.random.default_rng(100 + n), (draws, n)):
        within = stats.sign_flip_interval(d)
        rejected += stats.sign_flip_p(d) <= 0.05
        one_sided += stats.one_sided_p(d) <= 0.05
        covered += within is None or within.low <= 0 <= within.high
    noise = 3 * np.sqrt(0.05 * 0.95 / draws)
    assert rejected / draws <= MOST_FALSE[kind] + noise
    assert covered == draws - rejected
    if kind != "skewed":
        assert one_sided / draws <= 0.05 + noise
    if n < 6:
        assert rejected == 0


def test_p_on_one_side_is_half_of_that_on_both_where_no_two_swaps_are_alike() -> None:
    for d in np.random.default_rng(2).standard_normal((20, 8)):
        both, above, below = stats.sign_flip_p(d), stats.one_sided_p(d), stats.one_sided_p(-d)
        assert min(above, below) == both / 2
        assert above + below == pytest.approx(1 + 1 / 2**8)
    assert stats.one_sided_p([1.0] * 5) == 1 / 32
    assert stats.one_sided_p([]) == 1.0


def test_a_partial_conjunction_by_hand() -> None:
    ps = [0.001, 0.2, 0.004, 0.03]
    assert stats.partial_conjunction_p(ps, 1) == pytest.approx(0.004)  # Bonferroni: in any at all
    assert stats.partial_conjunction_p(ps, 2) == pytest.approx(0.012)
    assert stats.partial_conjunction_p(ps, 3) == pytest.approx(0.06)
    assert stats.partial_conjunction_p(ps, 4) == 0.2  # in all of them: the largest
    assert stats.partial_conjunction_p([0.9, 0.8], 1) == 1.0


def test_seven_pairs_of_one_sign_decide_four_of_eight_cells_and_six_do_not() -> None:
    for pairs, decided in ((6, False), (7, True)):
        best = stats.one_sided_p([1.0] * pairs)
        assert (stats.partial_conjunction_p([best] * 4 + [1.0] * 4, 4) <= 0.05) == decided


def test_fewer_true_cells_than_claimed_are_seldom_called_enough() -> None:
    random = np.random.default_rng(4)
    claimed = 0
    for _ in range(1000):
        effects = np.array([3.0, 3.0, 3.0, *([0.0] * 5)])  # better in three cells, and four are claimed
        ps = [stats.one_sided_p(d) for d in random.standard_normal((8, 8)) + effects[:, None]]
        claimed += stats.partial_conjunction_p(ps, 4) <= 0.05
    assert claimed / 1000 <= 0.05
