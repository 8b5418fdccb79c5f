"""Is a reader warned where it is needed, and only there?"""

from __future__ import annotations

import pytest

from dashboards import frames, series
from dashboards.cautions import Caution, cautions, edge
from orchestrator.records import StudyState, TrialState
from orchestrator.spec import Parameter, StudySpec
from tests.dashboards.ledgers import ALPHA, FAILED, Run, diverged, ledger, runs, searched, spec

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
    ],
)
def test_an_edge_is_one_in_the_parameters_own_scale(
    parameter: dict[str, object], value: float, end: str | None
) -> None:
    assert edge(Parameter.model_validate({"path": "x", **parameter}), value) == end


def test_a_best_point_on_an_edge_or_at_the_end_of_a_grid_is_told() -> None:
    at_edge = [Run(v, point={"optimizer.alpha": x}) for v, x in ((1.0, 1.0), (0.5, 9.9))]
    at_end = [Run(v, point={"guidance.eta": x}) for v, x in ((0.7, 0.02), (0.6, 0.04))]
    assert kinds(bo=at_edge, guided=at_end) == [("edge of the space", "bo"), ("end of the grid", "guided")]


def test_too_few_seeds_are_told_with_how_many_it_takes() -> None:
    (caution,) = found(confirm_bo=runs(0.8, 0.8, 0.8))
    assert (caution.kind, caution.arm) == ("too few seeds", "bo")
    assert "again on 3 fresh seeds. A paired test needs 6" in caution.sentence


def test_seeds_are_not_counted_where_nothing_is_compared() -> None:
    arms = [
        {"name": "grid", "method": "grid", "space": [{"path": "x", "values": [1.0, 2.0, 3.0]}], "trials": 3}
    ]
    frame = frames.read(ledger(spec(arms=arms, claim=None), {"grid": runs(0.8, 0.7, 0.9)}), "s1")
    assert cautions(frame, {}) == []


def test_confirmations_that_were_added_later_are_told() -> None:
    assert kinds(added={"confirm-bo": 2}) == [("added later", "confirm-bo")]


def test_failed_and_diverged_runs_are_counted() -> None:
    broken = [FAILED, diverged(), Run(0.7, point={"guidance.eta": 0.02})]
    told = found(guided=broken)
    assert [(c.kind, c.sentence) for c in told] == [
        ("failed", "1 of 3 runs of guided failed."),
        ("diverged", "1 of 3 runs of guided diverged."),
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
    for test, remedy in ((False, "Confirm with score.test, and"), (True, "Compare on the test split, which")):
        study = spec(more_arms=population(section, test=test))
        (caution,) = found(study, pbt=[Run(0.8)], confirm_pbt=runs(*[0.8] * 6))
        assert (caution.kind, caution.arm) == ("chosen on the split that is reported", "pbt")
        assert "the best of its 10 members', chosen by that loss" in caution.sentence
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
    assert caution.remedy == "Go on with: orch study resume synthetic"
