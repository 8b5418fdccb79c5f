"""Are the tables those of the paper, with every number marked for what it is?"""

from __future__ import annotations

import csv
import io
import json
import re
from statistics import fmean
from typing import Any

import pytest
import scipy.stats

from dashboards.evidence import csv_tables, frames, latex, paper, table_forms, table_values, tables
from dashboards.report.answer import table_dict
from orchestrator.ground.errors import ServiceLost
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.study.spec import StudySpec
from studies import catalog
from tests.dashboards.ledgers import Run, diverged, ledger, repeated, runs, searched, spec

FRESH = {
    "confirm-bo": runs(0.80, 0.82, 0.81),
    "confirm-guided": [*runs(0.70, 0.72), diverged(loss=5.0)],
}


def made(study: StudySpec | None = None, **found: list[Run]) -> tables.Table:
    results = {**searched(), **FRESH, **found}
    return tables.table(frames.read(ledger(study or spec(confirmations=3), results), "s1"))


def test_a_row_shows_what_it_took_and_what_its_choice_reached() -> None:
    table = made()
    base, bo, guided = table.rows
    assert [row.name for row in table.rows] == ["base", "+ BO", "guided"]
    assert (bo.hours, bo.runs) == (4.0, (4, 4))
    (cell,) = bo.cells
    assert cell.value == pytest.approx(0.81)
    assert (cell.n, cell.source) == (3, "confirmed")
    assert cell.interval is not None
    assert cell.interval.low < 0.80 < 0.82 < cell.interval.high  # Student's t of three
    assert (base.cells[0].source, base.cells[0].value) == ("search", 1.0)
    assert (guided.cells[0].n, guided.cells[0].diverged) == (2, 1)
    assert guided.cells[0].value == pytest.approx(0.71)


def test_marks_say_where_a_number_comes_from() -> None:
    table = made(**{"confirm-base": []})
    text = table_forms.to_markdown(table)
    assert "| base | 1 h | 1 | 1.000\\* |" in text
    assert "0.710 †1" in text
    assert "\\* The best search run, not run again on fresh seeds" in text
    gone = made(**{"confirm-guided": [diverged()] * 3})
    assert tables.value_text(gone.rows[2].cells[0], 3) == "diverged"


def test_how_often_text_was_read_is_told_where_runs_say_it() -> None:
    assert not any("unlabelled text" in note for note in made().notes)
    found = made(
        **{"confirm-base": [*runs(0.9, values={"repeats": 0.24}), *runs(0.8, values={"repeats": 256.0})]}
    ).notes
    assert "A run on unlabelled text read it 0.24 to 256 times." in found


def test_a_study_of_table_2_has_its_rows_columns_and_numbers() -> None:
    study = catalog.get("bo-vs-guided", "smoke")
    table = tables.table(frames.read(ledger(study, {}, state=StudyState.RUNNING), "s1"), metric="test_bleu")
    searched, ways = ["base", "+ BO", "guided", "+ BO (η̂)"], ["guided, next batch", "guided, lagged"]
    controls = ["random search", "replay", "constant = mean", "matched decay", "longer plain training"]
    later = ["plain, β1 = .8", "plain ×1.3"]
    names = [*searched, *ways, *controls, *later, "+ BO over schedule parameters"]
    assert [row.name for row in table.rows] == names
    assert table_forms.header(table)[:6] == ["", "time", "# runs", "α", "β1", "α+β1"]
    theirs = [table_forms.paper_texts(row) for row in table.rows]
    assert theirs == [
        ["7.1 h", "1", "38.6", "38.6", "38.6"],
        ["708 h", "100", "39.4", "39.4", "39.5"],
        ["43.2 h", "4", "39.6", "39.8", "39.9"],
        ["1,100 h", "100", "39.7", "39.8", "39.9"],
        *(len(names) - len(searched)) * [["", "", "", "", ""]],
    ]
    assert table.notes[0] == "The study is waiting: these are the numbers so far."
    cancelled = tables.table(frames.read(ledger(study, {}, state=StudyState.CANCELLED), "s1"))
    assert cancelled.notes[0] == "The study is cancelled: these are the numbers at the end."


def test_a_study_over_language_pairs_stands_beside_table_1() -> None:
    arms = [
        {"name": f"{row}-{pair}", "method": "fixed", "row": row, "column": pair}
        for row in ("base", "alpha+beta1")
        for pair in ("de-en", "en-lt")
    ]
    frame = frames.read(ledger(spec(arms=arms, claim=None), {}), "s1")
    found = paper.beside(frame, "test_bleu")
    assert found is not None
    assert found.name == "Table 1 (BLEU)"
    table = tables.table(frame, metric="test_bleu")
    assert [cell.paper for row in table.rows for cell in row.cells] == [38.6, 11.3, 39.9, 12.2]


def test_deviations_come_from_the_spec() -> None:
    frame = frames.read(ledger(catalog.get("bo-vs-guided", "paper"), {}), "s1")
    named = {
        each.what: (each.ours, each.papers) for each in paper.deviations(frame, metric="test_bleu", seeds=3)
    }
    assert "data" not in named
    assert "hardware" not in named
    assert named["seeds"][0] == "the choice run again on 3 fresh seeds"
    small = frames.read(ledger(catalog.get("bo-vs-guided", "smoke"), {}), "s1")
    named = {each.what: (each.ours, each.papers) for each in paper.deviations(small, metric="loss", seeds=0)}
    assert named["training steps"] == ("40", "160,000")
    assert named["hardware"] == ("1 CPU core", "TPUv3, 16 cores (8 chips)")
    assert named["metric"] == ("loss", "BLEU, beam 4")


def test_a_tasks_score_on_the_test_split_comes_first_and_more_of_it_is_better() -> None:
    objective = {"metric": "score", "goal": "maximize"}
    scored = {f"confirm-{arm}": runs(80, 81, 82, values={"test_score": 79.0}) for arm in ("bo", "guided")}
    results = {**searched(), **scored}
    study = spec(confirmations=3, objective=objective, claim=None)
    frame = frames.read(ledger(study, results), "s1")
    assert tables.metrics(frame) == ("test_score", "score")
    table = tables.table(frame)
    assert (table.metric, table.lower_is_better) == ("test_score", False)
    assert tables.metric_name(table.metric) == "test score"


@pytest.mark.parametrize(
    ("base", "protocols"),
    [
        ({"data": {"task": "glue/cola"}}, ["ours"]),
        ({"data": {"task": "squad"}, "score": {"protocol": "papers"}}, ["papers"]),
        ({"data": {"task": "numbers"}}, []),
        ({}, []),
    ],
)
def test_a_table_of_a_benchmark_says_which_rows_chose_and_are_reported(
    base: dict[str, Any], protocols: list[str]
) -> None:
    study = spec(confirmations=3).model_copy(update={"base": base})
    notes = [note for note in made(study).notes if note.startswith("score.protocol ")]
    assert [note.split()[1].rstrip(":") for note in notes] == protocols


def test_bleu_of_the_test_split_comes_first_where_it_was_scored() -> None:
    scored = runs(0.8, 0.8, 0.8, values={"test_bleu": 30.04})
    frame = frames.read(ledger(spec(confirmations=3), {**searched(), "confirm-bo": scored}), "s1")
    assert tables.metrics(frame) == ("test_bleu", "loss")
    table = tables.table(frame)
    assert tables.value_text(table.rows[1].cells[0], table.decimals) == "30.0"
    assert table.rows[2].cells[0].source == "none"  # a search run has no test BLEU: nothing is put there


def test_csv_has_a_line_a_cell_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_tables.to_csv(made()))))
    assert [row["row"] for row in rows] == ["base", "'+ BO", "guided"]
    assert float(rows[1]["value"]) == pytest.approx(0.81)
    assert (rows[1]["source"], rows[1]["n"], rows[1]["run_hours"]) == ("confirmed", "3", "4.0")


@pytest.mark.parametrize(
    ("metric", "values", "least", "most"),
    [
        ("test_bleu", (99.0, 60.0, 95.0), None, 100.0),
        ("dev_accuracy", (0.99, 0.5, 0.97), None, 1.0),
        ("dev_accuracy", (99.0, 50.0, 97.0), None, 100.0),
        ("test_score", (99.0, 50.0, 97.0), None, 100.0),
        ("test_matthews", (99.0, -99.0, 97.0), -100.0, 100.0),
        ("dev_loss", (0.1, 0.9, 0.05), 0.0, None),
    ],
)
def test_no_interval_leaves_what_its_metric_can_be(
    metric: str, values: tuple[float, ...], least: float | None, most: float | None
) -> None:
    claim = {"text": "x", "challenger": "guided", "incumbent": "bo", "metric": metric}
    found = {"confirm-bo": [Run(0.8, values={metric: value}) for value in values]}
    frame = frames.read(ledger(spec(claim=claim), found), "s1")
    (cell,) = (row.cells[0] for row in tables.table(frame, metric=metric).rows if row.name == "+ BO")
    assert cell.interval is not None
    low, high = scipy.stats.t.interval(0.95, 2, loc=fmean(values), scale=scipy.stats.sem(values))
    assert (low, high) != pytest.approx((cell.interval.low, cell.interval.high))  # it would have left it
    assert cell.interval.low == (pytest.approx(low) if least is None else least)
    assert cell.interval.high == (pytest.approx(high) if most is None else most)


@pytest.mark.parametrize(
    ("metric", "values"), [("score", (900.0, 500.0, 970.0)), ("matthews", (2.0, 0.5, 1.5))]
)
def test_an_interval_may_reach_beyond_percent_or_below_0_where_its_metric_can(
    metric: str, values: tuple[float, ...]
) -> None:
    """A score need be no percent, and a correlation may be negative."""
    claim = {"text": "x", "challenger": "guided", "incumbent": "bo", "metric": metric}
    found = {"confirm-bo": [Run(0.8, values={metric: value}) for value in values]}
    frame = frames.read(ledger(spec(claim=claim), found), "s1")
    (cell,) = (row.cells[0] for row in tables.table(frame, metric=metric).rows if row.name == "+ BO")
    assert cell.interval is not None
    expected = scipy.stats.t.interval(0.95, 2, loc=fmean(values), scale=scipy.stats.sem(values))
    assert (cell.interval.low, cell.interval.high) == pytest.approx(expected)


def test_small_losses_are_not_shown_as_zero() -> None:
    tiny = made(
        base=runs(2.5e-7), **{"confirm-bo": runs(8e-7, 8.2e-7, 8.1e-7), "confirm-guided": runs(4e-7, 4.4e-7)}
    )
    base, bo, guided = (tables.cell_text(row.cells[0], tiny.decimals) for row in tiny.rows)
    assert base == "2.5e-07*"
    assert bo.startswith("8.1e-07 [7.852e-07, 8.348e-07]")  # Student's t of three: 8.1 ± 4.303 · 0.1 / √3
    assert guided == "4.2e-07 4e-07, 4.4e-07 n 2"  # two values are no interval
    alone = made(base=runs(3.14e-4), bo=[], guided=[], **{"confirm-bo": [], "confirm-guided": []})
    assert tables.value_text(alone.rows[0].cells[0], alone.decimals) == "0.000314*"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.8, 3, "0.800"),
        (2.0312741, 9, "2.031274"),
        (4e-4, 3, "0.000"),
        (4e-4, 7, "0.0004"),
        (0.002, 1, "0.0"),
        (0.0, 3, "0.000"),
        (39.44, 1, "39.4"),
    ],
)
def test_decimals_are_those_of_the_table_and_small_losses_have_digits(
    value: float, decimals: int, text: str
) -> None:
    assert tables.number_text(value, decimals) == text


def test_latex_is_escaped_and_ruled() -> None:
    study = spec(name="a_b", confirmations=3)
    text = latex.to_latex(made(study))
    assert "a\\_b: loss" in text
    assert " & time & \\# runs & $\\alpha$" in text
    assert text.count("\\midrule") == 1
    assert "0.710 $\\dagger$1" in text


def test_a_row_in_brackets_is_no_length_of_the_rule_above_it() -> None:
    names = {"base": "[2ex] base", "guided": "[a] guided"}
    arms = [{**arm.model_dump(), "row": names.get(arm.row, arm.row)} for arm in spec(confirmations=3).arms]
    text = latex.to_latex(made(spec(arms=arms)))
    assert not re.search(r"(rule|\\\\)\s*\[", text)  # \\, \midrule and \toprule take what follows in brackets
    assert "{}[2ex] base & " in text
    assert "{}[a] guided & " in text


def test_markdown_lets_no_name_break_out() -> None:
    assert tables.one_line("a|b\n<script> *x* [y](z)") == "a\\|b \\<script\\> \\*x\\* \\[y\\](z)"


def test_time_and_runs_are_those_of_one_search_in_the_mean_over_replicates() -> None:
    study = spec(replicates=3, confirmations=1)
    hours = {0: 1.0, 1: 1.0, 2: 4.0}
    bo = [Run(v, hours=h) for h in hours.values() for v in (1.0, 0.9, 0.8, 0.95)]
    fresh = {"confirm-bo": runs(0.8, 0.82, 0.81)}
    results = {**{name: of * 3 for name, of in searched().items()}, "bo": bo, **fresh}
    frame = frames.read(ledger(study, results), "s1")
    table = tables.table(frame)
    assert [(row.hours, row.runs) for row in table.rows] == [(1.0, (1, 1)), (8.0, (4, 4)), (3.0, (3, 3))]
    assert any(note.startswith("Time and runs per search") and "replicates" in note for note in table.notes)
    assert frames.cost(frame, [study.arm("bo")], slots=1).run_hours == 24.0  # what was spent is the sum


def test_a_running_setting_costs_the_runs_that_are_done() -> None:
    arms = [repeated(name, name) for name in ("plain", "rival")]
    waiting = [Run(state=TrialState.WAITING)] * 5
    results = {"plain": runs(*[1.0] * 6), "rival": [Run(0.9, hours=1.5), *waiting]}
    running = ledger(spec(arms=arms, claim=None), results, state=StudyState.RUNNING)
    table = tables.table(frames.read(running, "s1"))
    assert [(row.hours, row.runs) for row in table.rows] == [(1.0, (1, 1)), (1.5, (1, 1))]


def papers_hours(**changes: dict[str, str]) -> dict[str, float | None]:
    """What the paper says of each row, where these arms have other keys."""
    arms = [{**arm.model_dump(), **changes.get(arm.name, {})} for arm in spec().arms]
    frame = frames.read(ledger(spec(arms=arms), {}), "s1")
    return {row.name: row.paper_hours for row in tables.table(frame, metric="test_bleu").rows}


def test_the_papers_row_is_found_by_the_rows_name_or_by_its_stated_role() -> None:
    assert papers_hours() == {"base": 7.1, "+ BO": 708.0, "guided": 43.2}
    renamed = {"bo": {"row": "Bayes"}, "confirm-bo": {"row": "Bayes"}}
    assert papers_hours(**renamed) == {"base": 7.1, "Bayes": None, "guided": 43.2}
    stated = renamed | {"bo": {"row": "Bayes", "role": "bo"}}
    assert papers_hours(**stated) == {"base": 7.1, "Bayes": 708.0, "guided": 43.2}
    assert papers_hours(bo={"role": "guided"}) == {"base": 7.1, "+ BO": 43.2, "guided": 43.2}


def test_no_table_of_the_paper_stands_beside_rows_that_are_said_to_be_others() -> None:
    assert papers_hours(bo={"role": "other"}, guided={"role": "other"}) == {
        "base": None,
        "+ BO": None,
        "guided": None,
    }


def ranging() -> tables.Table:
    """Rows of one column took as many runs as was asked; one of two took 4 and 3."""
    second = {**spec().arm("bo").model_dump(), "name": "bo-2", "column": "beta1"}
    arms = [*(arm.model_dump() for arm in spec().arms), second]
    return made(spec(arms=arms), **{"bo-2": runs(1.0, 0.9, 0.95)})


def test_a_table_is_made_again_of_its_values_and_of_no_text() -> None:
    table = ranging()
    assert [(row.name, row.runs) for row in table.rows if row.name == "+ BO"] == [("+ BO", (3, 4))]
    told = json.loads(json.dumps(table_dict(table, values=True)))
    for cell in told["cells"]:
        del cell["runs"]
    assert table_values.from_dict(table.study, told) == table


def test_what_people_and_scripts_get_of_a_table_keeps_its_runs_as_text() -> None:
    (cell, *_) = (cell for cell in table_dict(ranging())["cells"] if cell["row"] == "+ BO")
    assert cell["runs"] == "3–4"
    assert not cell.keys() & {"runs_low", "runs_high"}


def test_a_table_of_an_older_service_is_refused_in_a_sentence() -> None:
    with pytest.raises(ServiceLost, match="lack runs_low and runs_high: it runs an older release of orch"):
        table_values.from_dict("synthetic", table_dict(ranging()))
