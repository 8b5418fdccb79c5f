"""Does a hyperparameter that is told to move, and not to learn, move as it was told?"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainer.mlp import equal_bits, loss_fn, mlp_batches, start
from trainer.config import TrainConfig, check
from trainer.guidance import Hyper
from trainer.models import model_settings
from trainer.optim import schedules
from trainer.training import entrypoint
from trainer.training.recipes import loss_of, recipe_of
from trainer.training.step import compiled_scan

pytestmark = pytest.mark.usefixtures("optimized")

STEPS = 12


def numbers(steps: int = STEPS, **courses: dict[str, float]) -> dict[str, Any]:
    made = schedules.course_of(courses, {"alpha": 1.0, "beta1": 0.9})
    return schedules.curves_of("inverse-sqrt", warmup_steps=2, steps=steps, courses=made)


def trained(*hypers: Hyper, schedule: dict[str, Any], loss: Any = loss_fn) -> tuple[Any, Any]:
    recipe, state = start("lamb", None, *hypers, numbers=schedule, loss=loss)
    return compiled_scan(recipe)(state, mlp_batches(STEPS), jax.random.key(0))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_a_course_is_a_power_of_the_runs_share_in_the_raw_value() -> None:
    _, metrics = trained(
        schedule=numbers(
            alpha={"start": 2.0, "end": 0.1, "shape": 3.0}, beta1={"start": 0.5, "end": 0.95, "shape": 0.5}
        )
    )
    done = [step / (STEPS - 1) for step in range(STEPS)]
    alpha = [2.0 * (0.1 / 2.0) ** (f**3) for f in done]
    beta1 = [1 / (1 + math.exp(-(logit(0.5) + (logit(0.95) - logit(0.5)) * math.sqrt(f)))) for f in done]
    np.testing.assert_allclose(metrics["hyper"]["alpha"], alpha, rtol=1e-5)
    np.testing.assert_allclose(metrics["hyper"]["beta1"], beta1, rtol=1e-5)
    np.testing.assert_allclose(metrics["hyper"]["eps"], 1e-6, rtol=1e-5)  # what has no course stays


def test_what_is_not_stated_is_the_runs_start_its_start_and_a_straight_line() -> None:
    course = schedules.course_of({"alpha": {"end": 0.5}, "beta1": {}}, {"alpha": 2.0, "beta1": 0.9})
    assert {k: float(v) for k, v in course["alpha"].items()} == pytest.approx(
        {"start": math.log(2), "end": math.log(0.5), "shape": 1.0}
    )
    assert float(course["beta1"]["start"]) == float(course["beta1"]["end"])


def test_a_course_that_stays_where_it_is_is_the_static_run_bit_for_bit() -> None:
    hypers = Hyper("alpha", 1.3), Hyper("beta1", 0.8)
    stays = numbers(alpha={"start": 1.3, "end": 1.3, "shape": 2.0}, beta1={"start": 0.8})
    moving, metrics = trained(*hypers, schedule=stays)
    static, told = trained(*hypers, schedule=numbers())
    assert equal_bits(metrics["hyper"], told["hyper"])
    assert equal_bits(moving.params, static.params)


def test_courses_of_other_numbers_trace_the_step_once() -> None:
    traces = []

    def counted(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
        traces.append(train)
        return loss_fn(params, batch, key, train)

    ends = set()
    for trial in range(5):
        course = {"start": 0.5 + trial, "end": 0.1 * (1 + trial), "shape": 0.5 + trial}
        schedule = numbers(STEPS + trial, alpha=course)
        _, metrics = trained(schedule=schedule, loss=counted)
        ends.add(float(metrics["loss"][-1]))
        if trial == 0:
            once = len(traces)
    assert len(traces) == once
    assert len(ends) == 5, "the numbers did not reach the step"


def test_past_its_end_a_course_stays_there() -> None:
    _, values = schedules.at(jnp.asarray(STEPS + 50), numbers(alpha={"end": 0.25}))
    assert float(values["alpha"]) == pytest.approx(0.25)


def test_a_course_stays_where_float32_tells_beta1_from_one() -> None:
    course = numbers(beta1={"start": 0.999999999, "end": 0.5})
    assert course["values"]["beta1"][0] < 1


# -- in a config -----------------------------------------------------------------------------------------
def test_a_config_brings_its_course_to_the_numbers_and_no_program_of_its_own() -> None:
    course = {"alpha": {"start": 2, "end": 0.5, "shape": 2}, "beta1": {"end": 0.6}}
    config = TrainConfig.from_dict({"schedule": {"course": course}})
    made, _, told = recipe_of(config, loss_of(_settings()))
    values = told["schedule"]["values"]
    assert values["alpha"][[0, config.steps - 1]] == pytest.approx([2, 0.5])
    assert values["beta1"][[0, config.steps - 1]] == pytest.approx([0.9, 0.6])
    assert np.isnan(values["eps"]).all()
    plain, _, others = recipe_of(TrainConfig(), loss_of(_settings()))
    assert plain == made
    assert jax.tree.map(np.shape, others) == jax.tree.map(np.shape, told)


def test_formulas_courses_and_replays_share_a_program_up_to_a_length() -> None:
    same: list[dict[str, Any]] = [
        {"schedule": {"course": {"alpha": {"end": 0.1}}}},
        {"schedule": {"name": "cosine"}},
        {"schedule": {"name": "a.npz"}},
        {"steps": 1024},
    ]
    key = entrypoint.shape_key({})
    assert {entrypoint.shape_key(each) for each in same} == {key}
    assert entrypoint.shape_key({"steps": 1025}) != key


def _settings() -> Any:
    return model_settings(TrainConfig().model, vocabulary=20)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"schedule": {"course": {"alpha": {"edn": 1}}}},
        "Unknown key 'schedule.course.alpha.edn'. Did you mean 'end'? Allowed: start, end, shape.",
    ),
    (
        {"schedule": {"course": {"alpah": {"end": 1}}}},
        "schedule.course.alpah is none that can take a course. "
        "Allowed: alpha, beta1, beta2, eps, weight_decay.",
    ),
    (
        {"optimizer": {"name": "sgd"}, "schedule": {"course": {"beta2": {"start": 0.9}}}},
        "schedule.course.beta2 is none that can take a course. Allowed: alpha, beta1, weight_decay.",
    ),
    (
        {"schedule": {"course": {"beta1": {"end": 1.0}}}},
        "schedule.course.beta1.end is 1.0. Allowed is strictly between 0 and 1.",
    ),
    (
        {"schedule": {"course": {"alpha": {"shape": 0}}}},
        "schedule.course.alpha.shape is 0.0. Allowed is strictly between 0 and inf.",
    ),
    (
        {"schedule": {"course": {"weight_decay": {"end": 0.1}}}},
        "schedule.course.weight_decay states no start, and the config none either. State it.",
    ),
    (
        {"schedule": {"name": "learned.npz", "course": {"alpha": {"end": 0.1}}}},
        "schedule.course is set and schedule.name is 'learned.npz', which brings its own values. "
        "Allowed is one of them.",
    ),
    (
        {
            "schedule": {"course": {"alpha": {"end": 0.1}}},
            "guidance": {"estimator": "next-batch", "learn": ["alpha"]},
        },
        "schedule.course.alpha is set and guidance.learn holds alpha. Let it learn, or set its course.",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED, ids=[s[:45] for _, s in REFUSED])
def test_a_course_that_cannot_be_is_answered_with_a_sentence(data: dict[str, Any], sentence: str) -> None:
    assert check(data) == [sentence]


def test_a_schedule_by_parameter_group_is_refused_where_there_are_no_groups(tmp_path: Any) -> None:
    path = tmp_path / "schedule.npz"
    schedules.save(path, multiplier=[1.0, 0.5], values={"alpha": np.ones((2, 3), np.float32)})
    with pytest.raises(ValueError, match="holds alpha by parameter group"):
        recipe_of(TrainConfig.from_dict({"schedule": {"name": str(path)}}), loss_of(_settings()))
