"""Which of two arms chose better, seed by seed?

Compared are the runs of each arm's choice on fresh seeds, paired by seed. A difference is positive where the
challenger is better, whether the metric is to be low or high.

- The unit is a seed where the study has one replicate: the answer is then conditional on one selection by
  each arm. With several replicates it is a replicate, by the mean over its seeds.
- A diverged run is a result: it enters with the worst value of the metric that any run of the study ended
  with. A failed run is none, and its pair is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dashboards import stats
from dashboards.frames import Frame, Trial
from orchestrator.records import TrialState
from orchestrator.spec import Arm


@dataclass(frozen=True)
class Sample:
    """What the runs of an arm's choice on fresh seeds gave: `values` by (replicate, seed)."""

    values: Mapping[tuple[int, int], float]  # diverged ones included, at the worst value
    diverged: int
    missing: int  # asked for and without a result: failed, stopped, or not yet ended

    @property
    def units(self) -> dict[int, float]:
        """By replicate if there are several, else by seed."""
        replicates: dict[int, list[float]] = {}
        for (replicate, _), value in self.values.items():
            replicates.setdefault(replicate, []).append(value)
        if len(replicates) > 1:
            return {replicate: math.fsum(of) / len(of) for replicate, of in replicates.items()}
        return {seed: value for (_, seed), value in self.values.items()}


@dataclass(frozen=True)
class Contrast:
    """Challenger against incumbent. `mean` is positive where the challenger is better."""

    challenger: str
    incumbent: str
    column: str
    metric: str
    unit: str  # seed or replicate
    n: int
    mean: float | None
    interval: stats.Interval | None
    p: float
    p_holm: float  # over the columns compared beside it; p where there is one
    effect: float | None  # in paired standard deviations
    share: float | None  # how often a run of the challenger beats a run of the incumbent
    needed: int | None  # units in all; None: not known, or more than can be asked for
    diverged: tuple[int, int]  # challenger, incumbent
    missing: tuple[int, int]
    differences: tuple[float, ...]

    @property
    def better(self) -> bool:
        return self.mean is not None and self.mean > 0


def sample(frame: Frame, arm: Arm, metric: str, *, diverged_too: bool = True) -> Sample:
    """`diverged_too`: a diverged run enters, at the worst value; else it is only counted."""
    trials = frame.confirming(arm)
    values: dict[tuple[int, int], float] = {}
    diverged = missing = 0
    worst = None
    for trial in trials:
        value = frame.value_of(trial, metric)
        if trial.state is TrialState.DIVERGED:
            diverged += 1
            if not diverged_too:
                continue
            worst = _worst(frame, metric) if worst is None else worst
            value = worst
        if value is None:
            missing += 1
        else:
            values[trial.replicate, trial.seed] = value
    return Sample(values, diverged, missing)


def _worst(frame: Frame, metric: str) -> float | None:
    """Of all runs that ended, whatever became of them: the last finite value that a run reported."""
    met = [_last(frame, trial, metric) for of in frame.trials.values() for trial in of]
    known = [value for value in met if value is not None]
    return (max if frame.lower_is_better(metric) else min)(known, default=None)


def _last(frame: Frame, trial: Trial, metric: str) -> float | None:
    return trial.values.get(metric, frame.value_of(trial, metric)) if trial.ended else None


def contrast(frame: Frame, challenger: Arm, incumbent: Arm, *, metric: str) -> Contrast:
    ours, theirs = sample(frame, challenger, metric), sample(frame, incumbent, metric)
    both = ours.values.keys() & theirs.values.keys()
    paired = [replace(s, values={k: v for k, v in s.values.items() if k in both}) for s in (ours, theirs)]
    sign = -1.0 if frame.lower_is_better(metric) else 1.0
    a, b = (s.units for s in paired)
    differences = tuple(sign * (a[unit] - b[unit]) for unit in sorted(a))
    effect = stats.effect_size(differences)
    several = len({replicate for replicate, _ in both}) > 1
    p = stats.sign_flip_p(differences)
    return Contrast(
        challenger=challenger.name,
        incumbent=incumbent.name,
        column=challenger.column,
        metric=metric,
        unit="replicate" if several else "seed",
        n=len(differences),
        mean=math.fsum(differences) / len(differences) if differences else None,
        interval=stats.mean_interval(differences),
        p=p,
        p_holm=p,
        effect=effect,
        share=_share(a, b, sign) if differences else None,
        needed=None if effect is None else stats.units_to_decide(effect),
        diverged=(ours.diverged, theirs.diverged),
        missing=(ours.missing, theirs.missing),
        differences=differences,
    )


def _share(a: Mapping[int, float], b: Mapping[int, float], sign: float) -> float:
    return stats.probability_of_improvement(*([sign * v for v in of.values()] for of in (a, b)))


def by_column(frame: Frame, challenger_row: str, incumbent_row: str, *, metric: str) -> list[Contrast]:
    """The two rows in every column where both stand, with Holm's correction over the columns."""
    found = []
    for column in frame.columns():
        arms = [frame.arm_at(row, column) for row in (challenger_row, incumbent_row)]
        if arms[0] is not None and arms[1] is not None and arms[0] != arms[1]:
            found.append(replace(contrast(frame, arms[0], arms[1], metric=metric), column=column))
    adjusted = stats.holm([each.p for each in found])
    return [replace(each, p_holm=p) for each, p in zip(found, adjusted, strict=True)]
