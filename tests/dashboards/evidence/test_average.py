"""Is a claim about the average over columns judged by the means, seed by seed?"""

from __future__ import annotations

import itertools
import json
import re
from statistics import fmean
from typing import Any

import pytest

from dashboards.evidence import average, frames, power, stats
from dashboards.evidence.cautions import cautions
from dashboards.evidence.frames import Frame
from dashboards.report import pages
from dashboards.report.answer import conclude, gather, table_of, verdict_of
from orchestrator.cli import findings
from orchestrator.ledger.records import StudyState
from orchestrator.study.canonical import canonical
from orchestrator.study.spec import StudySpec
from tests.dashboards.downstream import ABOVE, BASE, TASKS, named, results, scored, spec
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger


def read(study: StudySpec | None = None, **runs: list[Run]) -> Frame:
    return frames.read(ledger(study or spec(), results(**runs)), "s1")


def judged(frame: Frame) -> Any:
    return conclude(frame)[0]


MEANS = [fmean(ABOVE[task][i] for task in TASKS) for i in range(6)]


# -- the claim ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("claim", "tasks", "sentence"),
    [
        ({"at_least": 2}, TASKS, "claim.average is true and claim.at_least is 2. Allowed is one of them"),
        (
            {"kind": "non-inferiority", "time_margin": 0.03},
            TASKS,
            "claim.average is true and claim.kind is 'non-inferiority'. A margin in time is of one column",
        ),
        ({}, TASKS[:1], "stand together in 1 column. An average is of 2 columns or more."),
        ({}, ("figures", "average"), "a column is named 'average', as the table's column of means is."),
    ],
)
def test_an_average_that_cannot_be_is_refused_in_a_sentence(
    claim: dict[str, Any], tasks: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        spec(tasks=tasks, claim=claim)


def test_a_claim_without_it_has_the_text_that_it_had() -> None:
    assert json.loads(canonical(spec()))["claim"]["average"] is True
    assert "average" not in json.loads(canonical(spec(claim={"average": False})))["claim"]
    assert spec().claim is not None
    assert spec().claim.shows.endswith(", in the mean over their columns")  # type: ignore[union-attr]


# -- the test ----------------------------------------------------------------------------------------------
def test_the_pairs_are_the_means_over_columns_and_the_sign_flip_test_is_of_them() -> None:
    seen = judged(read()).contrast
    assert seen.differences == pytest.approx(MEANS)
    assert (seen.column, seen.n, seen.unit) == ("average", 6, "seed")
    flips = [
        sum(s * d for s, d in zip(signs, MEANS, strict=True))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    assert seen.p == fmean(abs(flip) >= abs(sum(MEANS)) - 1e-9 for flip in flips) == 2 / 64
    assert seen.mean == pytest.approx(fmean(MEANS))


def test_it_is_supported_refuted_and_undecided_by_these_means() -> None:
    assert judged(read()).answer == "supported"
    lower = {task: tuple(-up for up in ABOVE[task]) for task in TASKS}
    worse = frames.read(ledger(spec(), results(above=lower)), "s1")
    assert judged(worse).answer == "refuted"
    mixed = {**ABOVE, "facts": (-9.0, 9.0, -9.0, 9.0, -9.0, 9.0)}
    open_ = judged(frames.read(ledger(spec(), results(above=mixed)), "s1"))
    assert open_.answer == "undecided"
    assert "average score" in open_.why


def test_five_seeds_can_decide_nothing_and_six_can() -> None:
    five = spec(seeds=5)
    found = power.of_claim(five)
    assert found is not None
    assert (found.average, found.columns, found.pairs, found.fewest, found.effect) == (True, 3, 5, 6, None)
    assert found.sentence.startswith(
        "Claim of superiority: 5 paired seeds of means over 3 columns; fewer than 6 can never reach p = 0.05."
    )
    cut = {name: runs[:5] for name, runs in results().items()}
    seen = judged(frames.read(ledger(five, cut), "s1"))
    assert (seen.answer, seen.p, seen.more_needed) == ("undecided", 2 / 32, 1)
    assert "Fewer than 6 pairs can never reach p = 0.05." in seen.why
    six = power.of_claim(spec())
    assert six is not None
    assert six.effect is not None


def test_a_seed_that_lacks_a_value_in_a_column_is_left_out_and_told() -> None:
    both = [Run(b + a) for b, a in zip(BASE["figures"], ABOVE["figures"], strict=True)]
    seen = judged(read(**{named("α+β1", "figures"): [*both[:3], FAILED, *both[4:]]}))
    assert seen.contrast.differences == pytest.approx([m for i, m in enumerate(MEANS) if i != 3])
    assert seen.average == average.Averaged(TASKS, (1003,), ("figures",))
    assert "Seed 1003 is left out of the average: a pair is missing in figures." in seen.condition


def test_a_diverged_run_counts_with_the_worst_value_of_its_column() -> None:
    both = scored(*(b + a for b, a in zip(BASE["facts"], ABOVE["facts"], strict=True)))
    seen = judged(read(**{named("α+β1", "facts"): [diverged(score=12.0), *both[1:]]}))
    worst = min(12.0, min(BASE["facts"]) - 10)  # of all runs of the column; those without pretraining too
    expected = [fmean([ABOVE["word-order"][0], ABOVE["figures"][0], worst - BASE["facts"][0]]), *MEANS[1:]]
    assert seen.contrast.differences == pytest.approx(expected)
    assert seen.contrast.diverged == (1, 0)


def test_more_seeds_would_not_help_where_a_column_reports_nothing() -> None:
    none = [Run(None, values={"dev_loss": 1.0}) for _ in range(6)]
    seen = judged(read(**{named("α+β1", "facts"): none}))
    assert (seen.answer, seen.more_needed) == ("undecided", 0)
    assert "reported 'score'" in seen.why


def test_cost_is_summed_over_the_columns_with_a_pretraining_in_each() -> None:
    seen = judged(read())
    assert seen.cost_ratio == pytest.approx(3 * (6 + 1) / (3 * (4 + 1)))
    limited = frames.read(ledger(spec(claim={"cost_ratio": 1.2}), results()), "s1")
    assert judged(limited).answer == "refuted"


def test_controls_are_told_by_column_and_none_of_the_average() -> None:
    seen = judged(read())
    assert seen.controls == () == seen.controls_not_run
    assert [column.column for column in seen.columns] == [*TASKS]


# -- in words ----------------------------------------------------------------------------------------------
def test_the_headline_the_terminal_and_json_call_it_an_average(capsys: pytest.CaptureFixture[str]) -> None:
    store = ledger(spec(), results())
    _, told = verdict_of(store, "s1")
    assert told["headline"]["text"] == "α+β1 beat base in the average over 3 tasks."
    findings.tell_verdict(told, "t5-smoke", "completed")
    text = " ".join(capsys.readouterr().out.split())
    assert "average score, 6 fresh seeds α+β1 52.1 base 50.2 higher is better" in text
    assert "α+β1 has the higher average score, 52.1 against 50.2" in text
    assert "a seed stands for both, and an interval holds the spread of both." in text
    assert told["verdict"]["average"] == {"columns": TASKS, "left_out": (), "lacking": ()}


def test_the_other_metric_is_of_averages_too() -> None:
    frame = read()
    assert frame.spec.claim is not None
    other = average.of_claim(frame, frame.spec.claim, metric="test_score")
    assert other.differences == pytest.approx(MEANS)
    assert stats.sign_flip_p(other.differences) == other.p


def test_runs_of_one_pretraining_run_are_not_told_to_hold_its_spread() -> None:
    data = spec().model_dump(mode="json")
    for arm in data["arms"]:
        if arm["phase"] == "prepare":
            arm["trials"] = 1
    one = StudySpec.model_validate(data)
    assert average.begun_by_number(frames.planned(one)) == ()
    assert average.begun_by_number(frames.planned(spec())) != ()


def test_a_stored_study_of_settings_has_no_average() -> None:
    from tests.dashboards import ledgers

    frame, made = table_of(ledgers.ledger(ledgers.spec(), ledgers.searched()), "s1", None)
    assert not average.shown(frame)
    assert not made.averaged
    assert gather(ledgers.ledger(ledgers.spec(), ledgers.searched()), "s1", slots=1).by_metric == ()
    assert judged(frame).tasks is None


def test_the_column_with_the_fewest_seeds_is_warned_of() -> None:
    data = spec().model_dump(mode="json")
    for arm in data["arms"]:
        if arm["column"] == "facts":
            arm["trials"] = 4
    few = StudySpec.model_validate(data)
    cut = {name: runs[:4] if name.endswith("facts") else runs for name, runs in results().items()}
    told = [
        each for each in cautions(frames.read(ledger(few, cut), "s1"), {}) if each.kind == "too few seeds"
    ]
    assert [each.arm for each in told] == [named("base", "facts")]
    assert told[0].sentence.startswith(
        "base-facts was run again on 4 fresh seeds. A paired test needs at least 6"
    )


@pytest.mark.parametrize("state", [StudyState.RUNNING, StudyState.CANCELLED])
@pytest.mark.parametrize("ended", [0, 2, 6])
def test_a_study_that_has_not_ended_shows_what_there_is(state: StudyState, ended: int) -> None:
    store = ledger(spec(), {name: runs[:ended] for name, runs in results().items()}, state=state)
    answer = gather(store, "s1", slots=1)
    assert answer.headline.outcome == "no verdict yet"
    assert answer.verdict.answer == "undecided"
    assert "average" in pages.markdown(answer)
    assert "average" in pages.page(answer)


def test_without_a_claim_the_best_average_is_told() -> None:
    data = spec().model_dump(mode="json")
    free = StudySpec.model_validate({**data, "claim": None})
    answer = gather(ledger(free, results()), "s1", slots=1)
    assert answer.headline.text == "Best row: α+β1 in average, 52.07 on 6 fresh seeds."
    assert "Best row: α+β1 in average" in pages.page(answer)
