"""Does the verdict follow its own rules, on ledgers whose truth is known?"""

from __future__ import annotations

from typing import Any

import pytest

from dashboards import frames
from dashboards.verdict import Verdict, judge
from orchestrator.records import StudyState
from tests.dashboards.ledgers import FAILED, Run, control, diverged, ledger, runs, searched, spec

BO = (0.80, 0.83, 0.79, 0.84, 0.81, 0.82)
BETTER = (0.70, 0.74, 0.68, 0.75, 0.70, 0.73)  # on every seed
SAME = (0.81, 0.82, 0.80, 0.83, 0.82, 0.81)  # on some


def judged(guided: Any = BETTER, bo: Any = BO, *, study: Any = None, **changes: Any) -> Verdict:
    fresh = {"confirm-guided": guided, "confirm-bo": bo}
    results = {arm: [r if isinstance(r, Run) else Run(r) for r in of] for arm, of in fresh.items()}
    state = changes.pop("state", StudyState.COMPLETED)
    more = changes.pop("results", {})
    found = {**searched(**changes), **results, **more}
    return judge(frames.read(ledger(study or spec(), found, state=state), "s1"))


def test_a_gain_on_six_seeds_supports_the_claim() -> None:
    verdict = judged()
    assert verdict.answer == "supported"
    assert verdict.contrast is not None
    assert (verdict.contrast.n, verdict.contrast.p) == (6, 2 / 64)
    assert verdict.contrast.mean == pytest.approx(sum(BO) / 6 - sum(BETTER) / 6)
    assert verdict.cost_ratio == 0.75  # three runs against four
    assert verdict.condition.startswith("Conditional on one selection")
    assert verdict.more_needed == 0


def test_a_loss_on_six_seeds_refutes_it() -> None:
    verdict = judged(guided=BO, bo=BETTER)
    assert verdict.answer == "refuted"
    assert "the challenger's loss is worse by 0.098" in verdict.why


def test_five_seeds_decide_nothing_however_large_the_gain() -> None:
    verdict = judged(guided=BETTER[:5], bo=BO[:5], study=spec(confirmations=5))
    assert (verdict.answer, verdict.more_needed) == ("undecided", 1)
    assert "Fewer than 6 pairs can never reach p = 0.05." in verdict.why


def test_one_seed_gives_no_interval_and_asks_for_five_more() -> None:
    verdict = judged(guided=BETTER[:1], bo=BO[:1], study=spec(confirmations=1))
    assert (verdict.answer, verdict.more_needed) == ("undecided", 5)
    assert verdict.contrast is not None
    assert verdict.contrast.interval is None


def test_a_small_difference_is_undecided_and_says_how_many_seeds_would_decide_it() -> None:
    verdict = judged(guided=SAME)
    assert verdict.answer == "undecided"
    assert verdict.contrast is not None
    assert verdict.contrast.needed is None  # the mean difference is 0
    assert verdict.more_needed is None
    slightly = judged(guided=(0.79, 0.83, 0.78, 0.85, 0.80, 0.81))
    assert slightly.contrast is not None
    assert slightly.contrast.needed is not None
    assert slightly.more_needed == slightly.contrast.needed - 6 > 0
    assert f"about {slightly.contrast.needed} pairs in all" in slightly.why


def test_a_challenger_that_cost_more_than_claimed_is_refuted_whatever_it_reached() -> None:
    verdict = judged(guided_hours=2.0)
    assert (verdict.answer, verdict.cost_ratio) == ("refuted", 1.5)
    assert "The claim allows 1 times the chip-hours of bo, and guided took 1.5 times." in verdict.why
    assert judged(guided_hours=2.0, study=spec(cost_ratio=None)).answer == "supported"


def test_waste_is_part_of_the_cost() -> None:
    wasteful = {"guided": runs(0.9, 0.7, 0.8, wasted_hours=1.0)}
    assert judged(results=wasteful).cost_ratio == 1.5


def test_a_study_that_has_not_ended_has_no_answer_yet() -> None:
    verdict = judged(state=StudyState.PAUSED)
    assert verdict.answer == "undecided"
    assert verdict.why.startswith("The study is paused and has not ended. On 6 paired seeds")


def test_a_challenger_of_which_no_run_completed_is_refuted() -> None:
    gone = {"guided": [diverged()] * 3, "confirm-guided": []}
    assert judged(results=gone).answer == "refuted"
    verdict = judged(results={"bo": [diverged()] * 4, "confirm-bo": []})
    assert verdict.answer == "undecided"
    assert "No run of bo completed" in verdict.why
    assert judged(results={arm: [] for arm in ("bo", "guided", "confirm-bo")}).answer == "undecided"


def test_a_diverged_confirmation_counts_as_the_worst_run_of_the_study() -> None:
    verdict = judged(guided=(*BETTER[:5], diverged(loss=3.0)))
    assert verdict.answer == "undecided"
    assert verdict.contrast is not None
    assert (verdict.contrast.n, verdict.contrast.diverged) == (6, (1, 0))
    assert verdict.contrast.differences[5] == pytest.approx(BO[5] - 3.0)
    assert judged(bo=(*BO[:5], diverged(loss=3.0))).answer == "supported"


def test_a_failed_confirmation_takes_its_pair_away() -> None:
    verdict = judged(guided=(*BETTER[:5], FAILED))
    assert verdict.answer == "undecided"
    assert verdict.contrast is not None
    assert (verdict.contrast.n, verdict.contrast.missing, verdict.more_needed) == (5, (1, 0), 1)


def test_without_a_claim_there_is_no_verdict() -> None:
    assert judged(study=spec(claim=None)).answer == "no claim"


def test_a_metric_that_is_to_be_high_is_turned_round() -> None:
    claim = {"text": "More BLEU.", "challenger": "guided", "incumbent": "bo", "metric": "test_bleu"}
    guided, bo = ([Run(0.8, values={"test_bleu": bleu + i}) for i in range(6)] for bleu in (39.9, 39.4))
    verdict = judged(guided=guided, bo=bo, study=spec(claim=claim))
    assert verdict.answer == "supported"
    assert verdict.contrast is not None
    assert verdict.contrast.mean == pytest.approx(0.5)


@pytest.mark.parametrize(("goal", "answer"), [("maximize", "supported"), ("minimize", "refuted")])
def test_a_metric_of_a_name_that_says_nothing_follows_the_claims_goal(goal: str, answer: str) -> None:
    assert reward(goal=goal).answer == answer


def test_a_stored_claim_whose_direction_nobody_knows_is_undecided() -> None:
    verdict = reward()
    assert verdict.answer == "undecided"
    assert "Whether high or low reward is better was not stated" in verdict.why


def reward(**stated: str) -> Verdict:
    """Of a study whose challenger has the higher reward on every seed."""
    claim = {"text": "More.", "challenger": "guided", "incumbent": "bo", "metric": "reward", **stated}
    guided, bo = ([Run(0.8, values={"reward": reward + i}) for i in range(6)] for reward in (5.5, 5.0))
    return judged(guided=guided, bo=bo, study=spec(claim=claim))


def test_with_replicates_they_are_the_unit_and_not_the_seeds() -> None:
    study = spec(confirmations=2, replicates=6)
    guided, bo = ([value for v in of for value in (v, v + 0.02)] for of in (BETTER, BO))
    results = {**{arm: of * 6 for arm, of in searched().items()}}
    verdict = judged(guided=guided, bo=bo, study=study, results=results)
    assert verdict.contrast is not None
    assert (verdict.contrast.unit, verdict.contrast.n) == ("replicate", 6)
    assert verdict.contrast.mean == pytest.approx(sum(BO) / 6 - sum(BETTER) / 6)
    assert verdict.condition == "Over 6 replicates, each with its own selection by each arm."
    assert verdict.answer == "supported"


def test_controls_are_named_with_what_they_say() -> None:
    arms = [
        control("replay", "replay"),
        control("longer", "longer plain"),
        control("mean", "constant = mean"),
    ]
    random = {"name": "random", "method": "random", "trials": 2, "phase": "control", "row": "random search"}
    space = {"space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10.0}]}
    study = spec(more_arms=[*arms, {**random, **space}])
    best = tuple(v - 0.05 for v in BETTER)
    near = tuple(v + e for v, e in zip(BETTER, (0.01, -0.01, 0.02, -0.02, 0.01, -0.01), strict=True))
    found = {"replay": runs(*best), "longer": runs(*BO), "mean": runs(*near), "random": runs(0.85, 0.9)}
    verdict = judged(study=study, results=found)
    assert verdict.answer == "supported"  # controls change no verdict
    says = {c.arm: c.says for c in verdict.controls}
    assert says == {"replay": "undoes", "longer": "supports", "mean": "undoes", "random": "open"}
    assert (
        "its best search run has loss 0.85, the challenger's 0.7, the incumbent's 0.8"
        in verdict.controls[3].sentence
    )
    assert verdict.controls_not_run == (
        "matched decay",
        "BO over schedule parameters",
        "the default at other learning rates",
    )
