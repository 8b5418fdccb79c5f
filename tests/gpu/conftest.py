"""One GPU, or with ORCH_TEST_GPU=off the same bodies on the CPU alone, where no memory is looked at."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.ledger.records import Event
from orchestrator.runs.contract import Ended, Launch
from orchestrator.study.resources import Resources
from studies import parts

ON = os.environ.get("ORCH_TEST_GPU", "on") != "off"
PATIENCE_S = 120.0
NOISE_MIB = 64.0
BASE: dict[str, Any] = {**parts.sizes()["smoke"].base, "score": {"dev_sentences": 8}}
LONG = {"steps": 200_000, "eval_every_steps": 100, "checkpoint_every_steps": 200_000}
# So that two runs of one seed are the same in every digit: no sums in the order of arrival, and no kernels
# that were chosen by a stopwatch.
SAME = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"}


def used_mib() -> float:
    """Of the first GPU, by all processes of this machine."""
    if not ON:
        return 0.0
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
    return float(done.stdout.split()[0])


def why_not() -> str:
    """Why these tests cannot run here."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"nvidia-smi finds no GPU here: {problem}"
    found = "GPU 0" in done.stdout
    return "" if found else f"nvidia-smi finds no GPU here: {(done.stdout + done.stderr).strip()}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if ON and (why := why_not()):
        pytest.skip(why)


def until(done: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < deadline, f"not so after {within_s:g} s"
        threading.Event().wait(0.1)
    return found


@dataclass
class Trial:
    """Of the trainer, asked as the engine asks."""

    backend: RayBackend
    job: Launch
    events: list[Event] = field(default_factory=list)
    ended: Ended | None = None

    def poll(self) -> None:
        progress = self.backend.poll({self.job.key: len(self.events)})[self.job.key]
        assert progress.known, progress
        self.events += progress.events
        self.ended = progress.ended

    def reports(self, number: int) -> bool:
        self.poll()
        assert self.ended is None, self.ended
        return len([event for event in self.events if event.kind in ("train", "eval")]) >= number

    def done(self) -> Ended:
        def over() -> Ended | None:
            self.poll()
            return self.ended

        found: Ended = until(over)
        self.backend.forget(self.job.key)
        return found

    def losses(self) -> list[tuple[int, float]]:
        """At every evaluation; it has completed."""
        ended = self.done()
        assert ended.outcome is not None, ended
        assert ended.outcome.status == "completed"
        return [(e.step, e.payload["values"]["dev_loss"]) for e in self.events if e.kind == "eval"]

    @property
    def told(self) -> dict[str, Any]:
        return dict(self.events[0].payload)


class Site:
    def __init__(self, backend: RayBackend, folder: Path) -> None:
        self.backend, self._folder = backend, folder

    def begin(self, name: str, resources: Resources, **changes: Any) -> Trial:
        config = {**BASE, "seed": 1, **changes}
        folder = str(self._folder / name / "attempt-1")
        job = Launch(name, 1, "trainer.run", config, str(config["model"]), folder, resources=resources)
        until(lambda: self.backend.submit(job))
        return Trial(self.backend, job)


def resources(gpus: float, **more: Any) -> Resources:
    return Resources(gpus=gpus if ON else 0, **more)


@pytest.fixture
def backend_of() -> Iterator[Callable[..., RayBackend]]:
    made: list[RayBackend] = []

    def connect(home: Path, **environment: str) -> RayBackend:
        address, token = daemon.find(home) or "", daemon.token_path(home)
        made.append(
            RayBackend(address, token_path=token, environment={"ORCH_HOME": str(home), **environment})
        )
        return made[-1]

    yield connect
    for each in made:
        each.close(end_workers=True)


@pytest.fixture(scope="session")
def idle_mib() -> float:
    """What others hold of the GPU."""
    return used_mib()


@pytest.fixture(scope="session")
def gpu_home(tmp_path_factory: pytest.TempPathFactory, idle_mib: float) -> Iterator[Path]:
    """The home of a Ray daemon that has found the GPU itself."""
    home = tmp_path_factory.mktemp("gpu-home")
    daemon.start(home, cpus=3)
    yield home
    daemon.stop(home)


@pytest.fixture
def site(gpu_home: Path, backend_of: Callable[..., RayBackend], tmp_path: Path, idle_mib: float) -> Site:
    """Once what an earlier test held is given back."""
    until(lambda: used_mib() <= idle_mib + NOISE_MIB)
    return Site(backend_of(gpu_home, **SAME), tmp_path)
