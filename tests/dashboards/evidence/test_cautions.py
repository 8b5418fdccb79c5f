"""Is a reader warned where it is needed, and only there?"""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.evidence import frames, series, tables
from dashboards.evidence.cautions import Caution, cautions, edge
from dashboards.report import answer as report
from dashboards.report import pages
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.study.space import Value
from orchestrator.study.spec import Parameter, StudySpec
from tests.dashboards.ledgers import (
    ALPHA,
    FAILED,
    LOST,
    Run,
    diverged,
    ledger,
    repeated,
    runs,
    searched,
    spec,
)

SIX = {f"confirm-{arm}": runs(*[0.8] * 6) for arm in ("base", "bo", "guided")}


def found(
    study: StudySpec | None = None,
    *,
    added: dict[str, int] | None = None,
    state: StudyState = StudyState.COMPLETED,
    **more: list[Run],
) -> list[Caution]:
    results = {**searched(), **SIX, **{name.replace("_", "-"): of for name, of in more.items()}}
    store = ledger(study or spec(), results, added=added, state=state)
    frame = frames.read(store, "s1")
    return cautions(frame, frames.curves(store, series.closely(frame)))


def kinds(*args: object, **more: object) -> list[tuple[str, str]]:
    return [(each.kind, each.arm) for each in found(*args, **more)]  # type: ignore[arg-type]


def test_a_sound_study_has_none() -> None:
    assert found() == []


def test_alpha_that_falls_below_half_its_start_is_called_a_bias() -> None:
    learned = [
        Run(
            loss,
            point={"guidance.eta": eta},
            said=[(20, "eval", {}, {"alpha": end + 0.2}), (40, "eval", {}, {"alpha": end})],
        )
        for loss, eta, end in ((0.9, 0.01, 0.1), (0.7, 0.02, 0.4), (0.8, 0.04, 0.1))
    ]
    (caution,) = found(guided=learned)
    assert (caution.kind, caution.arm) == ("short-horizon bias", "guided")
    assert "it ended at 0.4, 0.4 of its start" in caution.sentence  # of the run that was chosen, no other


def test_alpha_that_ends_at_six_tenths_is_not() -> None:
    said = [(40, "eval", {}, {"alpha": 0.6})]
    assert found(guided=[Run(0.7, point={"guidance.eta": 0.02}, said=said)]) == []


def test_lagged_anneals_on_purpose() -> None:
    study = spec().model_dump(mode="json")
    (guided,) = (arm for arm in study["arms"] if arm["name"] == "guided")
    guided["config"]["guidance"]["estimator"] = "lagged"
    said = [(40, "eval", {}, {"alpha": 0.3})]
    learned = [Run(0.7, point={"guidance.eta": 0.02}, said=said)]
    assert found(StudySpec.model_validate(study), guided=learned) == []
    assert [each.kind for each in found(guided=learned)] == ["short-horizon bias"]


@pytest.mark.parametrize(
    ("parameter", "value", "end"),
    [
        ({"low": 0.1, "high": 10, "scale": "log"}, 0.105, "lower"),
        ({"low": 0.1, "high": 10, "scale": "log"}, 9.5, "upper"),
        ({"low": 0.1, "high": 10, "scale": "log"}, 0.2, None),  # 2 % of the range if it were linear
        ({"low": 0.1, "high": 0.99, "scale": "logit"}, 0.989, "upper"),
        ({"low": 0.0, "high": 1.0}, 0.5, None),
        ({"low": 0.0, "high": 1.0}, 7.0, "upper"),  # an inherited point may lie outside
        ({"values": (1.0, 2.0, 3.0)}, 2.0, None),
        ({"values": (1.0, 2.0, 3.0)}, 1.0, "lower"),
        ({"values": (1.0,)}, 1.0, None),
        ({"type": "int", "low": 1, "high": 8}, 1, "lower"),
        ({"type": "int", "low": 1, "high": 8}, 2, None),
        ({"type": "int", "low": 1, "high": 8}, 8, "upper"),
        ({"type": "int", "low": 16, "high": 1024, "scale": "log"}, 1024, "upper"),
        ({"choices": ("adam", "sgd")}, "sgd", None),  # no order, so no end
        ({"choices": (1, 2, 3)}, 3, None),
    ],
)
def test_an_edge_is_one_in_the_parameters_own_scale(
    parameter: dict[str, object], value: Value, end: str | None
) -> None:
    assert edge(Parameter.model_validate({"path": "x", **parameter}), value) == end


def test_a_best_point_on_an_edge_or_at_the_end_of_a_grid_is_told() -> None:
    at_edge = [Run(v, point={"optimizer.alpha": x}) for v, x in ((1.0, 1.0), (0.5, 9.9))]
    at_end = [Run(v, point={"guidance.eta": x}) for v, x in ((0.7, 0.02), (0.6, 0.04))]
    assert kinds(bo=at_edge, guided=at_end) == [("edge of the space", "bo"), ("end of the grid", "guided")]


def test_a_whole_number_on_the_edge_is_told_as_one_and_a_choice_never() -> None:
    space = [
        {"path": "layers", "type": "int", "low": 1, "high": 2000000},
        {"path": "name", "choices": ["adam", "sgd"]},
    ]
    study = spec()
    arms = [{**a, "space": space} if a["name"] == "bo" else a for a in study.model_dump(mode="json")["arms"]]
    runs_ = [Run(v, point={"layers": x, "name": "sgd"}) for v, x in ((1.0, 1000), (0.5, 2000000))]
    (caution,) = found(study=spec(arms=arms), bo=runs_)
    assert caution.sentence == (
        "The best point of bo has layers = 2000000, at the upper edge of its range (1 to 2000000): a better "
        "value may be outside."
    )


def test_too_few_seeds_are_told_with_how_many_it_takes() -> None:
    (caution,) = found(confirm_bo=runs(0.8, 0.8, 0.8))
    assert (caution.kind, caution.arm) == ("too few seeds", "bo")
    assert "again on 3 fresh seeds. A paired test needs at least 6" in caution.sentence


def test_seeds_are_not_counted_where_nothing_is_compared() -> None:
    arms = [
        {"name": "grid", "method": "grid", "space": [{"path": "x", "values": [1.0, 2.0, 3.0]}], "trials": 3}
    ]
    frame = frames.read(ledger(spec(arms=arms, claim=None), {"grid": runs(0.8, 0.7, 0.9)}), "s1")
    assert cautions(frame, {}) == []


def test_confirmations_that_were_added_later_are_told() -> None:
    assert kinds(added={"confirm-bo": 2}) == [("added later", "confirm-bo")]


def test_failed_and_diverged_runs_are_counted() -> None:
    broken = [FAILED, LOST, diverged(), Run(0.7, point={"guidance.eta": 0.02})]
    told = found(guided=broken)
    assert [(c.kind, c.sentence) for c in told] == [
        ("failed", "1 of 4 runs of guided failed in the training code."),
        (
            "lost",
            "1 of 4 runs of guided failed because their workers were lost, not because of the training code.",
        ),
        ("diverged", "1 of 4 runs of guided diverged."),
    ]


def test_a_search_that_was_random_or_found_nothing_is_told() -> None:
    nothing = [Run(v, point={"optimizer.alpha": x}) for v, x in ((0.5, 1.0), (0.9, 2.0))]
    assert kinds(bo=nothing) == [("nothing found", "bo")]
    drawn = spec()
    arms = [{**a.model_dump(), **({"startup_trials": 4} if a.name == "bo" else {})} for a in drawn.arms]
    assert kinds(spec(arms=arms)) == [("random search", "bo")]


def test_runs_stopped_at_a_rung_are_told_to_depend_on_timing() -> None:
    rungs = {"method": "random", "rungs": {"steps": [10]}, "trials": 2, "space": [ALPHA], "row": "asha"}
    study = spec(more_arms=[{"name": "asha", **rungs}])
    stopped = Run(state=TrialState.STOPPED)
    assert ("by timing", "asha") in kinds(study, asha=[Run(0.9), stopped])
    assert ("by timing", "asha") not in kinds(study, asha=runs(0.9, 0.8))


def test_a_population_is_told_to_choose_on_what_its_confirmation_reports() -> None:
    section = {"members": 10, "metric": "loss"}
    for test, remedy in ((False, "Confirm with score.test and"), (True, "Compare on the test split, which")):
        study = spec(more_arms=population(section, test=test))
        (caution,) = found(study, pbt=[Run(0.8)], confirm_pbt=runs(*[0.8] * 6))
        assert (caution.kind, caution.arm) == ("chosen on the split that is reported", "pbt")
        assert "the best of its 10 members, selected by that loss" in caution.sentence
        assert caution.remedy.startswith(remedy)


def test_a_population_that_chooses_by_another_metric_or_was_not_run_again_is_not_told() -> None:
    by_another = spec(more_arms=population({"members": 10, "metric": "dev_loss"}))
    assert found(by_another, pbt=[Run(0.8)], confirm_pbt=runs(*[0.8] * 6)) == []
    once = spec(more_arms=population({"members": 10, "metric": "loss"})[:1])
    assert found(once, pbt=[Run(0.8)]) == []


def population(section: dict[str, object], *, test: bool = False) -> list[dict[str, object]]:
    arm = {"method": "fixed", "row": "PBT"}
    after = {"after": {"arm": "pbt"}, "fresh_seeds": True, "phase": "confirm", "trials": 6}
    return [
        {"name": "pbt", "config": {"population": section}, **arm},
        {"name": "confirm-pbt", "config": {"score": {"test": test}}, **arm, **after},
    ]


def test_an_unfinished_study_says_how_to_go_on() -> None:
    caution = found(state=StudyState.PAUSED)[0]
    assert caution.kind == "unfinished"
    assert caution.remedy == "Resume with: orch study resume synthetic"


def test_a_cancelled_study_is_not_told_to_go_on() -> None:
    first, *others = found(state=StudyState.CANCELLED)
    assert first.sentence == "The study was cancelled: 26 of 26 runs have ended or were stopped."
    assert "resume" not in first.remedy
    assert others == []


def test_before_the_end_the_seeds_that_are_planned_are_counted() -> None:
    nothing_yet = {f"confirm_{arm}": list[Run]() for arm in ("base", "bo", "guided")}
    assert [c.kind for c in found(state=StudyState.RUNNING, **nothing_yet)] == ["unfinished"]
    few = found(spec(confirmations=3), state=StudyState.RUNNING, **nothing_yet)
    assert [c.kind for c in few] == ["unfinished", "too few seeds"]
    assert few[1].sentence.startswith("bo will be run again on 3 fresh seeds. A paired test needs at least 6")


def test_repetitions_that_were_added_later_are_told() -> None:
    arms = [repeated(name, name) for name in ("plain", "rival")]
    claim = {"text": "x", "challenger": "rival", "incumbent": "plain"}
    results = {"plain": runs(*[1.0] * 9), "rival": runs(*[0.9] * 9)}
    store = ledger(spec(arms=arms, claim=claim), results, added={"plain": 3, "rival": 3})
    told = cautions(frames.read(store, "s1"), {})
    assert [(c.kind, c.arm) for c in told] == [("added later", "plain"), ("added later", "rival")]


# -- over several replicates -----------------------------------------------------------------------------
RATES = {
    0.5: (1.0, 1.0, 1.0),
    1: (0.8, 0.8, 0.8),
    2: (0.5, 0.5, 0.5),
    4: (0.6, 0.6, 0.6),
    8: (0.9, 0.9, 0.45),
}


def rates() -> frames.Frame:
    """A grid on three seeds: by the mean 2 is best, and the luckiest draw of all lies at its end, 8."""
    space = [{"path": "optimizer.alpha", "values": list(RATES)}]
    arm = {"name": "grid", "method": "grid", "space": space, "trials": len(RATES), "row": "rates"}
    study = spec(arms=[arm], claim=None, replicates=3)
    results = [Run(of[r], point={"optimizer.alpha": x}) for r in range(3) for x, of in RATES.items()]
    return frames.read(ledger(study, {"grid": results}), "s1")


def test_a_grid_over_several_seeds_chooses_by_their_mean() -> None:
    frame = rates()
    assert cautions(frame, {}) == []  # 2 is no end of the grid
    searched_ = pages._searched(frame, frame.spec.arm("grid"))
    assert (searched_.best, searched_.point) == ("0.5 (mean of 3)", "optimizer.alpha 2")
    (cell,) = tables.table(frame).rows[0].cells
    assert (cell.source, cell.value) == ("search", 0.5)


def test_a_grid_that_is_followed_chooses_in_each_replicate_as_its_followers_do() -> None:
    study = spec(replicates=2, confirmations=6)
    etas = (0.01, 0.02, 0.04)
    values = ((0.9, 0.7, 0.8), (0.6, 0.75, 0.8))
    guided = [Run(v, point={"guidance.eta": x}) for of in values for v, x in zip(of, etas, strict=True)]
    frame = frames.read(ledger(study, {"guided": guided}), "s1")
    searched_ = pages._searched(frame, study.arm("guided"))
    assert searched_.best == "0.7; 0.6"
    assert searched_.point == "in each replicate: guidance.eta 0.02; guidance.eta 0.01"
    (caution,) = (c for c in cautions(frame, {}) if c.kind == "end of the grid")
    assert caution.sentence.startswith(
        "In 1 of 2 replicates the best point of guided has guidance.eta = 0.01, at the lower end of its grid"
    )
    (cell,) = tables.table(frame).rows[2].cells
    assert cell.value == pytest.approx(0.65)


def test_a_search_found_nothing_only_in_the_replicates_where_it_did_not() -> None:
    """The default of one is the best run of all, and the other bettered its own."""
    points = [{"optimizer.alpha": x} for x in (1.0, 3.0, 2.0, 0.5)]
    values = ((0.60, 0.7, 0.8, 0.9), (1.0, 0.9, 0.7, 0.8))
    bo = [Run(v, point=p) for of in values for v, p in zip(of, points, strict=True)]
    results = {**{name: of * 2 for name, of in searched().items()}, "bo": bo}
    frame = frames.read(ledger(spec(replicates=2), results), "s1")
    (caution,) = (c for c in cautions(frame, {}) if c.kind == "nothing found")
    assert caution.sentence == (
        "bo found nothing better than the default configuration, its first run in 1 of 2 replicates."
    )


def test_alpha_is_looked_at_in_the_run_that_each_replicate_chose() -> None:
    etas = (0.01, 0.02, 0.04)
    guided = [
        Run(v, point={"guidance.eta": x}, said=[(40, "eval", {}, {"alpha": end})])
        for of, end in (((0.9, 0.6, 0.8), 0.9), ((0.9, 0.7, 0.8), 0.3))
        for v, x in zip(of, etas, strict=True)
    ]
    store = ledger(spec(replicates=2), {**{k: v * 2 for k, v in searched().items()}, "guided": guided})
    answer = report.gather(store, "s1", slots=1)
    (caution,) = (c for c in answer.cautions if c.kind == "short-horizon bias")
    assert caution.sentence.startswith("α collapsed in guided.1.1: it ended at 0.3")


@pytest.mark.parametrize(
    ("stated", "needs"),
    [
        ({}, None),  # two-sided: six, which are there
        ({"kind": "non-inferiority", "time_margin": 0.03}, None),
        ({"at_least": 1}, "A one-sided paired test needs at least 7 to reach p = .05 for a claim about"),
        ({"at_least": 4}, None),  # each column at the whole level: five
    ],
)
def test_too_few_seeds_are_counted_by_the_test_of_the_claim(
    stated: dict[str, Any], needs: str | None
) -> None:
    arms = [
        repeated(f"{row}-{i}", row, trials=6, column=f"c{i}") for i in range(4) for row in ("plain", "rival")
    ]
    claim = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0", **stated}
    found = {arm["name"]: runs(*[0.5 + i / 100 for i in range(6)]) for arm in arms}
    frame = frames.read(ledger(spec(arms=arms, claim=claim), found), "s1")
    told = [each.sentence for each in cautions(frame, {}) if each.kind == "too few seeds"]
    assert len(told) == (needs is not None)
    assert needs is None or needs in told[0]
