"""Does a plan say what the claim's own test can see, before anything runs?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dashboards.evidence import stats
from dashboards.evidence.power import of_claim
from orchestrator.study.plan import ClaimPlan
from tests.dashboards.ledgers import repeated, spec


def planned(columns: int = 1, *, seeds: Sequence[int] = (6,), **claim: Any) -> ClaimPlan:
    """Two settings on so many fresh seeds, in so many columns."""
    arms = [
        repeated(f"{row}-{i}", row, trials=seeds[i % len(seeds)], column=f"c{i}")
        for i in range(columns)
        for row in ("plain", "rival")
    ]
    stated = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0", **claim}
    found = of_claim(spec(arms=arms, claim=stated))
    assert found is not None
    return found


MARGIN = {"kind": "non-inferiority", "time_margin": 0.03}


def test_superiority_is_planned_by_the_two_sided_sign_flip_test_and_not_by_the_t_test() -> None:
    found = planned()
    assert (found.pairs, found.unit, found.fewest, found.two_sided) == (6, "seed", 6, True)
    assert found.needed["1.5"] == 7  # the t test would need 6
    assert found.effect == pytest.approx(1.79, abs=0.01)  # all six have one sign in four of five studies
    assert found.sentence == (
        "Claim of superiority: 6 paired seeds; 80% power to see a difference of 1.8 paired standard "
        "deviations. Pairs needed: 6 for 2, 7 for 1.5, 11 for 1, 34 for 0.5 standard deviations."
    )


def test_non_inferiority_is_planned_on_one_side() -> None:
    found = planned(seeds=(5,), **MARGIN)
    assert (found.level, found.two_sided, found.fewest) == (0.05, False, 5)
    assert found.needed["1.5"] == 6
    assert (
        "from the margin: of two equal arms if the paired standard deviation of log loss is" in found.sentence
    )


def test_a_claim_over_columns_is_planned_at_the_level_of_one_of_them() -> None:
    found = planned(8, seeds=(7, 9), at_least=4)
    assert (found.columns, found.pairs, found.fewest) == (8, 7, 7)  # the column with fewest counts
    assert found.level == 0.05 / 5
    assert "7 paired seeds in each of 8 columns; 4 are claimed" in found.sentence
    assert planned(8, seeds=(6,), at_least=4).effect is None
    assert "fewer than 7 can never reach p = 0.01" in planned(8, seeds=(6,), at_least=4).sentence


def test_without_a_claim_there_is_nothing_to_plan() -> None:
    assert of_claim(spec(claim=None)) is None


def test_where_an_arm_chooses_anew_in_each_replicate_the_pairs_are_replicates() -> None:
    found = of_claim(spec(confirmations=2, replicates=6))
    assert found is not None
    assert (found.pairs, found.unit) == (6, "replicate")
    chosen_once = of_claim(spec(confirmations=4))
    assert chosen_once is not None
    assert (chosen_once.pairs, chosen_once.unit) == (4, "seed")


# -- known answers of the test itself --------------------------------------------------------------------
@pytest.mark.parametrize(("columns", "least", "pairs"), [(8, 4, 7), (24, 12, 9), (3, 3, 5), (8, 1, 8)])
def test_the_fewest_pairs_over_columns_follow_from_the_least_p_that_can_be_reached(
    columns: int, least: int, pairs: int
) -> None:
    others = columns - least + 1
    assert 2.0**-pairs * others <= 0.05 < 2.0 ** -(pairs - 1) * others
    assert stats.fewest_pairs(0.05 / others, one_sided=True) == pairs
    assert planned(columns, at_least=least).fewest == pairs


@pytest.mark.parametrize(
    ("sd", "pairs"),
    [(0.03, 9), (0.035, 11), (0.04, 13), (0.05, 20)],  # of the log of the speed-up
)
def test_pairs_for_equal_arms_under_a_margin_of_three_percent_of_time(sd: float, pairs: int) -> None:
    """Eleven pairs are enough up to a paired standard deviation of 3.5 %."""
    assert stats.units_to_decide(math.log(1.03) / sd, one_sided=True) == pairs


@pytest.mark.parametrize(
    ("effect", "alpha"), [(1.5, 0.05), (1.0, 0.05), (1.5, 0.05 / 5), (1.5, 0.05 / 13), (1.0, 0.05 / 5)]
)
def test_one_sided_pairs_reach_the_power_and_one_fewer_do_not(effect: float, alpha: float) -> None:
    n = stats.units_to_decide(effect, alpha=alpha, one_sided=True)
    assert n is not None
    noise = 3 * math.sqrt(0.8 * 0.2 / 2000)
    assert power_by_brute_force(effect, n, alpha) > 0.8 - noise
    assert power_by_brute_force(effect, n - 1, alpha) < 0.8 + noise
    seen = stats.effect_seen(n, alpha=alpha, one_sided=True)
    assert seen is not None
    assert seen <= effect


def power_by_brute_force(effect: float, n: int, alpha: float) -> float:
    """How many of 2,000 simulated studies the one-sided test of all sign flips rejects."""
    random = np.random.default_rng(23)
    flips = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    rejected = 0
    for _ in range(20):
        sums = random.normal(effect, 1, (100, n)) @ flips.T  # the first flip is none
        rejected += int(((sums >= sums[:, :1] - 1e-9).mean(axis=1) <= alpha).sum())
    return rejected / 2000


@pytest.mark.parametrize("pairs", [5, 6, 7, 10, 11, 12, 30])
@pytest.mark.parametrize("one_sided", [False, True])
def test_the_effect_that_pairs_see_is_the_least_for_which_they_are_enough(
    pairs: int, one_sided: bool
) -> None:
    seen = stats.effect_seen(pairs, one_sided=one_sided)
    if pairs < stats.fewest_pairs(one_sided=one_sided):
        assert seen is None
        return
    assert seen is not None
    assert stats.units_to_decide(seen * 1.001, one_sided=one_sided) == pairs
    less = stats.units_to_decide(seen * 0.999, one_sided=one_sided)
    assert less is not None
    assert less > pairs
