"""How are pretrainings of different targets ranked? By the scores of the tasks that are learned from them.

The losses of a run that restores whole texts and of one that writes the spans it does not see are of
different targets, and do not say which is better. So each kind of pretraining is an arm that prepares; a row
is what the tasks make of its runs, run i from run i; and rows are ranked by their average over the tasks.

The first kind is T5's baseline, and the claim's challenger. It and the incumbent run on as many fresh seeds
as the size has for a claim, the others on three of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.study.spec import After, Arm, Claim, StudySpec
from studies import arms
from studies.parts import Size
from studies.t5_parts import METRIC, NO_NOISE, OF_TABLES, OTHERS, Tasks, learning, of_tables

WHOLE_TEXT = (
    1.7  # times the baseline's operations, of targets as long as the inputs (`train_flops`, at paper)
)


@dataclass(frozen=True)
class Kind:
    """One way to pretrain. `over`: its operations in those of the baseline."""

    name: str
    row: str
    config: Mapping[str, Any]
    over: float = 1.0
    layers: float = 1.0  # of the baseline's


def noise(name: str, **settings: float) -> dict[str, Any]:
    """The part of a config that says what is to be written."""
    return {"objective": {"name": name, **settings}}


def study(
    name: str, size: Size, kinds: Sequence[Kind], *, incumbent: str, claim: str, question: str
) -> StudySpec:
    size, tasks = of_tables(size), OF_TABLES[size.name]
    baseline = kinds[0]
    seeds = {k.name: size.claimed if k.name in (baseline.name, incumbent) else OTHERS for k in kinds}
    prepared = {k.name: _pretraining(k, size, min(seeds[k.name], size.claimed)) for k in kinds}
    first = _slug(tasks.names[0])
    return arms.study_of(
        name,
        size,
        (
            *prepared.values(),
            *(arm for task in tasks.names for k in kinds for arm in _row(k, task, tasks, prepared[k.name])),
        ),
        metric=METRIC,
        goal="maximize",
        claim=Claim(
            text=claim,
            challenger=f"{baseline.name}-{first}",
            incumbent=f"{incumbent}-{first}",
            metric=f"test_{METRIC}",
            average=True,
        ),
        question=question,
        targets=False,
    )


def _slug(task: str) -> str:
    return task.replace("/", "-")


def _pretraining(kind: Kind, size: Size, trials: int) -> Arm:
    return Arm(
        name=f"pretrain-{kind.name}",
        method="fixed",
        config=dict(kind.config),
        trials=trials,
        fresh_seeds=True,
        phase="prepare",
        row=kind.row,
        run_hours=size.hours["off"] * kind.over,
    )


def _row(kind: Kind, task: str, tasks: Tasks, begun: Arm) -> Iterator[Arm]:
    own = learning(task, tasks)
    yield arms.repeated(
        f"{kind.name}-{_slug(task)}",
        task,
        kind.row,
        config={**own, **{section: {**own[section], **said} for section, said in NO_NOISE.items()}},
        trials=begun.trials,
        after=After(arm=begun.name, take="checkpoint"),
        run_hours=tasks.hours * kind.layers,
    )
