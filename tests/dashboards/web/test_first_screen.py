"""Does the live page of a study begin with the answer and, until there is one, with how far it is?"""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboards.report import pages
from dashboards.report.answer import gather
from orchestrator.ledger.records import StudyState
from tests.dashboards.asgi import get
from tests.dashboards.ledgers import FAILED, ledger, runs, searched, spec
from tests.dashboards.reading import text_of
from tests.dashboards.web.test_web import drawings, filled, served


def test_the_first_screen_answers_four_questions_in_the_report_s_words() -> None:
    fresh = {"confirm-guided": runs(*[0.2] * 6), "confirm-bo": runs(*[0.1] * 6), "confirm-base": runs(0.3)}
    store = ledger(spec(), {**searched(), **fresh})
    html = get(served(store), "/studies/s1").text
    text = text_of(html, "answer")
    assert text.startswith("Claim refuted Guided tuning did not beat BO at equal cost")  # what won
    assert "loss 0.2 against 0.1 on 6 fresh seeds, at 0.75× the cost." in text  # on how many seeds
    assert "Difference 0.1 worse 2 times BO's (95% CI 2 to 2)" in text  # by how much
    assert "Cost 0.75× of BO's, allowed 1.00×, by clocks" in text  # at what cost
    page = pages.page(gather(store, "s1", slots=2))
    for part in ("explain", "controls", "fact-test", "rules"):
        assert text_of(html, part) == text_of(page, part)
    assert drawings(html)[1].keys() >= {"pairs", "tradeoff"}
    assert html.index('id="answer"') < html.index('id="figure-pairs"') < html.index('id="figure-anytime"')


@pytest.mark.parametrize("state", [StudyState.RUNNING, StudyState.PAUSED])
def test_before_the_end_the_first_screen_has_no_verdict_no_p_and_no_ratio(state: StudyState) -> None:
    text = text_of(get(served(filled(state=state)), "/studies/s1").text, "answer")
    assert text.startswith("No verdict yet 8 of 26 runs ended")
    assert "Best loss so far: 0.70000 (guided)." in text
    assert "A line ends where its arm ended" in text  # the curve that grows
    assert not re.search(r"\bp [=<]|×|refuted|supported|undecided|95% CI|times BO", text)


def test_what_is_left_is_told_by_the_pace_since_the_first_run_once_a_twentieth_is_done() -> None:
    def told(results: dict[str, Any], now: float, state: StudyState = StudyState.RUNNING) -> str | None:
        store = ledger(spec(), results, state=state)
        text = text_of(get(served(store, now=lambda: now), "/studies/s1").text, "answer")
        found = re.search(r"about ([^.]+?) left", text)
        return found and found[1]

    found = searched()  # 8 of 26 runs, created at 1 and ended at 2
    assert told(found, now=1 + 8 * 60) == "18 min"  # a minute a run
    assert told(found, now=1 + 8) == "18 s"
    assert told({"base": runs(1.0)}, now=481) is None  # one of 26 is less than a twentieth
    assert told(found, now=481, state=StudyState.PAUSED) is None


def test_what_is_left_counts_runs_by_what_they_are_expected_to_take() -> None:
    hours = {"base": 1.0, "bo": 1.0, "guided": 3.0}
    arms = [
        {**arm.model_dump(), "run_hours": hours[arm.name.removeprefix("confirm-")]} for arm in spec().arms
    ]
    store = ledger(spec(arms=arms), searched(), state=StudyState.RUNNING)
    text = text_of(get(served(store, now=lambda: 1 + 14 * 60), "/studies/s1").text, "answer")
    assert "about 30 min left" in text  # 1 + 4 + 9 of 44 are done


def test_a_study_that_goes_on_is_timed_from_when_it_was_asked_to() -> None:
    store = filled(state=StudyState.RUNNING)
    wish = store.wish("s1", "resume", {}, asked_at=2.0, asked_by="ann")
    text = text_of(get(served(store, now=lambda: 1e6), "/studies/s1").text, "answer")
    assert "left" in text  # not yet answered: still by the old pace
    store.answer_wish(1, wish.wish_id, "")
    text = text_of(get(served(store, now=lambda: 2 + 8 * 60), "/studies/s1").text, "answer")
    assert "about 18 min left" in text


def test_a_study_whose_every_run_failed_has_no_table_and_no_figures() -> None:
    failed = {"base": [FAILED], "bo": [FAILED] * 4, "guided": [FAILED] * 3}
    html = get(served(ledger(spec(), failed, reason="The disk is gone.")), "/studies/s1").text
    text = text_of(html, "answer")
    assert text.startswith("Failed All 8 runs failed The disk is gone.")
    assert "answer-table" not in html
    assert 'class="plot"' not in html
