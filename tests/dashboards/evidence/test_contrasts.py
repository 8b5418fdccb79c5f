"""Are rows compared in every column, and corrected for it?"""

from __future__ import annotations

import pytest

from dashboards.evidence import frames
from dashboards.evidence.contrasts import by_column
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
    assert only.differences == (0.0, 0.5)


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
        assert first.differences == pytest.approx([0.05] * 5 + [worst - ours[5]])
