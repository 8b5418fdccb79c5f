"""Are rows compared in every column, and corrected for it?"""

from __future__ import annotations

import math
from typing import Any

import pytest

from dashboards.evidence import frames
from dashboards.evidence.contrasts import Contrast, by_column
from dashboards.evidence.stats import Interval
from tests.dashboards.ledgers import diverged, ledger, repeated, runs, spec


def test_columns_are_corrected_together() -> None:
    study = spec()
    second = [
        {**arm.model_dump(), "name": f"{arm.name}-2", "column": "beta1", "after": _moved(arm)}
        for arm in study.arms
        if arm.column == "alpha"
    ]
    both = spec(arms=[*(arm.model_dump() for arm in study.arms), *second], claim=None)
    gains = (0.1, 0.2, 0.3, 0.1, 0.2, 0.3)
    found = {
        "confirm-bo": runs(*[1.0] * 6),
        "confirm-guided": runs(*(1.0 - g for g in gains)),
        "confirm-bo-2": runs(*[1.0] * 6),
        "confirm-guided-2": runs(*(1.0 - g for g in (-0.1, *gains[1:]))),
    }
    frame = frames.read(ledger(both, found), "s1")
    first, other = by_column(frame, "guided", "+ BO", metric="loss")
    assert (first.column, other.column) == ("alpha", "beta1")
    assert first.p == 2 / 64
    assert first.p_holm == pytest.approx(2 * first.p)
    assert other.p_holm == max(other.p, first.p_holm)
    assert by_column(frame, "guided", "guided", metric="loss") == []


def _moved(arm: object) -> dict[str, str] | None:
    after = getattr(arm, "after", None)
    return {"arm": f"{after.arm}-2"} if after else None


def test_a_row_that_all_columns_share_is_compared_in_each() -> None:
    found = {"confirm-base": runs(1.0, 1.0), "confirm-guided": runs(0.8, 0.9)}
    frame = frames.read(ledger(spec(confirmations=2), found), "s1")
    (only,) = by_column(frame, "guided", "base", metric="loss")
    assert (only.incumbent, only.column, only.n) == ("base", "alpha", 2)
    assert only.mean == pytest.approx(0.15)


def test_where_both_diverged_neither_is_better() -> None:
    found = {
        "confirm-bo": [diverged(loss=9.0), *runs(1.0)],
        "confirm-guided": [diverged(loss=2.0), *runs(0.5)],
    }
    frame = frames.read(ledger(spec(confirmations=2), found), "s1")
    (only,) = by_column(frame, "guided", "+ BO", metric="loss")
    assert only.differences == pytest.approx((0.0, math.log(2)))


def test_a_diverged_run_counts_as_the_worst_of_its_own_column() -> None:
    """The losses of another column, near 60, are no measure of it; those of an arm in all columns are."""
    ours = [0.75 + i / 100 for i in range(6)]
    arms = [repeated(f"{row}-{c}", row, column=c) for c in ("a", "b") for row in ("plain", "lagged")]
    arms += [repeated("longer", "longer", trials=1)]
    found = {
        "plain-a": [*runs(*(0.8 + i / 100 for i in range(5))), diverged()],
        "lagged-a": runs(*ours),
        "plain-b": runs(*[60.0] * 6),
        "lagged-b": runs(*[59.0] * 6),
    }
    for shared, worst in (([], 0.84), (runs(0.9), 0.9)):
        frame = frames.read(ledger(spec(arms=arms, claim=None), {**found, "longer": shared}), "s1")
        first, _ = by_column(frame, "lagged", "plain", metric="loss")
        theirs = [*(0.8 + i / 100 for i in range(5)), worst]
        ratios = [math.log(their / our) for their, our in zip(theirs, ours, strict=True)]
        assert first.differences == pytest.approx(ratios)


def only(guided: list[float], bo: list[float], **kinds: Any) -> Contrast:
    found = {"confirm-bo": runs(*bo), "confirm-guided": runs(*guided)}
    frame = frames.read(ledger(spec(confirmations=len(bo), **kinds), found), "s1")
    (one,) = by_column(frame, "guided", "+ BO", metric="loss")
    return one


def test_losses_are_compared_by_their_ratio_whose_interval_agrees_with_p() -> None:
    bo = [0.2, 0.3, 0.25, 0.4, 0.35, 0.28]
    seen = only([2 * value for value in bo], bo)
    assert seen.ratio == pytest.approx(2.0)
    assert seen.interval is not None
    assert (seen.interval.low, seen.interval.high) == pytest.approx((2.0, 2.0))
    assert (seen.clear, seen.p, seen.better_on, seen.worse_on) == ("worse", 2 / 64, 0, 6)
    assert (seen.size, seen.within) == ("×2", "2 to 2")
    assert seen.mean == pytest.approx(-sum(bo) / 6)  # the metric itself, without an interval
    assert seen.median == pytest.approx(-0.29)


def test_one_pair_the_other_way_is_in_the_interval_and_no_longer_clear() -> None:
    bo = [0.2, 0.3, 0.25, 0.4, 0.35, 0.28]
    seen = only([*(value / 2 for value in bo[:5]), 0.29], bo)
    assert seen.p > 0.05
    assert seen.interval is not None
    assert seen.interval.low == pytest.approx(0.5)
    assert seen.interval.high == pytest.approx(0.29 / 0.28)
    assert (seen.better, seen.clear, seen.better_on, seen.worse_on) == (True, "no", 5, 1)


def test_a_metric_that_is_not_above_zero_everywhere_is_compared_as_it_is() -> None:
    seen = only([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    assert seen.ratio is None
    assert seen.size == f"{seen.mean:+.3g}" == "+1.25"
    assert (seen.interval, seen.within) == (Interval(1.0, 1.5), "+1 to +1.5")


def test_with_five_pairs_there_is_no_interval() -> None:
    seen = only([0.1] * 5, [0.9] * 5)
    assert (seen.interval, seen.within, seen.clear) == (None, "", "no")


def test_the_seed_that_makes_the_gap_is_named() -> None:
    bo = [1.0] * 6
    assert only([0.9] * 6, bo).decisive is None
    seen = only([0.98, 0.99, 1.01, 0.97, 0.02, 1.0], bo)
    frame_seeds = [1000 + i for i in range(6)]
    assert seen.decisive == frame_seeds[4]
    assert only([0.5, 0.9], [1.0, 1.0]).decisive is None  # of two pairs one is always most of it
