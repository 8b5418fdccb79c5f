"""Is fine-tuning asked about as its page says, with whose weights and rows, and can its configs be run?"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engine.checks import require_runnable
from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.study.configs import default_point, training_seed, trial_config
from orchestrator.study.plan import plan
from orchestrator.study.spec import StudySpec
from studies import catalog
from studies.t5_parts import RANDOM_RATE, RATE, Begun
from trainer.config.paths import value_at
from trainer.training.entrypoint import check

SIZES = ["smoke", "quick", "laptop"]
CONFIRMED = ("base", "momentum", "bo-alpha+beta1", "guided-alpha+beta1")


def configs(spec: StudySpec) -> dict[str, dict[str, object]]:
    return {arm.name: trial_config(spec, arm, replicate=0, index=0, point={}) for arm in spec.arms}


def test_its_sizes_are_those_that_were_measured() -> None:
    assert catalog.sizes("finetuning") == SIZES
    with pytest.raises(NotFound) as refusal:
        catalog.get("finetuning", "paper")
    assert str(refusal.value) == "finetuning has no size 'paper'. Allowed: smoke, quick, laptop."


@pytest.mark.parametrize("size", SIZES)
def test_its_arms_are_those_of_its_page_on_the_same_fresh_seeds(size: str) -> None:
    spec = catalog.get("finetuning", size)
    rows = [spec.row_of(arm) for arm in spec.arms if not spec.confirms(arm)]
    expected = ["base", "base, β1 = .9", "+ BO", "guided", "random search", "guided, lagged"]
    expected += ["replay", "constant = mean", "matched decay", "longer plain training", "plain, β1 = .8"]
    expected += ["blind course"] if size != "smoke" else []
    assert rows == [*expected, "+ BO over schedule parameters", "longer plain training, β1 = 0"]
    fresh = [arm for arm in spec.arms if arm.fresh_seeds]
    assert len({tuple(training_seed(spec, arm, 0, i) for i in range(arm.trials)) for arm in fresh}) == 1
    assert all(spec.confirmations(arm) for arm in spec.arms)
    assert fresh[0].trials >= (1 if size == "smoke" else 6)
    assert [arm.after.arm for arm in spec.arms if arm.phase == "confirm" and arm.after] == list(CONFIRMED)


@pytest.mark.parametrize("size", SIZES)
def test_the_default_has_no_momentum_and_searches_and_guidance_begin_with_9_tenths(size: str) -> None:
    spec = catalog.get("finetuning", size)
    starts = {name: value_at(config, "optimizer.beta1") for name, config in configs(spec).items()}
    assert {name for name, start in starts.items() if start == 0} == {"base", "longer-base"}
    assert all(starts[name] == 0.9 for name in CONFIRMED[1:])
    assert default_point(spec, spec.arm("bo-alpha+beta1")) == {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9}
    for config in configs(spec).values():
        assert value_at(config, "optimizer.name") == "adafactor"
        assert value_at(config, "schedule.name") == "constant"
    guided = configs(spec)["guided-alpha+beta1"]
    assert value_at(guided, "guidance.estimator") == "held-out"
    assert value_at(guided, "guidance.learn") == ["alpha", "beta1"]


@pytest.mark.parametrize("size", SIZES)
def test_the_claim_is_of_a_higher_score_at_no_more_than_bos_cost(size: str) -> None:
    spec = catalog.get("finetuning", size)
    assert (spec.objective.metric, spec.objective.goal) == ("score", "maximize")
    assert spec.claim is not None
    assert (spec.claim.metric, spec.goal_of(spec.claim.metric)) == ("score", "maximize")
    assert "has the higher score on fresh paired seeds" in spec.claim.text
    guided, static = spec.arm(spec.claim.challenger), spec.arm(spec.claim.incumbent)
    assert guided.run_hours
    assert static.run_hours
    assert guided.trials * guided.run_hours <= static.trials * static.run_hours
    random = next(arm for arm in spec.arms if arm.method == "random")
    assert (random.space, random.trials) == (static.space, static.trials)


@pytest.mark.parametrize("size", SIZES)
def test_every_config_passes_the_entrypoints_check_at_both_ends_of_its_space(size: str) -> None:
    spec = catalog.get("finetuning", size)
    require_runnable(spec)
    for arm in spec.arms:
        for end in (0, 1):
            point = {p.path: p.listed[-end] if p.listed else p.bounds[end] for p in arm.space}
            assert check(trial_config(spec, arm, replicate=0, index=0, point=point)) == [], arm.name


def test_two_cores_take_a_minute_10_minutes_and_20_minutes() -> None:
    for size, minutes in zip(SIZES, (1, 10, 20), strict=True):
        hours = plan(catalog.get("finetuning", size), slots=2).wall_hours
        assert hours is not None
        assert 60 * hours <= minutes


def test_a_callers_weights_bring_their_model_and_t5s_learning_rate() -> None:
    own = catalog.get("finetuning", "quick", Begun(init="/models/t5-small"))
    assert own.base["init"] == "/models/t5-small"
    assert "model" not in own.base
    assert own.base["data"] == catalog.get("finetuning").base["data"]
    assert own.base["optimizer"]["learning_rate"] == RATE
    assert catalog.get("finetuning").base["optimizer"]["learning_rate"] == RANDOM_RATE
    assert own.objective.targets == ()


def test_a_callers_rows_take_the_place_of_the_embedded_ones_with_nothing_of_theirs() -> None:
    begun = Begun(task="files", path="/data/reviews.tsv", prefix="review: ", metrics=("accuracy", "macro-f1"))
    own = catalog.get("finetuning", "smoke", begun)
    assert own.base["data"] == {"task": "files", "path": "/data/reviews.tsv", "prefix": "review: "}
    assert own.base["score"]["metrics"] == ["accuracy", "macro-f1"]
    assert begun.notes == ("The hours are those of t5-tiny on the embedded task; other rows change them.",)
    assert Begun(metrics=("accuracy",)).notes == ()


def test_a_study_of_rows_in_a_file_can_be_run(tmp_path: Path) -> None:
    file = tmp_path / "reviews.tsv"
    file.write_text("good\tyes\nbad\tno\n" * 4)
    require_runnable(catalog.get("finetuning", "smoke", Begun(task="files", path=str(file))))
    with pytest.raises(BadSpec) as refusal:
        require_runnable(catalog.get("finetuning", "smoke", Begun(path=str(file))))
    assert "which reads its rows by itself. Leave data.path out." in str(refusal.value)


def test_other_studies_take_none_of_it_and_say_which_does() -> None:
    with pytest.raises(BadSpec) as refusal:
        catalog.get("eta-sweep", "quick", Begun(init="/models/t5-small", metrics=("bleu",)))
    assert str(refusal.value) == (
        "eta-sweep takes no init and no metrics. Allowed is the study finetuning. Leave it out, or set it in "
        "the base of eta-sweep (docs/config.md)."
    )
