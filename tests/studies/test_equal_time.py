"""Do both sides of the study take as long, on the same seeds, and differ in nothing else?"""

from __future__ import annotations

import pytest

from orchestrator.study.configs import trial_config
from orchestrator.study.plan import plan
from studies import catalog
from studies.equal_time import OVER
from trainer.config.paths import value_at

SHARED = ("optimizer", "schedule", "data", "model", "batch", "seed")


@pytest.mark.parametrize("size", catalog.sizes())
def test_a_plain_run_has_the_steps_that_a_guided_one_costs_and_all_else_is_shared(size: str) -> None:
    spec = catalog.get("equal-time", size)
    assert len(spec.arms) == 2 * len({arm.column for arm in spec.arms})
    for plain, guided in zip(spec.arms[::2], spec.arms[1::2], strict=True):
        assert (plain.row, guided.row, plain.column) == ("plain, as long", "lagged", guided.column)
        assert plain.trials == guided.trials
        assert plain.fresh_seeds
        assert guided.fresh_seeds
        one, other = (trial_config(spec, a, replicate=0, index=0, point={}) for a in (plain, guided))
        assert {key: one[key] for key in SHARED} == {key: other[key] for key in SHARED}
        assert one["steps"] == 4 * one["eval_every_steps"]
        assert abs(one["steps"] - OVER * other["steps"]) <= 2  # the nearest whole quarters
        assert (value_at(one, "guidance.estimator"), value_at(other, "guidance.estimator")) == (
            "off",
            "lagged",
        )


def test_laptop_is_planned_within_a_quarter_of_an_hour_on_2_workers() -> None:
    hours = plan(catalog.get("equal-time", "laptop"), slots=2).wall_hours
    assert hours is not None
    assert 60 * hours <= 15
