"""Do several processes put aside what each holds, and does any number of them find it again?"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.training.gang_program import FINGERPRINT, TOLD, is_that_of, snapshot, state
from trainer.training import checkpoint

ROOT = Path(__file__).parents[3]
HERE = socket.gethostname()
SPLIT = {"fsdp": 2}
Saved = tuple[Path, list[list[Any]]]


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def started(asked: dict[str, Any], index: int, count: int, coordinator: str) -> subprocess.Popen[str]:
    place = {"process_index": index, "process_count": count, "coordinator": coordinator}
    flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.training.gang_program", json.dumps({**asked, "place": place})],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def gang(folder: Path, *acts: tuple[str, dict[str, Any]], count: int = 2) -> list[list[Any]]:
    """What each process tells of each act, as far as it came."""
    coordinator = free_address()
    asked = {"folder": str(folder), "acts": acts}
    processes = [started(asked, index, count, coordinator) for index in range(count)]
    try:
        said = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode in (0, 9) for process in processes), "\n".join(err for _, err in said)
    lines = [[line for line in out.splitlines() if line.startswith(TOLD)] for out, _ in said]
    return [[json.loads(line.removeprefix(TOLD)) for line in each] for each in lines]


def saves(*steps: int) -> list[tuple[str, dict[str, Any]]]:
    return [("save", {"step": step, "shape": SPLIT}) for step in steps]


def restores(name: str, **shape: int) -> tuple[str, dict[str, Any]]:
    return "restore", {"name": name, "shape": shape}


def good(name: str, step: int, *damaged: str) -> dict[str, Any]:
    return {"path": name, "same": True, "sharded": True, "told": [step, step], "damaged": list(damaged)}


def without_note(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "note"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """What two processes leave after two saves and two without room, and what each of them tells."""
    folder: Path = tmp_path_factory.mktemp("gang")
    without_room = [
        ("full", {"step": 9, "shape": SPLIT, "on": on, "file": file})
        for on, file in ((1, "arrays-1.npz"), (0, "COMPLETE"))
    ]
    others = [("late", {}), ("fail", {}), ("join", {"index": 3}), ("gone", {})]
    acts = [*saves(4, 5), *without_room, restores("checkpoint-5", tensor=2), *others]
    return folder, gang(folder, *acts)


def test_each_process_writes_its_own_parts_and_each_part_is_written_once(saved: Saved) -> None:
    path = saved[0] / "checkpoint-5"
    assert sorted(p.name for p in path.iterdir()) == [
        "COMPLETE",
        "arrays-0.npz",
        "arrays-1.npz",
        "manifest.json",
    ]
    table = json.loads((path / "manifest.json").read_text())["arrays"]
    held: dict[str, dict[str, Any]] = {}
    for process in range(2):
        with np.load(path / f"arrays-{process}.npz", allow_pickle=False) as archive:
            held[f"arrays-{process}.npz"] = dict(archive)
    names = [(part["file"], part["member"]) for entry in table.values() for part in entry["parts"]]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted((file, f"{n}.npy") for file, arrays in held.items() for n in arrays)
    embedding = table["state/embedding"]
    halves = {tuple(map(tuple, part["span"])): part for part in embedding["parts"]}
    assert set(halves) == {((0, 12), (0, 4)), ((0, 12), (4, 8))}
    for ((a, b), (c, d)), part in halves.items():
        array = held[part["file"]][part["member"].removesuffix(".npy")]
        np.testing.assert_array_equal(array, state(5)["embedding"][a:b, c:d])
    assert [part["file"] for part in embedding["parts"]] == ["arrays-0.npz", "arrays-1.npz"]
    assert [len(entry["parts"]) for entry in table.values()].count(1) == 3  # scale, count and a curve


def test_one_process_finds_what_two_have_saved(saved: Saved) -> None:
    found = checkpoint.restore(saved[0] / "checkpoint-5", state(0), fingerprint=FINGERPRINT)
    assert found is not None
    assert is_that_of(5, found.snapshot.state)
    assert (found.snapshot.curves or {})["loss"].tolist() == [0, 1, 2, 3, 4]
    assert (found.path.name, found.damaged) == ("checkpoint-5", ())


def test_two_find_it_on_another_mesh(saved: Saved) -> None:
    assert [without_note(each[4]) for each in saved[1]] == [good("checkpoint-5", 5)] * 2


@pytest.mark.fault(12, real=True)
def test_no_room_in_one_process_is_told_by_all_and_the_last_good_one_stays(
    saved: Saved,
) -> None:
    folder, both = saved
    for number, index in ((2, 1), (3, 0)):
        assert [each[number] for each in both] == [
            f"The disk is full: {folder / 'checkpoint-9'} could not be written by process {index} on {HERE}. "
            f"The last good one is {folder / 'checkpoint-5'}. Make room there."
        ] * 2
    assert sorted(p.name for p in folder.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]


def test_who_is_late_is_named(saved: Saved) -> None:
    assert [each[5] for each in saved[1]] == [
        f"Process 0 of 2 on {HERE} waited for process 1 on {HERE} (to be late), 0.2 s at most. "
        f"Look there first.",
        f"Process 1 of 2 on {HERE} came too late to the others (to be late): they wait 0.2 s at most.",
    ]


def test_a_fault_of_one_process_is_its_own_and_for_the_others_it_is_elsewhere(
    saved: Saved,
) -> None:
    assert [each[6] for each in saved[1]] == [
        f"PeerLost: Process 1 on {HERE} failed (to fail): mine",
        "TypeError: mine",
    ]


def test_a_process_that_has_joined_cannot_be_another_one(saved: Saved) -> None:
    first, second = (each[7] for each in saved[1])
    assert first.startswith("This process is process 0 of 2 at 127.0.0.1:")
    assert second.startswith("This process is process 1 of 2 at 127.0.0.1:")
    assert second.endswith(" and cannot be process 3 of 7 at elsewhere:1. Start another one for that.")


def test_a_process_that_is_gone_is_told_apart_from_an_error_of_the_training(
    saved: Saved,
) -> None:
    first, second = saved[1]
    assert len(second) == 8, "it ended in the middle of the last act"
    assert first[8].startswith(f"Process 0 of 2 on {HERE} lost another one: ")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.fault(13, real=True)
def test_a_damaged_or_missing_part_makes_all_fall_back_to_the_same_one(saved: Saved, tmp_path: Path) -> None:
    for name in ("flipped", "missing", "all"):
        shutil.copytree(saved[0], tmp_path / name)
    flipped(tmp_path / "flipped" / "checkpoint-5" / "arrays-1.npz")
    (tmp_path / "missing" / "checkpoint-5" / "arrays-0.npz").unlink()
    for step in (4, 5):
        flipped(tmp_path / "all" / f"checkpoint-{step}" / "arrays-1.npz")
    checkpoint.save(tmp_path / "alone", snapshot(6, state(6)))
    names = ["flipped/checkpoint-5", "missing/checkpoint-5", "all/checkpoint-5"]
    acts = [restores(name, **SPLIT) for name in (*names, "alone/checkpoint-6", "alone/checkpoint-7")]
    both = gang(tmp_path, *acts)
    assert both[0] == both[1]
    first, second, third, alone, none = both[0]
    fallback = good("checkpoint-4", 4, "checkpoint-5")
    assert [without_note(first), without_note(second)] == [fallback, fallback]
    ends = "The run goes on from checkpoint-4."
    newest = tmp_path / "flipped" / "checkpoint-5"
    assert first["note"] == f"{newest} is damaged: its arrays-1.npz is not what was written. {ends}"
    newest = tmp_path / "missing" / "checkpoint-5"
    assert second["note"] == f"{newest} is damaged: its arrays-0.npz is not there. {ends}"
    assert third == "none"
    assert without_note(alone) == good("checkpoint-6", 6)
    assert none == (
        f"There is no checkpoint {tmp_path / 'alone' / 'checkpoint-7'} on {HERE}. "
        f"Name one that is there, or start anew."
    )


def test_four_processes_find_what_two_have_saved_and_one_what_four_have(saved: Saved, tmp_path: Path) -> None:
    shutil.copytree(saved[0], tmp_path / "run")
    shape = {"fsdp": 2, "tensor": 2}
    acts = [restores("checkpoint-5", **shape), ("save", {"step": 7, "shape": shape})]
    four = gang(tmp_path / "run", *acts, count=4)
    assert [without_note(each[0]) for each in four] == [good("checkpoint-5", 5)] * 4
    found = checkpoint.restore(tmp_path / "run" / "checkpoint-7", state(0), fingerprint=FINGERPRINT)
    assert found is not None
    assert is_that_of(7, found.snapshot.state)
