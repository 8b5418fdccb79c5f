"""A study of tasks as `t5` has it: two pretrainings, and on each task runs that start from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import Run

TASKS = ("word-order", "figures", "facts")
ROWS: Mapping[str, Mapping[str, Any]] = {
    "base": {"role": "base", "after": "pretrain-base"},
    "α+β1": {"role": "guided", "after": "pretrain-alpha+beta1"},
    "no pretraining": {"phase": "control"},
}
EVALUATIONS = tuple(range(10, 90, 10))


def named(row: str, task: str) -> str:
    short = {"base": "base", "α+β1": "both", "no pretraining": "none"}[row]
    return f"{short}-{task.replace('/', '_')}"


def spec(
    *,
    tasks: Sequence[str] = TASKS,
    seeds: int = 6,
    prepare: Mapping[str, Mapping[str, Any]] | None = None,
    claim: Mapping[str, Any] | None = None,
    **changes: Any,
) -> StudySpec:
    """`prepare`: what the configs of the two pretrainings state."""
    configs = prepare or {}
    arms: list[dict[str, Any]] = [
        {"name": name, "method": "fixed", "phase": "prepare", "fresh_seeds": True, "trials": seeds,
         "config": configs.get(name, {})}
        for name in ("pretrain-base", "pretrain-alpha+beta1")
    ]  # fmt: skip
    for task in tasks:
        for row, how in ROWS.items():
            source = how.get("after")
            begins = {"after": {"arm": source, "take": "checkpoint"}} if source else {}
            arm = {"name": named(row, task), "method": "fixed", "row": row, "column": task, "trials": seeds}
            config = {"data": {"task": task}}
            kept = {k: v for k, v in how.items() if k != "after"}
            arms.append({**arm, **kept, **begins, "fresh_seeds": True, "config": config})
    stated = {
        "text": "α+β1 has the higher average.",
        "challenger": named("α+β1", tasks[0]),
        "incumbent": named("base", tasks[0]),
        "metric": "score",
        "average": True,
        **(claim or {}),
    }
    data: dict[str, Any] = {
        "name": "t5-smoke",
        "entrypoint": "orchestrator.rehearsal",
        "base": {"steps": 80, "data": {"source": "prose"}, "objective": {"name": "random-spans"}},
        "arms": arms,
        "objective": {"metric": "score", "goal": "maximize"},
        "claim": stated,
    }
    return StudySpec.model_validate({**data, **changes})


def scored(*scores: float, commonest: float | None = None, hours: float = 1.0, **more: float) -> list[Run]:
    """Runs of a task with these scores; of two metrics, their halves up and down."""
    known = {} if commonest is None else {"commonest": commonest}
    return [
        Run(
            score,
            values={
                "score": score, "accuracy": score + 2, "f1": score - 2, "test_score": score - 1,
                **known, **more,
            },
            hours=hours,
        )
        for score in scores
    ]  # fmt: skip


def pretrained(*ends: float, hours: float = 4.0) -> list[Run]:
    """Runs whose dev loss falls in a straight line to these ends."""
    return [
        Run(
            None,
            values={"dev_loss": end},
            hours=hours,
            said=[(step, "eval", {"dev_loss": end + (80 - step) / 40}, {}) for step in EVALUATIONS],
        )
        for end in ends
    ]


# By task, the scores of base and by how much α+β1 is above it, seed by seed.
BASE = {
    "word-order": (50.0, 52.0, 51.0, 49.0, 50.5, 51.5),
    "figures": (70.0, 71.0, 69.0, 70.5, 69.5, 70.0),
    "facts": (30.0, 31.0, 29.0, 32.0, 28.0, 30.0),
}
ABOVE = {
    "word-order": (2.0, 1.0, 3.0, 1.5, 2.5, 2.0),
    "figures": (-0.5, -1.0, 0.25, -0.25, -0.5, -0.75),
    "facts": (4.0, 3.0, 5.0, 4.5, 3.5, 4.0),
}
COMMONEST = {"word-order": 45.0, "figures": 20.0, "facts": 5.0}


def results(
    tasks: Sequence[str] = TASKS,
    *,
    base: Mapping[str, Sequence[float]] = BASE,
    above: Mapping[str, Sequence[float]] = ABOVE,
    **changes: list[Run],
) -> dict[str, list[Run]]:
    found = {
        "pretrain-base": pretrained(3.0, 3.1, 2.9, 3.0, 3.05, 2.95),
        "pretrain-alpha+beta1": pretrained(2.8, 2.9, 2.7, 2.8, 2.85, 2.75, hours=6.0),
    }
    for task in tasks:
        always = COMMONEST.get(task)
        plain = base[task]
        found[named("base", task)] = scored(*plain, commonest=always)
        both = (value + up for value, up in zip(plain, above[task], strict=True))
        found[named("α+β1", task)] = scored(*both, commonest=always)
        found[named("no pretraining", task)] = scored(*(v - 10 for v in plain), commonest=always)
    return {**found, **changes}
