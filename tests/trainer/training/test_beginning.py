"""Does a run begin with the weights that its config names, and notice when they change?"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from trainer import huggingface
from trainer.config import ConfigError, TrainConfig, t5_folder
from trainer.config import init as inits
from trainer.config.choices import MODELS
from trainer.models import Settings, init_params
from trainer.protocol import PARAMS, Outcome, Place, Reply, Report, write_resume_note
from trainer.terminal import translate
from trainer.terminal import weights as weights_command
from trainer.training import beginning, entrypoint
from trainer.training.checkpoint import CheckpointError

BASE: dict[str, Any] = {
    "steps": 4,
    "eval_every_steps": 2,
    "checkpoint_every_steps": 2,
    "data": {"pairs": 600, "vocabulary": 200},
    "model": {"size": "t5-tiny", "d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1},
    "optimizer": {"name": "adafactor", "beta1": 0, "learning_rate": 1e-3},
    "schedule": {"name": "constant", "warmup_steps": 0},
    "batch": {"sentences": 8},
    "score": {"dev_sentences": 4},
}
REST = {k: v for k, v in BASE.items() if k not in ("model", "data")} | {"data": {"pairs": 600}}


class Told:
    def __init__(self, stop_at: int | None = None) -> None:
        self.reports: list[Report] = []
        self.stop_at = stop_at

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        return Reply.SAVE_AND_STOP if report.step == self.stop_at else Reply.GO


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield
    jax.config.update("jax_compilation_cache_dir", before)


def train(folder: Path, config: Mapping[str, Any], told: Told | None = None) -> Outcome:
    folder.mkdir(exist_ok=True)
    return entrypoint.run(config, told or Told(), folder, Place())


def params(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / PARAMS) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of T5's kind."""
    folder = tmp_path_factory.mktemp("first")
    assert train(folder, BASE).status == "completed"
    return folder


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    assert weights_command.main(["export", str(run), str(folder)]) == 0
    return folder


def test_an_exported_run_is_described(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert weights_command.main(["describe", str(exported), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["family"], told["layers"], told["d_ff"]) == ("T5", [1, 1], 32)
    assert (told["embedding_rows"], told["pieces"], told["sentinels"]) == (200, 200, 0)
    assert (told["output"], told["types"], told["unusual"]) == ("shared with the embedding", ["F32"], [])
    assert weights_command.main(["describe", str(exported)]) == 0
    assert "parameters                  8,560\n" in capsys.readouterr().out
    assert weights_command.main(["export", str(exported), str(exported)]) == weights_command.WRONG
    assert capsys.readouterr().err == (
        f"orch: {exported} is there and not empty. Allowed is a folder that is empty or not there yet.\n"
    )


def test_a_run_without_momentum_goes_on_to_the_same_end(run: Path, tmp_path: Path) -> None:
    outcome = train(tmp_path / "parted", BASE, Told(stop_at=2))
    assert outcome.status == "stopped"
    write_resume_note(tmp_path / "parted", str(outcome.checkpoint))
    assert train(tmp_path / "parted", BASE).status == "completed"
    found = params(tmp_path / "parted")
    assert all(np.array_equal(numbers, found[name]) for name, numbers in params(run).items())


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one stack."""
    folder = tmp_path_factory.mktemp("single")
    config = {**BASE, "model": {**BASE["model"], "stacks": "prefix-lm"}}
    assert train(folder, config).status == "completed"
    return folder


def test_a_run_of_one_stack_translates_and_is_no_folder_for_transformers(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translate.main([str(single), "--text", "drei Tage", "--beam", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"source", "translation"}
    assert weights_command.main(["export", str(single), str(tmp_path / "out")]) == weights_command.WRONG
    assert capsys.readouterr().err == (
        "orch: This model has the stacks 'prefix-lm', and a T5 of transformers is an encoder-decoder with "
        "layers of its own in each stack. Allowed is model.stacks encoder-decoder; init and orch translate "
        "read the run's own folder.\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_run_that_begins_with_one_stack_is_one(
    single: Path, run: Path, exported: Path, tmp_path: Path
) -> None:
    config = {**REST, "init": str(single)}
    for stated in ({}, {"stacks": "prefix-lm"}, {"layers": 1}, {"d_model": 16, "stacks": "prefix-lm"}):
        assert entrypoint.check({**config, "model": stated}) == []
    second = tmp_path / "second"
    assert train(second, config).status == "completed"
    model = json.loads((second / "config.json").read_text())["model"]
    assert (model["stacks"], model["layers"], model["decoder_layers"]) == ("prefix-lm", 1, 0)
    assert params(second).keys() == params(single).keys()
    refused = (
        "model.stacks is {!r} by the config, and the model of init ({}) has {!r}. Leave it out, or begin "
        "with another."
    )
    assert entrypoint.check({**config, "model": {"stacks": "language-model"}}) == [
        refused.format("language-model", single, "prefix-lm")
    ]
    for other in (run, exported):
        assert entrypoint.check({**REST, "init": str(other), "model": {"stacks": "shared"}}) == [
            refused.format("shared", other, "encoder-decoder")
        ]
    told = inits.to_come({"model": {"size": "t5-tiny", "stacks": "shared"}})
    resolved = beginning.resolved(TrainConfig.from_dict({"init": told}))
    assert (resolved.model.size, resolved.model.stacks) == ("t5-tiny", "shared")


@pytest.mark.parametrize("kind", ["run", "folder"])
def test_a_run_begins_with_the_weights_and_the_vocabulary_of_another(
    run: Path, exported: Path, tmp_path: Path, kind: str
) -> None:
    config = {**REST, "init": str(run if kind == "run" else exported), "seed": 5}
    whole = beginning.resolved(TrainConfig.from_dict(config))
    given = beginning.given_vocabulary(whole)
    assert given is not None
    settings = Settings(**vars(whole.model.dimensions()), vocabulary=given.open().size)
    found = {
        jax.tree_util.keystr(at, simple=True, separator="/"): leaf
        for at, leaf in jax.tree_util.tree_leaves_with_path(beginning.first_params(whole, settings))
    }
    before = params(run)
    assert found.keys() == before.keys()
    assert all(np.array_equal(found[name], before[name]) for name in before)

    second = tmp_path / "second"
    assert train(second, config).status == "completed"
    assert (second / "vocabulary.model").read_bytes() == (run / "vocabulary.model").read_bytes()
    model = json.loads((second / "config.json").read_text())["model"]
    assert (model["d_model"], model["layers"], model["norm"]) == (16, 1, "rms")
    # Adafactor moves a tensor by at most a thousandth of its size a step: far from what a seed draws.
    moved = params(second)["embedding"] - before["embedding"]
    assert 0 < np.sqrt(np.mean(moved**2)) < 0.1 * np.sqrt(np.mean(before["embedding"] ** 2))


def test_a_dimension_that_the_config_states_otherwise_is_refused(exported: Path) -> None:
    config = {**REST, "init": str(exported)}
    assert entrypoint.check(config) == []
    assert entrypoint.check({**config, "model": {"d_model": 16, "dropout": 0.0}}) == []
    assert entrypoint.check({**config, "model": {"d_ff": 64}}) == [
        f"model.d_ff is 64 by the config, and the model of init ({exported}) has 32. Leave it out, or begin "
        f"with another."
    ]
    sentence, *_ = entrypoint.check({**config, "model": {"size": "t5-small"}})
    assert sentence == (
        f"model.d_model is 512 by model.size t5-small, and the model of init ({exported}) has 16. Leave it "
        f"out, or begin with another."
    )
    assert entrypoint.check({**config, "data": {"vocabulary": 300}}) == [
        "data.vocabulary is 300 and init brings a vocabulary, which is taken as it is. Leave one of them out."
    ]
    assert entrypoint.check({**config, "mesh": {"tensor": 4}}) == [
        "mesh.tensor is 4 and the model has 2 heads. Allowed is a number that divides the heads."
    ]


def test_what_cannot_be_begun_with_gets_a_sentence(tmp_path: Path, run: Path) -> None:
    nothing = tmp_path / "nothing"
    assert entrypoint.check({**REST, "init": str(nothing)}) == [
        f"init: {nothing} is to hold a model, and there is no such folder. Allowed are a folder of a T5 that "
        f"transformers wrote, and the folder of a finished run."
    ]
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / PARAMS).unlink()
    assert entrypoint.check({**REST, "init": str(unfinished)}) == [
        f"init: {unfinished} is a run's folder and has no {PARAMS}. Allowed is a run that was trained to its "
        f"end and whose parameters were kept (an arm's best, and confirmations)."
    ]
    missing = tmp_path / "spiece.model"
    assert entrypoint.check({**BASE, "data": {"pairs": 600, "vocabulary_path": str(missing)}}) == [
        f"data.vocabulary_path is '{missing}', and there is no such file. Name a spiece.model of "
        f"SentencePiece."
    ]


def test_a_folder_that_was_swapped_is_noticed_when_the_run_goes_on(exported: Path, tmp_path: Path) -> None:
    config = {**REST, "init": str(exported)}
    folder = tmp_path / "run"
    outcome = train(folder, config, Told(stop_at=2))
    write_resume_note(folder, str(outcome.checkpoint))
    settings = huggingface.settings_of(t5_folder.read(exported))
    words = (folder / "vocabulary.model").read_bytes()
    shutil.rmtree(exported)
    huggingface.export(exported, settings, init_params(settings, 9), vocabulary=words, dropout=0)
    with pytest.raises(CheckpointError, match="is of another config"):
        train(folder, config)


def test_a_size_is_found_again_by_its_dimensions(tmp_path: Path) -> None:
    settings = Settings(**vars(MODELS["t5-tiny"]), vocabulary=200)
    huggingface.export(tmp_path / "tiny", settings, init_params(settings, 0), vocabulary=b"", dropout=0.1)
    config = beginning.resolved(TrainConfig.from_dict({"init": str(tmp_path / "tiny")}))
    assert (config.model.size, config.model.d_model) == ("t5-tiny", 0)


def test_a_file_is_hashed_once_for_its_size_and_time(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.from_dict({"init": str(exported)})
    told = beginning.content(config)
    found = beginning.inits.read(str(exported))
    monkeypatch.setattr(beginning.inits, "read", lambda path: found)
    monkeypatch.setattr(beginning.hashlib, "file_digest", lambda *what: pytest.fail("was read again"))
    assert beginning.content(config) == told


def test_a_run_that_a_plan_stands_in_for_is_checked_by_its_dimensions_and_never_begun_with(
    tmp_path: Path,
) -> None:
    init = inits.to_come({"model": BASE["model"], "steps": 4})
    assert entrypoint.check({**REST, "init": init}) == []
    (sentence,) = entrypoint.check({**REST, "init": init, "model": {"d_ff": 64}})
    assert "the model of init (the run that it follows) has 32" in sentence
    assert inits.read(inits.to_come({"init": init})).dimensions == inits.read(init).dimensions
    with pytest.raises(ConfigError, match="init stands for a run that is still to come"):
        train(tmp_path / "run", {**REST, "init": init})


@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_transformers_wrote_is_trained_on_a_task(exported: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers: Any = pytest.importorskip("transformers")
    sizes = {"vocab_size": 384, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 1}
    config = transformers.T5Config(
        **sizes, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0
    )
    theirs = tmp_path / "theirs"
    transformers.T5ForConditionalGeneration(config).save_pretrained(theirs)
    shutil.copy(exported / "spiece.model", theirs)
    rows = tmp_path / "rows.tsv"
    rows.write_text("".join(f"zahl {i}\t{('gerade', 'ungerade')[i % 2]}\n" for i in range(300)))
    told = Told()
    task = {"data": {"task": "files", "path": str(rows), "source_tokens": 16, "target_tokens": 8}}
    outcome = train(tmp_path / "run", {**REST, **task, "init": str(theirs)}, told)
    assert outcome.status == "completed"
    assert 0 <= outcome.values["accuracy"] == outcome.values["score"] <= 100
    with np.load(tmp_path / "run" / PARAMS) as file:  # 200 pieces and 100 sentinels have room in 384 rows
        assert file["embedding"].shape == file["output"].shape == (384, 16)
