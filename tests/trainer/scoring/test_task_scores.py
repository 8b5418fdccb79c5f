"""Does a run on a task say how good it is at every evaluation, with the outputs of `orch translate`?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest

from trainer.config import canonical
from trainer.data.contract import DataError
from trainer.protocol import Outcome, Place, Reply, Report
from trainer.tasks import generated
from trainer.terminal import console, translate
from trainer.training import entrypoint

WORDS = {"awful": "bad", "dull": "bad", "fine": "good", "great": "good"}
ROWS = [(f"{word} film {n}", label) for n in range(100) for word, label in WORDS.items()]
BASE: dict[str, Any] = {
    "steps": 90,
    "eval_every_steps": 30,
    "checkpoint_every_steps": 90,
    "model": {
        "size": "tiny",
        "d_model": 32,
        "d_attention": 32,
        "d_ff": 64,
        "heads": 2,
        "layers": 1,
        "dropout": 0.0,
    },
    "optimizer": {"name": "adamw", "learning_rate": 0.02},
    "schedule": {"warmup_steps": 5},
}
SMALL = {"source_tokens": 32, "target_tokens": 8}
OWN = """
def rows(split):
    return [{"n": n} for n in range(200)] if split == "train" else None

def input(record):
    return f"number {record['n']}"

def target(record):
    return "odd" if record["n"] % 2 else "even"

def score(outputs, records):
    return RETURNED
"""


SHORT: dict[str, Any] = {
    "steps": 4,
    "eval_every_steps": 2,
    "checkpoint_every_steps": 2,
    "schedule": {"warmup_steps": 1},
}


class Told:
    """A reporter that answers SAVE_AND_STOP at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.reports: list[Report] = []
        self.stop_at = stop_at

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        return Reply.SAVE_AND_STOP if report.step == self.stop_at else Reply.GO

    def of(self, kind: str) -> list[Report]:
        return [report for report in self.reports if report.kind == kind]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")

    def once(folder: Path, *, stop_at: int | None = None, **changes: Any) -> tuple[Outcome, Told]:
        told = Told(stop_at)
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCH_HOME", str(home))
            return entrypoint.run({**BASE, **changes}, told, folder, Place()), told

    before = jax.config.jax_compilation_cache_dir
    yield once
    jax.config.update("jax_compilation_cache_dir", before)


Train = Callable[..., tuple[Outcome, Told]]


@pytest.fixture(scope="module")
def reviews(train: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Told]:
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "reviews.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in ROWS))
    data = {"task": "files", "path": str(folder / "reviews.tsv"), "prefix": "review: ", **SMALL}
    score = {"metrics": ["accuracy", "macro-f1"], "dev_sentences": 15, "test": True}
    return folder, *train(folder, data=data, score=score)


def test_every_evaluation_has_the_loss_each_metric_and_their_mean(reviews: Any) -> None:
    _, outcome, told = reviews
    assert outcome.status == "completed", outcome.reason
    assert [report.step for report in told.of("eval")] == [30, 60, 90]
    for report in told.of("eval"):
        assert report.values.keys() == {"dev_loss", "score", "accuracy", "macro-f1"}
        assert report.values["score"] == pytest.approx(
            (report.values["accuracy"] + report.values["macro-f1"]) / 2
        )
        assert report.values["accuracy"] * 15 / 100 == pytest.approx(round(report.values["accuracy"] * 0.15))


def test_it_ends_with_the_scores_of_its_last_parameters_and_of_the_whole_test_split(reviews: Any) -> None:
    folder, outcome, told = reviews
    names = {"score", "accuracy", "macro-f1"}
    last = told.of("eval")[-1].values
    assert {name: outcome.values[name] for name in names} == {name: last[name] for name in names}
    assert {name for name in outcome.values if name.startswith("test_")} == {f"test_{name}" for name in names}
    assert not [name for name in outcome.values if "bleu" in name]
    assert outcome.values["test_accuracy"] > 80  # it has learned what is a word's label
    for split, rows, prefix in (("dev", 15, ""), ("test", 20, "test_")):
        head, *lines = map(json.loads, (folder / f"answers-{split}.jsonl").read_text().splitlines())
        assert (head["split"], head["rows"], len(lines)) == (split, rows, rows)
        right = sum(line["output"] == line["target"] for line in lines)
        assert outcome.values[f"{prefix}accuracy"] == pytest.approx(100 * right / rows)
        assert all(line["input"].startswith("review: ") for line in lines)
    assert {"params.npz", "answers-dev.jsonl", "answers-test.jsonl"} <= {*outcome.files}


def test_translate_puts_the_prefix_and_writes_what_was_scored(
    reviews: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = reviews
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    _, *lines = map(json.loads, (folder / "answers-test.jsonl").read_text().splitlines())
    texts = [word for line in lines for word in ("--text", line["input"].removeprefix("review: "))]
    assert translate.main([str(folder), *texts]) == 0
    assert capsys.readouterr().out.splitlines() == [line["output"] for line in lines]
    assert translate.main([str(folder), "--text", "great film " * 40]) == 0
    said = capsys.readouterr()
    assert "and this model reads 32 at most: only the first" in said.err
    assert said.out.strip()


def test_a_task_s_own_scores_are_asked_with_every_row_and_what_is_no_number_counts_as_0(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "my_task.py").write_text(
        OWN.replace("RETURNED", "{'rows': float(len(outputs)), 'nothing': float('nan')}")
    )
    data = {"task": str(tmp_path / "my_task.py"), **SMALL}
    outcome, told = train(tmp_path, data=data, score={"metrics": ["pearson"]}, **SHORT)
    assert outcome.status == "completed", outcome.reason
    for report in told.of("eval"):
        assert report.values["rows"] == 10.0  # the whole dev split: a twentieth
        assert report.values["score"] == pytest.approx(10 / 3)
    assert (outcome.values["nothing"], outcome.values["pearson"]) == (0.0, 0.0)
    said = [record.message for record in caplog.records if record.name == "trainer"]
    assert said.count("nothing is nan, and counts as 0.") == 1
    assert sum(line.startswith("pearson is undefined where the target") for line in said) == 1


def test_a_built_in_task_s_own_metric_stands_in_for_the_one_of_that_name(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(generated, "RECORDS", 2_400)
    monkeypatch.setattr(generated, "PRETRAINED", 500)
    score = {"metrics": ["accuracy", "token-f1"]}
    outcome, _ = train(tmp_path / "figures", data={"task": "figures", **SMALL}, score=score, **SHORT)
    assert outcome.status == "completed", outcome.reason
    assert {"accuracy", "token-f1", "score"} <= outcome.values.keys()
    both = outcome.values["accuracy"], outcome.values["token-f1"]
    assert outcome.values["score"] == pytest.approx(sum(both) / 2)
    outcome, _ = train(tmp_path / "order", data={"task": "word-order", **SMALL}, **SHORT)
    assert outcome.values["score"] == outcome.values["matthews"] == 0
    said = [record.message for record in caplog.records if record.name == "trainer"]
    assert said.count("matthews is undefined where all outputs are alike, and counts as 0.") == 1


@pytest.mark.parametrize("name", ["dev_loss", "test_x", "score", "accuracy", "1st", "a name"])
def test_a_name_that_is_taken_or_cannot_be_one_is_refused(train: Train, tmp_path: Path, name: str) -> None:
    (tmp_path / "my_task.py").write_text(OWN.replace("RETURNED", f"{{{name!r}: 1.0}}"))
    data = {"task": str(tmp_path / "my_task.py"), **SMALL}
    with pytest.raises(DataError) as refused:
        train(tmp_path, data=data, score={"metrics": ["accuracy"]}, **SHORT)
    assert f"names a metric {name!r}. Allowed are 1 to 80 letters" in str(refused.value)


def test_a_stopped_run_goes_on_to_the_same_scores_and_not_with_another_version_of_its_file(
    train: Train, tmp_path: Path
) -> None:
    file = tmp_path / "my_task.py"
    file.write_text(OWN.replace("RETURNED", "{'letters': float(sum(map(len, outputs)))}"))
    data = {"task": str(file), **SMALL}
    whole, _ = train(tmp_path / "whole", data=data, **SHORT)
    first, _ = train(tmp_path / "cut", stop_at=2, data=data, **SHORT)
    assert first.status == "stopped"
    (tmp_path / "cut" / "resume.json").write_text(json.dumps({"checkpoint": first.checkpoint}))
    second, told = train(tmp_path / "cut", data=data, **SHORT)
    assert [report.step for report in told.of("eval")] == [4]
    assert second.values == whole.values
    file.write_text(file.read_text() + "# another version\n")
    with pytest.raises(ValueError, match="is of another config"):
        train(tmp_path / "cut", data=data, **SHORT)


def test_one_command_trains_on_a_file_and_shows_scores_and_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in ROWS))
    command = ["--task", "files", "--path", "reviews.tsv", "--prefix", "review: ", "--steps", "10"]
    command += ["--metric", "accuracy", "--metric", "exact-match"]
    config = console.config_of(console._parser().parse_args(command))
    assert (config.data.source, config.data.path) == ("cldr", str(tmp_path / "reviews.tsv"))
    assert config.score.metrics == ("accuracy", "exact-match")
    assert '"prefix":"review: "' in canonical(config)
    sizes = [f"model.{name}=16" for name in ("d_model", "d_attention", "d_ff")]
    sets = [*sizes, "model.layers=1", "score.dev_sentences=3", *(f"data.{k}={v}" for k, v in SMALL.items())]
    assert console.main([*command, *(word for each in sets for word in ("--set", each))]) == 0
    said = capsys.readouterr()
    assert "tiny model, reviews, 10 steps, in " in said.err
    assert "  score " in said.err
    assert "\n  accuracy " in said.out
    assert "\n  score " in said.out
    assert "dev split, greedy outputs of 3 rows, such as\n  input   review: " in said.out
