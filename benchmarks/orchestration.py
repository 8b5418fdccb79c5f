"""What does a trial cost beside its training? No-op trials per second, ours over Ray Tune's; GP proposals.

Both run two at a time on the same Ray, in turn, round after round.  python -m benchmarks.orchestration
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import quick_trials
from benchmarks.measuring import Result, result, show, spread

ROUNDS = 3
AT_A_TIME = 2
OURS, FUNCTION, REUSED = 400, 8, 40  # trials a round: some seconds each
OBSERVED = (10, 50, 100, 200)
ASKS = 7


def measure() -> Result:
    ours: list[float] = []
    function: list[float] = []
    reused: list[float] = []
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        from orchestrator.backends import daemon
        from orchestrator.backends.ray import RayBackend

        home = Path(folder)
        address = daemon.start(home, cpus=AT_A_TIME)
        backend = RayBackend(address, workers=AT_A_TIME, token_path=daemon.token_path(home))
        try:
            ours_per_s(backend, home / "warm", trials=20)  # imports, and the workers' start
            for i in range(ROUNDS):
                ours.append(ours_per_s(backend, home / f"round-{i}", trials=OURS))
                backend.close(end_workers=True)  # Tune needs the cores
                backend = RayBackend(address, workers=AT_A_TIME, token_path=daemon.token_path(home))
                function.append(tune_per_s(home, reuse=False, trials=FUNCTION))
                reused.append(tune_per_s(home, reuse=True, trials=REUSED))
                ours_per_s(backend, home / f"warm-{i}", trials=20)
        finally:
            backend.close(end_workers=True)
            daemon.stop(home)
    per_s = statistics.median(ours)
    asks = {str(n): _gp_ask_s(n) for n in OBSERVED}
    told = quick_trials.measure()
    parts = told.pop("cpu_s_per_trial")
    return result(
        "orchestration",
        ratios={
            "vs_tune_function": per_s / statistics.median(function),
            "vs_tune_reuse": per_s / statistics.median(reused),
            **told,
        },
        figures={
            "ours_per_s": spread(ours),
            "tune_function_per_s": spread(function),
            "tune_reuse_per_s": spread(reused),
            "gp_ask_s": asks,
            "cpu_s_per_trial": parts,
        },
        wants={
            "vs_tune_function": "≥ 100",
            "vs_tune_reuse": "≥ 12",
            "gp_ask_s": "≤ 0.25",
            "engine_cpu_s_per_trial": "≤ 0.3",
            "mlflow_mb_per_trial": "≤ 0.3",
            "ledger_kb_per_trial": "≤ 100",
        },
    )


def ours_per_s(backend: Any, home: Path, *, trials: int) -> float:
    """Trials per second of a whole study: SQLite ledger, engine, Ray workers."""
    from orchestrator.engine.tick import Engine
    from orchestrator.ground.clock import SystemClock
    from orchestrator.ledger import open_ledger
    from orchestrator.runs.folders import Storage
    from orchestrator.service.creation import create
    from orchestrator.study.spec import Arm, Parameter, StudySpec

    home.mkdir()
    spec = StudySpec(
        name="noop",
        entrypoint="benchmarks.noop",
        base={"x": 0.5},
        arms=(
            Arm(name="random", method="random", trials=trials, space=(Parameter(path="x", low=0, high=1),)),
        ),
    )
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    clock = SystemClock()
    study = create(store, spec, clock=clock).study
    engine = Engine(store, backend, clock=clock, storage=Storage(home / "runs"), who="benchmark")
    begun = time.perf_counter()
    while engine.tick().open_studies:
        pass
    took = time.perf_counter() - begun
    assert store.counts(study.study_id) == {("random", 0, "completed"): trials}
    store.close()
    return trials / took


def tune_per_s(home: Path, *, reuse: bool, trials: int, at_a_time: int = AT_A_TIME) -> float:
    """The same trials through Ray Tune, as a function or as a class whose actors are reused."""
    from ray import tune

    def function(config: dict[str, float]) -> None:
        tune.report({"loss": config["x"]})

    class Reused(tune.Trainable):
        def setup(self, config: dict[str, float]) -> None:
            self.x = config["x"]

        def reset_config(self, new_config: dict[str, float]) -> bool:
            self.x = new_config["x"]
            return True

        def step(self) -> dict[str, Any]:
            return {"loss": self.x, "done": True}

    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # Tune prints even when it is told to be quiet
        done = tune.Tuner(
            Reused if reuse else function,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                num_samples=trials, max_concurrent_trials=at_a_time, reuse_actors=reuse
            ),
            run_config=tune.RunConfig(
                storage_path=str(home / "tune"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    took = time.perf_counter() - begun
    assert len(done) == trials
    assert not done.errors
    return trials / took


def _gp_ask_s(observed: int) -> float:
    """Seconds of one GP proposal in two dimensions with so many trials observed, median."""
    from orchestrator.search import searcher
    from orchestrator.search.base import Observation, Request
    from orchestrator.study.spec import Parameter

    space = (
        Parameter(path="optimizer.alpha", low=0.1, high=10, scale="log"),
        Parameter(path="optimizer.beta1", low=0.05, high=0.99, scale="logit"),
    )
    draw = random.Random(0)
    points = [
        {"optimizer.alpha": draw.uniform(0.1, 10), "optimizer.beta1": draw.uniform(0.05, 0.99)}
        for _ in range(observed)
    ]
    finished = tuple(
        Observation(i, p, (p["optimizer.alpha"] - 2) ** 2 + (p["optimizer.beta1"] - 0.7) ** 2)
        for i, p in enumerate(points)
    )
    gp = searcher("gp")
    default = {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9}
    request = Request(
        space=space, default=default, index=observed, seed=0, startup_trials=5, finished=finished
    )
    gp.suggest(request)  # the first one of a process imports torch
    took = []
    for _ in range(ASKS):
        begun = time.perf_counter()
        gp.suggest(request)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


if __name__ == "__main__":
    show(measure())
