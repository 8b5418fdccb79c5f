"""Which run of a task ends with its best evaluation's parameters, in a process that may end itself with
kill -9? Run by test_chosen.py; test_text_killed.py runs others in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from trainer.protocol import PARAMS, Outcome, Place, Reply, Report
from trainer.training import entrypoint

ROOT = Path(__file__).resolve().parents[3]
STEPS = 6
TASK = '''"""How many letters d, a model's first, before it writes even everywhere?"""

def rows(split):
    return [{"n": n} for n in range(600)] if split == "train" else None

def input(record):
    return f"number {record['n']}"

def target(record):
    return "odd" if record["n"] % 2 else "even"

def score(outputs, records):
    return {"d": sum(o.count("d") * r["n"] for o, r in zip(outputs, records)) / len(outputs)}
'''


def config(task: Path, **score: Any) -> dict[str, Any]:
    task.write_text(TASK)
    return {
        "seed": 5,
        "steps": STEPS,
        "eval_every_steps": 1,
        "checkpoint_every_steps": 1,
        "data": {"task": str(task), "source_tokens": 16, "target_tokens": 8},
        "model": {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1, "dropout": 0.0},
        "optimizer": {"name": "adamw", "learning_rate": 0.05},
        "schedule": {"warmup_steps": 0},
        "batch": {"sentences": 8},
        "score": {"dev_sentences": 20, "choose": "best", "test": True, **score},
    }


class Told:
    """A reporter that remembers what it heard, and ends the process at a report of a step: as it is saved."""

    def __init__(self, *, dies_at: int = 0, dies_on: str = "checkpoint") -> None:
        self.dies_at, self.dies_on, self.reports = dies_at, dies_on, list[Report]()

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        if report.kind == self.dies_on and report.step >= self.dies_at > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return Reply.GO

    def of(self, kind: str) -> dict[int, dict[str, float]]:
        return {report.step: dict(report.values) for report in self.reports if report.kind == kind}


def run(config: dict[str, Any], folder: Path, **dies: Any) -> tuple[Outcome, Told]:
    told = Told(**dies)
    folder.mkdir(exist_ok=True)
    return entrypoint.run(config, told, folder, Place()), told


def killed(config: dict[str, Any], folder: Path, **dies: Any) -> None:
    """The same in a process of its own, which is to end itself with kill -9."""
    asked = {"config": config, "folder": str(folder), **dies}
    command = [sys.executable, "-m", __name__, json.dumps(asked)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (folder / PARAMS).exists()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    run(asked["config"], Path(asked["folder"]), **{k: v for k, v in asked.items() if k.startswith("dies_")})
