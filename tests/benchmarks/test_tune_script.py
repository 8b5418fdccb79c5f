"""The script on Ray Tune searches what the study searches."""

from __future__ import annotations

import pytest

from orchestrator.study.configs import default_point
from studies import catalog
from trainer.protocol import Report

SPEC = catalog.get("bo-vs-guided", "quick")


@pytest.mark.parametrize("name", [arm.name for arm in SPEC.arms if arm.method == "gp"])
def test_a_bayesian_arm_begins_at_the_default_and_stays_in_its_ranges(name: str) -> None:
    from benchmarks import tune_script

    arm = SPEC.arm(name)
    search = tune_script._search(arm, SPEC)
    assert search.suggest("0") == default_point(SPEC, arm)
    for trial in range(1, arm.startup_trials):  # points of no model
        search.on_trial_complete(str(trial - 1), {"dev_loss": float(trial)})
        point = search.suggest(str(trial))
        assert point is not None
        assert point != default_point(SPEC, arm)
        assert all(p.bounds[0] <= point[p.path] <= p.bounds[1] for p in arm.space)


def test_random_search_draws_from_its_ranges() -> None:
    from benchmarks import tune_script

    (arm,) = (arm for arm in SPEC.arms if arm.method == "random")
    search = tune_script._search(arm, SPEC)
    points = [search.suggest(str(trial)) for trial in range(arm.trials)]
    assert all(p.bounds[0] <= point[p.path] <= p.bounds[1] for p in arm.space for point in points if point)
    assert len({repr(point) for point in points}) == arm.trials


def test_mlflow_gets_hyperparameters_where_they_change_and_clocks_at_evaluations() -> None:
    from benchmarks import tune_script

    points, told = tune_script.Points(), []
    for step, kind, alpha in ((1, "train", 1.0), (2, "train", 1.0), (3, "train", 1.5), (3, "eval", 1.5)):
        report = Report(step, kind, values={"loss": 1.0}, hyper={"alpha": alpha}, clocks={"train_s": 2.0})
        told += points.of(report)
    assert [(m.key, m.step) for m in told if m.key != "loss"] == [
        ("hyper/alpha", 1),
        ("hyper/alpha", 3),
        ("hyper/alpha", 3),
        ("clock/train_s", 3),
    ]
