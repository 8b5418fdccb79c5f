"""Do both sides of the study take as long, on the same seeds, and differ in nothing else?"""

from __future__ import annotations

import pytest

from orchestrator.study.configs import trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import Arm, StudySpec
from studies import catalog
from studies.equal_time import OVER
from trainer.config.paths import value_at

SHARED = ("optimizer", "schedule", "data", "model", "batch", "seed")
ROWS = {"plain": 1.0, "plain, as long": OVER, "plain ×1.3": 1.3, "plain ×1.7": 1.7}


def rows(spec: StudySpec, column: str) -> dict[str, Arm]:
    return {arm.row: arm for arm in spec.arms if arm.column == column}


@pytest.mark.parametrize("size", catalog.sizes())
def test_a_plain_run_has_the_steps_that_its_row_says_and_all_else_is_shared(size: str) -> None:
    spec = catalog.get("equal-time", size)
    for column in {arm.column for arm in spec.arms}:
        guided, *plain = (here := rows(spec, column)).pop("lagged"), *here.values()
        kept = {"plain", "plain, as long"} if size == "smoke" else ROWS.keys()
        assert here.keys() == kept
        assert {(arm.trials, arm.fresh_seeds) for arm in plain} == {(guided.trials, True)}
        other = trial_config(spec, guided, replicate=0, index=0, point={})
        assert value_at(other, "guidance.estimator") == "lagged"
        for arm in plain:
            one = trial_config(spec, arm, replicate=0, index=0, point={})
            assert {key: one[key] for key in SHARED} == {key: other[key] for key in SHARED}
            assert value_at(one, "guidance.estimator") == "off"
            assert one["steps"] == 4 * one["eval_every_steps"]
            assert abs(one["steps"] - ROWS[arm.row] * other["steps"]) <= 2  # the nearest whole quarters


def test_no_length_of_plain_training_is_run_twice_in_a_column() -> None:
    spec = catalog.get("equal-time", "laptop")
    steps = [(arm.column, arm.config["steps"]) for arm in spec.arms if arm.row != "lagged"]
    assert len(steps) == len(set(steps))


def test_laptop_is_planned_within_35_minutes_on_2_workers() -> None:
    hours = plan(catalog.get("equal-time", "laptop"), slots=2).wall_hours
    assert hours is not None
    assert 60 * hours <= 35
