"""A Ray that says it has a GPU, and trials for it: prints what each sees, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from orchestrator.backends import crew
from orchestrator.backends.ray import RayBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import ENDED, AttemptRow
from orchestrator.runs.contract import Launch, Progress
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.named import STORED
from orchestrator.study.resources import Resources
from orchestrator.study.spec import StudySpec

HERE = "tests.orchestrator.backends"
SEEN = (
    "CUDA_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)
A_GPU, HALF, THIRD = Resources(gpus=1), Resources(gpus=0.5), Resources(gpus=0.3)
NODE = {
    "num_cpus": 2,
    "num_gpus": 1,
    "resources": {"TPU": 2},
    "object_store_memory": 80_000_000,
    "include_dashboard": False,
}
PATIENCE_S = 60.0
SILENT_S, HELD_S = 2.0, 5.0


def until(done: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Trials:
    def __init__(self, backend: RayBackend, folder: Path) -> None:
        self.backend, self.folder = backend, folder

    def begin(self, name: str, resources: Resources, shape: str = "shape", *, runs: str = "") -> Launch:
        into = self.folder / name / "attempt-1"
        into.mkdir(parents=True)
        entrypoint = f"{HERE}.{runs or 'says_environment'}"
        job = Launch(name, 1, entrypoint, {}, shape, str(into), resources=resources)
        until(lambda: self.backend.submit(job))
        return job

    def ended(self, job: Launch) -> Progress:
        def heard() -> Progress | None:
            progress = self.backend.poll({job.key: 0})[job.key]
            return progress if progress.ended is not None else None

        found: Progress = until(heard)
        return found

    def pid(self, *about: Any, **more: Any) -> int:
        """Of the process that ran it; it is over and forgotten."""
        job = self.begin(*about, **more)
        told = self.ended(job).events[0].payload
        self.backend.forget(job.key)
        return int(told["pid"])

    def seen(self, name: str) -> dict[str, Any]:
        file = next((self.folder / name).rglob("environment.json"))
        environment = json.loads(file.read_text())
        return {key: environment.get(key) for key in SEEN}


def environments(trials: Trials) -> dict[str, Any]:
    held = {"none": Resources(), "one": A_GPU, "half": HALF, "third": THIRD}
    for name, resources in held.items():
        job = trials.begin(name, resources)
        trials.ended(job)
        trials.backend.forget(job.key)
    return {name: trials.seen(name) for name in held}


def programs(trials: Trials, resources: Resources, name: str) -> dict[str, Any]:
    """Whether each trial ran in the process of the one before, and which that was."""
    first = trials.pid(f"{name}-1", resources, "small")
    again = trials.pid(f"{name}-2", resources, "small")
    other = trials.pid(f"{name}-3", resources, "large")
    return {"same program": again == first, "another program": other == again, "pid": other}


def processes(trials: Trials, resources: Resources, name: str) -> dict[str, bool]:
    """The same, and of one that raises and the one after it."""
    told = programs(trials, resources, name)
    before = told.pop("pid")
    raised = trials.pid(f"{name}-4", resources, "large", runs="raises")
    after = trials.pid(f"{name}-5", resources, "large")
    return {**told, "raises": raised == before, "after it raised": after == raised}


def engine_of(backend: RayBackend, folder: Path, trials: int, **more: Any) -> Engine:
    """One that runs a study of so many trials."""
    store, clock = MemoryLedger(), SystemClock()
    alpha = {"path": "alpha", "low": 0.1, "high": 10, "scale": "log"}
    arms = [{"name": "random", "method": "random", "trials": trials, "space": [alpha]}]
    spec = {"name": "short", "base": {"alpha": 1.0}, "arms": arms, "objective": {"metric": "loss"}, **more}
    create(store, StudySpec.model_validate(spec), clock=clock, new_id=lambda: "s1")
    return Engine(store, backend, clock=clock, storage=Storage(folder), who="one")


def out_of_memory(backend: RayBackend, folder: Path) -> list[Any]:
    engine = engine_of(backend, folder, 2, entrypoint=f"{HERE}.lacks_memory", resources={"gpus": 0.5})

    def over() -> bool:
        engine.tick()
        states = [trial.state in ENDED for trial in engine.store.trials("s1")]
        if any(states):
            next(folder.rglob("*.here")).with_name("the other has ended").touch()
        return len(states) == 2 and all(states)

    until(over)
    return [(str(trial.state), trial.reason) for trial in engine.store.trials("s1")]


def waiting_for_a_chip(backend: RayBackend, folder: Path) -> dict[str, Any]:
    """Of a trial that may be silent for two seconds, and whose chip another process holds for five."""
    holds = "import sys; from orchestrator.runs.chips import ChipLocks; print(ChipLocks([0]).holder(), "
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{holds} flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    more = {"resources": {"tpu_chips": 2}, "retries": {"attempts": 1}}
    engine = engine_of(backend, folder, 1, entrypoint=f"{HERE}.says_environment", **more)
    store, watch = engine.store, engine._in_flight.watch

    def impatient(attempt: AttemptRow, *, news: bool, limit_s: float) -> None:
        """How long its process takes to start is not the question."""
        watch(attempt, news=news, limit_s=SILENT_S if attempt.sequence else limit_s)

    engine._in_flight.watch = impatient  # type: ignore[method-assign]

    def ticked(done: Callable[[], bool]) -> bool:
        engine.tick()
        return done()

    until(lambda: ticked(lambda: bool(list(folder.rglob("events.jsonl")))))
    begun = time.monotonic()
    until(lambda: ticked(lambda: time.monotonic() - begun > HELD_S))
    before = str(store.trial("s1.random.0.0").state)
    holder.kill()
    holder.communicate()
    until(lambda: ticked(lambda: store.trial("s1.random.0.0").state in ENDED))
    [attempt] = store.attempts("s1.random.0.0")
    return {
        "while it is held": before,
        "then": str(attempt.state),
        "had": attempt.provenance["accelerators"],
        "seen": json.loads(next(folder.rglob("environment.json")).read_text()).get("TPU_VISIBLE_CHIPS"),
    }


def gang_on_the_same_chips(trials: Trials) -> str:
    """What a gang waits for whose two nodes are one machine: the second process for the first one's chips."""
    of_before = Resources.model_validate({"tpu_chips": 2, "hosts": 2}, context=STORED)  # without a slice
    job = trials.begin("chips", of_before)
    waits: str = until(lambda: _of_chips(trials.backend.poll({job.key: 0})[job.key]))
    trials.backend.kill(job.key, "It was heard.")
    trials.backend.forget(job.key)
    return waits


def _of_chips(progress: Progress) -> str:
    return progress.waits if "chip" in progress.waits else ""


def with_chips() -> Any:
    """In an actor: what Ray has given it, on a machine that shows TPU chips."""
    from orchestrator.backends import held
    from orchestrator.runs import hardware

    hardware.there = lambda pattern: pattern.startswith("accel")
    return held.here()


def told_by(cluster: Cluster, folder: Path) -> dict[str, Any]:
    backend = RayBackend(ray.get_runtime_context().gcs_address, workers=2)
    trials = Trials(backend, folder)
    crew.here = with_chips
    told = {
        "seen": environments(trials),
        "slots": [backend.slots(Resources(gpus=gpus)) for gpus in (0, 0.5, 1, 2)],
        "GPU": processes(trials, A_GPU, "gpu"),
        "CPU": processes(trials, Resources(cpus=2), "cpu"),
        "out of memory": out_of_memory(backend, folder / "memory"),
        "a chip is held": waiting_for_a_chip(backend, folder / "chips"),
        "host": backend.hosts()[0].name,
    }
    cluster.add_node(**NODE)
    until(lambda: backend.slots(Resources(gpus=1, hosts=2)) == 1)
    told["gang"] = programs(trials, Resources(gpus=1, hosts=2), "gang")
    told["gang's chips"] = gang_on_the_same_chips(trials)
    backend.close(end_workers=True)
    return told


def main(folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        ray.init(address=cluster.address, namespace="orch", log_to_driver=False)
        print(json.dumps(told_by(cluster, folder)))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
