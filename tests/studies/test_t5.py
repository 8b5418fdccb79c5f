"""Does the study of tasks after pretraining ask what its page says, and can its configs be run?"""

from __future__ import annotations

import pytest

from orchestrator.engine.checks import require_runnable
from orchestrator.study.configs import expected_configs, training_seed
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog, t5, t5_parts
from trainer.config import TrainConfig
from trainer.config.inherit import inherit
from trainer.config.paths import value_at

SIZES = ["smoke", "quick", "laptop", "paper"]


def configs(spec: StudySpec) -> dict[str, dict[str, object]]:
    """What each arm's runs train with, where they begin with others before those have run."""
    return {
        arm.name: dict(config)
        for arm, config in expected_configs(spec, lambda take, config: inherit(take, config, None))
    }


@pytest.mark.parametrize("size", SIZES)
def test_every_task_is_learned_from_both_pretrainings_run_by_run(size: str) -> None:
    spec = catalog.get("t5", size)
    prepared = [arm for arm in spec.arms if arm.phase == "prepare"]
    assert [arm.name for arm in prepared] == ["pretrain-base", "pretrain-alpha+beta1", "pretrain-nothing"]
    assert spec.columns() == t5_parts.TASKS[size].names
    for task in spec.columns():
        rows = {spec.row_of(arm): arm for arm in spec.compared if arm.column == task}
        assert list(rows) == ["base", "α+β1", "base, guided fine-tuning", "no pretraining"]
        begun = {row: arm.after and (arm.after.arm, arm.after.take) for row, arm in rows.items()}
        assert begun["base"] == begun["base, guided fine-tuning"] == ("pretrain-base", "checkpoint")
        assert begun["α+β1"] == ("pretrain-alpha+beta1", "checkpoint")
        assert begun["no pretraining"] == ("pretrain-nothing", "checkpoint")
    of_claim, others = (1, 1) if size == "smoke" else (6, 3)
    few = {arm.name for arm in spec.arms if arm.phase == "control"} | {"pretrain-nothing"}
    assert {arm.trials for arm in spec.arms if arm.name not in few} == {of_claim}
    assert {arm.trials for arm in spec.arms if arm.name in few} == {others}
    assert all(arm.fresh_seeds for arm in spec.arms)
    assert len({training_seed(spec, arm, 0, 0) for arm in spec.arms}) == 1
    assert all(spec.starts_by_number(arm) for arm in spec.arms if arm.after)


@pytest.mark.parametrize("size", SIZES)
def test_pretraining_reads_text_and_the_tasks_their_rows_alone(size: str) -> None:
    spec = catalog.get("t5", size)
    for name, config in configs(spec).items():
        read = TrainConfig.from_dict({**config, "init": "", "seed": 0})
        assert read.reads_text() == (spec.arm(name).phase == "prepare"), name
        assert bool(read.data.task) != read.reads_text()
        if read.data.task:
            assert read.score.test
            assert read.schedule.name == "constant"
        guided = {"pretrain-alpha+beta1"} | {arm for arm in (name,) if arm.startswith("tuned-")}
        assert (read.guidance.estimator == "held-out") == (name in guided), name


@pytest.mark.parametrize("size", SIZES)
def test_the_trainer_accepts_it(size: str) -> None:
    require_runnable(catalog.get("t5", size))


def test_what_pretraining_learned_begins_at_the_papers_reach() -> None:
    spec = catalog.get("t5", "quick")
    eta = value_at(spec.arm("pretrain-alpha+beta1").config, "guidance.eta")
    assert eta * spec.base["steps"] == pytest.approx(t5.REACH, rel=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_claim_is_of_the_higher_average_of_test_scores(size: str) -> None:
    spec = catalog.get("t5", size)
    assert spec.claim is not None
    assert spec.claim.average
    assert (spec.claim.metric, spec.goal_of(spec.claim.metric)) == ("test_score", "maximize")
    sides = spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent)
    assert [spec.row_of(arm) for arm in sides] == ["α+β1", "base"]
    assert len(spec.cells(*sides)) == len(spec.columns())


def test_two_cores_take_less_than_a_minute_and_ten_and_paper_has_the_papers_hours() -> None:
    for size, minutes in (("smoke", 1), ("quick", 8)):
        hours = plan(catalog.get("t5", size), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours <= minutes
    paper = catalog.get("t5", "paper")
    assert (paper.arm("pretrain-base").run_hours, paper.arm("base-squad").run_hours) == (48.0, 6.0)
    assert len(paper.columns()) == 18
    assert paper.arm("base-squad").config["steps"] == 250_000
    assert paper.arm("base-squad").config["batch"]["sentences"] == 8
