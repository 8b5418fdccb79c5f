"""Do the flags of weights and rows reach the study that takes them? Do others refuse them in a sentence?"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import output
from orchestrator.cli.spec_options import read
from tests.orchestrator.conftest import Orch


def test_finetuning_takes_weights_and_rows_by_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"init": "t5-small", "task": "files", "path": "reviews.tsv", "metrics": ("accuracy", "macro-f1")}
    asked = read("finetuning", size="smoke", prefix="review: ", **flags)  # type: ignore[arg-type]
    base = asked.spec.base
    assert base["init"] == str(tmp_path / "t5-small")
    assert base["data"] == {"task": "files", "path": str(tmp_path / "reviews.tsv"), "prefix": "review: "}
    assert base["score"]["metrics"] == ["accuracy", "macro-f1"]
    assert asked.notes == (
        "The hours are those of t5-tiny on the embedded task; other weights and rows change them.",
    )
    own = read("finetuning", size="smoke", task="my_task.py").spec.base["data"]
    assert own == {"task": str(tmp_path / "my_task.py")}


def test_weights_and_rows_are_refused_where_a_study_takes_none(orch: Orch, spec: str) -> None:
    said = orch("study", "plan", "bo-vs-guided", "--path", "reviews.tsv", "--metric", "accuracy")
    assert said.code == output.USAGE
    assert said.err.startswith(
        "orch: bo-vs-guided takes no path and no metrics. Allowed is the study finetuning."
    )
    said = orch("study", "plan", spec, "--metric", "accuracy")
    assert said.code == output.USAGE
    assert f"--metric goes with a preset's name, and {spec} is a file. Leave it out, or set it" in said.err


def test_the_plan_of_finetuning_says_that_a_folder_is_not_there(orch: Orch, tmp_path: Path) -> None:
    said = orch("study", "plan", "finetuning", "--init", str(tmp_path / "t5-small"))
    assert said.code == output.USAGE
    assert "t5-small is to hold a model, and there is no such folder." in said.err
