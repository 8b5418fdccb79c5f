"""Which of two arms chose better, seed by seed?

The runs of each arm's choice on fresh seeds are compared, paired by seed. A difference is positive if the
challenger is better, whether the metric should be low or high.

- A metric that should be low, and is above zero in all runs, is compared by its logarithm: the report shows
  the ratio of the challenger's value to the incumbent's, as a geometric mean. Other metrics are compared
  directly, and the report shows the mean difference.
- The 95% interval holds all ratios, or differences, that the test does not reject, so it excludes "no
  difference" exactly when p is at most .05. With fewer than six pairs the test can reject nothing, and there
  is no interval.
- The unit is a seed if each arm chose once or not at all: the answer does not cover variation between
  searches. If an arm chose in several replicates, the unit is a replicate, by the mean over its seeds.
- A diverged run is a result: it counts as the worst value of the metric that any run ended with in the
  compared columns, including arms shared by all columns. So do the confirmations of a search in which every
  run diverged. A failed run has no result: its pair is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

from dashboards.evidence import stats
from dashboards.evidence.frames import Frame, Trial
from dashboards.evidence.wording import minus, signed
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm

KEPT = 0.5  # of the mean difference, without the unit that makes the gap


@dataclass(frozen=True)
class Sample:
    """What the runs of an arm's choice on fresh seeds gave: `values` by (replicate, seed)."""

    values: Mapping[tuple[int, int], float]  # diverged ones included, at the worst value
    diverged: int
    missing: int  # asked for and without a result: failed, stopped, or not yet ended
    replicated: bool  # chosen anew in several replicates

    @property
    def units(self) -> dict[int, float]:
        """By replicate where each has a choice of its own, else by seed."""
        return by_unit(self.values, replicated=self.replicated)


def by_unit(values: Mapping[tuple[int, int], float], *, replicated: bool) -> dict[int, float]:
    if not replicated:
        return {seed: value for (_, seed), value in values.items()}
    found: dict[int, list[float]] = {}
    for (replicate, _), value in values.items():
        found.setdefault(replicate, []).append(value)
    return {replicate: math.fsum(of) / len(of) for replicate, of in found.items()}


@dataclass(frozen=True)
class Contrast:
    """Challenger against incumbent. `mean`, `median` and `differences` are positive where the challenger is
    better."""

    challenger: str
    incumbent: str
    column: str
    metric: str
    unit: str  # seed or replicate
    n: int
    mean: float | None  # of the metric itself
    median: float | None
    ratio: float | None  # the challenger's over the incumbent's, where the logarithm is compared
    interval: stats.Interval | None  # of the ratio where there is one, else of the mean
    better_on: int  # so many units, of n
    worse_on: int
    decisive: int | None  # the unit without which less than half of the difference is left
    p: float
    p_holm: float  # over the columns compared beside it; p where there is one
    effect: float | None  # in paired standard deviations
    share: float | None  # how often a run of the challenger beats a run of the incumbent
    needed: int | None  # units in all; None: not known, or more than can be asked for
    diverged: tuple[int, int]  # challenger, incumbent
    missing: tuple[int, int]
    differences: tuple[float, ...]  # as they are compared: of the logarithms where there is a ratio

    @property
    def better(self) -> bool:
        """As it is compared: of the logarithms, where there is a ratio."""
        return math.fsum(self.differences) > 0

    @property
    def clear(self) -> Literal["better", "worse", "no"]:
        """Beyond the noise: by the interval, which agrees with p."""
        nothing = 0.0 if self.ratio is None else 1.0
        if self.interval is None or self.interval.low <= nothing <= self.interval.high:
            return "no"
        return "better" if self.better else "worse"

    @property
    def size(self) -> str:
        """×0.38, or +0.21."""
        if self.ratio is not None:
            return f"×{self.ratio:.3g}"
        return "–" if self.mean is None else signed(self.mean)

    @property
    def within(self) -> str:
        """0.31 to 0.47, or −0.13 to +0.29; empty where there is no interval."""
        if self.interval is None:
            return ""
        sign = "" if self.ratio is not None else "+"
        low, high = (minus(f"{end:{sign}.3g}") for end in (self.interval.low, self.interval.high))
        return f"{low} to {high}"


def sample(
    frame: Frame, arm: Arm, metric: str, *, beside: Sequence[Arm] = (), diverged_too: bool = True
) -> Sample:
    """`beside`: what it is compared with. `diverged_too`: a diverged run enters, at the worst value; else it
    is only counted."""
    values: dict[tuple[int, int], float] = {}
    diverged = missing = 0
    columns = {"*", *(each.column for each in (arm, *beside))}
    worst: float | None = None
    for trial in frame.confirming(arm):
        value = frame.value_of(trial, metric)
        if trial.state is TrialState.DIVERGED or _had_nothing(frame, arm, trial):
            diverged += 1
            if not diverged_too:
                continue
            worst = _worst(frame, metric, columns) if worst is None else worst
            value = worst
        if value is None:
            missing += 1
        else:
            values[trial.replicate, trial.seed] = value
    return Sample(values, diverged, missing, replicated=frame.selections(arm) > 1)


def _had_nothing(frame: Frame, arm: Arm, trial: Trial) -> bool:
    """Was this to run the arm's choice again, all of whose search diverged, so that it never began?"""
    if trial.state is not TrialState.STOPPED or trial.arm == arm.name:
        return False
    chosen_in = frame.spec.taken_from(arm, trial.replicate)
    search = [t.state for t in frame.of(arm) if t.replicate == chosen_in]
    return bool(search) and all(state is TrialState.DIVERGED for state in search)


def _worst(frame: Frame, metric: str, columns: Collection[str]) -> float | None:
    """Of all runs that ended in these columns, whatever became of them: the last finite value reported."""
    here = (arm for arm in frame.spec.arms if arm.column in columns)
    met = [_last(frame, trial, metric) for arm in here for trial in frame.of(arm)]
    known = [value for value in met if value is not None]
    return (max if frame.lower_is_better(metric) else min)(known, default=None)


def _last(frame: Frame, trial: Trial, metric: str) -> float | None:
    return trial.values.get(metric, frame.value_of(trial, metric)) if trial.ended else None


def paired(samples: Sequence[Sample]) -> list[dict[int, float]]:
    """Each by unit, of the runs that all of them have. If one of them chose anew in every replicate, its runs
    in one are no more than one choice, so that the replicate is the unit of all."""
    shared = sorted(set.intersection(*(set(each.values) for each in samples)))
    replicated = any(each.replicated for each in samples)
    return [by_unit({key: each.values[key] for key in shared}, replicated=replicated) for each in samples]


def contrast(frame: Frame, challenger: Arm, incumbent: Arm, *, metric: str) -> Contrast:
    samples = (
        sample(frame, challenger, metric, beside=(incumbent,)),
        sample(frame, incumbent, metric, beside=(challenger,)),
    )
    return of_samples(frame, (challenger, incumbent), samples, metric=metric, column=challenger.column)


def of_samples(
    frame: Frame, sides: tuple[Arm, Arm], samples: tuple[Sample, Sample], *, metric: str, column: str
) -> Contrast:
    """Of these values of challenger and incumbent."""
    (challenger, incumbent), (ours, theirs) = sides, samples
    a, b = paired(samples)
    sign = -1.0 if frame.lower_is_better(metric) else 1.0
    units = sorted(a)
    log = by_logarithm(frame, metric, [*a.values(), *b.values()])
    differences = paired_gains(a, b, sign=sign, log=log)
    plain = paired_gains(a, b, sign=sign, log=False)
    effect = stats.effect_size(differences)
    p = stats.sign_flip_p(differences)
    within = stats.sign_flip_interval(differences)
    if within is not None and log:  # a gain is a ratio below 1
        within = stats.Interval(math.exp(-within.high), math.exp(-within.low))
    return Contrast(
        challenger=challenger.name,
        incumbent=incumbent.name,
        column=column,
        metric=metric,
        unit="replicate" if ours.replicated or theirs.replicated else "seed",
        n=len(units),
        mean=fmean(plain) if plain else None,
        median=median(plain) if plain else None,
        ratio=math.exp(-fmean(differences)) if log else None,
        interval=within,
        better_on=sum(d > 0 for d in differences),
        worse_on=sum(d < 0 for d in differences),
        decisive=_decisive(units, differences),
        p=p,
        p_holm=p,
        effect=effect,
        share=_share(a, b, sign) if plain else None,
        needed=None if effect is None else stats.units_to_decide(effect),
        diverged=(ours.diverged, theirs.diverged),
        missing=(ours.missing, theirs.missing),
        differences=differences,
    )


def by_logarithm(frame: Frame, metric: str, values: Sequence[float]) -> bool:
    """Whether a metric with these values is compared by its logarithm."""
    return frame.lower_is_better(metric) and bool(values) and min(values) > 0


def paired_gains(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, sign: float, log: bool
) -> tuple[float, ...]:
    """By unit, in their order: positive where ours is better, which `sign` says. `log`: of the logarithms."""
    compared = math.log if log else float
    return tuple(sign * (compared(ours[unit]) - compared(theirs[unit])) for unit in sorted(ours))


def _decisive(units: Sequence[int], differences: Sequence[float]) -> int | None:
    """The unit that makes the gap: without it less than half of the mean difference is left, or it turns."""
    whole = math.fsum(differences)
    if len(units) < 3 or not whole:
        return None
    place = max(range(len(units)), key=lambda i: differences[i] / whole)
    left = (whole - differences[place]) / (len(units) - 1)
    return units[place] if left / (whole / len(units)) < KEPT else None


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
