"""The runs of `bo-vs-guided` as one script: Ray Tune, Optuna's Gaussian process, MLflow, and our trainer.

Written for speed by what Tune offers. One Tuner and one searcher over all arms, so that no core waits for an
arm that has nothing to begin and warm processes serve all arms (`reuse_actors`); a core each for the trials'
processes; MLflow told in batches, at evaluations. There is no ledger, nothing can be resumed, nothing is
reported but losses.  python -m benchmarks.tune_script --size smoke --home /tmp/script
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
from optuna.samplers import BaseSampler, GPSampler, RandomSampler
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.same_runs import SEARCHED, Run, Runs
from benchmarks.study_run import CLOCKS, arm_values, clocks_of, tell
from orchestrator.study.configs import default_point
from orchestrator.study.spec import Arm, Parameter, StudySpec
from studies import catalog
from trainer.protocol import Place, Reply, Report

STUDY = "bo-vs-guided"
DIVERGED = 99.0  # what the searcher is told of such a run
MOST_METRICS, MOST_PARAMS = 1000, 100  # of one batch, for MLflow
_own_core: list[IO[str]] = []  # of this process, once it has one: its lock


class AllArms(Searcher):
    """All arms as one search: each Bayesian arm has an OptunaSearch of its own."""

    def __init__(self, runs: Runs, home: Path) -> None:
        super().__init__(metric=runs.spec.objective.metric, mode="min")
        self.runs, self._home = runs, home
        self._searches = {arm.name: _search(arm, runs.spec) for arm in runs.spec.arms if _searches(arm)}
        self._under_way: dict[str, Run] = {}
        self.clocks: list[dict[str, float]] = []
        self.processes: set[int] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        run = self.runs.next(lambda arm: self._searches[arm.name].suggest(trial_id) or {})
        if run is None:
            return None  # Tune asks again
        self._under_way[trial_id] = run
        return {"arm": run.arm, "index": run.index, "home": str(self._home), "config": run.config}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        run = self._under_way.pop(trial_id)
        if error or result is None:
            raise RuntimeError(f"{run.arm}.{run.index} failed; Tune's folder has its output.")
        if run.arm in self._searches:
            self._searches[run.arm].on_trial_complete(trial_id, result)
        value = result[self.metric] if result["status"] == "completed" else None
        self.runs.end(run, value=value, folder=folder_of(self._home, run.arm, run.index))
        self.clocks.append({clock: result[f"clock.{clock}"] for clock in CLOCKS})
        self.processes.add(result["pid"])
        tell(f"{run.arm}.{run.index} {result['status']} {self.metric} {result[self.metric]:.4f} "
             f"({self.runs.ended} of {self.runs.total})")  # fmt: skip

    def save(self, checkpoint_path: str) -> None:
        """Tune saves its state now and then; this one is not resumed."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


def _searches(arm: Arm) -> bool:
    return arm.method in SEARCHED


def _search(arm: Arm, spec: StudySpec) -> OptunaSearch:
    """Optuna's way to search an arm's space: a Gaussian process from the default on, or random points."""
    sampler: BaseSampler = RandomSampler(seed=0)
    if arm.bayesian:
        sampler = GPSampler(n_startup_trials=arm.startup_trials, seed=0)
    return OptunaSearch(
        functools.partial(_space, parameters=arm.space),
        metric=spec.objective.metric,
        mode="min",
        points_to_evaluate=[default_point(spec, arm)] if arm.bayesian else None,
        sampler=sampler,
    )


def _space(trial: Any, *, parameters: tuple[Parameter, ...]) -> None:
    """Our space in Optuna's words: its scales are linear and logarithmic."""
    for parameter in parameters:
        low, high = parameter.bounds
        trial.suggest_float(parameter.path, low, high, log=parameter.scale == "log")


def folder_of(home: Path, arm: str, index: int) -> Path:
    return home / "runs" / f"{arm}-{index}"


def trained(given: dict[str, Any]) -> None:
    """One trial: our trainer in this process, which Tune keeps for the next."""
    home, arm, index = Path(given["home"]), str(given["arm"]), int(given["index"])
    _on_a_core_of_its_own(home)
    from trainer import run as trainer

    folder = folder_of(home, arm, index)
    folder.mkdir(parents=True)
    log = _Log(home, f"{arm}.{index}", given["config"])

    def reporter(report: Report) -> Reply:
        log.hear(report)
        if report.kind == "eval":
            tune.report({**report.values, "step": report.step, "status": "running"})
        return Reply.GO

    outcome = trainer.run(given["config"], reporter, folder, Place())
    log.end(outcome.values)
    loss = outcome.values.get("dev_loss", DIVERGED)
    loss = loss if outcome.status == "completed" and math.isfinite(loss) else DIVERGED
    clocks = {f"clock.{clock}": outcome.clocks.get(clock, 0.0) for clock in CLOCKS}
    tune.report({**outcome.values, **clocks, "dev_loss": loss, "status": outcome.status})


class _Log:
    """A trial in MLflow: its config, and its curves in batches, as MLflow advises for many points."""

    def __init__(self, home: Path, name: str, config: Mapping[str, Any]) -> None:
        self._client = MlflowClient(_store(home))
        experiment = self._client.get_experiment_by_name(STUDY)
        assert experiment is not None  # made before the first trial
        self._run = self._client.create_run(experiment.experiment_id, run_name=name).info.run_id
        self._metrics: list[Metric] = []
        self._points = Points()
        params = [Param(path, str(value)) for path, value in _flat(config)]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])

    def hear(self, report: Report) -> None:
        self._metrics += self._points.of(report)
        if report.kind == "eval":
            self._send()

    def end(self, values: Mapping[str, float]) -> None:
        self._metrics += _metrics({f"final/{name}": value for name, value in values.items()}, 0)
        self._send()
        self._client.set_terminated(self._run)

    def _send(self) -> None:
        while self._metrics:
            self._client.log_batch(self._run, metrics=self._metrics[:MOST_METRICS])
            del self._metrics[:MOST_METRICS]


class Points:
    """What MLflow is told of a run: losses of every step; hyperparameters where they change; clocks at
    evaluations. As much as a study's trials have there."""

    def __init__(self) -> None:
        self._hyper: dict[str, float] = {}  # as it was last told

    def of(self, report: Report) -> list[Metric]:
        evaluated = report.kind == "eval"
        hyper = {f"hyper/{name}": value for name, value in report.hyper.items()}
        changed = {
            name: value for name, value in hyper.items() if evaluated or self._hyper.get(name) != value
        }
        self._hyper |= hyper
        clocks = {f"clock/{name}": value for name, value in report.clocks.items()} if evaluated else {}
        return _metrics({**report.values, **changed, **clocks}, report.step)


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in values.items()]


def _flat(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _store(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow.db'}"


def _on_a_core_of_its_own(home: Path) -> None:
    """Two processes of JAX that share two cores hold each other up. Before JAX is loaded."""
    if not _own_core:
        (home / "cores").mkdir(exist_ok=True)
        for core in sorted(os.sched_getaffinity(os.getpid())):
            lock = (home / "cores" / str(core)).open("w")
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _own_core.append(lock)
                break
    if _own_core:
        os.sched_setaffinity(0, {int(Path(_own_core[0].name).name)})  # of this thread, and what it starts


def main() -> int:
    import ray

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="quick")
    parser.add_argument("--home", type=Path, required=True, help="where all that it writes goes")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    home = asked.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    # What the workers inherit. MLflow has the results: Tune need not write them as CSV and JSON too.
    os.environ |= {
        "ORCH_HOME": str(home),
        "JAX_PLATFORMS": "cpu",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    runs = Runs(catalog.get(STUDY, asked.size), schedules=home / "schedules")
    with contextlib.redirect_stdout(sys.stderr):  # Tune prints even when it is told to be quiet
        ray.init("local", num_cpus=asked.workers, include_dashboard=False, log_to_driver=False)
        MlflowClient(_store(home)).create_experiment(STUDY)
        searcher = AllArms(runs, home)
        done = tune.Tuner(
            tune.with_resources(trained, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=runs.total,
                max_concurrent_trials=asked.workers,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(storage_path=str(home / "tune"), verbose=0),
        ).fit()
        ray.shutdown()
    if done.errors or len(done) != runs.total:
        tell(f"{len(done)} of {runs.total} runs, {len(done.errors)} failed.")
        return 1
    fresh = {arm.name for arm in runs.spec.arms if arm.fresh_seeds}
    told = {
        "trials": len(done),
        "clocks": clocks_of(searcher.clocks),
        "processes": len(searcher.processes),
        "arms": {arm: arm_values(found, seeds=arm in fresh) for arm, found in runs.values().items()},
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
