"""Does a person read in words what the numbers say, on every path of the verdict's rules?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from dashboards.evidence import frames
from dashboards.evidence.headline import Headline, p_text
from dashboards.report.answer import conclude
from orchestrator.ledger.records import StudyState
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger, repeated, runs, searched, spec

BO = (0.80, 0.83, 0.79, 0.84, 0.81, 0.82)
BETTER = (0.70, 0.74, 0.68, 0.75, 0.70, 0.73)  # on every seed
SAME = (0.81, 0.82, 0.80, 0.83, 0.82, 0.81)  # on some


CLAIM = {"text": "x", "challenger": "guided", "incumbent": "bo", "metric": "loss"}


def concluded(
    guided: Sequence[float | Run] = BETTER,
    bo: Sequence[float | Run] = BO,
    *,
    study: Any = None,
    results: Any = None,
    state: StudyState = StudyState.COMPLETED,
    reason: str = "",
    **hours: float,
) -> tuple[Headline, str, str]:
    """The headline, the explanation, and the command that goes on."""
    fresh = {"confirm-guided": guided, "confirm-bo": bo}
    made = {arm: [r if isinstance(r, Run) else Run(r) for r in of] for arm, of in fresh.items()}
    found = {**searched(**hours), **made, **(results or {})}
    frame = frames.read(ledger(study or spec(), found, state=state, reason=reason), "s1")
    _, head, explained = conclude(frame)
    return head, explained.text, explained.command


def test_a_supported_claim_is_said_and_explained_in_full() -> None:
    head, why, command = concluded()
    assert (head.title, head.text) == ("Claim supported", "Guided tuning beat BO at equal cost.")
    assert head.difference == (
        "0.879 times BO's (95% CI 0.861–0.893), 0.0983 better, on 6 of 6 seeds, p = .031"
    )
    assert head.cost == "0.75× BO's, allowed 1.00×, by clocks"
    assert why == (
        "The claim is supported: guided has the lower loss, 0.717 against 0.815, and the sign-flip test over "
        "6 seeds gives p = .031, at or below .05. No single seed makes the gap. With 1 seed the other way "
        "round it would be undecided. Above 1.00 times BO's cost it is refuted; the cost is 0.75."
    )
    assert command == ""


def test_a_score_that_should_be_high_is_compared_directly_and_its_interval_has_signs() -> None:
    claim = {"text": "More.", "challenger": "guided", "incumbent": "bo", "metric": "score"}
    study = spec(objective={"metric": "score", "goal": "maximize"}, claim=claim)
    head, why, _ = concluded(guided=[79, 80, 82, 81, 78, 80], bo=[71, 75, 72, 74, 70, 73], study=study)
    assert head.text == "Guided tuning beat BO."
    assert not head.lower_is_better
    assert re.fullmatch(
        r"7\.5 better \(95% CI \+\d[\d.]* to \+\d[\d.]*\), on 6 of 6 seeds, p = \.031", head.difference
    )
    assert why.startswith("The claim is supported: guided has the higher score, 80 against 72.5, and")


def test_a_loss_is_said_as_one() -> None:
    head, why, _ = concluded(guided=BO, bo=BETTER)
    assert (head.title, head.text) == ("Claim refuted", "Guided tuning did not beat BO at equal cost.")
    assert head.difference.endswith("0.0983 worse, on 6 of 6 seeds, p = .031")
    assert why.startswith("The claim is refuted: guided has the higher loss, 0.815 against 0.717, and")


def test_a_claim_that_cost_refutes_says_what_the_metric_would() -> None:
    head, why, _ = concluded(guided_hours=2.0)
    assert head.text == "Guided tuning cost 1.5× as much as BO, more than is allowed."
    assert why == (
        "The claim is refuted by its cost: guided took 1.50 times BO's cost by clocks, and 1.00 are allowed. "
        "The metric does not matter then. No single seed makes the gap. At a cost limit of 1.50 the metric "
        "would decide: supported, p = .031."
    )


def test_too_few_seeds_are_named_with_the_command_that_runs_the_rest() -> None:
    head, why, command = concluded(guided=BETTER[:5], bo=BO[:5], study=spec(confirmations=5))
    assert (head.title, head.text) == ("Undecided", "5 seeds cannot tell guided tuning and BO apart.")
    assert head.difference.startswith("0.877 times BO's, 0.1 better")  # no interval
    assert why.startswith(
        "The test compares guided and BO seed by seed on 5 seeds and finds p = .062; below or at .05 the "
        "claim would be decided. With fewer than 6 pairs no result can reach .05."
    )
    assert "About 1 more seed would decide it, if the difference stays." in why
    assert command == "orch study extend synthetic --seeds 1"


def test_noise_is_undecided_and_says_how_many_seeds_would_tell() -> None:
    head, why, command = concluded(guided=SAME)
    assert head.text == "6 seeds cannot tell guided tuning and BO apart."
    assert "more seeds would decide it" in why or "over 1,000 seeds" in why
    assert command.startswith("orch study extend ") or "over 1,000" in why


def test_an_arm_of_which_every_run_diverged_loses() -> None:
    lost = {"guided": [diverged() for _ in range(3)], "confirm-guided": []}
    head, why, _ = concluded(results=lost)
    assert head.text == "Guided tuning did not beat BO at equal cost."
    assert why.startswith("Every run of guided diverged, and bo found a result.")


def test_two_arms_without_a_result_cannot_be_compared() -> None:
    head, why, command = concluded(results={"bo": [FAILED] * 4, "confirm-bo": []}, bo=())
    assert (head.outcome, head.text) == ("undecided", "Guided tuning and BO cannot be compared.")
    assert why.startswith("No run of bo completed, so there is nothing to compare with.")
    assert command == ""


def test_a_metric_that_no_run_reported_is_named() -> None:
    claim = {**CLAIM, "metric": "tset_bleu"}
    head, why, command = concluded(study=spec(claim=claim))
    assert (head.outcome, head.text) == ("undecided", "Guided tuning and BO cannot be compared.")
    assert why == "No run of guided on fresh seeds reported 'tset_bleu'; they reported: loss."
    assert command == ""


def test_a_cost_that_is_not_known_is_said_to_be_so() -> None:
    claim = {**CLAIM, "cost_ratio": 1.0, "cost": "steps"}
    head, why, command = concluded(study=spec(claim=claim))
    said = "The cost of BO is not known, so the claim's cost cannot be judged."
    assert (head.outcome, head.text) == ("undecided", said)
    assert why == f"{said} No single seed makes the gap."
    assert command == ""


def test_two_arms_that_diverged_on_every_seed_say_that_more_seeds_would_not_help() -> None:
    head, why, command = concluded(guided=[diverged(loss=9.0)] * 6, bo=[diverged(loss=8.0)] * 6)
    assert head.outcome == "undecided"
    assert why.startswith("Every run of both arms on fresh seeds diverged")
    assert command == ""


def test_while_it_runs_there_is_no_verdict_yet() -> None:
    head, why, command = concluded(state=StudyState.RUNNING)
    assert (head.outcome, head.title) == ("no verdict yet", "No verdict yet")
    assert head.text.endswith(" runs ended.")
    assert why == "The study is waiting. The claim is judged once all of its runs have ended."
    assert command.startswith("orch study resume ")


def test_a_cancelled_study_is_not_told_to_be_resumed() -> None:
    head, why, command = concluded(state=StudyState.CANCELLED)
    assert head.outcome == "no verdict yet"
    assert why == (
        "The study is cancelled. Its claim is not judged, since runs are missing. Create it again under "
        "another name."
    )
    assert command == ""


def test_a_study_that_its_budget_ended_has_no_verdict() -> None:
    head, why, command = concluded(reason="The budget of 3 chip-hours is spent.")
    assert head.outcome == "no verdict yet"
    assert "budget" in why
    assert command == ""


def test_a_study_in_which_nothing_completed_failed() -> None:
    gone = {arm: [FAILED] * n for arm, n in (("base", 1), ("bo", 4), ("guided", 3))}
    head, why, _ = concluded(guided=(), bo=(), results=gone)
    assert (head.outcome, head.title) == ("failed", "Failed")
    assert head.text.startswith("All 8 runs failed")
    assert why == f"{head.text} There is nothing to judge."


@pytest.mark.parametrize(
    ("guided", "outcome", "text"),
    [
        (BETTER, "supported", "Guided tuning is no worse than BO by more than 3% of the training time."),
        (
            [1.3 * x for x in BO],
            "refuted",
            "Guided tuning is worse than BO by more than 3% of the training time.",
        ),
        (
            SAME[:2],
            "undecided",
            "It is undecided whether guided tuning is worse than BO by more than 3% of the training time.",
        ),
    ],
)
def test_a_claim_of_non_inferiority_is_said_as_one(guided: Sequence[float], outcome: str, text: str) -> None:
    study = spec(claim={**CLAIM, "kind": "non-inferiority", "time_margin": 0.03}, confirmations=len(guided))
    head, why, _ = concluded(guided=guided, bo=BO[: len(guided)], study=study)
    assert (head.outcome, head.text) == (outcome, text)
    assert "one-sided p" in why


def test_a_claim_over_columns_counts_them() -> None:
    arms = [
        repeated(f"{name}-{column}", name, column=column)
        for column in ("one", "two", "three")
        for name in ("plain", "rival")
    ]
    found = {
        f"{name}-{c}": runs(*of)
        for c in ("one", "two", "three")
        for name, of in (("plain", BO), ("rival", BETTER))
    }
    claim = {
        "text": "x",
        "challenger": "rival-one",
        "incumbent": "plain-one",
        "metric": "loss",
        "at_least": 2,
    }
    _, head, explained = conclude(frames.read(ledger(spec(arms=arms, claim=claim), found), "s1"))
    assert head.text == "Rival beat plain in at least 2 of 3 columns."
    assert "p = 0.0312 that rival is better in at least 2 of 3 columns" in explained.text


def test_without_a_claim_the_best_row_is_named() -> None:
    arms = [repeated(name, name, trials=3) for name in ("plain", "rival")]
    found = {"plain": runs(0.8, 0.81, 0.82), "rival": runs(0.7, 0.71, 0.72)}
    frame = frames.read(ledger(spec(arms=arms, claim=None), found), "s1")
    _, head, explained = conclude(frame)
    assert (head.outcome, head.sides) == ("no claim", ())
    assert head.text == "Best row: rival, 0.71 on 3 fresh seeds."
    assert explained.text.startswith("The study registered no claim")


def test_one_seed_that_makes_the_gap_is_named_with_both_values() -> None:
    head, why, _ = concluded(guided=(0.81, 0.82, 0.80, 0.83, 0.82, 2.4))
    assert head.remarks[0] == "One seed makes most of the gap: 1005, guided 2.4, BO 0.82. Median gap 0.01."
    assert "Seed 1005 makes most of the gap (guided 2.4, BO 0.82)" in why


def test_luck_of_the_search_is_told() -> None:
    _, why, _ = concluded(guided=[2 * value for value in BETTER], bo=BO)
    assert "Guided's choice had" in why
    assert "on fresh seeds: part of its search result was luck." in why


def test_a_row_that_beats_both_sides_is_the_first_remark() -> None:
    control = repeated("longer", "longer plain training", phase="control")
    study = spec(arms=[*spec().model_dump(mode="json")["arms"], control])
    head, _, _ = concluded(study=study, results={"longer": runs(*[0.5] * 6)})
    assert head.remarks[0] == "Best row: longer plain training, loss 0.5 (against guided 0.717 and BO 0.815)."


@pytest.mark.parametrize(
    ("p", "text"), [(1.0, "p = 1"), (0.03125, "p = .031"), (0.5, "p = .5"), (0.0005, "p < .001")]
)
def test_p_values_are_short(p: float, text: str) -> None:
    assert p_text(p) == text
