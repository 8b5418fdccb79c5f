"""Does a trial see the accelerators that it asks for, and no others? On a Ray that only says it has a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon, ray_private
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.service.host import lacking
from orchestrator.study.resources import Resources
from tests.orchestrator.conftest import Orch

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As seen by trials whose daemon inherits a shell that lets everything see GPU 0."""
    inherited = {"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.orchestrator.backends.gpu_driver", tmp_path_factory.mktemp("gpus")],
        env={**os.environ, **inherited, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_trial_that_asks_for_no_gpu_sees_none_and_runs_on_the_cpu(told: Any) -> None:
    assert told["seen"]["none"] == {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def test_a_trial_that_asks_for_a_gpu_sees_its_number(told: Any) -> None:
    assert told["seen"]["one"] == {"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda"}


def test_no_more_trials_fit_than_there_are_gpus(told: Any) -> None:
    assert told["slots"] == [2, 2, 1, 0]


@pytest.fixture
def here(home: Path) -> Settings:
    return from_environment()


@pytest.mark.parametrize(
    ("wanted", "there", "sentence"),
    [
        (Resources(), {}, ""),
        (Resources(gpus=1), {"GPU": 1}, ""),
        (Resources(gpus=1), {}, "asks for 1 GPU, and this machine has none"),
        (Resources(gpus=4), {"GPU": 2}, "asks for 4 GPUs, and this machine has 2"),
        (Resources(tpu_chips=4), {"GPU": 2}, "asks for 4 TPU chips, and this machine has none"),
    ],
)
def test_what_this_machine_lacks_is_known_before_workers_start(
    here: Settings,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Resources,
    there: dict[str, int],
    sentence: str,
) -> None:
    monkeypatch.setattr(ray_private, "accelerators", lambda kind: there.get(kind, 0))
    assert lacking(here, wanted) == sentence


def test_workers_that_run_already_are_asked_themselves(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "accelerators", lambda kind: 0)
    monkeypatch.setattr(daemon, "find", lambda home: "127.0.0.1:1")
    assert lacking(here, Resources(gpus=1)) == ""


def test_a_study_that_asks_for_a_gpu_is_refused_where_there_is_none(
    orch: Orch, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "accelerators", lambda kind: 0)
    said = orch("study", "create", spec, "--gpus", "1")
    assert said.code == 2
    assert said.err.splitlines()[-1] == (
        "orch: A trial of small asks for 1 GPU, and this machine has none. Run the study where there are "
        "enough (orch study resume small), or ask for less in a new one: --gpus, --resources."
    )
    assert "Starting the workers" not in said.err
