"""Does the verdict follow its own rules, on ledgers whose truth is known?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from dashboards.evidence import frames, tables
from dashboards.evidence.verdict import Verdict, judge
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import (
    FAILED,
    NEVER_BEGAN,
    Run,
    control,
    diverged,
    ledger,
    repeated,
    runs,
    searched,
    spec,
)

BO = (0.80, 0.83, 0.79, 0.84, 0.81, 0.82)
BETTER = (0.70, 0.74, 0.68, 0.75, 0.70, 0.73)  # on every seed
SAME = (0.81, 0.82, 0.80, 0.83, 0.82, 0.81)  # on some


def judged(guided: Any = BETTER, bo: Any = BO, *, study: Any = None, **changes: Any) -> Verdict:
    fresh = {"confirm-guided": guided, "confirm-bo": bo}
    results = {arm: [r if isinstance(r, Run) else Run(r) for r in of] for arm, of in fresh.items()}
    ended = {"state": changes.pop("state", StudyState.COMPLETED), "reason": changes.pop("reason", "")}
    more = changes.pop("results", {})
    found = {**searched(**changes), **results, **more}
    return judge(frames.read(ledger(study or spec(), found, **ended), "s1"))


def plain_and_rival(
    plain: list[Run], rival: list[Run], *, cost_ratio: float | None = None, **kinds: Any
) -> Verdict:
    """Two settings that nothing chose, on fresh seeds alone."""
    arms = [repeated(name, name, trials=len(plain), **kinds) for name in ("plain", "rival")]
    claim = {"text": "x", "challenger": "rival", "incumbent": "plain", "cost_ratio": cost_ratio}
    found = ledger(spec(arms=arms, claim=claim), {"plain": plain, "rival": rival})
    return judge(frames.read(found, "s1"))


def test_a_gain_on_six_seeds_supports_the_claim() -> None:
    verdict = judged()
    assert verdict.answer == "supported"
    assert verdict.contrast is not None
    assert (verdict.contrast.n, verdict.contrast.p) == (6, 2 / 64)
    assert verdict.contrast.mean == pytest.approx(sum(BO) / 6 - sum(BETTER) / 6)
    assert verdict.cost_ratio == 0.75  # three runs against four
    assert verdict.condition.startswith("Each method searched once")
    assert verdict.more_needed == 0


def test_a_loss_on_six_seeds_refutes_it() -> None:
    verdict = judged(guided=BO, bo=BETTER)
    assert verdict.answer == "refuted"
    assert "guided's loss is 1.14 times BO's (95% interval" in verdict.why
    assert "worse on 6 of 6; p = 0.0312." in verdict.why


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
    assert "The claim allows 1 times BO's cost, by clocks; guided took 1.5 times." in verdict.why
    assert judged(guided_hours=2.0, study=spec(cost_ratio=None)).answer == "supported"


def _charged(arm: str, **clocks: float) -> frames.Frame:
    """A study in which every run of an arm was charged this besides."""
    frame = frames.read(ledger(spec(), {**searched(), "confirm-bo": runs(*BO)}), "s1")
    charged = tuple(replace(t, charged={**t.charged, **clocks}) for t in frame.trials[arm])
    return replace(frame, trials={**frame.trials, arm: charged})


def test_who_compiled_first_and_who_waited_is_not_charged_for_it() -> None:
    plain = judge(_charged("guided")).cost_ratio
    assert judge(_charged("guided", compile_s=9e4, other_s=9e4)).cost_ratio == plain
    assert judge(_charged("bo", compile_s=9e4, other_s=9e4)).cost_ratio == plain
    dearer = judge(_charged("guided", eval_s=3600.0)).cost_ratio
    assert (plain, dearer) == (0.75, 1.5)  # three runs of an hour over four; evaluation counts


def test_by_steps_a_slow_machine_changes_nothing() -> None:
    hours = {"base": 1.0, "bo": 1.0, "guided": 2.08}

    def ratio(**clocks: float) -> float | None:
        made = spec().model_dump()
        made["base"] = {**made["base"], "steps": 100}
        made["claim"]["cost"] = "steps"
        for arm in made["arms"]:
            arm["run_hours"] = hours.get(arm["name"])
        frame = frames.read(ledger(StudySpec.model_validate(made), searched()), "s1")
        trials = {
            name: tuple(replace(t, charged={**t.charged, "steps": 100.0, **clocks}) for t in of)
            for name, of in frame.trials.items()
        }
        return judge(replace(frame, trials=trials)).cost_ratio

    assert ratio() == ratio(train_s=7e4, compile_s=1e5) == pytest.approx(3 * 2.08 / 4)
    assert ratio(steps=50.0) == ratio()  # both did half of their steps
    del hours["guided"]
    assert ratio() is None


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
    assert verdict.contrast.differences[5] == pytest.approx(math.log(BO[5] / 3.0))
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
    assert "The claim does not state whether high or low reward is better" in verdict.why


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
    assert verdict.condition == "Over 6 replicates; each method searched in each of them."
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
    assert "its best search run has loss 0.85, guided's 0.7, BO's 0.8" in verdict.controls[3].sentence
    assert verdict.controls_not_run == (
        "matched decay",
        "BO over schedule parameters",
        "the default at other learning rates",
        "plain training with β1 .8",
        "blind course of what other runs learned",
    )


# -- ended, but not as planned ---------------------------------------------------------------------------
SPENT = "The budget of 4 run-hours is spent or reserved (4 run-hours)."


@pytest.mark.parametrize(
    "results",
    [
        {"guided": [], "confirm-guided": [], "confirm-bo": []},  # never begun: was refuted
        {"bo": searched()["bo"][:1]},  # a quarter of the search: was refuted by its cost
        {},  # all there: who is left out would be the clock's choice
    ],
)
def test_a_study_that_its_budget_ended_has_no_answer(results: dict[str, list[Run]]) -> None:
    verdict = judged(results=results, reason=SPENT)
    assert verdict.answer == "undecided"
    assert verdict.why.startswith(f"The study did not end as planned: {SPENT}")


def test_a_cancelled_study_has_no_answer_and_is_not_said_to_go_on() -> None:
    verdict = judged(state=StudyState.CANCELLED, reason="cancelled")
    assert verdict.answer == "undecided"
    assert verdict.why.startswith("The study was cancelled before its end. On 6 paired seeds")


@pytest.mark.parametrize("lost", [FAILED, NEVER_BEGAN])
def test_a_challenger_that_a_machine_failed_is_not_refuted(lost: Run) -> None:
    verdict = judged(results={"guided": [diverged(), lost, lost], "confirm-guided": []})
    assert verdict.answer == "undecided"
    assert verdict.why == (
        "No run of guided completed. 2 of 3 failed or were stopped, which says nothing about their results."
    )


# -- where more seeds would not help ---------------------------------------------------------------------
def test_a_metric_that_no_run_reported_is_named() -> None:
    claim = {"text": "x", "challenger": "guided", "incumbent": "bo", "metric": "tset_bleu"}
    verdict = judged(study=spec(claim=claim))
    assert (verdict.answer, verdict.more_needed) == ("undecided", 0)
    assert verdict.why == "No run of guided on fresh seeds reported 'tset_bleu'; they reported: loss."


def test_two_arms_that_diverged_on_every_seed_are_not_told_apart() -> None:
    verdict = judged([diverged(loss=9.0)] * 6, [diverged(loss=8.0)] * 6)
    assert (verdict.answer, verdict.more_needed) == ("undecided", 0)
    assert verdict.why == "Every run of both arms on fresh seeds diverged, so they cannot be compared."
    assert judged([diverged(loss=9.0)] * 5 + [Run(0.7)], [diverged()] * 6).more_needed != 0


# -- what one search cost --------------------------------------------------------------------------------
@pytest.mark.parametrize("replicates", [1, 3, 6])
def test_the_cost_is_that_of_one_search_however_often_it_was_repeated(replicates: int) -> None:
    claim = {"text": "x", "challenger": "lagged", "incumbent": "bo", "cost_ratio": 1.0}
    arm = repeated("lagged", "lagged", trials=2)
    study = spec(confirmations=2, replicates=replicates, more_arms=[arm], claim=claim)
    results = {name: of * replicates for name, of in searched().items()}
    verdict = judged((), (), study=study, results={**results, "lagged": runs(*[0.7, 0.71] * replicates)})
    assert verdict.cost_ratio == pytest.approx(0.25)  # a run of an hour against a search of four


def test_sides_of_unequal_replicates_are_compared_by_one_search_of_each() -> None:
    arms = [arm.model_dump() for arm in spec(confirmations=2).arms]
    for arm in (each for each in arms if each["name"] == "bo"):
        arm["replicates"] = 6
    verdict = judged((), (), study=spec(arms=arms), results={"bo": searched()["bo"] * 6})
    assert verdict.cost_ratio == pytest.approx(0.75)


def test_failures_of_a_repeated_setting_make_it_dearer_and_not_cheaper() -> None:
    plain = runs(*[1.0 + i / 100 for i in range(12)])
    gone = [Run(state=TrialState.FAILED, hours=0.0)] * 6
    verdict = plain_and_rival(plain, [*runs(*[0.9] * 6, hours=1.5), *gone], cost_ratio=1.0)
    assert (verdict.answer, verdict.cost_ratio) == ("refuted", 1.5)
    wasted = [Run(state=TrialState.FAILED, hours=0.5)] * 6
    dearer = plain_and_rival(plain, [*runs(*[0.9] * 6, hours=1.5), *wasted])
    assert dearer.cost_ratio == 2.0  # 9 and 3 hours for six results


# -- what was chosen -------------------------------------------------------------------------------------
def test_confirmations_in_several_replicates_of_one_search_are_seeds() -> None:
    arms = [arm.model_dump() for arm in spec(confirmations=2).arms]
    for arm in (each for each in arms if each["phase"] == "confirm"):
        arm["replicates"] = 3
    verdict = judged(study=spec(arms=arms))
    assert verdict.contrast is not None
    assert (verdict.contrast.unit, verdict.contrast.n, verdict.contrast.p) == ("seed", 6, 2 / 64)
    assert verdict.condition.startswith("Each method searched once")


def test_where_nothing_was_chosen_no_selection_is_spoken_of() -> None:
    verdict = plain_and_rival(runs(*BO), runs(*BETTER))
    assert verdict.condition == "Nothing was searched: the settings are those of the spec."
    twice = plain_and_rival(runs(*BO), runs(*BETTER), replicates=2)
    assert twice.contrast is not None
    assert (twice.contrast.unit, twice.contrast.n) == ("seed", 6)


def test_one_side_that_chose_anew_makes_its_replicates_the_unit() -> None:
    claim = {"text": "x", "challenger": "lagged", "incumbent": "bo"}
    study = spec(
        confirmations=2, replicates=3, more_arms=[repeated("lagged", "lagged", trials=2)], claim=claim
    )
    results = {**{name: of * 3 for name, of in searched().items()}, "lagged": runs(*BETTER)}
    verdict = judged((), BO, study=study, results=results)
    assert verdict.contrast is not None
    assert (verdict.contrast.unit, verdict.contrast.n) == ("replicate", 3)
    ratios = [math.log(sum(BO[i : i + 2]) / sum(BETTER[i : i + 2])) for i in (0, 2, 4)]
    assert verdict.contrast.differences == pytest.approx(ratios)
    assert verdict.condition == (
        "On 3 replicates: lagged has fixed settings from the spec; BO searched in each replicate."
    )


def test_a_search_that_diverged_as_a_whole_loses_its_replicate() -> None:
    study = spec(confirmations=1, replicates=9, cost_ratio=None)
    found = searched()
    guided = [diverged(loss=4.0)] * 9 + found["guided"] * 6
    results = {"base": found["base"] * 9, "bo": found["bo"] * 9, "guided": guided}
    bo = [0.8 + 0.012 * i for i in range(9)]
    fresh = [NEVER_BEGAN] * 3 + runs(*(0.7 + 0.01 * i for i in range(3, 9)))
    verdict = judged(fresh, bo, study=study, results=results)
    assert verdict.contrast is not None
    assert (verdict.contrast.n, verdict.contrast.diverged, verdict.contrast.missing) == (9, (3, 0), (0, 0))
    assert verdict.contrast.differences[:3] == pytest.approx([math.log(value / 4.0) for value in bo[:3]])
    assert verdict.answer == "undecided"
    (cell,) = (
        tables.table(frames.read(ledger(study, {**results, "confirm-guided": fresh}), "s1")).rows[2].cells
    )
    assert (cell.n, cell.diverged) == (6, 3)
    guided[0] = FAILED  # so that no search as a whole is known to have diverged there
    known = judged(fresh, bo, study=study, results=results).contrast
    assert known is not None
    assert (known.n, known.diverged, known.missing) == (8, (2, 0), (1, 0))
