"""What do several hosts cost, and how soon does a lost trial go on? Four Ray nodes of two CPUs here.

No-op trials per second on them, over those on one node of eight, and over Ray Tune's on the same four; from
a worker's kill to the first step of its trial's second attempt, over Ray Tune's; a tick over 64 simulated
hosts over one over one host.  python -m benchmarks.cluster
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import Result, result, show, spread
from benchmarks.orchestration import ours_per_s, tune_per_s

HOSTS, CPUS = 4, 2
ROUNDS = 3
OURS, REUSED = 400, 40  # trials a round
STEP_S = 0.05
TICKS, SIMULATED = 200, 64


def measure() -> Result:
    several: list[float] = []
    one: list[float] = []
    tune: list[float] = []
    lost: list[float] = []
    lost_tune: list[float] = []
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        root = Path(folder)
        for i in range(ROUNDS):
            with hosts_of(root / f"four-{i}", [CPUS] * HOSTS) as backend:
                home = root / f"four-{i}"
                ours_per_s(backend, home / "warm", trials=20)
                several.append(ours_per_s(backend, home / "study", trials=OURS))
                lost.append(_killed(backend, home))
                backend.close(end_workers=True)  # Tune needs the CPUs
                connect(home)
                tune.append(tune_per_s(home, reuse=True, trials=REUSED, at_a_time=HOSTS * CPUS))
                lost_tune.append(_killed_tune(home))
                disconnect()
            with hosts_of(root / f"one-{i}", [HOSTS * CPUS]) as backend:
                ours_per_s(backend, root / f"one-{i}" / "warm", trials=20)
                one.append(ours_per_s(backend, root / f"one-{i}" / "study", trials=OURS))
    many_ms, single_ms = _tick_ms(SIMULATED), _tick_ms(1)
    per_s = statistics.median(several)
    return result(
        "cluster",
        ratios={
            "four_over_one": per_s / statistics.median(one),
            "vs_tune_reuse": per_s / statistics.median(tune),
            "lost_over_tune": statistics.median(lost) / statistics.median(lost_tune),
            "tick_64_over_1": many_ms / single_ms,
        },
        figures={
            "four_per_s": spread(several),
            "one_per_s": spread(one),
            "tune_reuse_per_s": spread(tune),
            "lost_s": spread(lost),
            "lost_tune_s": spread(lost_tune),
            "tick_ms": {"1": single_ms, str(SIMULATED): many_ms},
        },
        wants={
            "four_over_one": "≥ 0.8",
            "vs_tune_reuse": "≥ 10",
            "lost_over_tune": "≤ 0.5",
            "tick_64_over_1": "≤ 2",
        },
    )


@contextlib.contextmanager
def hosts_of(home: Path, cpus: list[int], *, cores: bool = False) -> Iterator[Any]:
    """A head with so many CPUs and a node for each further number, and a backend over them. `cores`: each
    node runs on cores of its own, as many as it has CPUs."""
    from orchestrator.backends import daemon, joined
    from orchestrator.backends.ray import RayBackend

    home.mkdir()
    homes = [home, *(home / f"host-{i}" for i in range(1, len(cpus)))]
    allowed = sorted(os.sched_getaffinity(0))
    if cores:
        os.sched_setaffinity(0, set(allowed[: cpus[0]]))
    address = daemon.start(home, cpus=cpus[0])
    token = daemon.token_path(home)
    try:
        taken = cpus[0]
        for other, held in zip(homes[1:], cpus[1:], strict=True):
            if cores:
                os.sched_setaffinity(0, set(allowed[taken : taken + held]))
            joined.join(other, address, cpus=held, token=token.read_text())
            taken += held
        os.sched_setaffinity(0, set(allowed))
        backend = RayBackend(address, token_path=token)
        try:
            yield backend
        finally:  # also where it failed: a driver whose cluster has gone waits for it when it ends
            backend.close(end_workers=True)
            disconnect()
    finally:
        for each in reversed(homes):
            daemon.stop(each)


def connect(home: Path) -> None:
    import ray

    from orchestrator.backends import daemon

    os.environ.update(daemon.environment(home))
    ray.init(address=daemon.find(home), log_to_driver=False, logging_level="ERROR")


def disconnect() -> None:
    import ray

    ray.shutdown()


# -- a worker is killed ----------------------------------------------------------------------------------
def _killed(backend: Any, home: Path) -> float:
    """Seconds from the kill to the first step of attempt 2: SQLite ledger, engine, a rehearsal."""
    from orchestrator.engine.tick import Engine
    from orchestrator.ground.clock import SystemClock
    from orchestrator.ledger import open_ledger
    from orchestrator.runs.folders import Storage
    from orchestrator.service.creation import create
    from orchestrator.study.spec import Arm, StudySpec

    spec = StudySpec(
        name="killed",
        entrypoint="orchestrator.rehearsal",
        base={
            "steps": 100_000,
            "eval_every_steps": 1,
            "checkpoint_every_steps": 1,
            "rehearsal": {"pace_s": STEP_S},
        },
        arms=(Arm(name="base", method="fixed", trials=1),),
    )
    store, clock = open_ledger(f"sqlite:///{home / 'killed.db'}"), SystemClock()
    study = create(store, spec, clock=clock).study
    engine = Engine(store, backend, clock=clock, storage=Storage(home / "killed"), who="benchmark")
    trial = f"{study.study_id}.base.0.0"

    def attempts() -> list[Any]:
        engine.tick()
        backend.await_news(0.02)
        return store.attempts(trial) if store.trials(study.study_id) else []

    while not (found := attempts()) or found[0].clocks.get("steps", 0) < 5:
        pass
    os.kill(int(found[0].provenance["pid"]), signal.SIGKILL)
    begun = time.perf_counter()
    while len(found := attempts()) < 2 or not found[1].clocks.get("steps", 0):
        pass
    took = time.perf_counter() - begun
    backend.kill(found[1].key, "measured")
    store.close()
    return took


def _killed_tune(home: Path) -> float:
    """The same with Ray Tune: a trainable that saves at each step, and one failure allowed."""
    from ray import tune

    told = home / "told"

    class Stepping(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.at = 0

        def step(self) -> dict[str, Any]:
            time.sleep(STEP_S)
            self.at += 1
            with told.open("a") as file:
                file.write(f"{os.getpid()} {self.at} {time.time()}\n")
            if self.at == 5 and len({line.split()[0] for line in told.read_text().splitlines()}) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"loss": 1.0, "done": len({line.split()[0] for line in told.read_text().splitlines()}) > 1}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "at").write_text(str(self.at))

        def load_checkpoint(self, checkpoint_dir: str | None) -> None:
            self.at = int((Path(str(checkpoint_dir)) / "at").read_text())

    with contextlib.redirect_stdout(sys.stderr):
        tune.Tuner(
            Stepping,
            run_config=tune.RunConfig(
                storage_path=str(home / "tune-killed"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=False),
            ),
        ).fit()
    lines = [line.split() for line in told.read_text().splitlines()]
    before = [float(at) for pid, _, at in lines if pid == lines[0][0]]
    after = [float(at) for pid, _, at in lines if pid != lines[0][0]]
    return after[0] - before[-1]


# -- a tick ----------------------------------------------------------------------------------------------
def _tick_ms(hosts: int) -> float:
    """Of an engine over so many simulated hosts on which as many trials run in both cases."""
    from orchestrator.backends.placement import Node
    from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
    from orchestrator.engine.tick import Engine
    from orchestrator.ledger import open_ledger
    from orchestrator.runs.folders import Storage
    from orchestrator.service.creation import create
    from orchestrator.study.spec import Arm, StudySpec

    base = {"steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20}
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        clock = VirtualClock()
        nodes = [Node(str(i), f"host-{i}", {"CPU": SIMULATED / hosts}) for i in range(hosts)]
        backend = SimulatedBackend(clock, hosts=nodes, begins_after_s=1e9)
        spec = StudySpec(
            name="ticks",
            entrypoint="orchestrator.rehearsal",
            base=base,
            arms=(Arm(name="base", method="fixed", trials=SIMULATED),),
        )
        store = open_ledger("memory://")
        create(store, spec, clock=clock)
        engine = Engine(store, backend, clock=clock, storage=Storage(folder), who="benchmark")
        engine.tick()
        took = []
        for _ in range(TICKS):
            clock.advance(2.0)  # so that hosts are looked at each time
            begun = time.perf_counter()
            engine.tick()
            took.append(1000 * (time.perf_counter() - begun))
        return statistics.median(took)


if __name__ == "__main__":
    show(measure())
