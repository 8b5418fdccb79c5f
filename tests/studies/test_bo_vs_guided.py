"""Is the paper's study asked as the paper asked it, and can every one of its configs be run?"""

from __future__ import annotations

import json

import pytest

from dashboards.evidence.attribution import EXPECTED_CONTROLS
from orchestrator.ground.errors import NotFound
from orchestrator.study.canonical import canonical
from orchestrator.study.configs import default_point, trial_config
from orchestrator.study.spec import Arm, StudySpec
from studies import catalog
from trainer.config import check
from trainer.config.paths import value_at

COLUMNS = ["alpha", "beta1", "alpha+beta1"]


def counted(spec: StudySpec, phase: str) -> int:
    return sum(arm.trials for arm in spec.arms if arm.phase == phase)


def config(spec: StudySpec, arm: Arm, point: dict[str, float]) -> dict[str, object]:
    return trial_config(spec, arm, replicate=0, index=0, point=point)


def test_the_papers_table_is_613_search_trials() -> None:
    assert counted(catalog.get("bo-vs-guided", "paper"), "search") == 613 == 1 + 3 * (100 + 4 + 100)


def test_quick_searches_10_static_4_guided_and_4_eta_trials_a_column() -> None:
    spec = catalog.get("bo-vs-guided", "quick")
    trials = {arm.name: arm.trials for arm in spec.arms if arm.phase == "search" and arm.name != "base"}
    assert trials == {
        f"{kind}-{column}": count
        for column in COLUMNS
        for kind, count in (("bo", 10), ("guided", 4), ("guided-bo", 4))
    }


def test_base_is_the_one_search_run_that_all_columns_share() -> None:
    for size in catalog.sizes():
        shared = [
            a for a in catalog.get("bo-vs-guided", size).arms if a.column == "*" and a.phase == "search"
        ]
        assert [(a.name, a.trials, a.row) for a in shared] == [("base", 1, "base")]


@pytest.mark.parametrize("size", catalog.sizes())
def test_every_searched_arm_is_confirmed_on_fresh_seeds_apart_from_the_search(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    searches = [a for a in spec.arms if a.phase == "search"]
    confirmations = [a for a in spec.arms if a.phase == "confirm"]
    assert [a.after.arm for a in confirmations if a.after] == [a.name for a in searches]
    assert all(a.fresh_seeds for a in confirmations)
    assert not any(a.fresh_seeds for a in searches)
    assert all(value_at(a.config, "score.test") is True for a in spec.arms if spec.confirms(a))
    assert spec.claim is not None
    claimed = {f"confirm-{spec.claim.challenger}", f"confirm-{spec.claim.incumbent}", "confirm-base"}
    # Paired across arms: equally many fresh seeds, and as many for both sides of the claim and the default.
    assert len({a.trials for a in confirmations if a.name not in claimed}) == 1
    assert len({a.trials for a in confirmations if a.name in claimed}) == 1


@pytest.mark.parametrize("size", catalog.sizes())
def test_every_expected_control_stands_in_the_claims_column_on_the_seeds_of_the_claim(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    assert spec.claim is not None
    claimed = spec.arm(spec.claim.challenger)
    seeds = spec.arm(f"confirm-{claimed.name}").trials
    here = [a for a in spec.arms if a.phase == "control" and a.column == claimed.column and a.fresh_seeds]
    elsewhere = {"default-rate"} | ({"blind-course"} if seeds == 1 else set())  # of other cells; other seeds
    for asked in EXPECTED_CONTROLS.keys() - elsewhere:
        asking = [a for a in here if asked in a.controls_for]
        assert len(asking) == (1 if asked != "longer" else 2 if size == "smoke" else 4), asked
        assert {a.trials for a in asking} == {seeds}, asked
        assert all(value_at(a.config, "score.test") is True for a in asking)


@pytest.mark.parametrize("size", ["quick", "laptop", "paper"])
def test_the_blind_course_is_of_the_claims_guided_runs_on_the_other_seeds(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    assert spec.claim is not None
    after = spec.arm("blind-alpha+beta1").after
    assert after is not None
    assert (after.arm, after.take) == (f"confirm-{spec.claim.challenger}", "blind-course")
    assert spec.arm(after.arm).trials > 1


@pytest.mark.parametrize("size", ["quick", "laptop", "paper"])
def test_the_claim_is_judged_on_enough_seeds_to_be_decided(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    assert spec.claim is not None
    assert spec.arm(f"confirm-{spec.claim.challenger}").trials >= 6  # of five pairs no test reaches p < 0.05


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_the_estimators_that_cost_next_to_nothing_run_once_a_column_at_their_own_settings(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    for column in COLUMNS:
        for estimator in ("next-batch", "lagged"):
            arm = spec.arm(f"{estimator}-{column}")
            assert (arm.trials, arm.phase, arm.method) == (1, "control", "fixed")
            assert value_at(config(spec, arm, {}), "guidance.eta") is None
            assert spec.confirms(spec.arm(f"confirm-{arm.name}"))


@pytest.mark.parametrize("size", catalog.sizes())
def test_random_search_has_the_space_and_the_budget_of_bo(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    columns = COLUMNS if size == "paper" else ["alpha+beta1"]  # the claim's
    assert [a.name for a in spec.arms if a.method == "random"] == [f"random-{c}" for c in columns]
    for column in columns:
        random, bo = spec.arm(f"random-{column}"), spec.arm(f"bo-{column}")
        assert (random.space, random.trials) == (bo.space, bo.trials)


@pytest.mark.parametrize("size", catalog.sizes())
def test_every_config_passes_the_trainers_check_at_the_default_and_at_the_ends_of_its_space(
    size: str,
) -> None:
    spec = catalog.get("bo-vs-guided", size)
    for arm in spec.arms:
        ends = [{p.path: p.bounds[end] for p in arm.space} for end in (0, 1)]
        for point in ({}, *ends):
            assert check(config(spec, arm, point)) == [], (arm.name, point)


@pytest.mark.parametrize("size", catalog.sizes())
def test_the_default_configuration_lies_inside_every_space_of_bo(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    for arm in (a for a in spec.arms if a.method == "gp"):
        default = default_point(spec, arm)
        assert set(default) == {p.path for p in arm.space}
        for p in arm.space:
            low, high = p.bounds
            assert low < default[p.path] < high, (arm.name, p.path)


def test_a_guided_arm_learns_what_its_column_names_and_a_static_one_learns_nothing() -> None:
    spec = catalog.get("bo-vs-guided", "quick")
    for column in COLUMNS:
        for kind in ("guided", "guided-bo"):
            made = config(spec, spec.arm(f"{kind}-{column}"), {})
            assert value_at(made, "guidance.learn") == column.split("+")
            assert value_at(made, "guidance.estimator") == "held-out"
        assert value_at(config(spec, spec.arm(f"bo-{column}"), {}), "guidance.estimator") == "off"


def test_the_papers_meta_learning_rate_is_in_the_grid_of_the_papers_size() -> None:
    (eta,) = catalog.get("bo-vs-guided", "paper").arm("guided-alpha").space
    assert 3e-5 in eta.values
    assert len(eta.values) == 4


@pytest.mark.parametrize("size", catalog.sizes())
def test_the_claim_can_be_won_or_lost(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    assert spec.claim is not None
    challenger, incumbent = spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent)
    assert challenger.run_hours
    assert incumbent.run_hours
    assert spec.claim.cost_ratio
    cost = challenger.trials * challenger.run_hours / (incumbent.trials * incumbent.run_hours)
    assert cost <= spec.claim.cost_ratio  # else the claim would be lost before the first trial
    followed = {arm.after.arm for arm in spec.arms if arm.after}
    assert {challenger.name, incumbent.name} <= followed  # both are judged on their fresh seeds


@pytest.mark.parametrize("size", catalog.sizes())
def test_a_run_that_reports_on_time_is_not_taken_for_a_hung_one(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    hours = max(arm.run_hours for arm in spec.arms if arm.run_hours)
    between_s = hours * 3600 * spec.base["eval_every_steps"] / spec.base["steps"]
    assert spec.retries.hang_after_s > 3 * between_s


@pytest.mark.parametrize("size", catalog.sizes())
def test_two_builds_give_the_same_spec_which_survives_json(size: str) -> None:
    spec = catalog.get("bo-vs-guided", size)
    assert canonical(spec) == canonical(catalog.get("bo-vs-guided", size))
    assert canonical(StudySpec.model_validate(json.loads(canonical(spec)))) == canonical(spec)


def test_the_sizes_are_different_studies() -> None:
    names = [catalog.get("bo-vs-guided", size).name for size in catalog.sizes()]
    assert len(set(names)) == len(names)


def test_changing_one_built_spec_leaves_the_next_one_alone() -> None:
    catalog.get("bo-vs-guided", "quick").base["data"]["pair"] = "fi-en"
    assert catalog.get("bo-vs-guided", "quick").base["data"]["pair"] == "de-en"


def test_an_unknown_study_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound) as refusal:
        catalog.get("bo-vs-gided")
    assert str(refusal.value) == (
        "There is no study 'bo-vs-gided'. Did you mean 'bo-vs-guided'? "
        f"Allowed: {', '.join(catalog.names())}."
    )


def test_an_unknown_size_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound) as refusal:
        catalog.get("bo-vs-guided", "qiuck")
    assert str(refusal.value) == (
        "There is no size 'qiuck'. Did you mean 'quick'? Allowed: smoke, quick, laptop, paper."
    )
