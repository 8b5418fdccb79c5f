"""What does MLflow hold of a study, and does it agree with the ledger? The MLflow halves of I1 to I5.

Read through MLflow's own client; what should be there is worked out from the ledger's rows and events by
the plainest means, and not by the mirror's own functions.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import Store
from orchestrator.ledger.records import ENDED, LIVE_ATTEMPT
from trainer.protocol import SECONDS

STATUS = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED", "stopped": "KILLED"}

Histories = dict[str, list[tuple[int, int, float | str]]]  # metric -> (step, milliseconds, value)


@dataclass(frozen=True)
class Seen:
    """A run as MLflow tells of it."""

    run_id: str
    name: str
    parent: str | None
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: Histories

    @property
    def content(self) -> tuple[Any, ...]:
        """All of it that does not differ from one store to the next."""
        own = {k: v for k, v in self.tags.items() if k != "mlflow.parentRunId"}
        return (self.name, self.status, self.params, own, self.metrics)


def look(uri: str, study_id: str) -> dict[tuple[str, str], Seen]:
    """All runs of a study that are not deleted: by kind and by what they are of. Each is there once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`orch.study_id` = '{study_id}'", max_results=1000)
    runs = {}
    for run in found:
        tags = dict(run.data.tags)
        place = (tags["orch.kind"], tags.get("orch.trial_id") or tags.get("orch.arm", ""))
        assert place not in runs, f"{place} is there twice"
        histories = {
            name: sorted(
                (m.step, m.timestamp, "NaN" if math.isnan(m.value) else m.value)
                for m in client.get_metric_history(run.info.run_id, name)
            )
            for name in run.data.metrics
        }
        runs[place] = Seen(
            run.info.run_id,
            run.info.run_name,
            tags.get("mlflow.parentRunId"),
            run.info.status,
            dict(run.data.params),
            tags,
            histories,
        )
    return runs


def trials(runs: dict[tuple[str, str], Seen]) -> dict[str, Seen]:
    return {of: run for (kind, of), run in runs.items() if kind == "trial"}


def check(store: Store, study_id: str, runs: dict[tuple[str, str], Seen]) -> None:
    """I1 to I5 of a study that has ended and was mirrored to its end."""
    rows = store.trials(study_id)
    assert set(trials(runs)) == {t.trial_id for t in rows}
    for row in rows:
        run = runs["trial", row.trial_id]
        assert run.parent == runs["arm", row.arm].run_id
        assert runs["arm", row.arm].parent == runs["study", ""].run_id
        assert row.state in ENDED
        assert run.status == STATUS[row.state]
        assert (run.tags["orch.state"], run.tags["orch.attempts"]) == (row.state, str(row.attempts))
        _each_point_is_there_once(store, run, row.trial_id)
        _the_seconds_agree(store, run, row.trial_id)
    counted = runs["study", ""].metrics
    assert counted["runs/ended"][-1][2] == len(rows)
    for state, n in Counter(str(t.state) for t in rows).items():
        assert counted[f"runs/{state}"][-1][2] == n


def _each_point_is_there_once(store: Store, run: Seen, trial_id: str) -> None:
    """I3: of each metric at most one point a step, the first that was said, the first and the last of them
    included; and where one is left out, the line through the others passes it by."""
    said: dict[str, dict[int, tuple[int, float | str]]] = {}
    for stored in store.events(trial_id=trial_id, limit=100_000):
        event = stored.event
        if event.kind != "started":
            words = {
                **event.payload["values"],
                **{f"hyper/{k}": v for k, v in event.payload["hyper"].items()},
            }
            for name, value in words.items():
                shown = value if math.isfinite(value) else "NaN"
                said.setdefault(name, {}).setdefault(event.step, (round(event.at * 1000), shown))
    for name, points in said.items():
        told = {step: (at, value) for step, at, value in run.metrics[name]}
        assert len(told) == len(run.metrics[name]), name
        assert told.items() <= points.items(), name
        assert {min(points), max(points)} <= told.keys(), name
        height = {step: value for step, (_, value) in points.items() if not isinstance(value, str)}
        for step in points.keys() - told.keys():
            before, after = max(s for s in told if s < step), min(s for s in told if s > step)
            passes = height[before] + (height[after] - height[before]) * (step - before) / (after - before)
            moved = max(height.values()) - min(height.values())
            assert abs(passes - height[step]) <= moved / 250 + 1e-12, (name, step)
    for name, history in run.metrics.items():
        assert len({step for step, *_ in history}) == len(history), name


def _the_seconds_agree(store: Store, run: Seen, trial_id: str) -> None:
    """I5: what the trial was charged, and what each of its attempts took."""
    row = store.trial(trial_id)
    charged = sum(row.charged.get(name, 0.0) for name in SECONDS)
    mirrored = sum(run.metrics[f"cost/{n}"][-1][2] for n in SECONDS if f"cost/{n}" in run.metrics)
    assert math.isclose(float(mirrored), charged, rel_tol=1e-9)
    attempts = [a for a in store.attempts(trial_id) if a.state not in LIVE_ATTEMPT]
    told = [json.loads(run.tags[f"orch.attempt.{a.number}"]) for a in attempts]
    assert [t["state"] for t in told] == [str(a.state) for a in attempts]
    assert math.isclose(math.fsum(t["seconds"] for t in told), charged, rel_tol=1e-9)
    assert f"orch.attempt.{len(attempts) + 1}" not in run.tags
