"""Do the processes of a gang stop, save and go on at the same steps, whoever is told?"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer import compiling
from tests.trainer.training.loop_program import run
from trainer.protocol import Place

ROOT = Path(__file__).parents[3]


def started(asked: dict[str, Any]) -> subprocess.Popen[str]:
    flags = compiling.flags(devices=1)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.training.loop_program", json.dumps(asked)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# A verdict that one process hears, or the machine of one that is taken, is heeded by both. By process.
STAGES: list[dict[str, Any]] = [
    {"verdicts": {"1": {2: "save_and_stop"}}},
    {"verdicts": {"0": {6: "save_and_stop"}}, "preempt_at": {"1": 1e12}},
    {"preempt_at": {"1": 10.0}},
    {"verdicts": {"0": {10: "save_and_stop"}, "1": {11: "stop"}}},  # the firmest: nothing more is saved
    {},
]
ENDED = [("stopped", 4), ("preempted", 4), ("preempted", 0), ("stopped", 4), ("completed", 4)]


def test_a_gang_stops_together_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    for folder in (together, alone):
        folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    places = [{"process_index": i, "process_count": 2, "coordinator": coordinator} for i in range(2)]
    asked = {"shape": {"fsdp": 2}, "workdir": str(together), "stages": STAGES}
    gang = [started({**asked, "place": place}) for place in places]
    try:
        said = [process.communicate(timeout=240) for process in gang]
    finally:
        for process in gang:
            process.kill()
    assert [process.returncode for process in gang] == [0, 0], "\n".join(err for _, err in said)
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
    assert first == second, "the same reports, in the same order"
    assert [(o["status"], o["steps"]) for o in first] == ENDED
    assert {kind for _, kind, *_ in first[3]["reports"]} == {"train"}
    end, reports = run({}, alone, Place())
    assert [r[:2] for r in first[0]["reports"] + first[1]["reports"] + first[4]["reports"]] == [
        [r.step, r.kind] for r in reports
    ], "those of the process that was alone and never stopped"
    assert first[-1]["values"] == pytest.approx(dict(end.values), rel=1e-5)
    assert end.values["chosen_step"] == 4, "before it was stopped"
    assert end.values["again"] == pytest.approx(end.values["dev_loss"], rel=1e-6)
    assert [p.name for p in sorted(together.glob("checkpoint-*"))] == ["checkpoint-12", "checkpoint-8"]
    with np.load(together / "schedule.npz") as ours, np.load(alone / "schedule.npz") as theirs:
        np.testing.assert_allclose(ours["alpha"], theirs["alpha"], rtol=1e-5)  # sums in another order
