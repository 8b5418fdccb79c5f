"""Are the files that an outcome names found, and is nothing else ever given out?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ground.errors import NotFound
from orchestrator.runs import artifacts
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal, Storage
from trainer.protocol import Outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "s1" / "s1.a.0.0" / "attempt-1"
    (made / "plots").mkdir(parents=True)
    (made / "model.pt").write_bytes(b"12345")
    (made / "plots" / "loss.png").write_bytes(b"1")
    (tmp_path / "secret").write_text("s")
    (made / "out").symlink_to(tmp_path / "secret")
    (made / "up").symlink_to(tmp_path)
    (made / "circle").symlink_to("circle")
    (made / "within").symlink_to("model.pt")
    (made / ".hidden").write_text("s")
    return made


def test_files_below_the_folder_are_artifacts_by_their_path_in_it(folder: Path) -> None:
    named = ["model.pt", "plots/loss.png", str(folder / "model.pt"), "./model.pt", "within"]
    found, refused = artifacts.checked(folder, named)
    assert [(a.name, a.bytes) for a in found] == [("model.pt", 5), ("plots/loss.png", 1), ("within", 5)]
    assert refused == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../../secret", "is not in the attempt's folder"),
        ("/etc/passwd", "is not in the attempt's folder"),
        ("plots/../../secret", "is not in the attempt's folder"),
        ("out", "a link that leads out"),
        ("up/secret", "a link that leads out"),
        ("circle", "cannot be read"),
        ("gone.txt", "which is not there"),
        ("plots", "which is not a file"),
        ("", "Allowed are parts of letters"),
        (".hidden", "Allowed are parts of letters"),
        ("a b\n", "Allowed are parts of letters"),
        ("x" * 201, "At most 200 characters"),
        ("model.pt\0", "Allowed are parts of letters"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(folder: Path, name: str, sentence: str) -> None:
    found, (refused,) = artifacts.checked(folder, [name])
    assert found == []
    assert sentence in refused
    assert refused.startswith("The outcome names the file ")


def test_a_file_that_is_too_large_and_too_many_files_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "MOST_BYTES", 4)
    monkeypatch.setattr(artifacts, "MOST_FILES", 2)
    found, refused = artifacts.checked(folder, ["model.pt", "plots/loss.png", "within"])
    assert [a.name for a in found] == ["plots/loss.png"]
    assert refused == [
        "The outcome names the file 'model.pt', which has 5 bytes. Allowed are 4.",
        "The outcome names 3 files. The first 2 are its artifacts.",
    ]


def test_a_trials_artifacts_are_those_of_the_newest_attempt_that_left_any(
    folder: Path, tmp_path: Path
) -> None:
    storage, names = Storage(tmp_path / "runs"), ("s1", "s1.a.0.0")

    def ended(number: int, *files: str, **more: Any) -> None:
        storage.folder(*names, number).mkdir(exist_ok=True)
        Journal(storage.folder(*names, number)).end(
            Ended("outcome", outcome=Outcome("preempted", files=files), **more)
        )

    assert artifacts.of_trial(storage, *names, 1) == []
    ended(1, "model.pt", "gone.txt")
    found = artifacts.of_trial(storage, *names, 1)
    assert [a.name for a in found] == ["model.pt"]
    ended(2, "model.pt")
    assert artifacts.of_trial(storage, *names, 3) == found
    (storage.folder(*names, 2) / "model.pt").write_bytes(b"2")
    assert [a.bytes for a in artifacts.of_trial(storage, *names, 3)] == [1]
    assert artifacts.named(found, "model.pt").path.read_bytes() == b"12345"
    with pytest.raises(NotFound, match=r"no artifact 'x'\. There are: model\.pt"):
        artifacts.named(found, "x")
