"""A store of MLflow's kind in memory: what the mirror writes can be looked at after thousands of tries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from orchestrator.tracking.mapping import Measurement
from orchestrator.tracking.store import Experiment, Run
from tests.faults.mirrored import Seen


@dataclass
class _Held:
    run: Run
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, set[tuple[int, int, float | str]]] = field(default_factory=dict)


class RememberedStore:
    """The methods of MlflowStore. A point that is written twice is one point, as in MLflow."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._ids = count(1)

    def experiment(self, name: str, *, folder: str, tags: Mapping[str, str]) -> Experiment:
        return Experiment(name, deleted=False)

    def runs(self, experiment: Experiment, study_id: str) -> list[Run]:
        return [held.run for held in self._held.values() if held.run.tags["orch.study_id"] == study_id]

    def create_run(
        self, experiment: Experiment, *, title: str, at_ms: int, tags: Mapping[str, str], parent: str | None
    ) -> Run:
        own = {**tags, **({} if parent is None else {"mlflow.parentRunId": parent})}
        run = Run(f"run-{next(self._ids)}", experiment.experiment_id, title, own, "RUNNING", deleted=False)
        self._held[run.run_id] = _Held(run)
        return run

    def set_status(self, run_id: str, status: str, *, ended_ms: int | None) -> None:
        held = self._held[run_id]
        held.run = replace(held.run, status=status)

    def write(
        self,
        run_id: str,
        points: Sequence[Measurement] = (),
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        held = self._held[run_id]
        for point in points:
            value = point.value if math.isfinite(point.value) else "NaN"
            held.points.setdefault(point.name, set()).add((point.step, point.at_ms, value))
        held.params |= params or {}
        held.run = replace(held.run, tags={**held.run.tags, **(tags or {})})

    def artifact(self, run_id: str, path: Path, *, folder: str | None = None) -> None:
        """Files are not remembered."""

    def look(self, study_id: str) -> dict[tuple[str, str], Seen]:
        """As `mirrored.look` tells it."""
        found = {}
        for held in self._held.values():
            run, tags = held.run, dict(held.run.tags)
            if tags["orch.study_id"] == study_id:
                place = (tags["orch.kind"], tags.get("orch.trial_id") or tags.get("orch.arm", ""))
                assert place not in found, f"{place} is there twice"
                histories = {name: sorted(points) for name, points in held.points.items()}
                parent = tags.get("mlflow.parentRunId")
                found[place] = Seen(
                    run.run_id, run.name, parent, run.status, dict(held.params), tags, histories
                )
        return found
