"""Does every benchmark's task train, choose, evaluate and score on the mock data of TensorFlow Datasets?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from tests.trainer.tasks.mock_sets import SETS, VALIDATION, mock
from trainer.config.benchmarks import BENCHMARKS
from trainer.data.vocabulary import vocabulary
from trainer.protocol import Outcome, Place, Reply, Report
from trainer.tasks.benchmarks import TASKS
from trainer.terminal import console
from trainer.training import entrypoint

# One program for all tasks: the same lengths, the same vocabulary.
BASE: dict[str, Any] = {
    "steps": 1,
    "eval_every_steps": 1,
    "checkpoint_every_steps": 1,
    "model": {"size": "t5-tiny", "d_model": 16, "d_attention": 16, "d_ff": 16, "heads": 2, "layers": 1},
    "optimizer": {"name": "adafactor", "learning_rate": 0.01, "beta1": 0.0},
    "schedule": {"name": "constant", "warmup_steps": 0},
    "batch": {"sentences": 4},
    "score": {"test": True},
}
UNSCORED = {"train_loss", "dev_loss", "peak_memory_bytes", "commonest"}
METRICS = {
    "glue/cola": {"matthews"},
    "glue/mrpc": {"f1", "accuracy"},
    "glue/stsb": {"pearson", "spearman"},
    "glue/qqp": {"f1", "accuracy"},
    "glue/mnli": {"matched", "mismatched"},
    "super_glue/cb": {"macro-f1", "accuracy"},
    "super_glue/multirc": {"f1a", "exact-match"},
    "super_glue/record": {"exact-match", "f1"},
    "squad": {"exact-match", "f1"},
    "cnn_dailymail": {"rouge-1", "rouge-2", "rouge-lsum"},
    **{f"wmt/{language}": {"bleu"} for language in ("de", "fr", "ro")},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name in SETS:
        mock(folder, name)
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of the mock data's letters and the words of targets."""
    home = tmp_path_factory.mktemp("pieces")
    letters = "abcdefghij"
    words = sorted({label for task in TASKS.values() for label in task.labels} | {"wsc:", "translate", "5.0"})
    text = [(f"{a}{b} {word}", f"{b} {word}") for a in letters for b in letters for word in words]
    vocabulary(text, size=56, fingerprint="mock", home=home).save(home / "spiece.model")
    return home / "spiece.model"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def train(home: Path, sets: Path, pieces: Path) -> Iterator[Any]:
    def once(folder: Path, task: str, **changes: Any) -> tuple[Outcome, list[Report]]:
        told: list[Report] = []

        def hear(report: Report) -> Reply:
            told.append(report)
            return Reply.GO

        data = {"task": task, "path": str(sets), "vocabulary_path": str(pieces)}
        data |= {"source_tokens": 24, "target_tokens": 6, "guide_share": 0.1}
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ORCH_HOME", str(home))
            return entrypoint.run({**BASE, "data": data, **changes}, hear, folder, Place()), told

    before = jax.config.jax_compilation_cache_dir
    yield once
    jax.config.update("jax_compilation_cache_dir", before)


Train = Callable[..., tuple[Outcome, list[Report]]]


def slow(task: str) -> Any:
    return pytest.param(task, marks=pytest.mark.slow)


def answers(folder: Path, split: str) -> list[dict[str, Any]]:
    text = (folder / f"answers-{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.rstrip("\n").split("\n")]


@pytest.mark.parametrize("task", BENCHMARKS)
def test_every_task_trains_a_batch_and_is_evaluated_and_scored(
    task: str, train: Train, tmp_path: Path
) -> None:
    outcome, told = train(tmp_path / "run", task)
    assert outcome.status == "completed"
    (evaluated,) = [report.values for report in told if report.kind == "eval"]
    assert {"dev_loss", "score"} <= set(evaluated)
    names = METRICS.get(task, {"accuracy"})
    assert {f"test_{name}" for name in names} < set(outcome.values)
    mean = sum(outcome.values[f"test_{name}"] for name in names) / len(names)
    assert outcome.values["test_score"] == pytest.approx(mean)
    head, *rows = answers(tmp_path / "run", "test")
    assert head["protocol"] == "ours"
    assert head.get("beam") == (4 if TASKS[task].beams else None)
    splits = {"glue/mnli": 2 * VALIDATION, "dpr": 2 * VALIDATION}  # dpr: two candidates
    assert len(rows) == splits.get(task, VALIDATION)


def test_papers_chooses_by_the_rows_that_it_reports_and_scores_the_whole_of_them_in_the_end(
    train: Train, tmp_path: Path
) -> None:
    score = {"protocol": "papers", "choose": "best", "dev_sentences": 4}
    outcome, told = train(tmp_path / "run", "glue/sst2", score=score)
    (evaluated,) = [report.values for report in told if report.kind == "eval"]
    assert evaluated["choosing_score"] == evaluated["score"]
    head, *rows = answers(tmp_path / "run", "dev")
    assert len(rows) == VALIDATION
    assert (head["protocol"], head["score"]) == ("papers", outcome.values["score"])
    assert not (tmp_path / "run" / "answers-test.jsonl").exists()


def test_named_metrics_are_reported_beside_the_task_s_own(train: Train, tmp_path: Path) -> None:
    outcome, _ = train(tmp_path / "run", "glue/cola", score={"metrics": ["accuracy", "matthews"]})
    names = {name for name in outcome.values if name not in UNSCORED}
    assert names == {"score", "accuracy", "matthews"}


@pytest.fixture(scope="module")
def begun(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of another task, to begin with."""
    folder = tmp_path_factory.mktemp("begun")
    train(folder, "glue/sst2", score={})
    return folder


AFTER_50 = ["glue/cola", *(slow(each) for each in ("glue/stsb", "super_glue/cb", "super_glue/copa", "squad"))]


@pytest.mark.parametrize("task", AFTER_50)
def test_orch_train_trains_50_steps_of_a_task_with_a_folder_of_sets_and_weights_to_begin_with(
    task: str,
    sets: Path,
    begun: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(home))
    before = jax.config.jax_compilation_cache_dir
    arguments = ["--task", task, "--data-dir", str(sets), "--init", str(begun), "--steps", "50", "--test"]
    for setting in ("data.source_tokens=24", "data.target_tokens=6", "batch.sentences=4"):
        arguments += ["--set", setting]
    try:
        assert console.main([*arguments, "--out", str(tmp_path / "run")]) == console.DONE
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    said = capsys.readouterr()
    assert "completed after 50 steps" in said.out
    assert "test_score" in said.out
    assert f"test split (protocol ours), greedy outputs of {VALIDATION} rows" in said.out
    assert f", {task.replace('/', '-')}, 50 steps" in said.err


def test_the_page_of_tasks_says_what_each_reads_and_is_judged_by() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name, task in BENCHMARKS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        _, _, sets, metrics, tokens, _, _ = map(str.strip, row.split("|"))
        assert sets.split(", ") == [*task.sets]
        assert set(metrics.split(", ")) == METRICS.get(name, {"accuracy"})
        assert tokens == ", ".join(map(str, task.tokens))
