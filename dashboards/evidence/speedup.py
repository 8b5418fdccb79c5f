"""By how much would plain training have to be lengthened to reach what a row reached, with all that it cost?

Losses fall as a power of time, so plain runs at several lengths are joined on the log of both: the curve is
read and not modelled. Where plain training of some length and the row are equally good, the mean difference
of log loss, seed by seed, is zero; the interval holds all lengths that the sign-flip test of those
differences does not reject. The speed-up is that length over the row's cost, both in costs of plain training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from dashboards.evidence.contrasts import Sample, paired, sample
from dashboards.evidence.frames import Frame, Trial
from dashboards.evidence.stats import LEVEL, Array, Interval, fewest_pairs, sign_flip_p
from orchestrator.ground import extras
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm, CostBy

if TYPE_CHECKING:
    import numpy as np
else:
    np = extras.Later("numpy")

POINTS = 201  # of the curve, evenly on the log of the length; beside them the lengths themselves
FEW = 10  # seeds, whose test takes no time

Side = Literal["within", "beyond", "short"]


@dataclass(frozen=True)
class Speedup:
    """`value` is None where plain training reaches the row at none of the lengths that were run: `side` says
    whether the longest plain runs are worse than the row (beyond) or the shortest are better (short). An end
    of the interval is None where it lies outside of `span`."""

    n: int
    value: float | None
    low: float | None
    high: float | None
    tested: bool  # there are enough seeds for an interval
    span: Interval  # what could be read: the shortest and the longest plain runs, over the row's cost
    side: Side

    def over(self, cost: float) -> Speedup:
        """At so many times the cost."""
        value, low, high = (None if x is None else x / cost for x in (self.value, self.low, self.high))
        span = Interval(self.span.low / cost, self.span.high / cost)
        return Speedup(self.n, value, low, high, self.tested, span, self.side)

    @property
    def inverse(self) -> Speedup:
        """One over it: what was beyond all that could be read is then short of it."""
        value, low, high = (x if x is None else 1 / x for x in (self.value, self.high, self.low))
        turned: dict[Side, Side] = {"beyond": "short", "short": "beyond", "within": "within"}
        span = Interval(1 / self.span.high, 1 / self.span.low)
        return Speedup(self.n, value, low, high, self.tested, span, turned[self.side])

    @property
    def shown(self) -> str:
        """1.12; beyond what could be read > 1.7, and below it < 1."""
        return {"beyond": self._above, "short": self._below}.get(self.side, f"{self.value or 0.0:.3g}")

    @property
    def words(self) -> str:
        """With its interval: 1.12 (1.01–1.23)."""
        surely = {"beyond": self.low == self.span.high, "short": self.high == self.span.low}
        if not self.tested or surely.get(self.side):
            return self.shown
        low = self._below if self.low is None else f"{self.low:.3g}"
        high = self._above if self.high is None else f"{self.high:.3g}"
        return f"{self.shown} ({low}–{high})"

    @property
    def _below(self) -> str:
        return f"< {self.span.low:.3g}"

    @property
    def _above(self) -> str:
        return f"> {self.span.high:.3g}"


def speedup(
    plain: Mapping[float, Mapping[int, float]], row: Mapping[int, float], *, cost: float
) -> Speedup | None:
    """`plain`: losses by length (1: the study's own) and seed; `row`: its losses by seed; `cost`: what one of
    its runs costs, in plain runs of length 1. None without two lengths and a seed that all of them share."""
    lengths = sorted(plain)
    seeds = sorted(set(row).intersection(*(plain[length] for length in lengths))) if lengths else []
    losses = [[plain[length][seed] for seed in seeds] for length in lengths]
    if len(lengths) < 2 or not seeds or min(min(of) for of in [*losses, [row[s] for s in seeds]]) <= 0:
        return None
    knots = np.log(lengths)
    at = np.unique([*knots, *np.linspace(knots[0], knots[-1], POINTS)[1:-1]])
    ours = np.log([row[seed] for seed in seeds])
    curves = [np.interp(at, knots, np.log(of)) for of in np.array(losses).T]
    excess = np.array(curves).T - ours  # by length and seed: how much worse plain training is
    mean = excess.mean(axis=1)
    side: Side = "short" if mean[0] < 0 else "beyond" if mean[-1] > 0 else "within"
    crossed = _crossing(at, mean) if side == "within" else None
    low, high = _ends(at, excess, crossed, side)
    return Speedup(
        n=len(seeds),
        value=None if crossed is None else math.exp(crossed),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        tested=len(seeds) >= fewest_pairs(),
        span=Interval(math.exp(float(at[0])), math.exp(float(at[-1]))),
        side=side,
    ).over(cost)


def _crossing(at: Array, mean: Array) -> float:
    """The log of the length from which on plain training is no worse."""
    worse = np.flatnonzero(mean > 0)
    i = int(worse[-1]) if worse.size else 0
    if i == len(at) - 1 or mean[i] == mean[i + 1]:
        return float(at[i])
    return float(at[i] + (at[i + 1] - at[i]) * mean[i] / (mean[i] - mean[i + 1]))


def _ends(at: Array, excess: Array, crossed: float | None, side: Side) -> tuple[float | None, float | None]:
    """The first and the last length that the test does not reject; None for one outside of those run. Of few
    seeds every point is tested, since a curve of many lengths may come back; of more every tenth one and
    those near the value, and then it is halved towards the ends."""

    def kept(i: int) -> bool:
        return sign_flip_p(excess[i]) > 1 - LEVEL

    first, last = 0, len(at) - 1
    near = [] if crossed is None else [min(int(np.searchsorted(at, crossed)), last)]
    every = 1 if excess.shape[1] <= FEW else 10
    tried = sorted({*range(first, last, every), last, *near})
    inside = [i for i in tried if kept(i)]
    if not inside:
        outside = {"beyond": (float(at[last]), None), "short": (None, float(at[first]))}
        return outside.get(side, (crossed, crossed))
    lowest = _halved(kept, inside[0], max((i for i in tried if i < inside[0]), default=first))
    highest = _halved(kept, inside[-1], min((i for i in tried if i > inside[-1]), default=last))
    low, high = float(at[lowest]), float(at[highest])
    if crossed is not None:  # the value may lie between two points of the curve
        low, high = min(low, crossed), max(high, crossed)
    return None if lowest == first else low, None if highest == last else high


def _halved(kept: Callable[[int], bool], inside: int, outside: int) -> int:
    """The last that is kept on the way out."""
    while abs(inside - outside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside


# -- of a study ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plain:
    """Plain runs of a column by their length in steps, the base's at 1."""

    column: str
    arms: tuple[Arm, ...]  # the base first
    samples: Mapping[float, Sample]

    @property
    def losses(self) -> dict[float, dict[int, float]]:
        """By length and unit, of the units that all lengths share."""
        return dict(zip(self.samples, paired([*self.samples.values()]), strict=True))


@dataclass(frozen=True)
class RowSpeedup:
    """What a row is worth in longer plain training."""

    row: str
    column: str
    loss: float  # the geometric mean over the same seeds
    cost: float  # of one of its runs, in plain runs of length 1
    search_cost: float  # of all runs that led to it, in the same
    cost_by: CostBy
    length: Speedup  # in lengths of plain training: at cost 1
    of_run: Speedup
    with_search: Speedup

    @property
    def whole_cost(self) -> float:
        return self.cost + self.search_cost

    def to_dict(self) -> dict[str, Any]:
        """What scripts get of it, and `from_dict` needs."""
        return {
            **asdict(self.of_run),
            "cost": self.cost,
            "cost_by": self.cost_by,
            "loss": self.loss,
            "length": asdict(self.length),
            "with_search": {**asdict(self.with_search), "cost": self.whole_cost, "search": self.search_cost},
        }


def from_dict(row: str, column: str, told: Mapping[str, Any]) -> RowSpeedup:
    def part(of: Mapping[str, Any]) -> Speedup:
        named = {name: of[name] for name in ("n", "value", "low", "high", "tested", "side")}
        return Speedup(**named, span=Interval(**of["span"]))

    return RowSpeedup(
        row=row,
        column=column,
        loss=told["loss"],
        cost=told["cost"],
        search_cost=told["with_search"]["search"],
        cost_by=told["cost_by"],
        length=part(told["length"]),
        of_run=part(told),
        with_search=part(told["with_search"]),
    )


def speedups(frame: Frame) -> tuple[RowSpeedup, ...]:
    """Of every row that ran on fresh seeds in a column with plain runs of several lengths, by the study's
    objective. The plain runs themselves are what the others are read against, and have none."""
    found = []
    rows = dict.fromkeys(frame.row_of(arm) for arm in frame.spec.arms if not frame.spec.confirms(arm))
    for column in frame.columns():
        plain = plain_runs(frame, column)
        if plain is not None:
            of = [_of_row(frame, plain, row) for row in rows]
            found += [each for each in of if each is not None]
    return tuple(found)


def plain_runs(frame: Frame, column: str) -> Plain | None:
    """The base's runs on fresh seeds, and those of longer plain training. None where there are no two lengths
    of them, or the loss has no logarithm."""
    metric = frame.spec.objective.metric
    arms = _plain_arms(frame, column)
    one = steps_of(frame, arms[0]) if arms else None
    if one is None or not frame.lower_is_better(metric):
        return None
    lengths: dict[float, Arm] = {}
    for arm in arms:
        steps = steps_of(frame, arm)
        if steps is not None and frame.confirming(arm):
            lengths.setdefault(steps / one, arm)
    samples = {at: sample(frame, arm, metric, beside=arms) for at, arm in sorted(lengths.items())}
    known = {length: met for length, met in samples.items() if met.values}
    found = Plain(column, tuple(arms), known)
    if 1.0 not in known or len(known) < 2 or not found.losses[1.0]:
        return None
    return found if min(loss for of in found.losses.values() for loss in of.values()) > 0 else None


def _plain_arms(frame: Frame, column: str) -> list[Arm]:
    """The base first, then longer ones; an arm of the column before one that stands in all."""
    here = [
        arm
        for arm in sorted(frame.spec.arms, key=lambda arm: arm.column == "*")
        if arm.column in (column, "*") and not frame.spec.confirms(arm) and not frame.learns[arm.name]
    ]
    base = [arm for arm in here if arm.known_role == "base"][:1]
    longer = [arm for arm in here if arm.trains_longer]
    return [*base, *longer] if base else []


def steps_of(frame: Frame, arm: Arm) -> int | None:
    """Of one run of the arm; None where its runs differ, or do not say."""
    steps = {trial.config.get("steps") for trial in (*frame.of(arm), *frame.confirming(arm))}
    only = steps.pop() if len(steps) == 1 else None
    return only if isinstance(only, int) and only > 0 else None


def _of_row(frame: Frame, plain: Plain, row: str) -> RowSpeedup | None:
    arm, metric = frame.arm_at(row, plain.column), frame.spec.objective.metric
    if arm is None or arm in plain.arms or not frame.confirming(arm):
        return None
    ours = sample(frame, arm, metric, beside=plain.arms)
    *theirs, mine = paired([*plain.samples.values(), ours])
    length = speedup(dict(zip(plain.samples, theirs, strict=True)), mine, cost=1.0)
    charged = _charged(frame, arm, plain.arms[0])
    if length is None or charged is None:
        return None
    by, cost, search = charged
    loss = math.exp(fmean(map(math.log, mine.values())))
    return RowSpeedup(
        row, plain.column, loss, cost, search, by, length, length.over(cost), length.over(cost + search)
    )


def _charged(frame: Frame, arm: Arm, base: Arm) -> tuple[CostBy, float, float] | None:
    """By what, one run of the arm, and what led to it, in runs of the base. By what the spec expects a step
    to cost, where it says so of all arms concerned; else by the runs' clocks."""
    hours = {each.name: each.run_hours for each in frame.spec.arms}
    ours, plain = hours[arm.name], hours[base.name]
    if ours and plain and all(hours[each.name] for each in _followed(frame, arm)):
        search = led_to(frame, arm, lambda trial: (hours[trial.arm] or 0.0) * trial.share_done)
        return "steps", ours / plain, search / plain
    one, of_base = (clocked(frame.confirming(each)) for each in (arm, base))
    if not one or not of_base:
        return None
    return "clocks", one / of_base, led_to(frame, arm, clock) / of_base


def led_to(frame: Frame, arm: Arm, of: Callable[[Trial], float]) -> float:
    """What led to the arm's choice: its search, and what it follows. Nothing, where nothing was chosen."""
    if arm.space:
        return frame.spent(arm, of)
    return frame.spent(frame.spec.arm(arm.after.arm), of) if arm.after else 0.0


def _followed(frame: Frame, arm: Arm) -> list[Arm]:
    if arm.after is None:
        return []
    source = frame.spec.arm(arm.after.arm)
    return [source, *_followed(frame, source)]


def clock(trial: Trial) -> float:
    return trial.charged.get("train_s", 0.0) + trial.charged.get("eval_s", 0.0)


def clocked(trials: Sequence[Trial]) -> float:
    """Of one whole run, in the mean; 0 where none completed."""
    whole = [clock(trial) for trial in trials if trial.state is TrialState.COMPLETED]
    return fmean(whole) if whole else 0.0
