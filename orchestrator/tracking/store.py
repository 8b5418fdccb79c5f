"""How is MLflow spoken to? The only file that imports it; its troubles come out as MirrorLost.

MLflow's own patience (four minutes of retries) is cut to ten seconds: the mirror comes again by itself.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ground import extras
from orchestrator.ground.errors import MirrorLost
from orchestrator.ground.settings import FILE, without_secrets
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.mapping import Measurement
from trainer.protocol import whole

# What a person has set goes before. Read by MLflow at each request, or once when it is imported.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a repeated create makes two; the mirror looks first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its troubles are told by us, in a sentence
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
METRICS, PARAMS, TAGS = 800, 100, 100  # of a batch: MLflow takes 1,000 in all, and 100 of the latter two
PAGE = 1000


@dataclass(frozen=True)
class Run:
    """A run as MLflow holds it."""

    run_id: str
    experiment_id: str
    name: str
    tags: Mapping[str, str]
    status: str
    deleted: bool


@dataclass(frozen=True)
class Experiment:
    experiment_id: str
    deleted: bool


def precedence(run: Run) -> tuple[bool, str]:
    """Of two runs of one thing, as a create that looked failed leaves them, the least by this is kept: one
    that was written to."""
    return ("orch.state" not in run.tags, run.run_id)


class MlflowStore:
    """Every method may be repeated, and raises MirrorLost when MLflow does not do it."""

    def __init__(self, place: Destination) -> None:
        self._place = place
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as problem:
            raise MirrorLost(
                f"MLflow cannot be imported ({problem}). Install it: {extras.command('mlflow')}, or set "
                f"ORCH_MLFLOW=off."
            ) from problem
        with self._answering():
            if place.file is not None:
                _require_sqlite(place.file, place.artifacts or place.file.parent)
            # The registry is another thing, and its default would be made in the working directory.
            self._client = MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)

    # -- experiments and runs -------------------------------------------------------------------------
    def experiment(self, name: str, *, folder: str, tags: Mapping[str, str] | None = None) -> Experiment:
        """The experiment of that name, made if there is none. `folder`: of its artifacts, where we choose.
        `tags`: those that it lacks are written; those that it has may be a person's."""
        with self._answering():
            found = self._client.get_experiment_by_name(name)
            if found is None:
                root = self._place.artifacts
                place = None if root is None else (root / folder).as_uri()
                made = self._client.create_experiment(name, artifact_location=place, tags=dict(tags or {}))
                return Experiment(made, deleted=False)
            deleted = found.lifecycle_stage != "active"
            for key, value in (tags or {}).items():
                if not deleted and key not in found.tags:
                    self._client.set_experiment_tag(found.experiment_id, key, value)
            return Experiment(found.experiment_id, deleted=deleted)

    def experiment_of(self, name: str) -> tuple[str, dict[str, str]] | None:
        """The id and the tags of the experiment of that name; None without one, or where it was deleted."""
        with self._answering("say where an experiment is"):
            found = self._client.get_experiment_by_name(name)
            if found is None or found.lifecycle_stage != "active":
                return None
            return str(found.experiment_id), dict(found.tags)

    def restore(self, experiment: Experiment) -> None:
        with self._answering():
            self._client.restore_experiment(experiment.experiment_id)

    def runs(self, experiment: Experiment, study_id: str) -> list[Run]:
        """All runs of a study, also deleted ones."""
        from mlflow.entities import ViewType

        found: list[Run] = []
        token = None
        with self._answering():
            while True:
                page = self._client.search_runs(
                    [experiment.experiment_id],
                    filter_string=f"tags.`orch.study_id` = '{study_id}'",
                    run_view_type=ViewType.ALL,
                    max_results=PAGE,
                    page_token=token,
                )
                found += [_run(run) for run in page]
                token = page.token
                if not token:
                    return found

    def run_of(self, experiment: str, trial_id: str) -> Run | None:
        """A trial's run in the experiment of that name; None without one, or where it was deleted."""
        with self._answering("say where a run is"):
            found = self._client.get_experiment_by_name(experiment)
            if found is None or found.lifecycle_stage != "active":
                return None
            page = self._client.search_runs(
                [found.experiment_id], filter_string=f"tags.`orch.trial_id` = '{trial_id}'", max_results=PAGE
            )
            return min(map(_run, page), key=precedence, default=None)

    def create_run(
        self, experiment: Experiment, *, title: str, at_ms: int, tags: Mapping[str, str], parent: str | None
    ) -> Run:
        if parent is not None:
            tags = {**tags, "mlflow.parentRunId": parent}
        with self._answering():
            made = self._client.create_run(
                experiment.experiment_id, start_time=at_ms, tags=dict(tags), run_name=title
            )
            return _run(made)

    def delete_run(self, run_id: str) -> None:
        with self._answering():
            self._client.delete_run(run_id)

    def restore_run(self, run_id: str) -> None:
        with self._answering():
            self._client.restore_run(run_id)

    def set_status(self, run_id: str, status: str, *, ended_ms: int | None) -> None:
        with self._answering():
            if ended_ms is None:
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status=status, end_time=ended_ms)

    def write(
        self,
        run_id: str,
        points: Sequence[Measurement] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Params go first and tags last, so that a tag can say that all before it was written."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = _parts([Metric(p.name, p.value, p.at_ms, p.step) for p in points], METRICS)
        first = _parts([Param(k, v) for k, v in (params or {}).items()], PARAMS)
        last = _parts([RunTag(k, v) for k, v in (tags or {}).items()], TAGS)
        calls = max(len(metrics), len(first), len(last))
        for i in range(calls):
            at = i - calls + len(last)
            with self._answering():
                self._client.log_batch(
                    run_id,
                    metrics=metrics[i] if i < len(metrics) else (),
                    params=first[i] if i < len(first) else (),
                    tags=last[at] if at >= 0 else (),
                )

    def artifact(self, run_id: str, path: Path, *, folder: str | None = None) -> None:
        """A file, or all of a folder; `folder`: where it is put there."""
        with self._answering():
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), folder)
            else:
                self._client.log_artifact(run_id, str(path), folder)

    @contextmanager
    def _answering(self, what: str = "take what is mirrored") -> Iterator[None]:
        try:
            yield
        except MirrorLost:
            raise
        except Exception as problem:  # of MLflow, its database, the network, the disk: all mean one thing
            raise MirrorLost(f"MLflow at {self._place.shown} does not {what}: {_why(problem)}") from problem


def _require_sqlite(file: Path, artifacts: Path) -> None:
    """A file that can be opened; made if there is none. MLflow itself would try for minutes."""
    if not file.exists():
        _create(file, artifacts)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA schema_version")


def _create(file: Path, artifacts: Path) -> None:
    """A fresh SQLite store: two seconds of MLflow's migrations. A kill in between must not leave half of
    one under its name, which MLflow would refuse for ever. Written ahead, so that each of MLflow's many small
    commits costs half of the time, and nobody who reads waits for one; the file keeps that setting."""
    from mlflow.store.tracking import sqlalchemy_store

    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as unfinished:
        unfinished.unlink(missing_ok=True)  # of a former process with this id
        make: Any = sqlalchemy_store.SqlAlchemyStore
        make(f"{FILE}{unfinished}", artifacts.as_uri()).engine.dispose()
        with closing(sqlite3.connect(unfinished)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")


def _run(run: Any) -> Run:
    info = run.info
    return Run(
        info.run_id,
        info.experiment_id,
        info.run_name,
        dict(run.data.tags),
        info.status,
        deleted=info.lifecycle_stage != "active",
    )


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _why(problem: Exception) -> str:
    """One line of it, in which addresses are without secrets. What the system said says more than all that
    is wrapped around it."""
    deepest: BaseException = problem
    while (inner := deepest.__cause__ or deepest.__context__) is not None:
        deepest = inner
    said = deepest.strerror if isinstance(deepest, OSError) else None
    text = f"{said}." if said else " ".join(str(problem).split()) or type(problem).__name__
    text = re.sub(r"\w[\w.+-]*://\S+", lambda address: without_secrets(address[0]), text)
    return text if len(text) <= 300 else text[:299] + "…"
