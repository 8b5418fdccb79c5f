"""Does the example of docs/ray-tune.md run as written? Ray Tune's own Tuner over guided training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN_S = 600.0  # about a minute on an idle machine: Ray's start, and one process that compiles
SMALL = """
base |= {"model": {"d_model": 16, "d_attention": 16, "d_ff": 32, "heads": 2, "layers": 1}}
base |= {"data": {"pairs": 600}, "batch": {"sentences": 8}}
base |= {"score": {"dev_sentences": 0}, "schedule": {"warmup_steps": 4}}
"""


@pytest.mark.slow  # a minute; by parts in tests/orchestrator/entrypoints/test_tune.py
def test_the_example_of_a_tuner_over_guided_training_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "ray-tune.md").read_text(), re.S)
    begins = "tuner = tune.Tuner("
    assert begins in code
    small = code.replace("STEPS = 400", "STEPS = 40").replace("num_samples=8", "num_samples=2")
    small = small.replace(begins, f"{SMALL}\n{begins}")
    start = f"import ray\nray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\n{small}"
    done = subprocess.run(
        [sys.executable, "-c", start],
        cwd=tmp_path,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
            "PYTHONPATH": str(ROOT),
            "ORCH_HOME": str(tmp_path / "home"),
            "HOME": str(tmp_path),  # where Tune keeps its results
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"\{'guidance.reach': ([\d.]+), 'seed': 0\} ([\d.]+) ([\d.]+)\s*$", done.stdout)
    assert found is not None, done.stdout[-3000:]
    reach, dev_loss, alpha = map(float, found.groups())
    assert 0.5 <= reach <= 20
    assert 0 < dev_loss < 7
    assert alpha != 1.0
