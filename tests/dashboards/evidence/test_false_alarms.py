"""How often is each test wrong where nothing is there, and how often does an interval hold the truth?

By simulation with fixed seeds: 300 studies of each kind in the suite, 4,000 in the slow tests.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from dashboards.evidence import stats
from dashboards.evidence.attribution import paired_t_p
from dashboards.evidence.cells import LOSS_PER_TIME, Margin
from tests.dashboards.evidence.test_inversion import DIFFERENCES

STUDIES = (300, pytest.param(4000, marks=pytest.mark.slow))
MARGIN = Margin(0.03, LOSS_PER_TIME, 0, None).log
# One-sided false alarms; where differences are skewed the test is wrong on the side of the short tail.
MOST_ONE_SIDED = {"normal": 0.05, "lognormal": 0.05, "skewed": 0.14, "one outlier": 0.05}
# Student's intervals at nominal 95 %: how often they hold the mean, at the least.
LEAST_COVERED = {"normal": 0.95, "lognormal": 0.95, "skewed": 0.88, "one outlier": 0.95}


def noise(p: float, studies: int) -> float:
    return 3 * math.sqrt(p * (1 - p) / studies)


def drawn(kind: str, studies: int, n: int, *, seed: int) -> np.ndarray:
    return DIFFERENCES[kind](np.random.default_rng((seed, n)), (studies, n))


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("n", range(3, 13))
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_a_challenger_exactly_at_the_margin_is_seldom_called_within_or_beyond(
    kind: str, n: int, studies: int
) -> None:
    """Its loss is worse by the margin in the mean, so each answer would be a false alarm."""
    spread = 0.05  # of the log of the loss
    differences = spread * drawn(kind, studies, n, seed=11) - MARGIN
    within = sum(stats.one_sided_p(d + MARGIN) <= 0.05 for d in differences)
    beyond = sum(stats.one_sided_p(-(d + MARGIN)) <= 0.05 for d in differences)
    most = MOST_ONE_SIDED[kind]
    assert max(within, beyond) / studies <= most + noise(most, studies)
    if n < 5:
        assert within == beyond == 0


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize(("cells", "least"), [(3, 1), (3, 3), (8, 4)])
@pytest.mark.parametrize("n", [5, 7, 9, 12])
@pytest.mark.parametrize("kind", ["normal", "lognormal", "one outlier"])
def test_one_true_column_too_few_is_seldom_called_enough(
    kind: str, n: int, cells: int, least: int, studies: int
) -> None:
    """In least - 1 columns the effect is far beyond any doubt; in the others there is none."""
    claimed = 0
    spread = drawn(kind, studies * cells, n, seed=13).reshape(studies, cells, n)
    spread[:, : least - 1] += 1e3
    for study in spread:
        ps = [2.0**-n] * (least - 1) + [stats.one_sided_p(d) for d in study[least - 1 :]]
        claimed += stats.partial_conjunction_p(ps, least) <= 0.05
    assert claimed / studies <= 0.05 + noise(0.05, studies)
    if n < stats.fewest_pairs(0.05 / (cells - least + 1), one_sided=True):
        assert claimed == 0


def test_a_column_with_an_effect_beyond_doubt_has_the_least_p_that_there_is() -> None:
    """So the p that the simulation above takes for such columns is theirs."""
    for n in (5, 7, 9, 12):
        assert stats.one_sided_p(drawn("normal", 1, n, seed=13)[0] + 1e3) == 2.0**-n


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("n", range(3, 13))
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_students_interval_holds_the_mean_as_often_as_the_report_says(
    kind: str, n: int, studies: int
) -> None:
    intervals = [stats.mean_interval(x) for x in drawn(kind, studies, n, seed=17)]
    held = sum(i is not None and i.low <= 0 <= i.high for i in intervals) / studies
    least = LEAST_COVERED[kind]
    assert held >= least - noise(least, studies)


@pytest.mark.parametrize(("n", "covered"), [(3, 0.73), (6, 0.85), (10, 0.88)])
def test_a_bootstrap_of_few_values_holds_the_mean_as_seldom_as_the_report_says(
    n: int, covered: float
) -> None:
    held = 0
    for x in drawn("normal", 500, n, seed=19):
        interval = stats.bca_interval(x, lambda a: a.mean(axis=-1), resamples=400)
        held += interval.low <= 0 <= interval.high
    assert held / 500 == pytest.approx(covered, abs=0.045)


@pytest.mark.parametrize("studies", STUDIES)
@pytest.mark.parametrize("n", [3, 6, 12])
def test_the_t_test_of_controls_keeps_its_level_on_normal_differences(n: int, studies: int) -> None:
    rejected = sum(paired_t_p([*d]) <= 0.05 for d in drawn("normal", studies, n, seed=23))
    assert rejected / studies <= 0.05 + noise(0.05, studies)


@pytest.mark.parametrize("studies", STUDIES)
def test_holm_calls_any_of_three_empty_columns_a_difference_in_one_study_of_twenty_at_most(
    studies: int,
) -> None:
    families = drawn("normal", studies * 3, 8, seed=29).reshape(studies, 3, 8)
    called = sum(min(stats.holm([stats.sign_flip_p(d) for d in of])) <= 0.05 for of in families)
    assert 0 < called / studies <= 0.05 + noise(0.05, studies)
