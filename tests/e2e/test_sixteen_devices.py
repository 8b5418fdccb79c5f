"""Does `paper`'s own model train on its own mesh and resources, and go on after a kill? Two layers of it, on
Ray nodes that say they are hosts of a v3-16; eight devices of XLA's CPU a process stand for those of one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.backends.ray import RayBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import AttemptRow, StudyState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.spec import StudySpec
from studies import catalog, parts
from tests.orchestrator.backends.tpu_cluster import TpuCluster, tpu_cluster

STEPS, EVERY = 10, 5
WITHIN_S = 900.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TpuCluster]:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    with tpu_cluster({"slice-a": ("v3-16", (0, 1))}, cpus=8) as made:
        yield made


def cut() -> StudySpec:
    """Two layers, 32 rows a batch, ten steps, and a text that needs no download."""
    spec = catalog.get("bo-vs-guided", "paper")
    base = {
        **spec.base,
        "data": parts.sizes()["smoke"].base["data"],
        "model": {**spec.base["model"], "layers": 2},
        "batch": {"sentences": 32},
        "steps": STEPS,
        "eval_every_steps": STEPS,
        "checkpoint_every_steps": EVERY,
        "schedule": {**spec.base["schedule"], "warmup_steps": EVERY},
        "score": {"dev_sentences": 0},
    }
    arms = [{"name": "base", "method": "fixed", "trials": 1}]
    kept = {"entrypoint": spec.entrypoint, "resources": spec.resources.model_dump(), "keep": "all"}
    return StudySpec.model_validate(
        {"name": "cut", "base": base, "arms": arms, "objective": {"metric": "dev_loss"}, **kept}
    )


class Trained:
    """A study of it, one trial, to its end; `befalls` is told of the first attempt at each tick."""

    def __init__(self, backend: RayBackend, folder: Path, befalls: Callable[[AttemptRow], Any]) -> None:
        folder.mkdir()
        store, clock = open_ledger(f"sqlite:///{folder}/ledger.db"), SystemClock()
        study = create(store, cut(), clock=clock).study.study_id
        engine = Engine(store, backend, clock=clock, storage=Storage(folder / "runs"), who="test")
        until = time.monotonic() + WITHIN_S
        while store.study(study).state is not StudyState.COMPLETED:
            assert time.monotonic() < until
            engine.tick()
            for trial in store.trials(study):
                for first in store.attempts(trial.trial_id)[:1]:
                    befalls(first)
            threading.Event().wait(0.1)
        [trial] = store.trials(study)
        self.attempts = store.attempts(trial.trial_id)
        with np.load(
            folder / "runs" / study / trial.trial_id / f"attempt-{len(self.attempts)}/params.npz"
        ) as file:
            self.parameters = {name: file[name] for name in file.files}
        self.values = trial.values
        store.close()


@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")  # Ray's cluster utility
@pytest.mark.slow  # test_slices_on_ray.py has whole slices, test_gangs.py kills, without a model
def test_two_layers_of_papers_model_train_on_its_mesh_and_go_on_after_a_kill(
    cluster: TpuCluster, tmp_path: Path
) -> None:
    backend = cluster.connected()
    killed: list[int] = []

    def kill(attempt: AttemptRow) -> None:
        if attempt.saved_clocks and not killed:
            slot = backend._holder(attempt.key)
            assert slot is not None
            assert slot.gang is not None
            import ray

            pid = int(ray.get(slot.gang.members[1].actor.state.remote()).pid)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    try:
        calm = Trained(backend, tmp_path / "calm", lambda attempt: None)
        disturbed = Trained(backend, tmp_path / "disturbed", kill)
    finally:
        backend.close(end_workers=True)
    [whole] = calm.attempts
    assert (str(whole.state), whole.clocks["steps"]) == ("completed", STEPS)
    assert len(whole.provenance["hosts"]) == 2
    assert [str(attempt.state) for attempt in disturbed.attempts] == ["lost", "completed"]
    assert disturbed.attempts[1].clocks["steps"] == STEPS - EVERY
    assert disturbed.values == calm.values
    for name, array in disturbed.parameters.items():
        np.testing.assert_array_equal(array, calm.parameters[name], err_msg=name)
    print(f"{STEPS} steps in {whole.clocks['train_s']:.0f} s, dev loss {calm.values['dev_loss']:.4f}")
