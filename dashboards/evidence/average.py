"""What is the mean over columns, seed by seed?

The average of a row on a seed is the mean of its values in all columns in which the rows of both of the
claim's arms stand, on that seed. A diverged run counts in its column as everywhere else, with the worst value
there. A seed without a value in one of the columns is left out of the average and told. Where runs start from
those of their number in another arm, a seed stands for both: its pretraining and what followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dashboards.evidence.contrasts import Contrast, Sample, contrast, of_samples, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.tasks import are_columns, task_in
from orchestrator.study.claim import Claim
from orchestrator.study.spec import AVERAGE as AVERAGE
from orchestrator.study.spec import Arm

SCORE = "score"  # what a run of a task reports: the mean of its metrics


@dataclass(frozen=True)
class Averaged:
    """`left_out`: the seeds (or replicates) that some column has and others lack."""

    columns: tuple[str, ...]
    left_out: tuple[int, ...]
    lacking: tuple[str, ...]  # the columns that lack them


def shown(frame: Frame) -> bool:
    """Whether tables have a column of the mean over the others: of a claim about it, and where each column is
    a task with its score."""
    spec = frame.spec
    if AVERAGE in spec.columns():
        return False
    tasks_scored = spec.objective.metric == SCORE and are_columns(spec)
    return tasks_scored or (spec.claim is not None and spec.claim.average)


def groups(frame: Frame) -> dict[str, tuple[str, ...]]:
    """What averages a table has, and of which columns: of each of several suites of which it has two tasks or
    more, as glue/cola is of glue; and of all columns, which is the last."""
    columns, suites = frame.columns(), dict[str, list[str]]()
    for column in columns:
        suites.setdefault((task_in(frame.spec, column) or "").rpartition("/")[0], []).append(column)
    several = suites if len(suites) > 1 else {}
    found = {f"{name} {AVERAGE}": tuple(of) for name, of in several.items() if name and len(of) > 1}
    return {**found, AVERAGE: columns}


def of_columns(samples: Sequence[Sample]) -> Sample:
    """The mean over these, of the runs that all of them have."""
    shared = set.intersection(*(set(each.values) for each in samples))
    return Sample(
        {key: fmean(each.values[key] for each in samples) for key in sorted(shared)},
        sum(each.diverged for each in samples),
        sum(each.missing for each in samples),
        replicated=any(each.replicated for each in samples),
    )


def pairs_of(frame: Frame, claim: Claim) -> dict[str, tuple[Arm, Arm]]:
    """By column, challenger and incumbent."""
    return frame.spec.cells(frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))


def begun_by_number(frame: Frame) -> tuple[str, ...]:
    """What a seed stands for, where runs start from those of their number; else nothing."""
    for arm in frame.spec.compared:
        if arm.after and frame.spec.starts_by_number(arm) and frame.spec.arm(arm.after.arm).trials > 1:
            return (
                "A run starts from the pretraining run of its number: a seed stands for both, and an "
                "interval holds the spread of both.",
            )
    return ()


def sides(frame: Frame, claim: Claim, *, metric: str = "") -> tuple[Sample, Sample]:
    """Challenger and incumbent in the mean over their columns."""
    metric = metric or claim.metric
    pairs = pairs_of(frame, claim).values()
    ours = of_columns([sample(frame, a, metric, beside=(b,)) for a, b in pairs])
    theirs = of_columns([sample(frame, b, metric, beside=(a,)) for a, b in pairs])
    return ours, theirs


def averaged(frame: Frame, claim: Claim) -> Averaged:
    """Which seeds count, of those that a pair of runs has in some column."""
    by_column: dict[str, set[tuple[int, int]]] = {}
    for column, (a, b) in pairs_of(frame, claim).items():
        both = (sample(frame, arm, claim.metric, beside=(a, b)).values for arm in (a, b))
        by_column[column] = set.intersection(*map(set, both))
    some, every = set.union(*by_column.values()), set.intersection(*by_column.values())
    gone = {unit for _, unit in some} - {unit for _, unit in every}
    lacking = tuple(column for column, there in by_column.items() if some - there)
    return Averaged(tuple(by_column), tuple(sorted(gone)), lacking)


def of_claim(frame: Frame, claim: Claim, *, metric: str = "") -> Contrast:
    """Challenger against incumbent: in the mean over columns where the claim is about that, else these two
    arms alone."""
    metric = metric or claim.metric
    arms = frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent)
    if not claim.average:
        return contrast(frame, *arms, metric=metric)
    return of_samples(frame, arms, sides(frame, claim, metric=metric), metric=metric, column=AVERAGE)
