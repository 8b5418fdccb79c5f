"""The command line on real Ray: a foreground study in a process of its own, paused by Ctrl-C, then ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.study.canonical import canonical
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0  # 10 to 15 s on an idle machine, most of it Ray's start


def _orch(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _one_object(text: str) -> Any:
    (line,) = text.splitlines()
    return json.loads(line)


@pytest.mark.slow  # without Ray in tests/orchestrator/cli/test_cli_running.py, with it in test_same_answer.py
def test_ctrl_c_pauses_and_an_equal_create_ends_with_the_right_count(tmp_path: Path) -> None:
    home, spec = tmp_path / "home", tmp_path / "small.json"
    study = small_study()
    # 40 steps of 25 ms, with a report every 10: about a second a trial, so that Ctrl-C finds some at work
    spec.write_text(
        canonical(study.model_copy(update={"base": {**study.base, "rehearsal": {"pace_s": 0.025}}}))
    )
    try:
        first = _orch(home, "study", "create", str(spec), "--json")
        killer = threading.Timer(WITHIN_S, first.kill)
        killer.start()
        assert first.stderr is not None
        assert any(" of 8 runs ended" in line for line in iter(first.stderr.readline, ""))
        first.send_signal(signal.SIGINT)
        out, err = first.communicate()
        killer.cancel()
        assert first.returncode == 130, err
        paused = _one_object(out)
        assert paused["status"] == "paused"
        assert paused["created"] is True
        assert paused["ended"] < 8
        assert err.endswith("Paused. Resume with: orch study resume small\n")
        assert daemon.processes(home) == []

        second = _orch(home, "study", "create", str(spec), "--json")
        out, err = second.communicate(timeout=WITHIN_S)
        assert second.returncode == 0, err
        done = _one_object(out)
        assert (done["status"], done["attached"], done["ended"]) == ("completed", True, 8)
        assert sum(arm["states"].get("completed", 0) for arm in done["arms"]) == 8
        assert done["wasted_hours"] == 0.0  # what was paused went on from where it had saved
        assert daemon.processes(home) == []
    finally:
        daemon.stop(home)
