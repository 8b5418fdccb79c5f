"""Where does what a worker's process prints go?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orchestrator.runs.folders import read_end, read_journal
from orchestrator.runs.output import everything

PRINTS = """
import sys
from trainer.protocol import *

def run(config, reporter, workdir, place):
    print("seed", config["seed"])
    if config["seed"] == 2:
        raise ValueError("no such seed")
    (workdir / "model.pt").write_bytes(b"1")
    return Outcome("completed", {"loss": 1.0}, files=[workdir / "model.pt", "/etc/passwd"])
"""
TWO_ATTEMPTS = """
import sys, threading
from orchestrator.runs.contract import Launch
from orchestrator.runs.worker import Worker
worker = Worker(keeps_output=True)
for seed in (1, 2):
    job = Launch(f"t{seed}", 1, "prints", {"seed": seed}, "shape", f"{sys.argv[1]}/t{seed}/attempt-1")
    worker.begin(job)
    while worker.poll(job.key, after=0).ended is None:
        threading.Event().wait(0.01)
"""


def test_what_an_attempt_prints_is_in_its_folder_with_its_traceback_and_notes_on_files(
    tmp_path: Path,
) -> None:
    (tmp_path / "prints.py").write_text(PRINTS)
    said = subprocess.run(
        [sys.executable, "-c", TWO_ATTEMPTS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    first, second = ("".join(everything(tmp_path / name / "attempt-1")).splitlines() for name in ("t1", "t2"))
    assert first == [
        "seed 1",
        "orch: The outcome names the file '/etc/passwd', which is not in the attempt's folder. Write it "
        "below `workdir`.",
    ]
    assert (second[0], second[1], second[-1]) == (
        "seed 2",
        "Traceback (most recent call last):",
        "ValueError: no such seed",
    )
    ended = read_end(tmp_path / "t1" / "attempt-1")
    assert ended is not None
    assert ended == read_journal(tmp_path / "t1" / "attempt-1", "t1", 1)[1]
