"""Do the examples of docs/own-entrypoint.md train in a gang as they do alone, and save and go on?"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.training.gang_runs_program import DEVICE, ROOT, finished, free_address
from trainer.protocol import PeerLost, Place, Reply, Report, write_resume_note

EXAMPLES = ("gang_jax", "gang_sockets")


def said(name: str, place: Place, folders: list[Path]) -> list[dict[str, Any]]:
    """A trial that process 0 is told to stop at step 30, one that is left alone, and one that goes on from
    the first. The host gives the same answers to all processes."""
    example, told = importlib.import_module(name), []
    for folder in folders:
        reports: list[Report] = []

        def reporter(report: Report, folder: Path = folder, reports: list[Report] = reports) -> Reply:
            reports.append(report)
            return Reply.SAVE_AND_STOP if folder == folders[0] and report.step == 30 else Reply.GO

        outcome = example.run({"seed": 3, "lr": 0.3}, reporter, folder, place)
        reported = [[report.step, dict(report.values)] for report in reports]
        told.append({"status": outcome.status, "values": dict(outcome.values), "reports": reported})
    return told


def started(name: str, folders: list[Path], **place: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps([name, place, [str(folder) for folder in folders]])],
        env={
            **os.environ,
            "XLA_FLAGS": DEVICE,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples"))),
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folders_in(place: Path) -> list[Path]:
    folders = [place / name for name in ("stopped", "whole", "resumed")]
    for folder in folders:
        folder.mkdir(parents=True)
    write_resume_note(folders[2], str(folders[0] / "checkpoint.npz"))
    return folders


@pytest.mark.parametrize("name", EXAMPLES)
def test_two_processes_train_what_one_does_and_go_on_from_what_they_saved(name: str, tmp_path: Path) -> None:
    coordinator, together = free_address(), folders_in(tmp_path / "together")
    places = [{"process_index": i, "process_count": 2, "coordinator": coordinator} for i in range(2)]
    gang = [started(name, together, **place) for place in places]
    alone = started(name, folders_in(tmp_path / "alone"))
    first, second, single = finished(*gang, alone, timeout_s=120)
    assert first == second, "every process makes the same reports"
    for ours, theirs in zip(first, single, strict=True):
        assert ours["status"] == theirs["status"]
        assert [step for step, _ in ours["reports"]] == [step for step, _ in theirs["reports"]]
        assert ours["values"] == pytest.approx(theirs["values"], rel=1e-5)
    stopped, whole, resumed = first
    assert (stopped["status"], stopped["reports"]) == ("stopped", whole["reports"][:3])
    assert (resumed["reports"], resumed["values"]) == (whole["reports"][3:], whole["values"])
    assert whole["values"]["loss"] < 0.9 * whole["reports"][0][1]["loss"]
    assert sorted(p.name for p in (tmp_path / "together").glob("*/*")) == ["checkpoint.npz", "resume.json"]


def test_a_peer_that_has_gone_is_told_apart_from_a_fault_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    example = importlib.import_module("gang_sockets")
    with socket.create_server(("127.0.0.1", 0)) as server:
        coordinator = f"127.0.0.1:{server.getsockname()[1]}"
        leaves = threading.Thread(target=lambda: server.accept()[0].close())
        leaves.start()
        with pytest.raises(PeerLost, match=r"^Process 1 lost another one of its gang: "):
            example.run({"seed": 3}, lambda report: Reply.GO, Path(), Place(1, 2, coordinator))
        leaves.join()
        for file in example.connections(coordinator, 2, 1):
            with contextlib.suppress(OSError):
                file.close()


def test_the_examples_say_what_is_wrong_with_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    for name in EXAMPLES:
        example = importlib.import_module(name)
        assert example.check({"seed": 0}) == []
        assert example.check({"stesp": 1, "lr": 0}) == [
            "Unknown key 'stesp'. Allowed: seed, steps, lr.",
            "lr is 0. Allowed: above 0.",
        ]
        assert example.shape_key({}) == name.replace("_", "-")


if __name__ == "__main__":
    asked, where, paths = json.loads(sys.argv[1])
    print(json.dumps(said(asked, Place(**where), [Path(path) for path in paths])))
