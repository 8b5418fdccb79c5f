"""Is the matrix what its rules say, against numbers worked out by hand and by other libraries?"""

from __future__ import annotations

import csv
import io
import itertools
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from dashboards.evidence import frames, matrix
from dashboards.evidence.matrix import Matrix
from dashboards.report import answer as report
from dashboards.report import files, pages
from orchestrator.ledger import Ledger
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import ALPHA, Run, diverged, ledger, runs, spec

GAINS = {"short": (0.10, 0.12, 0.11, 0.13, 0.09, 0.105), "long": (-0.2, 0.3, 0.1, -0.1, 0.05, 0.02)}
DEFAULT = (1.0, 1.1, 0.9, 1.05, 0.95, 1.02)
GUIDED = {"guidance": {"estimator": "lagged", "learn": ["alpha"]}}


def cell_arms(cell: str) -> list[dict[str, Any]]:
    """The default and a guided row, both on fresh seeds alone, and BO with its confirmation."""
    fresh = {"method": "fixed", "trials": 6, "fresh_seeds": True, "column": cell}
    return [
        {**fresh, "name": f"static-{cell}", "row": "static"},
        {"name": f"bo-{cell}", "method": "gp", "space": [ALPHA], "trials": 3, "startup_trials": 2,
         "row": "+ BO", "column": cell},
        {**fresh, "name": f"confirm-bo-{cell}", "after": {"arm": f"bo-{cell}"}, "phase": "confirm",
         "row": "+ BO"},
        {**fresh, "name": f"lagged-{cell}", "row": "lagged", "config": GUIDED},
    ]  # fmt: skip


def study(*cells: str, **changes: Any) -> StudySpec:
    return spec(arms=[arm for cell in cells for arm in cell_arms(cell)], claim=None, **changes)


def found(**changes: list[Run]) -> dict[str, list[Run]]:
    results: dict[str, list[Run]] = {}
    for cell, gains in GAINS.items():
        results[f"static-{cell}"] = runs(*DEFAULT, hours=2.0)
        results[f"bo-{cell}"] = runs(1.0, 0.9, 0.8, hours=2.0)
        results[f"confirm-bo-{cell}"] = runs(*(x - 0.05 for x in DEFAULT), hours=2.0)
        results[f"lagged-{cell}"] = runs(*(x - g for x, g in zip(DEFAULT, gains, strict=True)), hours=2.2)
    return {**results, **changes}


def store(**changes: list[Run]) -> Ledger:
    return ledger(study("short", "long"), found(**changes))


def made(**changes: list[Run]) -> Matrix:
    whole = matrix.matrix(frames.read(store(**changes), "s1"))
    assert whole is not None
    return whole


def line(of: Matrix, row: str) -> matrix.Line:
    return next(each for each in of.lines if each.row == row)


def by_brute_force(gains: tuple[float, ...]) -> float:
    sums = [
        abs(sum(s * g for s, g in zip(of, gains, strict=True))) for of in itertools.product((1, -1), repeat=6)
    ]
    return fmean(s >= abs(sum(gains)) - 1e-12 for s in sums)


def test_a_difference_has_its_mean_its_interval_and_its_ps() -> None:
    side = line(made(), "lagged").default
    logs = {
        cell: tuple(math.log(x / (x - g)) for x, g in zip(DEFAULT, gains, strict=True))
        for cell, gains in GAINS.items()
    }
    ps = {cell: by_brute_force(gains) for cell, gains in logs.items()}
    assert ps["short"] == 2 / 64
    for entry in side.entries:
        gains = GAINS[entry.column]
        seen = entry.contrast
        assert seen is not None
        assert seen.interval is not None
        assert seen.mean == pytest.approx(fmean(gains))
        assert seen.ratio == pytest.approx(math.exp(-fmean(logs[entry.column])))
        # Of six pairs the test rejects what lies outside of all of them.
        ends = math.exp(-max(logs[entry.column])), math.exp(-min(logs[entry.column]))
        assert (seen.interval.low, seen.interval.high) == pytest.approx(ends)
        assert seen.p == ps[entry.column]
        holm = min(1.0, 2 * ps["short"]) if entry.column == "short" else max(2 * ps["short"], ps["long"])
        assert seen.p_holm == pytest.approx(holm)


def test_wins_ties_and_losses_go_by_the_interval() -> None:
    worse = runs(*(x + 0.5 + e for x, e in zip(DEFAULT, (0, 0.01, 0.02, 0.03, 0.04, 0.05), strict=True)))
    whole = made(**{"lagged-long": worse})
    lagged, bo = line(whole, "lagged"), line(whole, "+ BO")
    assert [entry.outcome for entry in lagged.default.entries] == ["win", "loss"]
    assert lagged.default.never_worse == "no"
    assert lagged.bo is not None
    assert [entry.outcome for entry in lagged.bo.entries] == ["win", "loss"]
    assert (bo.bo, bo.default.never_worse) == (None, "yes")  # the same gain in each pair: no noise
    assert [entry.outcome for entry in line(made(), "lagged").default.entries] == ["win", "tie"]
    assert line(made(), "lagged").default.never_worse == "yes"


def test_what_diverges_more_often_has_lost_however_wide_the_interval() -> None:
    gone = [diverged(loss=1e6), *runs(*[0.1] * 5)]
    entry = line(made(**{"lagged-long": gone}), "lagged").default.entries[1]
    assert entry.contrast is not None
    assert entry.contrast.interval is not None
    assert entry.contrast.interval.low < 1 < entry.contrast.interval.high
    assert entry.outcome == "loss"
    assert matrix.entry_text(entry).endswith("†1 loss")
    both = made(**{"lagged-long": gone, "static-long": [diverged(loss=1e6), *runs(*[1.0] * 5)]})
    assert line(both, "lagged").default.entries[1].outcome == "tie"  # one pair is equal


def test_a_cell_without_pairs_is_not_known_and_no_row_is_safe_by_it() -> None:
    for few in ([], runs(0.1)):
        side = line(made(**{"lagged-long": few}), "lagged").default
        assert side.entries[1].outcome == "unknown"
        assert side.never_worse == "not known"
        assert matrix.tally(side) == "1 won, 0 tied, 0 lost, 1 not known"


def test_a_row_whose_search_all_diverged_has_lost_though_nothing_was_run_again() -> None:
    gone = {"bo-long": [diverged(loss=9.0)] * 3, "confirm-bo-long": []}
    entry = line(made(**gone), "+ BO").default.entries[1]
    assert (entry.outcome, matrix.entry_text(entry)) == ("loss", "all diverged, loss")
    some = {"bo-long": [diverged(loss=9.0), *runs(1.0, 1.0)], "confirm-bo-long": []}
    assert line(made(**some), "+ BO").default.entries[1].outcome == "unknown"


def test_what_is_replayed_costs_what_it_was_learned_at() -> None:
    """A grid of three guided runs at 2.2 hours, and one of the five plain ones that follow the best."""
    arms = cell_arms("short")
    grid = {"method": "grid", "trials": 3, "space": [{"path": "guidance.eta", "values": [0.1, 0.2, 0.3]}]}
    guided = {"guidance": {"estimator": "held-out", "learn": ["alpha"], "eta": 0.1}}
    following = {"after": {"arm": "grid", "take": "schedule"}, "row": "replay"}
    arms += [
        {"name": "grid", "column": "short", "row": "grid", "config": guided, **grid},
        {**arms[0], "name": "replay-short", **following},
    ]
    results = {k: v for k, v in found().items() if k.endswith("short")}
    results |= {"grid": runs(1.0, 0.9, 0.8, hours=2.2), "replay-short": runs(*DEFAULT, hours=2.0)}
    whole = matrix.matrix(frames.read(ledger(spec(arms=arms, claim=None), results), "s1"))
    assert whole is not None
    replay = line(whole, "replay")
    assert replay.run_costs == pytest.approx((3 * 1.1 + 1,))
    assert replay.step_costs == pytest.approx((1.0,))


def test_the_cost_of_a_step_is_the_median_cells_with_their_range() -> None:
    assert matrix.ranging((1.2, None, 1.0, 1.1)) == "1.1 (1 to 1.2)"
    assert (matrix.ranging((1.101, 1.1)), matrix.ranging((None,))) == ("1.1", "–")


def test_a_step_and_a_choice_are_counted_in_those_of_the_default() -> None:
    whole = made()
    lagged, bo = line(whole, "lagged"), line(whole, "+ BO")
    assert lagged.step_costs == pytest.approx((1.1, 1.1))
    assert lagged.run_costs == pytest.approx((1.1, 1.1))  # five replicates, and one of them the choice's cost
    assert bo.step_costs == pytest.approx((1.0, 1.0))
    assert bo.run_costs == pytest.approx((3.0, 3.0))
    wasted = made(**{"bo-long": runs(1.0, 0.9, 0.8, hours=2.0, wasted_hours=1.0)})
    assert line(wasted, "+ BO").run_costs == pytest.approx((3.0, 4.5))
    assert line(wasted, "+ BO").step_costs == pytest.approx((1.0, 1.0))
    assert line(made(**{"lagged-long": []}), "lagged").step_costs[1] is None


def test_each_row_comes_to_one_sentence() -> None:
    assert matrix.sentences(made()) == [
        "+ BO: never significantly worse than static: yes; a step costs 1 plain steps, "
        "the choice 3 plain runs.",
        "lagged: never significantly worse than static: yes; beats + BO in 1 of 2 cells, "
        "ahead of it in 1; a step costs 1.1 plain steps, the choice 1.1 plain runs.",
    ]


def test_a_metric_that_is_to_be_high_is_turned_round() -> None:
    results = found()
    high = {
        name: [Run(-run.value if run.value else None, hours=run.hours) for run in of]
        for name, of in results.items()
    }
    wants = {"metric": "loss", "goal": "maximize"}
    whole = matrix.matrix(frames.read(ledger(study("short", "long", objective=wants), high), "s1"))
    assert whole is not None
    for mine, theirs in zip(
        line(whole, "lagged").default.entries, line(made(), "lagged").default.entries, strict=True
    ):
        assert (mine.outcome, mine.contrast and mine.contrast.mean) == (
            theirs.outcome, theirs.contrast and theirs.contrast.mean,
        )  # fmt: skip


def test_columns_that_share_one_default_are_no_matrix() -> None:
    assert matrix.matrix(frames.read(ledger(spec(), {}), "s1")) is None


def test_a_study_of_defaults_alone_has_no_matrix() -> None:
    arms = [cell_arms(cell)[0] for cell in ("short", "long")]
    results = {f"static-{cell}": runs(*DEFAULT) for cell in ("short", "long")}
    alone = ledger(spec(arms=arms, claim=None), results)
    assert matrix.matrix(frames.read(alone, "s1")) is None


def test_the_csv_has_a_line_for_each_row_cell_and_opponent() -> None:
    lines = list(csv.DictReader(io.StringIO(matrix.to_csv(made()))))
    assert [(each["row"], each["column"], each["against"]) for each in lines] == [
        ("'+ BO", "short", "static"), ("'+ BO", "long", "static"),
        ("lagged", "short", "static"), ("lagged", "long", "static"),
        ("lagged", "short", "'+ BO"), ("lagged", "long", "'+ BO"),
    ]  # fmt: skip
    assert float(lines[2]["mean"]) == pytest.approx(fmean(GAINS["short"]))
    assert float(lines[2]["ratio"]) == pytest.approx(0.891, abs=0.001)
    assert (lines[2]["outcome"], lines[3]["outcome"], lines[2]["n"]) == ("win", "tie", "6")
    assert math.isclose(float(lines[2]["step_cost"]), 1.1)


def test_the_report_has_the_matrix_in_all_its_forms(tmp_path: Path) -> None:
    answer = report.gather(store(), "s1", slots=2)
    files.write(answer, tmp_path)
    assert (tmp_path / "matrix.csv").read_text() == matrix.to_csv(made())
    said = report.answer_dict(answer)["matrix"]
    assert [row["never_worse"] for row in said["rows"]] == ["yes", "yes"]
    assert said["rows"][1]["against_bo"] == {"ahead": 1, "win": 1, "tie": 1, "loss": 0, "unknown": 0}
    for text in (pages.markdown(answer), pages.page(answer)):
        assert "The matrix" in text
        assert "beats + BO in 1 of 2 cells" in text
        assert "×0.891 win" in text


def test_a_name_of_the_ledger_stays_a_word_in_the_matrix() -> None:
    arms = [{**arm, "row": f"{arm['row']}<b>|"} for arm in cell_arms("x")]
    answer = report.gather(ledger(spec(arms=arms, claim=None), {}), "s1", slots=2)
    assert "lagged<b>" not in pages.page(answer)
    assert "lagged<b>" not in pages.markdown(answer)


def test_the_choice_of_bo_costs_one_search_however_often_it_was_repeated() -> None:
    costs = []
    for replicates in (1, 3):
        results = {arm: of * replicates for arm, of in found().items()}
        whole = matrix.matrix(
            frames.read(ledger(study("short", "long", replicates=replicates), results), "s1")
        )
        assert whole is not None
        costs.append((line(whole, "+ BO").run_cost, line(whole, "lagged").run_cost))
    assert costs == [pytest.approx((3.0, 1.1))] * 2  # three runs of BO; 2.2 hours over 2.0
