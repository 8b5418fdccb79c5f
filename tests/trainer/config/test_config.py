"""Is a training config read strictly, changed by path, and the same text wherever it is written?"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import (
    MODELS,
    ConfigError,
    Dimensions,
    ModelConfig,
    TrainConfig,
    canonical,
    check,
    fingerprint,
    papers_rate,
    with_values,
)

KEYS = (
    "seed, steps, eval_every_steps, checkpoint_every_steps, init, data, objective, model, optimizer, loss, "
    "schedule, batch, guidance, score, mesh"
)
LEARN = "alpha, beta1, beta2, eps, weight_decay, decay_rate, label_smoothing"
WAYS = "held-out, forward, next-batch, discounted, lagged"


def test_the_defaults_are_the_papers_optimizer_and_can_be_run() -> None:
    config = TrainConfig.from_dict({})
    optimizer = config.optimizer
    assert check({}) == []
    assert (optimizer.name, optimizer.alpha) == ("lamb", 1.0)
    assert (optimizer.beta1, optimizer.beta2, optimizer.eps) == (0.9, None, None)  # LAMB's own
    assert config.guidance.estimator == "off"
    assert optimizer.learning_rate == papers_rate(config.schedule.warmup_steps) == 0.04
    assert papers_rate(4_000) == 0.4


def test_a_config_survives_its_dict() -> None:
    config = TrainConfig.from_dict({"steps": 1000, "guidance": {"estimator": "held-out", "learn": ["beta1"]}})
    assert config.guidance.learn == ("beta1",)
    assert config.to_dict()["guidance"]["learn"] == ["beta1"]
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 3  # type: ignore[misc]


SENTENCES: list[tuple[Any, str]] = [
    ({"stepz": 3}, f"Unknown key 'stepz'. Did you mean 'steps'? Allowed: {KEYS}."),
    (
        {"optimizer": {"alfa": 1}},
        "Unknown key 'optimizer.alfa'. Did you mean 'alpha'? "
        "Allowed: name, learning_rate, alpha, beta1, beta2, eps, weight_decay, more.",
    ),
    ({"rehearsal": {}}, f"Unknown key 'rehearsal'. Allowed: {KEYS}."),
    ({"optimizer": 3}, "optimizer is 3. Allowed is a section: names with their values."),
    ([], "The config is a list. Allowed is a section: names with their values."),
    ({"steps": True}, "steps is true. Allowed is a whole number of at least 1 and below 1000000000."),
    ({"steps": 400.0}, "steps is 400.0. Allowed is a whole number of at least 1 and below 1000000000."),
    ({"steps": "400"}, "steps is '400'. Allowed is a whole number of at least 1 and below 1000000000."),
    ({"steps": None}, "steps is null. Allowed is a whole number of at least 1 and below 1000000000."),
    (
        {"steps": 0},
        "steps is 0. Allowed is a number of at least 1 and below 1000000000. "
        "Change it, or leave it out for 400.",
    ),
    (
        {"seed": -1},
        "seed is -1. Allowed is a number of at least 0 and below 4294967296. "
        "Change it, or leave it out for 0.",
    ),
    (
        {"steps": -(10**5000)},
        "steps is a number of 19 digits or more. Allowed is a number of at least 1 and below 1000000000. "
        "Change it, or leave it out for 400.",
    ),
    ({"optimizer": {"alpha": False}}, "optimizer.alpha is false. Allowed is a number above 0."),
    (
        {"optimizer": {"alpha": 0}},
        "optimizer.alpha is 0.0. Allowed is a number above 0. Change it, or leave it out for 1.0.",
    ),
    (
        {"optimizer": {"beta1": 1}},
        "optimizer.beta1 is 1.0. Allowed is a number of at least 0 and below 1. "
        "Change it, or leave it out for 0.9.",
    ),
    (
        {"optimizer": {"beta1": -0.1}},
        "optimizer.beta1 is -0.1. Allowed is a number of at least 0 and below 1. "
        "Change it, or leave it out for 0.9.",
    ),
    ({"optimizer": {"eps": math.nan}}, "optimizer.eps is nan. Allowed is a finite number above 0."),
    ({"optimizer": {"alpha": math.inf}}, "optimizer.alpha is inf. Allowed is a finite number above 0."),
    ({"optimizer": {"alpha": 10**400}}, "optimizer.alpha is inf. Allowed is a finite number above 0."),
    (
        {"guidance": {"eta": -0.1}},
        "guidance.eta is -0.1. Allowed is a number of at least 0. Change it, or leave it out for null.",
    ),
    ({"guidance": {"learn": "alpha"}}, "guidance.learn is 'alpha'. Allowed is a list of: " + LEARN + "."),
    (
        {"guidance": {"estimator": "held-out", "learn": ["alpa"]}},
        "guidance.learn[0] is 'alpa'. Did you mean 'alpha'? Allowed: " + LEARN + ".",
    ),
    (
        {"guidance": {"estimator": "held-out", "learn": ["alpha", "alpha"]}},
        "guidance.learn names 'alpha' twice. Keep one.",
    ),
    (
        {"guidance": {"estimator": "held-in"}},
        "guidance.estimator is 'held-in'. Did you mean 'held-out'? Allowed: off, " + WAYS + ".",
    ),
    ({"model": {"size": ["tiny"]}}, f"model.size is a list. Allowed: {', '.join(MODELS)}."),
    (
        {"data": {"pair": "en"}},
        "data.pair is 'en'. Allowed: two languages, such as de-en: from German to English.",
    ),
    ({"model": {"remat": 1}}, "model.remat is 1. Allowed is true or false."),
    (
        {"model": {"positions": "sinusoid"}},
        "model.positions is 'sinusoid'. Did you mean 'sinusoidal'? Allowed: of-size, sinusoidal, relative.",
    ),
    (
        {"model": {"heads": 3}},
        "model.heads is 3 and model.d_attention is 64. Allowed is a number of heads that divides "
        "d_attention.",
    ),
    (
        {"model": {"d_model": 63}},
        "model.d_model is 63. Allowed with sinusoidal positions is an even number of at least 4: "
        "half of it holds sines, half cosines.",
    ),
    (
        {"mesh": {"tensor": 3}},
        "mesh.tensor is 3 and the model has 4 heads. Allowed is a number that divides the heads.",
    ),
    (
        {"mesh": {"data": 3, "fsdp": 2}},
        "batch.sentences is 32 and mesh.data · mesh.fsdp is 6. Allowed is a batch that they divide.",
    ),
    (
        {"mesh": {"data": 0}},
        "mesh.data is 0. Allowed is a number of at least 1 and below 1000000. "
        "Change it, or leave it out for 1.",
    ),
    (
        {"eval_every_steps": 401},
        "eval_every_steps is 401 and steps is 400. Allowed is at most steps. Lower it.",
    ),
    (
        {"checkpoint_every_steps": 401},
        "checkpoint_every_steps is 401 and steps is 400. Allowed is at most steps. Lower it.",
    ),
    (
        {"schedule": {"warmup_steps": 401}},
        "schedule.warmup_steps is 401 and steps is 400. Allowed is at most steps. "
        "Shorten the warm-up, or train longer.",
    ),
    (
        {"guidance": {"learn": ["alpha", "beta1"]}},
        "guidance.learn is alpha, beta1 and guidance.estimator is 'off'. "
        "Choose an estimator (" + WAYS + "), or learn nothing.",
    ),
    (
        {"guidance": {"estimator": "held-out"}},
        "guidance.estimator is 'held-out' and guidance.learn is empty. "
        "Name what it learns (" + LEARN + "), or set the estimator to 'off'.",
    ),
    (
        {"data": {"task": "file"}},
        "data.task is 'file'. Did you mean 'files'? Allowed: numbers, word-order, figures, facts, files, a "
        "benchmark's such as glue/cola, the path of a Python file.",
    ),
    (
        {"data": {"prefix": "review: "}},
        "data.prefix is 'review: ' and data.task is empty. It is a setting of tasks. Set data.task, or leave "
        "it out.",
    ),
    (
        {"score": {"metrics": ["accuracy", "bleu"]}},
        "score.metrics is 'accuracy, bleu' and data.task is empty. It is a setting of tasks. Set data.task, "
        "or leave it out.",
    ),
    (
        {"score": {"choose": "best"}},
        "score.choose is 'best' and data.task is empty. It is a setting of tasks. Set data.task, or leave it "
        "out.",
    ),
    (
        {"data": {"task": "/my_task.py"}, "score": {"choose": "best", "dev_sentences": 1}},
        "score.dev_sentences is 1 and score.choose is 'best', which chooses by one half of these rows and "
        "reports the other. Allowed are 2 at least. Raise it, or set score.choose to 'last'.",
    ),
    (
        {"data": {"task": "files", "path": "/a.tsv"}, "score": {"metrics": ["acuracy"]}},
        "score.metrics[0] is 'acuracy'. Did you mean 'accuracy'? Allowed: accuracy, macro-f1, matthews, "
        "exact-match, token-f1, pearson, bleu, chrf.",
    ),
    (
        {"data": {"task": "files"}},
        "data.task is 'files' and data.path is empty. Name a TSV of inputs and targets, JSON lines with the "
        "keys input and target, or a folder with train.*.",
    ),
    (
        {"data": {"task": "files", "path": "/a.tsv", "source": "files"}},
        "data.source is 'files' and data.task is 'files'. Allowed is one of them. Leave data.source out for "
        "a task.",
    ),
    (
        {"data": {"task": "/my_task.py", "path": "/a.tsv"}},
        "data.path is '/a.tsv' and data.task is '/my_task.py', which reads its rows by itself. Leave "
        "data.path out.",
    ),
    (
        {"model": {"stacks": "prefix-lm", "decoder_layers": 3}},
        "model.decoder_layers is 3 and model.stacks is 'prefix-lm', which is one stack of model.layers. "
        "Leave model.decoder_layers out.",
    ),
    (
        {"model": {"stacks": "shared", "decoder_layers": 3}},
        "model.decoder_layers is 3 and model.stacks is 'shared', where encoder and decoder have the same 2 "
        "layers. Leave model.decoder_layers out.",
    ),
    (
        {"model": {"stacks": "one"}},
        "model.stacks is 'one'. Allowed: encoder-decoder, shared, language-model, prefix-lm.",
    ),
    (
        {"data": {"task": "/my_task.py", "longest_tokens": 9}},
        "data.longest_tokens is 9 and data.task is '/my_task.py'. A task leaves nothing out for its length. "
        "Set data.source_tokens and data.target_tokens, to which it cuts.",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), SENTENCES, ids=[s[:50] for _, s in SENTENCES])
def test_a_mistake_is_answered_with_its_own_sentence(data: Any, sentence: str) -> None:
    assert check(data) == [sentence]


def test_a_list_or_a_word_beyond_all_measure_is_answered_in_one_short_sentence() -> None:
    (problem,) = check({"guidance": {"estimator": "held-out", "learn": ["alpha", "x"] * 50_000}})
    assert problem == f"guidance.learn has 100,000 entries. Allowed are some of: {LEARN}."
    (problem,) = check({"guidance": {"estimator": "held-out" * 100_000, "learn": ["alpha"]}})
    assert len(problem) < 300


def test_all_mistakes_are_told_at_once() -> None:
    assert len(check({"steps": 0, "optimizer": {"alpha": 0, "beta1": "x"}, "nope": 1})) == 4


def test_from_dict_raises_what_check_returns() -> None:
    bad = {"steps": 0, "nope": 1}
    with pytest.raises(ConfigError) as refusal:
        TrainConfig.from_dict(bad)
    assert refusal.value.problems == check(bad)
    assert str(refusal.value) == "\n".join(check(bad))


def test_a_value_on_an_allowed_bound_passes() -> None:
    config = {
        "steps": 10,
        "eval_every_steps": 10,
        "checkpoint_every_steps": 10,
        "schedule": {"warmup_steps": 10},
        "guidance": {"eta": 0},
    }
    assert check(config) == []


def test_a_model_is_its_size_and_what_replaces_it() -> None:
    model = TrainConfig.from_dict({"model": {"size": "paper-t5", "layers": 2, "norm": "layer"}}).model
    assert model.dimensions() == Dimensions(512, 384, 1024, 6, 2, "relative", "layer", "gated-gelu")
    assert ModelConfig().dimensions() == MODELS["tiny"]
    assert check({"model": {"d_model": 63, "positions": "relative"}}) == []


def test_a_whole_config_has_at_most_eighty_fields_and_a_section_eighteen() -> None:
    def leaves(data: Any) -> int:
        """A table counts as one, however little is in it."""
        return (sum(map(leaves, data.values())) or 1) if isinstance(data, dict) else 1

    data = TrainConfig().to_dict()
    assert leaves(data) <= 80
    assert max(leaves(section) for section in data.values()) <= 18


def test_the_decoder_may_have_another_depth_and_the_logits_a_matrix_of_their_own() -> None:
    model = TrainConfig.from_dict({"model": {"size": "t5-tiny", "decoder_layers": 3, "output": "own"}}).model
    assert (model.dimensions().layers, model.dimensions().of_decoder) == (2, 3)
    assert model.dimensions().output == "own"
    # As deep as the encoder is the same program as saying nothing.
    same = TrainConfig.from_dict({"model": {"size": "t5-tiny", "decoder_layers": 2}}).model
    assert same.dimensions() == MODELS["t5-tiny"]


def test_a_stored_config_of_the_former_t5_small_is_refused_by_its_new_name() -> None:
    stored = TrainConfig.from_dict({"model": {"size": "t5-small"}}).to_dict()
    for later in ("decoder_layers", "output", "stacks"):
        del stored["model"][later]
    sentence = (
        "model.size is 't5-small' in a config of orch 0.1, where that was a model of 8 layers and 6 heads. "
        "It is called 'paper-t5' now, and 't5-small' is T5's own, of 6 layers and 8 heads. Write 'paper-t5' "
        "to train the model that was meant."
    )
    assert check(stored) == [sentence]
    assert check({"model": {"size": "t5-small of orch 0.1"}}) == [sentence]  # in a ledger of that time
    assert check({"model": {"size": "t5-small"}}) == []
    stored["model"]["size"] = "small"
    assert check(stored) == []


def test_runs_of_before_a_setting_was_there_keep_their_fingerprint() -> None:
    """Taken at adf468b, before T5's settings came."""
    assert fingerprint(TrainConfig()) == "bc86830f5e5e4f9c612a3f485230c26a5e398f59968e44797ada91b9d8a4f876"
    guided = {
        "guidance": {"estimator": "lagged", "learn": ["alpha"]},
        "model": {"size": "small", "layers": 2},
    }
    assert (
        fingerprint(TrainConfig.from_dict(guided))
        == "9ce8c2290f18823a3959871a4ec3a92472185a9e29c7f1e67a0c90470dcfc776"
    )
    assert fingerprint(TrainConfig.from_dict({"model": {"output": "own"}})) != fingerprint(TrainConfig())
    assert fingerprint(TrainConfig.from_dict({"model": {"stacks": "shared"}})) != fingerprint(TrainConfig())
    assert fingerprint(TrainConfig.from_dict({"init": "/a"})) != fingerprint(TrainConfig())


def test_with_values_replaces_by_path_and_leaves_the_old_config_alone() -> None:
    old = TrainConfig()
    new = with_values(
        old, {"optimizer.alpha": 2, "guidance.learn": ["alpha"], "guidance.estimator": "held-out"}
    )
    assert (new.optimizer.alpha, new.guidance.learn, old.optimizer.alpha) == (2.0, ("alpha",), 1.0)
    assert with_values(new, {}) == new


@pytest.mark.parametrize(
    "path", ["optimiser.alpha", "optimizer.alfa", "steps.x", "optimizer", "a..b", "", "."]
)
def test_with_values_refuses_a_path_that_leads_nowhere(path: str) -> None:
    with pytest.raises(ConfigError):
        with_values(TrainConfig(), {path: 2})


def test_equal_configs_have_one_fingerprint_however_they_were_written() -> None:
    written = TrainConfig.from_dict({"optimizer": {"beta1": 0.9, "alpha": 1}, "steps": 400})
    assert canonical(written) == canonical(TrainConfig())
    assert fingerprint(written) == fingerprint(TrainConfig())
    assert fingerprint(with_values(written, {"seed": 1})) != fingerprint(written)


# Of configs as they were before tasks: runs that are stored under them go on.
STORED = {
    "bc86830f5e5e4f9c612a3f485230c26a5e398f59968e44797ada91b9d8a4f876": {},
    "543334c134b4633ee0458de2321b82b3f1f7b727fef4f86e34ef2076dbe94709": {
        "seed": 3,
        "steps": 1200,
        "data": {"source": "files", "path": "/data/corpus/train", "pair": "en-lt"},
        "guidance": {"estimator": "lagged", "learn": ["alpha", "beta1"]},
        "score": {"test": True},
    },
}


@pytest.mark.parametrize("stored", STORED)
def test_a_config_that_states_no_later_key_keeps_the_fingerprint_of_its_stored_runs(stored: str) -> None:
    assert fingerprint(TrainConfig.from_dict(STORED[stored])) == stored


def test_a_later_key_that_is_stated_changes_the_fingerprint() -> None:
    task = {"data": {"task": "files", "path": "/data/reviews.tsv"}}
    config = TrainConfig.from_dict(task)
    others = (
        {"data.prefix": "a: "},
        {"data.source_tokens": 64},
        {"score.metrics": ["bleu"]},
        {"score.choose": "best"},
    )
    assert len({fingerprint(config), *(fingerprint(with_values(config, other)) for other in others)}) == 5


@given(
    alpha=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    beta1=st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True),
    seed=st.integers(min_value=0, max_value=2**32 - 1),
)
def test_every_allowed_number_survives_canonical_json_bit_for_bit(
    alpha: float, beta1: float, seed: int
) -> None:
    config = TrainConfig.from_dict({"seed": seed, "optimizer": {"alpha": alpha, "beta1": beta1}})
    again = TrainConfig.from_dict(json.loads(canonical(config)))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_only_the_standard_library_is_loaded() -> None:
    code = (
        "import sys; before = set(sys.modules); import trainer.config, trainer.protocol; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - {'trainer'}; "
        "print(sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
