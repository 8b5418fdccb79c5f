"""Can a name lead out of the root, and what is left of an attempt after `discard`?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.ground.errors import BadSpec
from orchestrator.runs.folders import Storage


def test_each_attempt_has_its_own_folder_below_the_study(tmp_path: Path) -> None:
    assert Storage(tmp_path).folder("s1", "s1.arm.0.1", 2) == tmp_path / "s1" / "s1.arm.0.1" / "attempt-2"


@pytest.mark.fault(24)
@pytest.mark.parametrize(
    "name", ["..", ".", "", "../x", "a/b", "/etc", "a\0b", ".hidden", "x" * 256, "a\\b", "%2e/"]
)
def test_a_name_that_is_no_plain_folder_is_refused(tmp_path: Path, name: str) -> None:
    storage = Storage(tmp_path)
    for study, trial in ((name, "t"), ("s", name)):
        with pytest.raises(BadSpec) as refused:
            storage.folder(study, trial, 1)
        assert str(refused.value).startswith(
            f"The name {name[:60]!r} cannot be a folder. Allowed are 1 to 255"
        )


def test_a_url_is_refused_with_a_sentence() -> None:
    with pytest.raises(BadSpec) as refused:
        Storage("gs://bucket/runs")
    assert str(refused.value) == (
        "The storage root 'gs://bucket/runs' is a URL; it must be a path on a disk that every worker sees. "
        "Mount the bucket, and give the mounted path."
    )


def test_discard_deletes_parameters_and_keeps_the_rest(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    folder = storage.folder("s", "t", 1)
    (folder / "checkpoints" / "100").mkdir(parents=True)
    (folder / "checkpoints" / "100" / "params.npz").write_text("large")
    for name in ("checkpoint-20.json", "params.npz", "events.jsonl", "schedule.npz", "resume.json"):
        (folder / name).write_text("{}")
    storage.discard(folder)
    storage.discard(folder)
    assert sorted(os.listdir(folder)) == ["events.jsonl", "resume.json", "schedule.npz"]


@pytest.mark.fault(24, real=True)
def test_discard_touches_nothing_outside_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "checkpoint-1").write_text("mine")
    root = tmp_path / "root"
    (root / "s").mkdir(parents=True)
    (root / "s" / "t").symlink_to(outside)
    for folder in (outside, root / ".." / "outside", root / "s" / "t", root):
        with pytest.raises(BadSpec):
            Storage(root).discard(folder)
    assert (outside / "checkpoint-1").exists()


def test_discard_of_a_linked_checkpoint_leaves_what_it_points_to(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "root")
    folder = storage.folder("s", "t", 1)
    folder.mkdir(parents=True)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "weights").write_text("mine")
    (folder / "checkpoints").symlink_to(kept)
    storage.discard(folder)
    assert not (folder / "checkpoints").exists()
    assert (kept / "weights").exists()


def test_a_checkpoint_that_cannot_be_deleted_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(tmp_path)
    folder = storage.folder("s", "t", 1)
    (folder / "checkpoints" / "100").mkdir(parents=True)
    for name in ("checkpoint-20.json", "checkpoint-40.json", "params.npz"):
        (folder / name).write_text("{}")
    busy, unlink = folder / "checkpoint-20.json", Path.unlink

    def refuses(path: Path, missing_ok: bool = False) -> None:
        if path == busy:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    storage.discard(folder)
    assert os.listdir(folder) == ["checkpoint-20.json"]
    assert caplog.messages == [f"{busy} cannot be deleted now; it stays"]


def test_what_an_attempt_left_is_found_though_the_last_one_left_nothing(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    one, two, three = (storage.folder("s", "s.a.0.0", number) for number in (1, 2, 3))
    assert storage.latest("s", "s.a.0.0", 3, "schedule.npz") == three
    for folder in (one, two):
        folder.mkdir(parents=True)
        (folder / "schedule.npz").touch()
    assert storage.latest("s", "s.a.0.0", 3, "schedule.npz") == two
    assert storage.latest("s", "s.a.0.0", 0, "schedule.npz") == one
