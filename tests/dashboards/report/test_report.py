"""Is the page whole, safe, and a function of the ledger alone?"""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import answer as report
from dashboards.report import figures, files, ink, pages, screen
from orchestrator.backends.simulated import Fault
from orchestrator.cli.findings import detail_lines
from orchestrator.ledger import Ledger
from orchestrator.ledger.records import StudyState
from orchestrator.study.spec import StudySpec
from orchestrator.study.spec_files import read_spec
from tests.dashboards.answers import without_costs
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger, runs, searched, spec
from tests.faults.world import created, small_study, world

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> | `x`"


def whole(study: StudySpec | None = None, **changes: Any) -> Ledger:
    fresh = {f"confirm-{arm}": runs(0.7, 0.8, 0.75) for arm in ("base", "bo", "guided")}
    return ledger(study or spec(confirmations=3), {**searched(), **fresh}, **changes)


def test_all_files_are_written_and_the_spec_reads_back(tmp_path: Path) -> None:
    study = spec(confirmations=3)
    path = files.write(report.gather(whole(study), "s1", slots=2), tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "answer.json", "report.html", "report.md", "spec.json", "table.csv", "table.md", "table.tex",
    ]  # fmt: skip
    assert read_spec(path.parent / "spec.json") == study
    answer = json.loads((path.parent / "answer.json").read_text())
    assert (answer["study"], answer["status"]) == ("synthetic", "completed")
    assert answer["verdict"]["answer"] == "undecided"


def test_the_page_needs_no_network() -> None:
    html = pages.page(report.gather(whole(), "s1", slots=2))
    assert html.count(ink.packed_script()) == 1
    assert "default-src 'none'" in html
    assert not re.search(r"""(?:src|href)\s*=|@import|url\(|https?://""", html)


def test_the_page_carries_plotly_and_its_drawings_gzipped() -> None:
    answer = report.gather(whole(), "s1", slots=2)
    html = pages.page(answer)
    packed = {
        name: gzip.decompress(base64.b64decode(text)).decode()
        for name, text in re.findall(r'<script type="text/plain" id="(\w+)">([^<]*)</script>', html)
    }
    assert packed["plotly"] == ink.plotly_script()
    drawn = figures.figures(answer.frame, answer.heard)
    assert {key: len(plots) for key, plots in json.loads(packed["drawings"]).items()} == {
        figure.key: len(figure.plots) for figure in drawn
    }
    assert len(html.encode()) < 2.5e6


def test_the_verdict_comes_first_and_then_the_table() -> None:
    text = pages.markdown(report.gather(whole(), "s1", slots=2))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# synthetic: Undecided",
        "## 3 seeds cannot tell guided tuning and BO apart",
        "### Explain this verdict",
        "## The table",
        "## Differences, seed by seed",
        "## What it cost",
        "## Caveats",
        "## Claim and setup",
        "## To reproduce it",
    ]


@pytest.mark.fault(26)
def test_words_of_the_ledger_cannot_become_markup() -> None:
    study = spec(question=EVIL, confirmations=3)
    arms = [{**a.model_dump(), "row": f"{EVIL}{a.row}"} for a in study.arms]
    answer = report.gather(whole(spec(question=EVIL, arms=arms, confirmations=3)), "s1", slots=2)
    html = pages.page(answer)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>" not in pages.markdown(answer)


def test_a_disturbed_study_and_an_undisturbed_one_have_equal_reports(tmp_path: Path) -> None:
    claim = {"text": "Random beats the base.", "challenger": "random", "incumbent": "base"}
    said = []
    for name, faults in (
        ("calm", []),
        ("stormy", [Fault("*", 1, "die", 4), Fault("*", 2, "preempt", 3)]),
    ):
        place = world(tmp_path / name, faults=faults)
        created(place, small_study(claim=claim), study_id=name)
        place.drive(place.engine(), name)
        said.append(report.gather(place.store, name, slots=2))
    calm, stormy = (report.answer_dict(answer) for answer in said)
    assert stormy["costs"] != calm["costs"]
    assert without_costs(stormy) == without_costs(calm)
    drawn = [figures.figures(answer.frame, answer.heard) for answer in said]
    for one, other in zip(*drawn, strict=True):
        if one.key == "tradeoff":  # each dot's x is a cost
            heights = [[t["y"] for t in f.plots[0].figure["data"]] for f in (one, other)]
            assert heights[0] == heights[1]
        elif one.key == "anytime":  # of its units only runs is no cost
            traces = [
                [t for plot in f.plots for t in plot.figure["data"] if t["meta"] == "runs"]
                for f in (one, other)
            ]
            assert traces[0] == traces[1]
        else:
            assert one == other


def test_the_same_ledger_gives_the_same_bytes() -> None:
    store = whole()
    first, second = (pages.page(report.gather(store, "s1", slots=2)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("found", [{}, {"base": runs(1.0), "bo": [Run(0.9, point={"optimizer.alpha": 2.0})]}])
def test_a_study_that_has_not_ended_says_so(found: dict[str, list[Run]]) -> None:
    answer = report.gather(ledger(spec(), found, state=StudyState.RUNNING), "s1", slots=2)
    assert answer.verdict.answer == "undecided"
    assert "The study is waiting and has not ended" in pages.page(answer)
    assert "The study is waiting and has not ended" in pages.markdown(answer)


def test_a_study_without_rows_or_claim_has_a_report_too(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    place.drive(place.engine(), "s1")
    answer = report.gather(place.store, "s1", slots=1)
    assert [row.name for row in answer.tables[0].rows] == ["base", "random", "grid"]
    assert answer.tables[0].rows[1].cells[0].source == "confirmed"
    assert answer.deviations == ()
    assert "The study registered no claim" in pages.page(answer)
    assert ("Python", "3") in [(name, value.split(".")[0]) for name, value in answer.versions]


@pytest.mark.parametrize(
    ("dirty", "told"),
    [
        (False, "c0ffee000000"),
        (True, "c0ffee000000 (changed)"),
        (None, "c0ffee000000 (whether changed is not known)"),
    ],
)
def test_a_commit_is_told_with_what_is_known_of_changes_to_it(dirty: bool | None, told: str) -> None:
    git = {"commit": "c0ffee" + 34 * "0", "dirty": dirty}
    assert report._versions([{"git": git}]) == (("commit", told),)


@pytest.mark.parametrize(("pairs", "how"), [(16, "exact"), (17, "by 50,000 drawn swaps")])
def test_a_test_is_called_exact_where_it_is(pairs: int, how: str) -> None:
    fresh = {f"confirm-{arm}": runs(*range(pairs)) for arm in ("guided", "bo")}
    answer = report.gather(ledger(spec(confirmations=pairs), {**searched(), **fresh}), "s1", slots=1)
    (rule,) = [fact.rule for fact in screen.screen(answer).facts if fact.name == "Test"]
    assert f"two-sided, {how}." in rule


def test_large_counts_are_short() -> None:
    assert [pages.many(x) for x in (0, 80, 22_400, 1.2e6, 3.4e15)] == [
        "–",
        "80",
        "22,400",
        "1.2M",
        "3.40e+15",
    ]
    assert [pages.short(x) for x in (None, float("inf"), 1234.56)] == ["–", "never", "1235"]


def test_markdown_and_the_terminal_say_of_the_verdict_what_the_page_says() -> None:
    fresh = {"confirm-guided": [*runs(0.7, 0.71, 0.72), FAILED, diverged()], "confirm-bo": runs(*[0.8] * 5)}
    answer = report.gather(ledger(spec(confirmations=5), {**searched(), **fresh}), "s1", slots=2)
    said = "Diverged runs: guided 1, BO 0. Runs without a result: guided 1, BO 0."
    for text in (pages.page(answer), pages.markdown(answer)):
        assert said in text
        assert screen.NOT_NEEDED in text
    assert any(said in line for line in detail_lines(report.verdict_dict(answer.verdict), gain=True))


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        (StudyState.CANCELLED, "cancelled", "The study was cancelled before its end."),
        (
            StudyState.COMPLETED,
            "The budget is spent.",
            "The study did not end as planned: The budget is spent.",
        ),
    ],
)
def test_a_study_that_ended_otherwise_says_so_at_the_top(state: StudyState, reason: str, told: str) -> None:
    answer = report.gather(whole(state=state, reason=reason), "s1", slots=2)
    for text in (pages.page(answer), pages.markdown(answer)):
        assert f"{told} Everything below is preliminary." in text
        assert "and has not ended" not in text


def test_never_is_explained_as_it_is_counted() -> None:
    """One of two replicates reached the target: the median of the two times is infinite."""
    study = spec(replicates=2, objective={"metric": "loss", "targets": [0.75]})
    guided = [*searched()["guided"], *runs(0.9, 0.8, 0.8)]
    answer = report.gather(ledger(study, {"guided": guided}), "s1", slots=2)
    assert [each.runs for each in answer.reached if each.row == "guided"] == [float("inf")]
    for text in (pages.page(answer), pages.markdown(answer)):
        assert "never: not in more than half of the replicates" in text
        assert "no run was" not in text
    once = report.gather(ledger(spec(objective=study.objective), {}), "s1", slots=2)
    assert "replicates" not in pages.markdown(once).split("Cost until a run reached")[1].split("\n")[0]
