"""Which BLEU do the default settings reach on the embedded corpus, and after how many steps?

`orch train --steps N --level L --test` with nothing else set: the `tiny` model, seed 0, de-en, one core;
greedy on 200 dev sentences, beam 4 on the test split. Some ten minutes.  python -m benchmarks.reached_bleu
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.measuring import Result, result, show

LEVELS, STEPS = ("phrases", "sentences"), (400, 1_200, 3_000)
WANTS = {"phrases_400_dev_bleu": "≥ 30"}


def reached(level: str, steps: int, home: str) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "trainer.run",
        "--steps",
        str(steps),
        "--level",
        level,
        "--test",
        "--json",
    ]
    environment = {**os.environ, "ORCH_HOME": home, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    names = ("dev_loss", "dev_bleu", "dev_chrf", "test_bleu", "test_chrf")
    return {**{name: told["values"][name] for name in names}, "train_s": told["clocks"]["train_s"]}


def measure() -> Result:
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    figures = {}
    with tempfile.TemporaryDirectory() as home:
        for level in LEVELS:
            for steps in STEPS:
                figures[f"{level}_{steps}"] = reached(level, steps, home)
    ratios = {f"{name}_dev_bleu": found["dev_bleu"] for name, found in figures.items()}
    return result("reached_bleu", ratios=ratios, figures=figures, wants=WANTS)


if __name__ == "__main__":
    show(measure())
