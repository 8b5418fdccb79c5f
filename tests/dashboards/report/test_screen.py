"""Does the first screen say what won, by how much, on how many seeds, at what cost, in words for people?"""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.evidence import tables
from dashboards.evidence.cells import LOSS_PER_TIME
from dashboards.report import answer as report
from dashboards.report import figures, pages, screen, spent
from orchestrator.ledger.records import StudyState
from tests.dashboards.ledgers import FAILED, control, ledger, runs, searched, spec
from tests.dashboards.reading import text_of

BO = [0.10, 0.11, 0.12, 0.13, 0.10, 0.11]
WORSE = {
    "confirm-guided": runs(*(2 * v for v in BO)),
    "confirm-bo": runs(*BO),
    "confirm-base": runs(0.3, 0.2),
}
BETTER = {**WORSE, "confirm-guided": runs(*(v / 2 for v in BO))}


def gathered(fresh: dict[str, Any], study: Any = None, **changes: Any) -> report.Answer:
    return report.gather(ledger(study or spec(), {**searched(), **fresh}, **changes), "s1", slots=2)


def test_the_first_screen_of_the_report_answers_four_questions() -> None:
    text = text_of(pages.page(gathered(WORSE)), "answer")
    begin = text[:1400]
    assert begin.startswith("Claim refuted Guided tuning did not beat BO at equal cost")  # what won
    assert "loss 0.223 against 0.112 on 6 fresh seeds, at 0.75× the cost." in begin
    assert "2 times BO's (95% CI 2 to 2)" in begin  # by how much
    assert "worse on 6 of 6 seeds" in begin  # on how many seeds
    assert "Cost 0.75× of BO's, allowed 1.00×, by clocks" in begin  # at what cost
    assert "p = .031" in begin


def test_the_page_and_markdown_say_what_the_terminal_says() -> None:
    answer = gathered(WORSE)
    assert answer.headline.remarks == ()
    for told in (text_of(pages.page(answer), "explain"), pages.markdown(answer)):
        assert answer.explanation.text in told
    page = pages.page(answer)
    assert answer.headline.text.rstrip(".") in page
    few = gathered({"confirm-guided": runs(0.2, 0.3), "confirm-bo": runs(0.3, 0.2)})
    assert few.explanation.command in text_of(pages.page(few), "explain")
    assert few.explanation.command in pages.markdown(few)


def test_remarks_stand_beneath_the_headline() -> None:
    fresh = {**WORSE, "confirm-base": runs(*(v / 3 for v in BO))}
    answer = gathered(fresh)
    (remark,) = answer.headline.remarks
    assert remark.startswith("Best row: base")
    text = text_of(pages.page(answer), "answer")
    assert text.index(answer.headline.text.rstrip(".")) < text.index(remark) < text.index("Difference")


def test_the_sides_are_called_by_their_rows_everywhere_but_beside_the_spec() -> None:
    html = pages.page(gathered(WORSE))
    before, _, spec_part = html.partition("<h2>Claim and setup</h2>")
    body = before.partition("<body>")[2]
    assert not re.search(r"challenger|incumbent", body, re.IGNORECASE)
    assert "Challenger: guided. Incumbent: bo." in spec_part


def test_without_a_gain_controls_are_one_line_and_folded() -> None:
    replay = control("replay", "replay")
    worse = gathered({**WORSE, "replay": runs(*BO)}, spec(more_arms=[replay]))
    html = pages.page(worse)
    assert f'<details class="fold" id="controls"><summary>{screen.NOT_NEEDED}</summary>' in html
    assert pages.markdown(worse).partition("## Claim and setup")[0].count("Control") == 1
    better = gathered({**BETTER, "replay": runs(*BO)}, spec(more_arms=[replay]))
    assert better.headline.gain
    html = pages.page(better)
    assert screen.NOT_NEEDED not in html
    assert '<details class="fold" id="controls" open><summary>Controls (1)</summary>' in html
    assert "Controls:" in pages.markdown(better)


@pytest.mark.parametrize("state", [StudyState.RUNNING, StudyState.PAUSED, StudyState.CANCELLED])
def test_before_the_end_there_is_no_verdict_no_p_and_no_ratio(state: StudyState) -> None:
    answer = gathered(WORSE, state=state)
    markdown = pages.markdown(answer).partition("## Claim and setup")[0]
    for text in (text_of(pages.page(answer), "answer"), markdown):
        assert "No verdict yet" in text
        assert not re.search(r"\bp [=<]|×|refuted|supported|undecided|95% CI|times BO", text)
        assert f"of {sum(map(answer.frame.requested, answer.frame.spec.arms))} runs ended." in text
    html = pages.page(answer)
    assert "Differences, seed by seed" not in html
    assert 'id="figure-anytime"' in html[html.index('id="answer"') :].partition('class="main-table"')[0]


def test_a_study_whose_every_run_failed_has_its_reason_and_no_table() -> None:
    failed = {"base": [FAILED], "bo": [FAILED] * 4, "guided": [FAILED] * 3}
    answer = report.gather(ledger(spec(), failed, reason="The disk is gone."), "s1", slots=2)
    html = pages.page(answer)
    text = text_of(html, "answer")
    assert text.startswith("Failed All 8 runs failed")
    assert html.partition("<h2>Claim")[0].count("The disk is gone.") == 1
    assert 'class="answer-table' not in html
    assert "the paper" not in text
    assert "## The table" not in pages.markdown(answer)


def test_a_study_without_a_claim_says_which_row_is_best() -> None:
    text = text_of(pages.page(gathered(WORSE, spec(claim=None))), "answer")
    assert text.startswith("Completed Best row: BO in α, 0.1117 on 6 fresh seeds")
    assert "Difference" not in text


def test_cautions_of_one_kind_are_one_chip() -> None:
    results = {
        **searched(),
        "bo": [*searched()["bo"][:3], FAILED],
        "guided": [*searched()["guided"][:2], FAILED],
    }
    answer = report.gather(ledger(spec(), {**results, **WORSE}), "s1", slots=1)
    assert [each.arm for each in answer.cautions if each.kind == "failed"] == ["bo", "guided"]
    html = pages.page(answer)
    assert html.count("<summary>failed × 2</summary>") == 1
    (sentences,) = [chip.cautions for chip in screen.screen(answer).chips if chip.kind == "failed"]
    assert all(each.sentence in text_of(html, "answer") for each in sentences)


def test_the_table_begins_with_the_claim_s_column_and_marks_its_best_and_what_rests_on_few_seeds() -> None:
    other = [
        {
            "name": "other",
            "method": "fixed",
            "trials": 2,
            "fresh_seeds": True,
            "row": "other",
            "column": "beta1",
        }
    ]
    arms = [*other, *(arm.model_dump() for arm in spec().arms)]
    answer = gathered({**WORSE, "other": runs(0.5, 0.6)}, spec(arms=arms))
    assert answer.tables[0].columns == ("beta1", "alpha")
    (made,) = screen.screen(answer).tables
    assert made.columns == ("alpha", "beta1")
    assert all([cell.column for cell in row.cells] == ["alpha", "beta1"] for row in made.rows)
    assert screen.best_in(made, "alpha") == "+ BO"
    html = pages.page(answer)
    rows = dict(
        re.findall(r'<th scope="row">([^<]+)<span class="under">.*?</th>\s*<td class="([^"]*)"', html, re.S)
    )
    assert rows["+ BO"] == "best"
    assert rows["base"].strip() == "few"  # two seeds
    assert rows["guided"] == ""


def test_a_figure_has_one_legend_however_many_panels_it_has() -> None:
    html = pages.page(gathered(WORSE))
    for part in re.findall(r'<section class="figure".*?</section>', html, re.S):
        assert part.count('class="legend"') <= 1
    anytime = re.search(r'<section class="figure" id="figure-anytime".*?</section>', html, re.S)
    assert anytime is not None
    assert anytime[0].count('class="legend"') == 1


def test_all_but_the_figures_can_be_read_without_a_script() -> None:
    html = pages.page(gathered(WORSE))
    assert "All else can be read without it" in text_of(html.replace("<noscript>", '<div id="none">').replace(
        "</noscript>", "</div>"), "none")  # fmt: skip
    assert "DecompressionStream" in text_of(html, "no-figures")
    for name in ("explain", "costs", "rules", "reproduce"):
        assert text_of(html, name)


# -- costs in words ----------------------------------------------------------------------------------------
def test_what_a_result_cost_has_a_row_for_each_method_and_folds_those_that_reached_nothing() -> None:
    study = spec(objective={"metric": "loss", "targets": [0.95, 0.75, 0.1]})
    table = spent.target_table(report.gather(ledger(study, searched()), "s1", slots=1))
    assert table is not None
    assert table.targets == (0.95, 0.75, 0.1)
    assert table.rows == (
        ("+ BO", "alpha", ("2 h, run 2 of 4", "not reached", "not reached")),
        ("guided", "alpha", ("1 h, run 1 of 3", "2 h, run 2 of 3", "not reached")),
    )
    assert table.missed == ("base",)


@pytest.mark.parametrize(
    ("unit", "value", "chips", "words"),
    [
        ("runs", 1.0, 1, "1 run"),
        ("chip-hours", 0.000824, 1, "2.97 s"),
        ("chip-hours", 0.5, 8, "0.5 chip-hours"),
        ("wall-clock hours", 0.05, 8, "3 min"),
        ("chip-hours", float("inf"), 1, "not reached"),
        ("chip-hours", None, 1, "–"),
    ],
)
def test_a_cost_is_told_in_seconds_and_minutes_where_a_run_is_one_cpu(
    unit: str, value: float | None, chips: float, words: str
) -> None:
    assert spent.budget(unit, value, chips) == words


def test_equal_budgets_begin_with_the_claim_s_column() -> None:
    rows = list(spent.equal_rows(gathered(WORSE)))
    assert [(row.column, row.unit, row.budget) for row in rows] == [
        ("alpha", "runs", "3 runs"), ("alpha", "compute time", "3 h"), ("alpha", "wall-clock time", "2 h"),
    ]  # fmt: skip


def test_each_colour_of_a_legend_is_the_one_that_is_drawn() -> None:
    style = pages.environment(html=True).get_template("style.css").render()
    for i, colour in enumerate(figures.COLOURS):
        told = re.search(rf"\.ink-{i} {{ color: ([^;]+); }}", style)
        assert told is not None
        light = re.search(r"--blue: (#\w+);", style)
        assert light is not None
        assert (light[1] if told[1] == "var(--blue)" else told[1]) == colour.lower()


def test_a_rule_of_the_verdict_is_a_sentence_and_no_end_of_a_question_nor_a_name_of_the_code() -> None:
    rules = pages.rules()
    assert [rule for rule in rules if rule.endswith("?") or re.search(r"\b[A-Z]+_[A-Z]", rule)] == []
    assert any(f"it is that of short runs of the trainer, {LOSS_PER_TIME:g}." in rule for rule in rules)


def test_a_number_that_two_rows_have_marks_neither_as_the_best() -> None:
    made = gathered({"confirm-guided": runs(*BO), "confirm-bo": runs(*BO), "confirm-base": runs(0.3, 0.2)})
    assert screen.best_in(made.tables[0], "alpha") == ""
    assert tables.best_in(made.tables[0], "alpha") == "+ BO"
