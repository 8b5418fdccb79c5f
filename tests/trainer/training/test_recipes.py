"""What do a config's names come to, and what is refused before anything compiles?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.mlp import equal_bits
from trainer.config import TrainConfig, check
from trainer.config.choices import ESTIMATORS, OPTIMIZERS
from trainer.config.reading import ConfigError
from trainer.guidance import Discounted, Forward, HeldOut, Lagged, NextBatch
from trainer.models import init_params, model_settings
from trainer.optim import optimizers, schedules
from trainer.optim.flat import Vector
from trainer.training import entrypoint
from trainer.training.recipes import estimator_of, loss_of, recipe_of, vector_if_small
from trainer.training.state import begin


def loss_fn(params: Any, batch: Any, key: Any, train: bool, **_: Any) -> Any:
    raise AssertionError("no loss is computed here")


def recipe(**sections: Any) -> Any:
    return recipe_of(TrainConfig.from_dict(sections), loss_fn)


def guided(estimator: str, learn: tuple[str, ...] = ("alpha", "beta1"), **more: Any) -> dict[str, Any]:
    return {"estimator": estimator, "learn": list(learn), **more}


def test_every_estimator_is_made_with_its_settings() -> None:
    made = {
        "held-out": guided("held-out", every_steps=10, batch_fraction=0.5),
        "forward": guided("forward", ("beta1",)),
        "next-batch": guided("next-batch"),
        "discounted": guided("discounted", discount=0.5),
        "lagged": guided("lagged", lag_steps=40),
    }
    found = {name: recipe(guidance=section)[0].estimator for name, section in made.items()}
    assert found == {
        "held-out": HeldOut(every_steps=10, batch_fraction=0.5),
        "forward": Forward(),
        "next-batch": NextBatch(),
        "discounted": Discounted(discount=0.5),
        "lagged": Lagged(lag_steps=40, steps=400),
    }
    assert (found["held-out"].every_steps, found["lagged"].lag_steps) == (10, 40)
    own = {name: recipe(guidance=guided(name))[0].estimator.every_steps for name in ("held-out", "lagged")}
    assert own == {"held-out": 1, "lagged": 4}
    assert recipe(guidance=guided("lagged", every_steps=1))[0].estimator.every_steps == 1
    assert {"off", *found} == set(ESTIMATORS)
    smoothing = recipe(guidance=guided("held-out", ("label_smoothing",)), loss={"label_smoothing": 0.1})
    assert smoothing[0].estimator.mode == "reverse"


def test_eta_is_the_hypers_own_else_the_one_given_else_by_reach_else_the_estimators() -> None:
    def etas(section: dict[str, Any]) -> dict[str, float]:
        return {name: float(eta) for name, eta in recipe(guidance=section)[2]["meta"]["eta"].items()}

    assert etas(guided("held-out")) == pytest.approx({"alpha": 0.01, "beta1": 0.01})
    assert etas(guided("held-out", every_steps=10)) == pytest.approx({"alpha": 0.1, "beta1": 0.1})
    assert etas(guided("lagged")) == pytest.approx({"alpha": 0.08, "beta1": 0.04})
    assert etas(guided("lagged", every_steps=1)) == pytest.approx({"alpha": 0.02, "beta1": 0.01})
    own = guided("held-out", eta=0.5, hypers={"beta1": {"eta": 0.25}})
    assert etas(own) == {"alpha": 0.5, "beta1": 0.25}
    # 400 steps, every tenth, three left out: 37 meta-steps.
    assert etas(guided("held-out", every_steps=10, reach=3.7))["alpha"] == pytest.approx(0.1)
    # Every fourth without a word: 97.
    assert etas(guided("lagged", reach=9.7))["alpha"] == pytest.approx(0.1)


def test_the_meta_optimizer_is_the_one_that_the_config_states() -> None:
    made, _, numbers = recipe(guidance=guided("next-batch", meta={"skip": 5, "beta2": 0.9}))
    assert int(numbers["meta"]["skip"]) == 5
    assert float(numbers["meta"]["optimizer"]["beta2"]) == pytest.approx(0.9)
    other, *_ = recipe(guidance=guided("next-batch", meta={"name": "optax.sgd"}))
    assert other.meta != made.meta
    (problem,) = check({"guidance": {"meta": {"bet2": 0.9}}})
    assert problem.startswith("Unknown key 'guidance.meta.bet2'. Did you mean 'beta2'?")


def test_bounds_trust_regions_and_groups_reach_the_hyperparameters() -> None:
    section = guided(
        "next-batch",
        hypers={"alpha": {"low": 0.5, "per_group": True}, "beta1": {"below": 1.0}},
        groups={"words": "embedding"},
    )
    made, hypers, numbers = recipe(guidance=section)
    by_name = {h.name: h for h in hypers}
    assert (by_name["alpha"].low, by_name["beta1"].below) == (0.5, 1.0)
    assert made.layout.group_names == ("words", "rest")
    assert numbers["limits"]["alpha"][0].shape == (2,)
    lagged = {h.name: h for h in recipe(guidance=guided("lagged"))[1]}
    assert lagged["alpha"].above == pytest.approx(math.log(2))


def test_an_optimizer_of_optax_brings_its_own_numbers() -> None:
    made, hypers, _ = recipe(optimizer={"name": "optax.lion", "more": {"weight_decay": 0.25}})
    starts = {h.name: h.start for h in hypers}
    assert starts["weight_decay"] == 0.25
    assert starts["beta1"] == 0.9
    assert made.optimizer is optimizers.by_name("optax.lion", weight_decay=0.25)


def test_one_without_beta1_is_not_given_one_and_refuses_one_that_is_asked_for() -> None:
    _, hypers, _ = recipe(optimizer={"name": "optax.sgd"})
    assert [h.name for h in hypers] == ["alpha"]
    with pytest.raises(ConfigError, match=r"'optax\.sgd', which has no beta1\. Its numbers are alpha"):
        recipe(optimizer={"name": "optax.sgd", "beta1": 0.5})
    with pytest.raises(ConfigError, match="optax has none of that name"):
        recipe(optimizer={"name": "optax.lambda"})


def test_a_learned_schedule_is_replayed_from_either_file(tmp_path: Path) -> None:
    npz, listed = tmp_path / "schedule.npz", tmp_path / "schedule.json"
    schedules.save(npz, multiplier=[0.0, 0.5], values={"alpha": [1.0, 2.0]})
    listed.write_text('{"curves": {"multiplier": [0.0, 0.5], "alpha": [1.0, 2.0]}}')
    read = []
    for path in (npz, listed):
        read.append(recipe(schedule={"name": str(path)})[2]["schedule"])
    assert equal_bits(*read)
    assert read[0]["values"]["alpha"][:3].tolist() == [1.0, 2.0, 2.0]  # its last number to the end
    with pytest.raises(ConfigError, match="there is no such file"):
        recipe(schedule={"name": str(tmp_path / "none.npz")})
    listed.write_text("[]")
    with pytest.raises(ConfigError, match="is no learned schedule"):
        recipe(schedule={"name": str(listed)})


def test_numbers_do_not_shape_a_program_and_what_shapes_it_is_in_the_key() -> None:
    base = {"guidance": guided("held-out")}
    same = [
        {"seed": 5},
        {"steps": 100},
        {"optimizer": {"learning_rate": 0.1, "alpha": 2.0, "beta1": 0.5}},
        {"guidance": guided("held-out", eta=0.3, every_steps=4)},
        {"score": {"test": True}},
    ]
    others = [
        {"model": {"size": "small"}},
        {"batch": {"sentences": 16}},
        {"optimizer": {"name": "adamw"}},
        {"guidance": guided("held-out", batch_fraction=0.5)},
        {"guidance": guided("held-out", ("alpha",))},
        {"loss": {"label_smoothing": 0.1}},
        {"data": {"pair": "en-de"}},
    ]
    key = entrypoint.shape_key(base)
    assert {entrypoint.shape_key({**base, **change}) for change in same} == {key}
    assert len({key, *(entrypoint.shape_key({**base, **change}) for change in others)}) == len(others) + 1
    recipes = [recipe(**{**base, **change})[0] for change in same[:4]]
    assert all(each == recipe(**base)[0] for each in recipes)


def test_files_that_are_not_there_are_told_of_before_a_run(tmp_path: Path) -> None:
    files = {"data": {"source": "files", "path": str(tmp_path / "train")}}
    (problem,) = entrypoint.check(files)
    assert problem.startswith(f"data.path is '{tmp_path}/train', and there is no such file or folder")
    (tmp_path / "train.de").write_text("a")
    (problem,) = entrypoint.check(files)
    assert problem.startswith(f"data.path: {tmp_path}/train.de is there and {tmp_path}/train.en is not.")
    (tmp_path / "train.en").write_text("a")
    assert entrypoint.check(files) == []
    (problem,) = entrypoint.check({"data": {"source": "text", "path": str(tmp_path / "train")}})
    assert problem.startswith(
        f"data.path: {tmp_path}/train is neither a file nor a folder. Allowed are a text"
    )
    assert entrypoint.check({"data": {"source": "text", "path": str(tmp_path / "train.en")}}) == []
    (problem,) = entrypoint.check({"schedule": {"name": "learned.npz"}})
    assert problem.startswith("schedule.name is 'learned.npz', and there is no such file. Allowed are ")
    assert problem.endswith("constant, or the path of a schedule that was exported.")


def test_a_pair_may_stand_in_either_direction_and_other_sources_have_theirs() -> None:
    for data in ({"pair": "lt-fi"}, {"source": "wmt19", "pair": "en-zh"}):
        assert check({"data": data}) == []
    assert check({"data": {"source": "tfds:opus/medical", "path": "/data", "pair": "en-xx"}}) == []
    assert check({"data": {"source": "tfds:opus/medical"}}) == []  # in the default folder


def test_a_path_that_depends_on_the_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    schedules.save(tmp_path / "learned.npz", multiplier=[1.0], values={})
    for language in ("de", "en"):
        (tmp_path / f"train.{language}").write_text("a")
    given = {"data": {"source": "files", "path": "train"}, "schedule": {"name": "learned.npz"}}
    whole = {"data": {"source": "files", "path": f"{tmp_path}/train"}}
    assert entrypoint.check(given) == [
        f"{path} is '{name}', which is another place for a worker in another folder. Write the whole path: "
        f"'{tmp_path}/{name}'."
        for path, name in (("data.path", "train"), ("schedule.name", "learned.npz"))
    ]
    assert entrypoint.check({**whole, "schedule": {"name": f"{tmp_path}/learned.npz"}}) == []


def test_a_path_may_hold_what_patterns_are_made_of(tmp_path: Path) -> None:
    for language in ("de", "en"):
        (tmp_path / f"train[v2].{language}").write_text("a")
    assert entrypoint.check({"data": {"source": "files", "path": str(tmp_path / "train[v2]")}}) == []


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_what_a_schedule_replays_is_not_learned_beside_it(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"learned.{ending}"
    if ending == "npz":
        schedules.save(path, multiplier=[1.0, 0.5], values={"alpha": np.ones(2, np.float32)})
    else:
        path.write_text(json.dumps({"curves": {"multiplier": [1.0, 0.5], "alpha": [1.0, 1.0]}}))
    both = {"schedule": {"name": str(path)}, "guidance": guided("held-out", ("alpha", "beta1"))}
    (problem,) = entrypoint.check(both)
    assert problem.startswith(f"schedule.name is '{path}', which replays alpha, and guidance.learn holds it")
    with pytest.raises(ConfigError) as refusal:
        recipe(**both)
    assert refusal.value.problems == [problem]
    assert entrypoint.check({**both, "guidance": guided("held-out", ("beta1",))}) == []


def test_guided_flops_count_what_the_estimator_computes_besides() -> None:
    def over(section: dict[str, Any]) -> float:
        estimator = estimator_of(TrainConfig.from_dict({"guidance": section}))
        assert estimator is not None
        return estimator.over_plain(len(section["learn"]))

    assert over(guided("held-out")) == 2.0
    assert over(guided("held-out", every_steps=10)) == pytest.approx(1.1)
    assert over(guided("forward", ("beta1",))) == pytest.approx(5 / 3)
    assert over(guided("next-batch")) == 1.0


DISAGREEMENTS: list[tuple[dict[str, Any], str]] = [
    (
        {"guidance": {**guided("held-out"), "groups": {"a": "("}}},
        "guidance.groups.a is '(', which is no regular expression: missing ), unterminated subpattern at "
        "position 0. Mend it.",
    ),
    (
        {"guidance": {**guided("held-out"), "groups": {"rest": "x"}}},
        "guidance.groups.rest: the group of what no pattern finds has that name. Choose another.",
    ),
    (
        {"guidance": {**guided("held-out"), "meta": {"beta1": 1}}},
        "guidance.meta.beta1 is 1.0. Allowed is at least 0 and below 1. Change it.",
    ),
    (
        {"guidance": guided("held-out", ("weight_decay",))},
        "weight_decay learns and starts at 0.0 (optimizer.weight_decay), on its bound or beyond. "
        "Allowed is strictly between 0 and inf. Move its start, or do not learn it.",
    ),
    (
        {"guidance": guided("held-out", ("beta1",), hypers={"beta1": {"high": 0.9}})},
        "beta1 learns and starts at 0.9 (optimizer.beta1), on its bound or beyond. "
        "Allowed is strictly between 0 and 0.9. Move its start, or do not learn it.",
    ),
    (
        {"guidance": guided("next-batch", ("label_smoothing",)), "loss": {"label_smoothing": 0.1}},
        "guidance.learn holds label_smoothing and guidance.estimator is 'next-batch'. "
        "It acts through the training gradient: allowed are held-out and forward.",
    ),
    (
        {"guidance": guided("held-out", ("decay_rate",))},
        "guidance.learn holds decay_rate, which lamb does not have. "
        "Allowed: alpha, beta1, beta2, eps, weight_decay, label_smoothing.",
    ),
    (
        {"guidance": guided("next-batch", every_steps=10)},
        "guidance.every_steps is 10 and guidance.estimator is 'next-batch'. "
        "It is a setting of 'held-out' and 'lagged'. "
        "Leave it out, or choose that one.",
    ),
    (
        {"guidance": guided("held-out", eta=0.1, reach=4)},
        "guidance.eta is 0.1 and guidance.reach is 4.0. "
        "Give one of them: the reach is η̂ times the number of meta-steps.",
    ),
    (
        {"guidance": guided("held-out", ("alpha",), hypers={"beta1": {"eta": 0.1}})},
        "guidance.hypers.beta1 is set and guidance.learn is alpha. "
        "Name it there too, or leave its settings out.",
    ),
    (
        {"guidance": {"hypers": {"alpha": {"eto": 1}}}},
        "Unknown key 'guidance.hypers.alpha.eto'. Did you mean 'eta'? "
        "Allowed: low, high, below, above, activation, per_group, eta.",
    ),
    (
        {"optimizer": {"name": "sgd", "eps": 0.1}},
        "optimizer.eps is 0.1 and sgd has none. Its numbers are beta1, weight_decay. Leave it out.",
    ),
    (
        {"optimizer": {"more": {"decay_rate": 0.5}}},
        "optimizer.more.decay_rate is none of lamb's. Allowed: nothing. Leave it out.",
    ),
    (
        {"optimizer": {"name": "lion"}},
        "optimizer.name is 'lion'. Allowed: lamb, adafactor, adamw, sgd, a dotted name such as optax.lion.",
    ),
    (
        {"data": {"pair": "de-de"}},
        "data.pair is 'de-de'. Allowed are two different languages.",
    ),
    (
        {"data": {"pair": "en-xx"}},
        "data.pair is 'en-xx', and the source cldr has no such pair. Allowed are en-de, en-fi, en-lt, de-fi, "
        "de-lt, fi-lt, in either direction. Choose one of them, or bring your own text (data.source files "
        "or tfds:NAME).",
    ),
    (
        {"data": {"source": "wmt19", "pair": "en-fr"}},
        "data.pair is 'en-fr', and the source wmt19 has no such pair. Allowed are cs-en, de-en, fi-en, "
        "fr-de, gu-en, kk-en, lt-en, ru-en, zh-en, in either direction. Choose one of them, or bring your "
        "own text (data.source files or tfds:NAME).",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), DISAGREEMENTS, ids=[s[:40] for _, s in DISAGREEMENTS])
def test_settings_that_disagree_are_answered_with_a_sentence(data: dict[str, Any], sentence: str) -> None:
    assert check(data) == [sentence]


def test_every_optimizer_begins_on_a_transformer() -> None:
    settings = model_settings(TrainConfig().model, vocabulary=20)
    params = init_params(settings, 0)
    for name in (*OPTIMIZERS, "optax.contrib.prodigy", "optax.contrib.schedule_free_adamw"):
        made, hypers, numbers = recipe_of(
            TrainConfig.from_dict({"optimizer": {"name": name}}), loss_of(settings)
        )
        state = begin(made, params, hypers, settings=numbers)
        assert made.optimizer.eval_params(state.opt_state, state.params).keys() == params.keys()


PHRASES = {"model": {"size": "tiny", "layers": 1}}


@pytest.mark.parametrize(
    ("changes", "devices", "one"),
    [
        ({}, 1, True),
        ({"optimizer": {"name": "adamw"}}, 1, True),
        ({"guidance": {"estimator": "lagged", "learn": ["alpha", "beta1"]}}, 1, True),
        ({}, 2, False),
        ({"optimizer": {"name": "adafactor"}}, 1, False),
        ({"optimizer": {"name": "optax.lion"}}, 1, False),
        ({"model": {"size": "tiny", "scan_layers": True}}, 1, False),
        ({"model": {"size": "tiny", "dtype": "bfloat16"}}, 1, False),
        ({"model": {"size": "tiny", "d_model": 60, "d_attention": 60}}, 1, False),
        ({"model": {"size": "small"}}, 1, False),
        (
            {
                "guidance": {
                    "estimator": "held-out",
                    "learn": ["alpha"],
                    "groups": {"table": "embedding"},
                    "hypers": {"alpha": {"per_group": True}},
                }
            },
            1,
            False,
        ),
    ],
)
def test_the_config_decides_whether_parameters_are_one_vector(
    changes: dict[str, Any], devices: int, one: bool
) -> None:
    config = TrainConfig.from_dict({**PHRASES, **changes})
    settings = model_settings(config.model, vocabulary=320)
    recipe, _, _ = recipe_of(config, loss_of(settings))
    made = vector_if_small(settings, recipe, init_params(settings, 0), devices=devices)
    assert isinstance(made, Vector) is one
