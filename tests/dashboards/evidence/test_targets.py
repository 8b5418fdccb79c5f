"""Is the cost of a target that of the runs up to the first that reached it?"""

from __future__ import annotations

import math

from dashboards.evidence import frames, series, tables, targets
from tests.dashboards.ledgers import ALPHA, FAILED, Run, ledger, runs, searched, spec

TARGETS = {"objective": {"metric": "loss", "targets": (0.9, 0.75, 0.1)}}


def test_it_is_the_runs_up_to_the_first_that_reached_it_and_a_miss_is_infinite() -> None:
    frame = frames.read(ledger(spec(**TARGETS), searched(bo_hours=2.0, guided_hours=0.5)), "s1")
    found = {(each.row, each.target): (each.runs, each.chip_hours) for each in targets.reached(frame)}
    assert found["+ BO", 0.9] == (2, 4.0)  # 1.0, then 0.9
    assert found["guided", 0.9] == (1, 0.5)
    assert found["+ BO", 0.75] == found["base", 0.9] == (math.inf, math.inf)
    assert found["guided", 0.75] == (2, 1.0)
    assert {found[row, 0.1] for row in ("base", "+ BO", "guided")} == {(math.inf, math.inf)}


def test_confirmations_are_no_search_and_have_no_line() -> None:
    results = {**searched(), "confirm-guided": runs(0.1, 0.1)}
    found = targets.reached(frames.read(ledger(spec(**TARGETS), results), "s1"))
    assert [each.row for each in found[:: len(TARGETS["objective"]["targets"])]] == ["base", "+ BO", "guided"]


def test_a_failed_run_was_spent_and_a_missing_replicate_keeps_its_place_in_the_median() -> None:
    study = spec(replicates=3, confirmations=1, **TARGETS)
    guided = [FAILED, *runs(0.8, 0.8), *runs(0.8, 0.9, 0.9), *runs(1.0, 1.0, 1.0)]
    bo = [Run(1.0) for _ in range(12)]
    frame = frames.read(ledger(study, {"guided": guided, "bo": bo}), "s1")
    found = {(each.row, each.target): each for each in targets.reached(frame)}
    assert found["guided", 0.9].runs == 2  # of 2, 1 and never
    assert found["guided", 0.9].runs_in_all == 3
    assert found["guided", 0.75].runs == math.inf


def test_runs_of_one_setting_on_fresh_seeds_are_no_search_and_race_for_nothing() -> None:
    arms = [
        {"name": "static", "method": "fixed", "trials": 5, "fresh_seeds": True, "row": "static"},
        {"name": "grid", "method": "random", "trials": 2, "space": [ALPHA], "row": "searched"},
    ]
    study = spec(arms=arms, claim=None, **TARGETS)
    results = {"static": runs(1.0, 1.1, 0.7, 1.0, 1.0), "grid": runs(0.8, 0.7)}
    frame = frames.read(ledger(study, results), "s1")
    assert {each.row for each in targets.reached(frame)} == {"searched"}
    assert {line.name for line in series.anytime(frame, "*")["runs"]} == {"searched"}
    static, searched_row = tables.table(frame).rows
    assert (static.runs, static.hours) == ((1, 1), 1.0)  # what a user would spend on it
    assert searched_row.runs == (2, 2)
