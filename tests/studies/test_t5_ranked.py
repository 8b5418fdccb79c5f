"""Do the studies of T5's own tables have its rows, and are they ranked by what tasks make of them?"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.checks import require_runnable
from orchestrator.study.configs import expected_configs, laid_over, training_seed
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog, t5_parts
from trainer.config import TrainConfig
from trainer.config.choices import MODELS
from trainer.config.inherit import inherit
from trainer.config.noise_lengths import lengths
from trainer.config.paths import with_values
from trainer.training.entrypoint import check

SIZES = ["smoke", "quick", "laptop", "paper"]
STUDIES = ["t5-objectives", "t5-architectures"]
ROWS = {"t5-objectives": 13, "t5-architectures": 10}


def configs(spec: StudySpec) -> dict[str, dict[str, Any]]:
    return {
        arm.name: dict(config)
        for arm, config in expected_configs(spec, lambda take, config: inherit(take, config, None))
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STUDIES)
def test_the_trainer_accepts_it_and_each_pretraining_reads_text(name: str, size: str) -> None:
    spec = catalog.get(name, size)
    require_runnable(spec)
    for arm, config in configs(spec).items():
        read = TrainConfig.from_dict({**config, "init": "", "seed": 0})
        assert read.reads_text() == (spec.arm(arm).phase == "prepare"), arm
        assert bool(read.data.task) != read.reads_text()
        assert read.optimizer.beta1 == 0
        assert read.guidance.estimator == "off"
        if read.reads_text():
            assert read.data.sentinels == 200
            assert check({**config, "seed": 0}) == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STUDIES)
def test_a_row_is_what_every_task_makes_of_one_pretraining_run_by_run(name: str, size: str) -> None:
    spec = catalog.get(name, size)
    prepared = [arm for arm in spec.arms if arm.phase == "prepare"]
    whole = ROWS[name] if size in ("laptop", "paper") else {"smoke": 3, "quick": 6}[size]
    assert len(prepared) == whole
    assert spec.columns() == t5_parts.OF_TABLES[size].names
    for arm in prepared:
        followers = [a for a in spec.compared if a.after and a.after.arm == arm.name]
        assert [a.column for a in followers] == list(spec.columns())
        assert {(a.row, a.trials, a.phase) for a in followers} == {(arm.row, arm.trials, "search")}
        assert all(a.after and a.after.take == "checkpoint" and spec.starts_by_number(a) for a in followers)
    assert all(arm.fresh_seeds for arm in spec.arms)
    assert len({training_seed(spec, arm, 0, 0) for arm in spec.arms}) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("t5-objectives", ["i.i.d. spans", "prefix LM"]),
        ("t5-architectures", ["encoder-decoder, denoising", "language model, LM"]),
    ],
)
def test_the_claim_is_of_the_higher_average_and_its_sides_have_the_most_seeds(
    name: str, sides: list[str], size: str
) -> None:
    spec = catalog.get(name, size)
    assert spec.claim is not None
    assert spec.claim.average
    assert (spec.claim.metric, spec.goal_of(spec.claim.metric)) == ("test_score", "maximize")
    arms = spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent)
    assert [spec.row_of(arm) for arm in arms] == sides
    assert len(spec.cells(*arms)) == len(spec.columns())
    of_claim, others = (1, 1) if size == "smoke" else (6, 3)
    for arm in spec.arms:
        assert arm.trials == (of_claim if spec.row_of(arm) in sides else others), arm.name


@pytest.mark.parametrize("size", ["laptop", "paper"])
def test_objectives_are_those_of_tables_4_to_7(size: str) -> None:
    spec = catalog.get("t5-objectives", size)
    made = [TrainConfig.from_dict(configs(spec)[a.name]) for a in spec.arms if a.phase == "prepare"]
    kinds = [(c.objective.name, c.objective.rate, c.objective.span) for c in made]
    plain = ("iid-spans", "prefix-lm", "bert", "deshuffling", "mass", "iid-drop")
    assert kinds == [
        *((name, 0.15, 3.0) for name in plain),
        *(("iid-spans", rate, 3.0) for rate in (0.1, 0.25, 0.5)),
        *(("random-spans", 0.15, span) for span in (2.0, 3.0, 5.0, 10.0)),
    ]
    assert {c.model.dimensions().stacks for c in made} == {"encoder-decoder"}


@pytest.mark.parametrize("size", ["laptop", "paper"])
def test_architectures_are_the_ten_rows_of_table_2(size: str) -> None:
    spec = catalog.get("t5-architectures", size)
    made = [TrainConfig.from_dict(configs(spec)[a.name]) for a in spec.arms if a.phase == "prepare"]
    layers = MODELS[made[0].model.size].layers
    stacks = ["encoder-decoder", "shared", "encoder-decoder", "language-model", "prefix-lm"]
    depths = [layers, layers, layers // 2, layers, layers]
    assert [c.model.dimensions().stacks for c in made] == stacks * 2
    assert [c.model.dimensions().layers for c in made] == depths * 2
    assert [c.objective.name for c in made] == ["iid-spans"] * 5 + ["prefix-lm"] * 3 + ["lm", "prefix-lm"]
    assert {c.objective.rate for c in made} == {0.15}


def test_half_of_the_tokens_needs_more_sentinels_than_t5_s_hundred() -> None:
    spec = catalog.get("t5-objectives", "paper")
    config = laid_over(spec.base, spec.arm("pretrain-rate-50").config)
    assert check({**config, "seed": 0}) == []
    (problem,) = check({**with_values(config, {"data.sentinels": 100}), "seed": 0})
    assert "with about 128 corrupted spans" in problem
    assert "data.sentinels is 100" in problem


def test_paper_is_t5_s_baseline_and_its_tasks() -> None:
    """3.1.2: 2^19 steps of 128 rows of 512, then 2^18 of 128; T5-base, 0.01 constant for 10^4 steps."""
    spec = catalog.get("t5-objectives", "paper")
    base = TrainConfig.from_dict(spec.base)
    assert (base.steps, base.batch.sentences, base.data.source_tokens) == (524_288, 128, 512)
    assert (base.model.size, base.model.dropout) == ("t5-base", 0.1)
    assert (base.optimizer.learning_rate, base.schedule.warmup_steps) == (0.01, 10_000)
    columns = spec.columns()
    assert len(columns) == 21
    assert {"cnn_dailymail", "squad", "wmt/de", "wmt/fr", "wmt/ro", "super_glue/wsc_dpr"} < set(columns)
    assert "glue/wnli" not in columns
    task = spec.arm("iid-spans-squad").config
    assert (task["steps"], task["batch"]["sentences"], task["optimizer"]["learning_rate"]) == (
        2**18,
        128,
        1e-3,
    )


def test_targets_as_long_as_the_inputs_are_planned_to_take_longer() -> None:
    """By the trainer's own count of operations, within a fifth."""
    from trainer.models.sizes import model_settings
    from trainer.training.flops import train_flops

    for name in STUDIES:
        spec = catalog.get(name, "paper")
        prepared = [arm for arm in spec.arms if arm.phase == "prepare"]
        found = {}
        for arm in prepared:
            config = TrainConfig.from_dict(configs(spec)[arm.name])
            noise = config.objective
            long = lengths(
                noise.name, config.data.source_tokens, rate=noise.rate, span=noise.span, sentinels=200
            )
            settings = model_settings(config.model, vocabulary=32_256)
            found[arm.name] = train_flops(
                settings, rows=1, source_length=long.inputs, target_length=long.targets
            )
        first = prepared[0]
        for arm in prepared:
            assert arm.run_hours is not None
            assert first.run_hours is not None
            expected = found[arm.name] / found[first.name]
            assert arm.run_hours / first.run_hours == pytest.approx(expected, rel=0.2), arm.name


def test_two_cores_take_less_than_a_minute_and_seven_and_a_study_has_72_runs_at_quick() -> None:
    for name in STUDIES:
        for size, minutes in (("smoke", 1), ("quick", 7)):
            planned = plan(catalog.get(name, size), slots=2)
            assert planned.wall_hours is not None
            assert 60 * planned.wall_hours <= minutes
        assert sum(arm.trials for arm in catalog.get(name, "quick").arms) == 72
