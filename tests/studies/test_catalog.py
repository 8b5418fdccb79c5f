"""Can every study at every size be run, and does each ask what its page says?"""

from __future__ import annotations

import pytest

from orchestrator.engine.checks import require_runnable
from orchestrator.study.configs import laid_over, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog, parts
from trainer.config import TrainConfig, papers_rate
from trainer.config.paths import value_at

OVER_CELLS = ("attribution", "estimators", "hypergradient-audit", "rivals")  # many arms or settings
OF_CURVES = ("t5-pretraining", "t5-repeats", "t5")  # when was a loss reached? More evaluations
ALL = [(name, size) for name in catalog.names() for size in catalog.sizes(name)]


@pytest.mark.parametrize(("name", "size"), ALL)
def test_the_trainer_and_the_search_accept_it(name: str, size: str) -> None:
    require_runnable(catalog.get(name, size))


@pytest.mark.parametrize("name", catalog.names())
def test_quick_takes_at_most_9_minutes_on_2_cores_or_20_over_cells_and_smoke_less_than_one(name: str) -> None:
    for size, minutes in (("quick", 20 if name in OVER_CELLS else 9), ("smoke", 1)):
        hours = plan(catalog.get(name, size), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours <= minutes


def test_laptop_searches_at_most_75_minutes_on_2_cores() -> None:
    planned = plan(catalog.get("bo-vs-guided", "laptop"), slots=2)
    assert planned.search.runs == 613
    assert planned.search.run_hours is not None
    assert 60 * planned.search.run_hours / 2 <= 75


def test_small_sizes_start_at_a_stated_multiple_of_the_papers_peak_learning_rate() -> None:
    for name, size in parts.sizes().items():
        config = TrainConfig.from_dict(size.base)
        factor = 1 if name == "paper" else parts.RATE_FACTOR
        papers = papers_rate(config.schedule.warmup_steps)
        assert config.optimizer.learning_rate == pytest.approx(factor * papers, rel=0.01)


def test_a_run_of_seconds_saves_at_its_end_alone_and_evaluates_four_times() -> None:
    for size in ("smoke", "quick", "laptop"):
        for name in catalog.names():
            if name in OF_CURVES:
                continue
            spec = catalog.get(name, size)
            for config in (laid_over(spec.base, arm.config) for arm in spec.arms):
                assert config["checkpoint_every_steps"] == config["steps"] == 4 * config["eval_every_steps"]
    assert parts.sizes()["paper"].base["checkpoint_every_steps"] < parts.sizes()["paper"].steps


def test_the_defaults_learning_rate_is_chosen_inside_a_grid_on_seeds_that_no_study_reports() -> None:
    spec = catalog.get("default-rate")
    (rate,) = spec.arms[0].space
    chosen = value_at(spec.base, "optimizer.learning_rate")
    assert min(rate.values) < chosen < max(rate.values)
    assert chosen in rate.values
    studied = catalog.get("bo-vs-guided")
    assert spec.seeds.search > studied.seeds.fresh + 1000


def test_targets_are_in_the_spec_from_the_defaults_dev_loss_downwards() -> None:
    for size in ("quick", "laptop"):
        targets = catalog.get("bo-vs-guided", size).objective.targets
        assert targets == tuple(sorted(targets, reverse=True))
        assert len(targets) == len(parts.TARGETS)


def configs(spec: StudySpec) -> dict[str, dict[str, object]]:
    return {arm.name: trial_config(spec, arm, replicate=0, index=0, point={}) for arm in spec.arms}


def test_the_eta_sweep_learns_alpha_alone_over_a_decade_of_eta() -> None:
    arm = catalog.get("eta-sweep").arm("guided-alpha")
    assert value_at(arm.config, "guidance.learn") == ["alpha"]
    (eta,) = arm.space
    assert max(eta.values) >= 9.9 * min(eta.values)


def test_beta1_starts_at_the_papers_three_values() -> None:
    spec = catalog.get("beta1-inits")
    starts = {value_at(config, "optimizer.beta1") for config in configs(spec).values()}
    assert starts == {0.1, 0.5, 0.9}
    assert all(len(arm.space[0].values) == 4 for arm in spec.arms if arm.method == "grid")


def test_language_pairs_has_the_papers_four_rows_and_six_columns_at_one_eta() -> None:
    spec = catalog.get("language-pairs", "paper")
    runs = [arm for arm in spec.arms if not spec.confirms(arm)]
    assert {(arm.row, arm.column) for arm in runs} == {
        (row, pair) for row in ("base", "alpha", "beta1", "alpha+beta1") for pair in parts.PAIRS
    }
    made = configs(spec)
    assert all(value_at(made[arm.name], "data.pair") == arm.column for arm in runs)
    assert {value_at(made[arm.name], "guidance.eta") for arm in runs} == {3e-5}


def test_bo_beta1_searches_beta1_beside_learning_it() -> None:
    spec = catalog.get("bo-beta1", "paper")
    assert (spec.arm("bo-beta1").method, spec.arm("bo-beta1").trials) == ("gp", 100)
    assert [p.path for p in spec.arm("bo-beta1").space] == ["optimizer.beta1"]
    assert value_at(spec.arm("guided-beta1").config, "guidance.learn") == ["beta1"]
