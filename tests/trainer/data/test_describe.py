"""Does `orch data` say what is in a text, to people and to programs, and refuse in a sentence?"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from tests.trainer.data.prepared_sets import write_set
from trainer import huggingface
from trainer.config import DataConfig
from trainer.config.choices import MODELS
from trainer.data.__main__ import main
from trainer.data.corpus import open_corpus
from trainer.models import Settings, init_params


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a text, with a home beside it."""
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    for language, word in (("de", "Satz"), ("en", "sentence")):
        lines = [f"{word} {n}" for n in (*range(400), *range(20))]
        (tmp_path / f"train.{language}").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "train")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_json_has_every_figure(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(shown(capsys, "describe", "files", "--path", own, "--json"))
    assert found["splits"] == {"train": 296, "guide": 64, "select": 20, "test": 20}
    assert (found["pairs"], found["duplicates"], found["overlap"]) == (400, 20, 0)
    assert found["lengths"]["target"] == {"mean": 2.0, "median": 2.0, "longest": 2}
    assert found["types"] == {"source": 297, "target": 297}
    assert [count["name"] for count in found["filters"]] == [
        "empty",
        "length",
        "length ratio",
        "language",
        "duplicates",
        "in another split",
    ]
    assert found["seconds"] >= 0
    assert len(found["samples"]) == 5


def test_people_see_the_same_figures(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, "describe", "files", "--path", own)
    assert said.startswith("files train de-en  (")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "duplicates 420 -> 400 -20" in lines
    assert "train 296" in lines
    assert "overlap between splits: 0 sources" in lines


def test_describing_opens_no_test_split(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, "describe", "files", "--path", own)
    assert shown(capsys, "openings") == "No test split has been opened.\n"


def test_openings_are_listed(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = DataConfig(source="files", path=own, identify_languages=False)
    open_corpus(config, home=tmp_path / "home/data").test("the final score")
    assert "UTC  files train de-en  " in shown(capsys, "openings")
    assert json.loads(shown(capsys, "openings", "--json"))[0]["why"] == "the final score"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["describe", "text"], "data.source is 'text' and data.path is empty. Name a text with a document"),
        (["describe", "text", "--path", "/nowhere"], "/nowhere is neither a file nor a folder."),
        (["describe", "files"], "data.source is 'files' and data.path is empty."),
        (["describe", "files", "--path", "/nowhere/train"], "/nowhere/train is neither a text nor"),
        (["describe", "cldr", "--pair", "de"], "data.pair"),
        (["describe", "files", "--data-dir", "x"], "--data-dir goes with wmt19 and tfds:NAME"),
        (
            ["describe", "wmt19", "--data-dir", "/nowhere"],
            "wmt19_translate/de-en is not prepared in /nowhere",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    own: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert refusal(capsys, *arguments).startswith(said)


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "orch data describe cldr --pair de-en" in capsys.readouterr().out


def test_the_embedded_corpus_is_described(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, "describe", "cldr", "--pair", "lt-fi", "--pairs", "200", "--json"))
    assert (found["overlap"], found["splits"]["select"], found["splits"]["test"]) == (0, 500, 500)
    assert [count["name"] for count in found["filters"]] == ["duplicates", "in another split"]


def test_targets_that_the_vocabulary_cannot_write_are_counted_and_three_shown(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """T5's normalisation makes one space of a line break and of two spaces."""
    dims = MODELS["t5-tiny"]
    settings = Settings(**vars(dims), vocabulary=128)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a good film", "a bad film", "what a film"] * 20), model_writer=model,
        vocab_size=16, normalization_rule_name="nmt_nfkc", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    folder = tmp_path / "t5"
    huggingface.export(folder, settings, init_params(settings, 0), vocabulary=model.getvalue(), dropout=0.1)
    rows = tmp_path / "rows.tsv"
    targets = ["good", "bad", "b{d", "good  film", "b]d", "f]"]
    rows.write_text("".join(f"film {i}\t{targets[i % 6]}\n" for i in range(60)))
    found = json.loads(
        shown(capsys, "describe", "--task", "files", "--path", str(rows), "--init", str(folder), "--json")
    )
    lost = found["lost"]
    assert lost["of"] == sum(found["splits"][split] for split in ("train", "guide", "select"))
    assert 0.5 * lost["of"] < lost["targets"] < lost["of"]
    assert len(lost["samples"]) == 3
    assert dict(lost["samples"]).items() <= {
        "b{d": "bd", "good  film": "good film", "b]d": "bd", "f]": "f"
    }.items()  # fmt: skip
    said = shown(capsys, "describe", "--task", "files", "--path", str(rows), "--init", str(folder))
    assert f"not given back by the vocabulary: {lost['targets']} of {lost['of']} targets\n" in said
    assert refusal(
        capsys, "describe", "--task", "files", "--path", str(rows), "--init", str(tmp_path)
    ).startswith(f"{tmp_path} is to hold a model, and it has no config.json.")


def test_unlabelled_text_is_described(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.jsonl"
    lines = [json.dumps({"body": f"this is note {n} of many, {n % 7} of 7"}) for n in range(600)]
    file.write_text("\n".join([*lines, "", ""]) + "\n")
    arguments = ("describe", "text", "--path", str(file), "--key", "body")
    found: dict[str, Any] = json.loads(shown(capsys, *arguments, "--json"))
    assert found["name"] == "text notes.jsonl"
    assert sum(found["documents"].values()) == 600
    assert (found["empty"], found["whole"], len(found["samples"])) == (2, True, 3)
    assert found["samples"][0].startswith("this is note ")
    lengths, count = found["lengths"], found["documents"]["train"]
    assert lengths["mean"] * count == pytest.approx(found["tokens"]["train"], rel=1e-3)
    assert lengths["median"] <= lengths["longest"]
    said = [" ".join(line.split()) for line in shown(capsys, *arguments).splitlines()]
    assert f"train {count} {found['tokens']['train']:,}" in said
    assert f"test {found['documents']['test']} when opened" in said
    assert "empty 2 left out" in said
    assert f"vocabulary {found['pieces']} pieces, 100 sentinels" in said
    assert shown(capsys, "openings") == "No test split has been opened.\n"
    first = json.loads(shown(capsys, *arguments, "--tokens", "50", "--json"))
    assert first["tokens"]["train"] == 50


def test_a_prepared_set_is_described_by_what_it_holds(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = pytest.importorskip("tensorflow_datasets")
    library.disable_progress_bar()
    features = library.features.FeaturesDict({"text": library.features.Text()})
    rows = [{"text": f"this is note {n} of many, {n % 7} of 7"} for n in range(600)]
    write_set(tmp_path / "c4/en", features, {"train": rows[:500], "validation": rows[500:]})
    capsys.readouterr()  # the library's own words
    found = json.loads(shown(capsys, "describe", "tfds:c4/en", "--data-dir", str(tmp_path), "--json"))
    assert (found["name"], sum(found["documents"].values())) == ("tfds:c4/en", 500)
    assert found["versions"]["c4/en"] == "1.0.0"
