"""Is every control there in every cell, and does each run what its name says?"""

from __future__ import annotations

import pytest

from dashboards.evidence.attribution import EXPECTED_CONTROLS
from orchestrator.engine.checks import expected_starts, learned_by_arms
from orchestrator.study.configs import default_point, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import Arm, StudySpec
from studies import attribution, catalog, parts
from studies.cells import cells
from trainer.config import TrainConfig
from trainer.config.paths import value_at

LENGTHS = {"plain ×1.15", "plain ×1.3", "plain ×1.7"}
FOLLOWING = {
    "replay": "schedule",
    "constant = mean": "schedule-mean",
    "matched decay": "matched-decay",
}


def at(spec: StudySpec, row: str, column: str) -> Arm:
    """The one arm of a cell of the table."""
    (arm,) = (a for a in spec.arms if (a.row, a.column) == (row, column) and not spec.confirms(a))
    return arm


def of_size(size: str) -> list[str]:
    """At the default's own rate: all cells of the size, but at quick one."""
    named = [cell.name for cell in cells(parts.sizes()[size])]
    return [name for name in named if (size, name) != ("quick", "adamw linear 240")]


def columns(spec: StudySpec) -> list[str]:
    return list(dict.fromkeys(arm.column for arm in spec.arms))


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_the_columns_are_the_cells_and_the_default_at_a_fifth_and_at_five_times_its_rate(size: str) -> None:
    spec, named = catalog.get("attribution", size), of_size(size)
    assert set(columns(spec)) == {*named, *(f"{_first(named)} rate x{factor}" for factor in ("0.2", "5"))}
    rates = [
        float(value_at(at(spec, "base", f"{_first(named)}{end}").config, "optimizer.learning_rate"))
        for end in (" rate x0.2", "", " rate x5")
    ]
    assert rates == pytest.approx([rates[1] / 5, rates[1], rates[1] * 5], rel=0.01)


def _first(named: list[str]) -> str:
    return next(name for name in named if name.startswith("lamb inverse-sqrt"))


def test_quick_has_every_control_in_every_cell() -> None:
    spec = catalog.get("attribution", "quick")
    for column in of_size("quick"):
        stated = {a.control for a in spec.arms if a.column == column}
        assert stated - {None} == EXPECTED_CONTROLS.keys() - {"default-rate"}, column


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_every_choice_runs_on_the_same_fresh_seeds_in_every_row_of_a_column(size: str) -> None:
    spec = catalog.get("attribution", size)
    counts = attribution.COUNTS[size]
    assert spec.claim is not None
    for column in columns(spec):
        fresh = {
            a.after.arm if a.after is not None and spec.confirms(a) else a.name: a.trials
            for a in spec.arms
            if a.column == column and a.fresh_seeds
        }
        chosen = {a.name for a in spec.arms if a.column == column and not spec.confirms(a)}
        assert fresh.keys() == chosen
        for name, seeds in fresh.items():
            claimed = name in (spec.claim.challenger, spec.claim.incumbent)
            beside = spec.arm(name).row.startswith("plain ×") and column == columns(spec)[0]
            assert seeds == (counts.claimed if claimed or beside else counts.fresh)


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_a_blind_course_is_of_the_confirmed_guided_runs_in_all_cells_at_the_defaults_own_rate(
    size: str,
) -> None:
    spec = catalog.get("attribution", size)
    cells = of_size(size)
    blind = {a.column: a for a in spec.arms if a.control == "blind-course"}
    assert set(cells) <= blind.keys()
    for column, arm in blind.items():
        assert arm.after is not None
        sources = [spec.arm(name) for name in arm.after.arms]
        assert all(spec.confirms(source) and source.row == "guided" for source in sources)
        assert [source.column for source in sources] == [column, *(c for c in cells if c != column)]


@pytest.mark.parametrize("size", ["smoke", "quick", "laptop"])
def test_plain_training_with_another_beta1_differs_from_the_default_in_that_alone(size: str) -> None:
    spec = catalog.get("attribution", size)
    for column in of_size(size):
        base, other = at(spec, "base", column), at(spec, "plain, β1 = .8", column)
        assert other.control == "beta1"
        changed = {**base.config, "optimizer": {**base.config["optimizer"], "beta1": 0.8}}
        assert (other.config, other.run_hours) == (changed, base.run_hours)


def test_what_follows_the_guided_arm_takes_what_its_row_says_and_is_unguided() -> None:
    spec = catalog.get("attribution", "laptop")
    started, learned = expected_starts(spec), learned_by_arms(spec)
    for column in columns(spec):
        guided = at(spec, "guided", column)
        assert learned[guided.name] == ["alpha", "beta1"]
        for row, take in FOLLOWING.items():
            arm = at(spec, row, column)
            assert arm.after is not None
            assert (arm.after.arm, arm.after.take) == (guided.name, take)
            assert learned[arm.name] == []
            assert started[arm.name]["steps"] == guided.config["steps"]
            assert arm.run_hours == at(spec, "base", column).run_hours


def test_the_reach_of_eta_is_the_same_in_cells_of_all_lengths() -> None:
    spec = catalog.get("attribution", "laptop")
    for column in columns(spec):
        arm = at(spec, "guided", column)
        reaches = [eta * arm.config["steps"] for eta in arm.space[0].values]
        assert reaches == pytest.approx(parts.REACHES, rel=1e-4)


def test_a_course_starts_its_search_at_the_default_and_moves_start_end_and_shape() -> None:
    spec = catalog.get("attribution", "quick")
    for column in of_size("quick"):
        arm = at(spec, "+ BO over schedule parameters", column)
        default = default_point(spec, arm)
        assert set(default) == {p.path for p in arm.space}
        for p in arm.space:
            assert p.bounds[0] < default[p.path] < p.bounds[1]
        made = TrainConfig.from_dict(trial_config(spec, arm, replicate=0, index=0, point=default))
        assert made.schedule.course["alpha"] == {"start": 1.0, "end": 1.0, "shape": 1.0}
        assert made.schedule.name == at(spec, "base", column).config["schedule"]["name"]


@pytest.mark.parametrize("size", ["quick", "laptop"])
def test_longer_training_takes_as_long_as_a_guided_run_on_the_same_rate_and_warm_up(size: str) -> None:
    spec = catalog.get("attribution", size)
    longer = [a for a in spec.arms if a.row == "longer plain training"]
    assert len(longer) == len(columns(spec)) - 2  # not at other learning rates
    for arm in longer:
        base, guided = at(spec, "base", arm.column), at(spec, "guided", arm.column)
        assert base.run_hours is not None
        assert guided.run_hours is not None
        longer_by = arm.config["steps"] / base.config["steps"]
        assert longer_by == pytest.approx(guided.run_hours / base.run_hours, rel=0.02)
        assert arm.run_hours == guided.run_hours
        assert arm.config["steps"] % arm.config["eval_every_steps"] == 0
        assert (arm.config["optimizer"], arm.config["schedule"]) == (
            base.config["optimizer"],
            base.config["schedule"],
        )


def test_laptop_cuts_what_its_page_says_and_is_planned_below_95_minutes() -> None:
    spec = catalog.get("attribution", "laptop")
    planned = plan(spec, slots=2)
    assert planned.wall_hours is not None
    assert 60 * planned.wall_hours <= 95
    assert {a.trials for a in spec.arms if a.method == "gp"} == {10}
    random = {a.column for a in spec.arms if a.method == "random"}
    assert random == {c for c in columns(spec) if c.endswith(" 400")}
    at_other_rates = {a.row for a in spec.arms if "rate x" in a.column}
    assert at_other_rates == {"base", "guided", *FOLLOWING, "+ BO", "guided, lagged"}
    short, long = (
        {a.row for a in spec.arms if a.column == f"lamb linear {steps}"} for steps in ("400", "1200")
    )
    cut = {"random search", "+ BO over schedule parameters", "guided, lagged", *LENGTHS}
    assert (short - long, long - short) == (cut, set())


@pytest.mark.parametrize("size", ["quick", "laptop", "paper"])
def test_the_claim_is_judged_on_enough_seeds_to_be_decided(size: str) -> None:
    spec = catalog.get("attribution", size)
    assert spec.claim is not None
    assert spec.arm(f"confirm-{spec.claim.challenger}").trials >= 6
    assert spec.arm(spec.claim.incumbent).trials >= 6
