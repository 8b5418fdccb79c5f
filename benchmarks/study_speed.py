"""How long do the same Bayesian trials take, ours against Ray Tune's own way? Wall clock of whole searches.

The quick study's configs and steps, GP proposals of Optuna, two trials at a time, the same text and the same
folder of compiled programs, the same running Ray. Theirs is `OptunaSearch` over a function (a process for
each trial) and over a class whose actors are reused, which keeps what a process has compiled as ours does.
Side by side, in turn.  python -m benchmarks.study_speed
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Result, result, show, spread

TRIALS, STARTUP, AT_A_TIME, ROUNDS = 10, 3, 2, 2
COLUMN = "bo-alpha+beta1"


def measure() -> Result:
    took: dict[str, list[float]] = {"ours": [], "function": [], "reuse": []}
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        from orchestrator.backends import daemon

        home = Path(folder)
        os.environ["ORCH_HOME"] = str(home)  # of text and programs, for all three
        address = daemon.start(home, cpus=AT_A_TIME)
        try:
            _ours(address, home, "warm")  # fills the folder of programs, and makes the text
            for i in range(ROUNDS):
                took["ours"].append(_ours(address, home, f"round-{i}"))
                took["reuse"].append(_theirs(address, home, reuse=True))
                took["function"].append(_theirs(address, home, reuse=False))
        finally:
            daemon.stop(home)
    ours = spread(took["ours"])["median"]
    return result(
        "study_speed",
        ratios={
            "vs_tune_function": spread(took["function"])["median"] / ours,
            "vs_tune_reuse": spread(took["reuse"])["median"] / ours,
        },
        figures={f"{way}_s": spread(of) for way, of in took.items()},
        wants={"vs_tune_function": "≥ 4", "vs_tune_reuse": "≥ 1.2"},
    )


def _arm() -> tuple[Any, Any]:
    """The quick study and its search of both hyperparameters, as many runs under way as there are slots."""
    from studies import catalog

    spec = catalog.get("bo-vs-guided", "quick")
    search = spec.arm(COLUMN).model_copy(
        update={"trials": TRIALS, "startup_trials": STARTUP, "window": AT_A_TIME}
    )
    return spec, search


def _ours(address: str, home: Path, name: str) -> float:
    """Seconds of the whole study, with workers that start afresh as theirs do."""
    from orchestrator.backends import daemon
    from orchestrator.backends.ray import RayBackend
    from orchestrator.engine.tick import Engine
    from orchestrator.ground.clock import SystemClock
    from orchestrator.ledger import open_ledger
    from orchestrator.runs.folders import Storage
    from orchestrator.service.creation import create

    spec, search = _arm()
    spec = spec.model_copy(update={"name": name, "arms": (search,), "claim": None})
    folder = home / name
    folder.mkdir()
    store = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    begun = time.perf_counter()
    backend = RayBackend(address, workers=AT_A_TIME, token_path=daemon.token_path(home))
    try:
        clock = SystemClock()
        study = create(store, spec, clock=clock).study
        engine = Engine(store, backend, clock=clock, storage=Storage(folder / "runs"), who="benchmark")
        while (tick := engine.tick()).open_studies:
            if tick.idle:
                time.sleep(0.05)
        took = time.perf_counter() - begun
        assert store.counts(study.study_id) == {(COLUMN, 0, "completed"): TRIALS}
    finally:
        backend.close(end_workers=True)
        store.close()
    return took


def _theirs(address: str, home: Path, *, reuse: bool) -> float:
    """Seconds of the same search by Ray Tune."""
    import ray
    from optuna.samplers import GPSampler
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    spec, search = _arm()
    base = spec.base
    begun = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # Tune prints even when it is told to be quiet
        if not ray.is_initialized():
            ray.init(address, log_to_driver=False)
        trainable = (
            functools.partial(_function, base=base, home=str(home)) if not reuse else _reused(base, home)
        )
        done = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(
                    functools.partial(_space, parameters=search.space),
                    metric="dev_loss",
                    mode="min",
                    sampler=GPSampler(n_startup_trials=STARTUP, seed=0),
                ),
                num_samples=TRIALS,
                max_concurrent_trials=AT_A_TIME,
                reuse_actors=reuse,
            ),
            run_config=tune.RunConfig(
                storage_path=str(home / "tune"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    took = time.perf_counter() - begun
    assert len(done) == TRIALS
    assert not done.errors
    return took


def _space(trial: Any, *, parameters: Any) -> None:
    """Our space in Optuna's words: its scales are linear and logarithmic."""
    for p in parameters:
        low, high = p.bounds
        trial.suggest_float(p.path, low, high, log=p.scale == "log")


def _trained(point: dict[str, float], base: dict[str, Any], home: str, folder: Path) -> dict[str, float]:
    """One run of the trainer in this process; its last values."""
    from trainer.config.paths import with_values
    from trainer.protocol import Place, Reply
    from trainer.training import entrypoint

    os.environ["ORCH_HOME"] = home
    folder.mkdir(parents=True, exist_ok=True)
    config = {**with_values(base, point), "seed": 0}
    return dict(entrypoint.run(config, lambda report: Reply.GO, folder, Place()).values)


def _function(config: dict[str, float], *, base: dict[str, Any], home: str) -> None:
    from ray import tune

    values = _trained(config, base, home, Path(tune.get_context().get_trial_dir()) / "run")
    tune.report({"dev_loss": values.get("dev_loss", 99.0)})


def _reused(base: dict[str, Any], home: Path) -> Any:
    from ray import tune

    class Reused(tune.Trainable):
        def setup(self, config: dict[str, float]) -> None:
            self.point = dict(config)

        def reset_config(self, new_config: dict[str, float]) -> bool:
            self.point = dict(new_config)
            return True

        def step(self) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                values = _trained(self.point, base, str(home), Path(folder))
            return {"dev_loss": values.get("dev_loss", 99.0), "done": True}

    return Reused


if __name__ == "__main__":
    show(measure())
