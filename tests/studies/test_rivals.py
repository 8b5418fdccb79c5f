"""Do the rivals get equal budgets, equal freedom and equal confirmation?"""

from __future__ import annotations

import pytest

from orchestrator.study.configs import default_point, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import Arm, StudySpec
from studies import catalog, parts, rivals
from trainer.config import TrainConfig
from trainer.config.paths import value_at
from trainer.optim.schedules import curves_of

SIZES = catalog.sizes()
ONE_RUN = {"base", "lagged"}


def rows(spec: StudySpec) -> list[Arm]:
    return [arm for arm in spec.arms if arm.phase == "search"]


def config(spec: StudySpec, name: str) -> dict[str, object]:
    return trial_config(spec, spec.arm(name), replicate=0, index=0, point={})


@pytest.mark.parametrize("size", SIZES)
def test_every_row_has_the_chip_hours_of_bayesian_optimization_or_one_run(size: str) -> None:
    spec = catalog.get("rivals", size)
    budget = rivals.budget_hours(parts.sizes()[size])
    assert {arm.row for arm in rows(spec)} == {
        "base", "random search", "TPE", "+ BO", "ASHA", "PBT", "Prodigy", "schedule-free AdamW",
        "guided", "guided, lagged",
    }  # fmt: skip
    for arm in rows(spec):
        assert arm.run_hours is not None
        hours = arm.trials * arm.run_hours
        if arm.name in ONE_RUN:
            assert arm.trials == 1
        elif size != "smoke":  # too small to share out evenly
            assert 0.85 * budget <= hours <= budget * (1 + 1e-9), arm.name


@pytest.mark.parametrize("size", SIZES)
def test_every_rows_choice_runs_again_on_the_same_fresh_seeds(size: str) -> None:
    spec = catalog.get("rivals", size)
    confirmations = [arm for arm in spec.arms if arm.phase == "confirm"]
    assert [arm.after.arm for arm in confirmations if arm.after] == [arm.name for arm in rows(spec)]
    assert len({arm.trials for arm in confirmations}) == 1
    assert all(arm.fresh_seeds and value_at(arm.config, "score.test") is True for arm in confirmations)
    if size != "smoke":
        assert confirmations[0].trials >= 6  # of five pairs no test reaches p < 0.05


@pytest.mark.parametrize("size", SIZES)
def test_all_that_choose_static_values_do_so_in_one_space(size: str) -> None:
    spec = catalog.get("rivals", size)
    searched = [arm for arm in rows(spec) if arm.space and arm.name != "guided"]
    assert {arm.space for arm in searched} == {rivals.SPACE}
    population = value_at(spec.arm("pbt").config, "population.space")
    assert [(p["path"], p["low"], p["high"], p["scale"]) for p in population] == [
        (p.path, p.low, p.high, p.scale) for p in rivals.SPACE
    ]
    for arm in searched:
        assert default_point(spec, arm) == {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9}


@pytest.mark.parametrize("size", SIZES)
def test_prodigy_and_schedule_free_start_at_their_published_rates(size: str) -> None:
    spec = catalog.get("rivals", size)
    for name, peak in (("prodigy", 1.0), ("schedule-free", 0.0025)):
        made = TrainConfig.from_dict({k: v for k, v in config(spec, name).items() if k != "population"})
        warmup = made.schedule.warmup_steps
        curve = curves_of(made.schedule.name, warmup_steps=warmup, steps=made.steps)["multiplier"]
        rates = [made.optimizer.learning_rate * float(curve[t]) for t in (warmup, made.steps - 1)]
        assert rates[0] == pytest.approx(peak, rel=1e-4)
        assert (rates[1] == rates[0]) == (name == "schedule-free")


def test_a_race_stops_where_something_is_reported_and_no_confirmation_does() -> None:
    for size in SIZES:
        spec = catalog.get("rivals", size)
        asha = spec.arm("asha")
        assert asha.rungs is not None
        assert all(step % spec.base["eval_every_steps"] == 0 for step in asha.rungs.steps)
        assert spec.arm("confirm-asha").rungs is None
        assert spec.arm("confirm-asha").run_hours == pytest.approx(spec.arm("random").run_hours)


def test_it_is_planned_within_its_time_on_2_cores() -> None:
    for size, minutes in (("smoke", 1), ("quick", 20), ("laptop", 90)):
        hours = plan(catalog.get("rivals", size), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours <= minutes
