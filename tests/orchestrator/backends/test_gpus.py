"""Does a trial see the accelerators that it asks for, and no others? On a Ray that only says it has a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon, ray_private
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.service.host import lacking
from orchestrator.study.resources import Resources
from tests.orchestrator.backends.lacks_memory import NO_MEMORY
from tests.orchestrator.conftest import Orch

ROOT = Path(__file__).parents[3]
FRACTION, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As seen by trials whose daemon inherits a shell that lets everything see GPU 0."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "TPU_", "MEGASCALE_"))}
    inherited = {"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda", "RAY_AUTH_MODE": "disabled"}
    with tempfile.TemporaryDirectory(prefix="orch-gpus-", dir="/tmp", ignore_cleanup_errors=True) as apart:
        told_where = {"TMPDIR": apart, "RAY_TMPDIR": apart, "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.orchestrator.backends.gpu_driver", tmp_path_factory.mktemp("gpus")],
            env={**kept, **inherited, **told_where, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


NOTHING_SAID = {FRACTION: None, PREALLOCATE: None}


def test_a_trial_that_asks_for_no_gpu_sees_none_and_runs_on_the_cpu(told: Any) -> None:
    assert told["seen"]["none"] == {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", **NOTHING_SAID}


def test_a_trial_that_asks_for_a_gpu_sees_its_number(told: Any) -> None:
    assert told["seen"]["one"] == {"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda", **NOTHING_SAID}


def test_a_share_of_a_gpu_is_told_how_much_of_its_memory_to_take(told: Any) -> None:
    there = {"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda"}
    assert told["seen"]["half"] == {**there, FRACTION: "0.45", PREALLOCATE: None}
    assert told["seen"]["third"] == {**there, FRACTION: "0.27", PREALLOCATE: "false"}


def test_a_process_with_a_gpu_runs_one_program_alone_and_none_after_one_that_raised(told: Any) -> None:
    """What it has of the GPU's memory is given back by its end. On CPUs all run in the same one."""
    one_program = {"same program": True, "another program": False}
    assert told["GPU"] == {**one_program, "raises": True, "after it raised": False}
    assert told["gang"] == {**one_program, "pid": told["gang"]["pid"]}
    assert set(told["CPU"].values()) == {True}


@pytest.mark.fault(6, real=True)
def test_a_trial_without_memory_on_a_shared_gpu_says_so_and_the_other_goes_on(told: Any) -> None:
    assert told["out of memory"] == [
        ["completed", ""],
        [
            "failed",
            f"Out of memory on GPU 0 of {told['host']}, of which it held 0.5, beside s1.random.0.0 (0.5). "
            f"Put fewer trials on one GPU (resources.gpus: 1), or make the batch smaller. RuntimeError: "
            f"{NO_MEMORY}",
        ],
    ]


def test_a_trial_whose_chip_is_still_held_is_neither_hung_nor_lost_and_goes_on_once_it_is_free(
    told: Any,
) -> None:
    """It may be silent for two seconds, and waits for five."""
    assert told["a chip is held"] == {
        "while it is held": "running",
        "then": "completed",
        "had": {"TPU": ["0", "1"]},
        "seen": "0,1",
    }


def test_a_gang_says_which_of_its_hosts_waits_for_a_chip(told: Any) -> None:
    said = rf"{re.escape(told['host'])}(-\w+)?: It waits for TPU chip 0, which process \d+ holds\."
    assert re.fullmatch(said, told["gang's chips"]), told["gang's chips"]


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
