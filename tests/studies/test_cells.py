"""Has every cell a config that runs, and every study over cells a default and all its rows in each?"""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.study.configs import laid_over, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog, cells, default_rate, estimators, parts
from studies.cells import Cell
from trainer.config import TrainConfig, check
from trainer.config.paths import value_at

SIZES = catalog.sizes()
LENGTHS = ["plain ×1.15", "plain ×1.3", "plain ×1.7"]
ROWS = [
    "static default",
    "+ BO",
    "held-out",
    "held-out, every 10",
    "next batch",
    "discounted",
    "forward",
    "lagged",
]


def of(size: str) -> tuple[Cell, ...]:
    return cells.cells(parts.sizes()[size])


@pytest.mark.parametrize("size", SIZES)
def test_every_cell_is_a_config_of_its_name(size: str) -> None:
    base = parts.sizes()[size].base
    for cell in of(size):
        config = TrainConfig.from_dict(laid_over(base, cell.config()))
        assert (config.optimizer.name, config.schedule.name, config.steps) == (
            cell.optimizer,
            cell.schedule,
            cell.steps,
        )
        assert cell.name == f"{cell.optimizer} {cell.schedule} {cell.steps}"
    assert len({cell.slug for cell in of(size)}) == len(of(size))


def test_a_peak_is_the_same_under_every_schedule() -> None:
    """The inverse square root's multiplier peaks at 1/√w after w steps of warm-up, the others' at 1."""
    root, line = (Cell(s, 400, "lamb") for s in ("inverse-sqrt", "linear"))
    assert root.learning_rate(2) / 40**0.5 == pytest.approx(line.learning_rate(2), rel=0.005)
    assert root.learning_rate(2) == pytest.approx(2 * parts.papers_rate(40), rel=0.005)


def test_a_cell_trains_at_the_factor_found_for_it_and_at_a_multiple_of_it_on_demand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell("cosine", 70, "adamw")
    assert cell.factor == cells.USUAL_FACTOR
    monkeypatch.setattr(cells, "FACTOR", {("adamw", "cosine", 70): 8.0})
    assert value_at(cell.config(), "optimizer.learning_rate") == cell.learning_rate(8)
    fifth = dataclasses.replace(cell, rate_factor=0.2)
    assert value_at(fifth.config(), "optimizer.learning_rate") == cell.learning_rate(1.6)
    assert (fifth.name, fifth.slug) == ("adamw cosine 70 rate x0.2", "adamw-cosine-70-rate-x0_2")


def test_every_factor_was_in_the_grid() -> None:
    assert set(cells.FACTOR.values()) <= set(map(float, default_rate.FACTORS))
    assert cells.USUAL_FACTOR in default_rate.FACTORS


@pytest.mark.parametrize("size", SIZES)
def test_the_default_rate_is_looked_for_in_every_cell_at_that_cells_own_setting(size: str) -> None:
    spec = catalog.get("default-rate", size)
    assert [arm.column for arm in spec.arms] == [cell.name for cell in of(size)]
    for arm, cell in zip(spec.arms, of(size), strict=True):
        made = trial_config(spec, arm, replicate=0, index=0, point={})
        (rate,) = arm.space
        assert value_at(made, "optimizer.learning_rate") in rate.values
        assert len(set(rate.values)) == len(default_rate.FACTORS)
        assert (value_at(made, "optimizer.name"), value_at(made, "steps")) == (cell.optimizer, cell.steps)


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_the_first_cell_is_the_setting_of_bo_vs_guided(size: str) -> None:
    base = parts.sizes()[size].base
    assert laid_over(base, of(size)[0].config()) == base


@pytest.mark.parametrize("size", SIZES)
def test_every_row_of_the_estimators_is_judged_on_the_same_fresh_seeds_in_each_cell(size: str) -> None:
    spec = catalog.get("estimators", size)
    seeds = 1 if size == "smoke" else 6
    for cell in of(size):
        here = [arm for arm in spec.arms if arm.column == cell.name]
        judged = [arm for arm in here if arm.fresh_seeds]
        rows = [row for row in ROWS if row != "forward" or cell.steps <= 400]
        if size != "laptop" or cell.steps <= 400:
            rows += LENGTHS[1:2] if size == "smoke" else LENGTHS
        assert sorted(arm.row for arm in judged) == sorted(rows)
        assert {arm.trials for arm in judged} == {seeds}
        assert all(value_at(config(spec, arm, {}), "score.test") is True for arm in judged)
    assert not {a.name for a in spec.arms if a.fresh_seeds} & {a.name for a in spec.arms if a.space}


def config(spec: StudySpec, arm: object, point: dict[str, float]) -> dict[str, object]:
    return trial_config(spec, arm, replicate=0, index=0, point=point)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
def test_every_estimator_can_be_run_at_the_ends_of_its_space(size: str) -> None:
    spec = catalog.get("estimators", size)
    for arm in spec.arms:
        for point in ({}, *({p.path: p.bounds[end] for p in arm.space} for end in (0, 1))):
            assert check(config(spec, arm, point)) == [], (arm.name, point)


def test_a_row_learns_both_by_the_estimator_of_its_name_and_static_rows_learn_nothing() -> None:
    spec = catalog.get("estimators", "quick")
    for arm in (a for a in spec.arms if not spec.confirms(a)):
        guidance = value_at(config(spec, arm, {}), "guidance")
        assert isinstance(guidance, dict)
        if arm.row in ("static default", "+ BO", *LENGTHS):
            assert guidance["estimator"] == "off"
        else:
            assert guidance["learn"] == ["alpha", "beta1"]
            assert guidance["estimator"] == arm.row.split(",")[0].replace(" ", "-")


def test_quick_is_planned_below_20_minutes_and_laptop_at_105_on_2_cores() -> None:
    for size, minutes in (("quick", 20), ("laptop", 105)):
        hours = plan(catalog.get("estimators", size), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours < minutes


def test_bo_has_100_trials_where_they_are_affordable() -> None:
    spec = catalog.get("estimators", "laptop")
    trials = {value_at(arm.config, "steps"): arm.trials for arm in spec.arms if arm.method == "gp"}
    assert trials == {400: 100, 1200: estimators.BO_TRIALS_LONG}
