"""Small synthetic ledgers with a known truth, written through the real port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger import Store
from orchestrator.ledger.base import Ending
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    Event,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    trial_id,
)
from orchestrator.study.canonical import spec_hash
from orchestrator.study.configs import trial_config
from orchestrator.study.spec import StudySpec

HOUR_S = 3600.0


@dataclass(frozen=True)
class Run:
    """How one trial went. `said`: (step, kind, values, hyper)."""

    value: float | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    hours: float = 1.0
    wasted_hours: float = 0.0
    state: TrialState = TrialState.COMPLETED
    lost: bool = False  # how a failed one failed: its workers were lost, or its code
    point: Mapping[str, float] = field(default_factory=dict)
    said: Sequence[tuple[int, str, Mapping[str, float], Mapping[str, float]]] = ()


def diverged(**values: float) -> Run:
    return Run(state=TrialState.DIVERGED, values=values)


FAILED = Run(state=TrialState.FAILED)
LOST = Run(state=TrialState.FAILED, lost=True)
NEVER_BEGAN = Run(state=TrialState.STOPPED, hours=0.0)  # what follows an arm that found nothing
ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10.0, "scale": "log"}


def spec(*, confirmations: int = 6, cost_ratio: float | None = 1.0, **changes: Any) -> StudySpec:
    """Base, BO and guided in one column, each confirmed; the claim is that guided beats BO."""
    arms: list[dict[str, Any]] = [
        {"name": "base", "method": "fixed", "row": "base"},
        {"name": "bo", "method": "gp", "space": [ALPHA], "trials": 4, "startup_trials": 2, "row": "+ BO"},
        {
            "name": "guided",
            "method": "grid",
            "config": {"guidance": {"estimator": "held-out", "learn": ["alpha"]}},
            "space": [{"path": "guidance.eta", "values": [0.01, 0.02, 0.04]}],
            "trials": 3,
            "row": "guided",
        },
    ]
    confirming = [
        {
            "name": f"confirm-{arm['name']}",
            "method": "fixed",
            "trials": confirmations,
            "after": {"arm": arm["name"]},
            "fresh_seeds": True,
            "phase": "confirm",
            "row": arm["row"],
        }
        for arm in arms
    ]
    claim = {
        "text": "Guided has the lower loss at no more than BO's chip-hours.",
        "challenger": "guided",
        "incumbent": "bo",
        "cost_ratio": cost_ratio,
    }
    made = [
        {**arm, "column": "*" if arm["name"] in ("base", "confirm-base") else "alpha"}
        for arm in (*arms, *confirming, *changes.pop("more_arms", ()))
    ]
    data: dict[str, Any] = {
        "name": "synthetic",
        "entrypoint": "orchestrator.rehearsal",
        "base": {"steps": 40, "optimizer": {"alpha": 1.0}},
        "arms": made,
        "claim": claim,
    }
    return StudySpec.model_validate({**data, **changes})


def control(name: str, row: str, *, trials: int = 6) -> dict[str, Any]:
    """An arm that runs on the fresh seeds itself."""
    return {
        "name": name,
        "method": "fixed",
        "trials": trials,
        "after": {"arm": "guided", "take": "schedule"},
        "fresh_seeds": True,
        "phase": "control",
        "row": row,
    }


def repeated(name: str, row: str, *, trials: int = 6, column: str = "*", **changes: Any) -> dict[str, Any]:
    """A setting that nothing chose, on the fresh seeds."""
    arm = {"name": name, "method": "fixed", "trials": trials, "fresh_seeds": True, "row": row}
    return {**arm, "column": column, **changes}


def runs(*values: float, **changes: Any) -> list[Run]:
    return [Run(value, **changes) for value in values]


def searched(bo_hours: float = 1.0, guided_hours: float = 1.0) -> dict[str, list[Run]]:
    """The searches of `spec`: BO's best is its third run, guided's its second."""
    points = [{"optimizer.alpha": x} for x in (1.0, 3.0, 2.0, 0.5)]
    etas = [{"guidance.eta": x} for x in (0.01, 0.02, 0.04)]
    return {
        "base": runs(1.0),
        "bo": [Run(v, hours=bo_hours, point=p) for v, p in zip((1.0, 0.9, 0.8, 0.95), points, strict=True)],
        "guided": [Run(v, hours=guided_hours, point=p) for v, p in zip((0.9, 0.7, 0.8), etas, strict=True)],
    }


def ledger(
    study: StudySpec,
    results: Mapping[str, Sequence[Run]],
    *,
    state: StudyState = StudyState.COMPLETED,
    reason: str = "",
    added: Mapping[str, int] | None = None,
) -> MemoryLedger:
    """Arms without results have no trials. Results come replicate by replicate."""
    store = MemoryLedger()
    fill(store, study, results, state=state, reason=reason, added=added)
    return store


def fill(
    store: Store,
    study: StudySpec,
    results: Mapping[str, Sequence[Run]],
    *,
    state: StudyState = StudyState.COMPLETED,
    reason: str = "",
    added: Mapping[str, int] | None = None,
) -> None:
    """The same, into any ledger that is empty."""
    epoch = store.lead("test")
    assert epoch is not None
    row = StudyRow("s1", study.name, study.model_dump(mode="json"), spec_hash(study), StudyState.RUNNING, 1.0)
    store.create_study(row)
    for arm in study.arms:
        of = results.get(arm.name, ())
        each = max(1, len(of) // study.replicates_of(arm))
        for i, run in enumerate(of):
            _write(store, epoch, study, arm.name, divmod(i, each), run)
    if added:
        store.extend_study(epoch, "s1", added)
    if state is not StudyState.RUNNING:
        store.move_study(epoch, "s1", StudyState.RUNNING, state, reason=reason)


def _write(store: Store, epoch: int, study: StudySpec, arm: str, place: tuple[int, int], run: Run) -> None:
    replicate, index = place
    name = trial_id("s1", arm, replicate, index)
    config = trial_config(study, study.arm(arm), replicate=replicate, index=index, point=run.point)
    store.add_trial(
        epoch, TrialRow(name, "s1", arm, replicate, index, run.point, config, TrialState.WAITING, 1.0)
    )
    if run.state is TrialState.WAITING:
        return
    store.start_attempt(epoch, AttemptRow(name, 1, AttemptState.LAUNCHING, 1.0))
    said = [
        Event(name, 1, i, kind, step, {"values": values, "hyper": hyper}, 1.0)
        for i, (step, kind, values, hyper) in enumerate(run.said, start=1)
    ]
    store.append(epoch, said)
    charged = {"train_s": (run.hours + run.wasted_hours) * HOUR_S, "steps": 40.0}
    values = {**({"loss": run.value} if run.value is not None else {}), **run.values}
    store.end_attempt(
        epoch,
        name,
        1,
        Ending(
            AttemptState.LOST if run.lost else AttemptState(run.state),
            run.state,
            2.0,
            value=run.value if run.state is TrialState.COMPLETED else None,
            values=values,
            charged=charged,
            productive={"train_s": run.hours * HOUR_S, "steps": 40.0},
        ),
    )
