"""Which numbers does each figure show? Data only; the ink is in `figures`.

All of it comes by column of the table. Lines are named by rows, in the order of the spec.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dashboards.evidence import stats
from dashboards.evidence.cautions import edge
from dashboards.evidence.contrasts import sample
from dashboards.evidence.frames import Curve, Curves, Frame, Trial, schedule
from orchestrator.ground import extras
from orchestrator.study.space import Value, value_text
from orchestrator.study.spec import Arm, Parameter
from trainer.config.paths import value_at
from trainer.protocol import COUNTS

if TYPE_CHECKING:
    import numpy as np
else:
    np = extras.Later("numpy")

UNITS = ("chip-hours", "runs", "steps", "run-hours")  # the one switch of the anytime curve
WALL_CLOCK = "wall-clock hours"
MOST_POINTS = 200  # of a curve in a figure
ETA = "guidance.eta"


@dataclass(frozen=True)
class Line:
    """A curve, with a band where it stands for several replicates."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    steady: bool = False  # a static value, drawn as a reference
    row: str = ""  # of the table, where the name says more than that
    chosen: bool = False  # the run, or the value, that the arm chose


def costs_of(frame: Frame, trials: Sequence[Trial], unit: str) -> list[float]:
    """What each trial was charged, in that unit."""
    ways: dict[str, Callable[[Trial], float]] = {
        "runs": lambda t: 1.0,
        "steps": lambda t: t.charged.get(COUNTS[0], 0.0),
        "run-hours": lambda t: t.hours,
        "chip-hours": lambda t: t.hours * frame.spec.resources.chips,
    }
    return [ways[unit](trial) for trial in trials]


def line_of(frame: Frame, arm: Arm, unit: str, *, replicate: int) -> stats.Steps:
    """The best so far of one replicate, in the order in which its points were proposed."""
    trials = _ended(frame, arm, replicate)
    costs, values = costs_of(frame, trials, unit), [t.value for t in trials]
    line = stats.best_so_far(costs, values, minimize=frame.minimize)
    return replace(line, cost=line.cost + _before(frame, arm, unit, replicate=replicate))


def _ended(frame: Frame, arm: Arm, replicate: int) -> list[Trial]:
    return [t for t in frame.of(arm) if t.replicate == replicate and t.ended]


def _before(frame: Frame, arm: Arm, unit: str, *, replicate: int, slots: int = 1) -> float:
    """What an arm that follows another had cost before its first run: the replicate that it took from, and
    what that one followed in turn. Of repetitions on fresh seeds one, their mean (see `Frame.spent`)."""
    if arm.after is None:
        return 0.0
    source = frame.spec.arm(arm.after.arm)
    lane = frame.spec.taken_from(source, replicate)
    took = costs_of(frame, _ended(frame, source, lane), "run-hours" if unit == WALL_CLOCK else unit)
    if source.fresh_seeds:
        own = math.fsum(took) / max(1, len(took))
    elif unit == WALL_CLOCK:
        own = max((at for at, _ in schedule(frame, source, slots=slots, replicate=lane)), default=0.0)
    else:
        own = math.fsum(took)
    return own + _before(frame, source, unit, replicate=lane, slots=slots)


def anytime(frame: Frame, column: str) -> dict[str, list[Line]]:
    """By unit: the best objective so far against what was spent, of every arm that chose something. Of runs
    on fresh seeds none is chosen, so that the best of them would be luck."""
    arms = [a for a in frame.searches() if a.column in (column, "*")]
    found: dict[str, list[Line]] = {unit: [] for unit in UNITS}
    for arm in (a for a in arms if a.after is None or a.bayesian):
        for unit in UNITS:
            lines = [line_of(frame, arm, unit, replicate=r) for r in range(frame.spec.replicates_of(arm))]
            x, *ys = stats.over_replicates([line for line in lines if line.cost.size], most=MOST_POINTS)
            if x.size:
                y, low, high = (tuple(map(float, of)) for of in ys)
                band = (low, high) if len(lines) > 1 else ((), ())
                found[unit].append(Line(frame.row_of(arm), tuple(map(float, x)), y, *band))
    return found


# -- equal budgets ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Equal:
    """What the incumbent had found by the time that the challenger was done, in one unit."""

    column: str
    unit: str
    budget: float
    challenger: float | None
    incumbent: float | None  # None: its first run was not done by then
    incumbent_runs: int
    # What the challenger spent until it had the incumbent's final best: infinite for a miss, None where
    # there was nothing to reach.
    to_reach: float | None
    incumbent_total: float


def equal_budgets(frame: Frame, *, slots: int) -> list[Equal]:
    """The registered claim's rows in every column: at equal runs, chip-hours and wall-clock.

    The bests are those of the first replicate; the time to the target is the median of all of them.
    """
    claim = frame.spec.claim
    if claim is None:
        return []
    rows = [frame.row_of(frame.spec.arm(name)) for name in (claim.challenger, claim.incumbent)]
    found = []
    for column in frame.columns():
        ours, theirs = (frame.arm_at(row, column) for row in rows)
        if ours is None or theirs is None or ours.fresh_seeds or theirs.fresh_seeds:
            continue  # repetitions on fresh seeds search nothing
        for unit in ("runs", "chip-hours", WALL_CLOCK):
            one, other = (_spent(frame, arm, unit, slots=slots) for arm in (ours, theirs))
            if one and other:
                found.append(_equal(frame, column, unit, one, other))
    return found


def _spent(frame: Frame, arm: Arm, unit: str, *, slots: int) -> list[stats.Steps]:
    """The best so far of each replicate, against what it took."""
    lines = []
    for replicate in range(frame.spec.replicates_of(arm)):
        if unit == WALL_CLOCK:
            done = schedule(frame, arm, slots=slots, replicate=replicate)
            values = [trial.value for _, trial in done]
            best = stats.best_so_far([0.0] * len(done), values, minimize=frame.minimize).best
            start = _before(frame, arm, unit, replicate=replicate, slots=slots)
            lines.append(stats.Steps(start + np.array([hours for hours, _ in done]), best))
        else:
            lines.append(line_of(frame, arm, unit, replicate=replicate))
    return [line for line in lines if line.cost.size]


def _equal(
    frame: Frame, column: str, unit: str, ours: Sequence[stats.Steps], theirs: Sequence[stats.Steps]
) -> Equal:
    one, other = ours[0], theirs[0]
    budget = float(one.cost[-1])
    done = int((other.cost <= budget * (1 + 1e-12)).sum())
    target = _finite(float(np.median([line.best[-1] for line in theirs])))
    took = [] if target is None else [stats.time_to_target(x, target, minimize=frame.minimize) for x in ours]
    return Equal(
        column=column,
        unit=unit,
        budget=budget,
        challenger=_finite(float(one.best[-1])),
        incumbent=_finite(float(other.best[done - 1])) if done else None,
        incumbent_runs=done,
        to_reach=stats.median_time(took) if took else None,
        incumbent_total=float(other.cost[-1]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# -- what was learned ------------------------------------------------------------------------------------
def closely(frame: Frame) -> list[Trial]:
    """The trials whose curves are read: each arm's best and what it chose, every run of a grid that learns,
    confirmations, and repetitions of what nothing chose, longer training aside."""
    chosen: dict[str, Trial] = {}
    for arm in frame.spec.arms:
        best = frame.best(arm)
        of = [best] if best is not None else []
        of += [run for choice in frame.choices(arm) for run in choice.runs]
        repeated = arm.fresh_seeds and arm.after is None and not arm.trains_longer
        if frame.spec.confirms(arm) or repeated or (arm.is_grid and frame.learns[arm.name]):
            of += frame.of(arm)
        chosen |= {trial.name: trial for trial in of}
    return list(chosen.values())


def hypers(frame: Frame, column: str) -> tuple[str, ...]:
    """What is learned somewhere in a column."""
    arms = (a for a in frame.spec.arms if a.column in (column, "*"))
    return tuple(dict.fromkeys(name for arm in arms for name in frame.learns[arm.name]))


def trajectories(frame: Frame, heard: Mapping[str, Curves], column: str, hyper: str) -> list[Line]:
    """Figures 1 and 2: each learned run by step, and beside it what a search chose: a value, or a course."""
    found = []
    for arm in frame.spec.arms:
        if arm.column not in (column, "*") or frame.spec.confirms(arm):
            continue
        best = frame.best(arm)
        if hyper not in frame.learns[arm.name]:
            if best is not None and arm.bayesian:
                found += _found(frame, arm, best, heard, hyper)
            continue
        shown = [t for t in frame.of(arm) if t.replicate == 0] if arm.is_grid else [best]
        for trial in shown:
            points = heard[trial.name].hyper.get(hyper, ()) if trial and trial.name in heard else ()
            if trial and points:
                whole = from_the_start(hyper, points, trial.config)
                row = frame.row_of(arm)
                drawn = line(f"{row} {setting(arm, trial)}".strip(), whole)
                found.append(replace(drawn, row=row, chosen=trial == best))
    return found


def from_the_start(hyper: str, points: Curve, config: Mapping[str, Any]) -> Curve:
    """With the value that the run began with, which no report tells."""
    start = value_at(config, f"schedule.course.{hyper}.start")
    start = value_at(config, f"optimizer.{hyper}") if start is None else start
    return ((0, float(start)), *points) if isinstance(start, int | float) else points


def _found(frame: Frame, arm: Arm, best: Trial, heard: Mapping[str, Curves], hyper: str) -> list[Line]:
    points = heard[best.name].hyper.get(hyper, ()) if best.name in heard else ()
    if points and value_at(best.config, f"schedule.course.{hyper}") is not None:
        row = frame.row_of(arm)
        return [replace(line(row, from_the_start(hyper, points, best.config)), row=row, chosen=True)]
    value = value_at(best.config, f"optimizer.{hyper}")
    if not points or not isinstance(value, int | float):
        return []
    row, at = frame.row_of(arm), float(value)
    return [Line(f"{row} {at:.3g}", (0.0, float(points[-1][0])), (at, at), steady=True, row=row, chosen=True)]


def setting(arm: Arm, trial: Trial) -> str:
    """Which of its arm's settings a learned run has: what the arm searches, and else η̂."""
    values = {path: value_at(trial.config, path) for path in [p.path for p in arm.space] or [ETA]}
    return " ".join(
        f"{'η̂' if path == ETA else path.rpartition('.')[2]} "
        f"{f'{value:.2g}' if isinstance(value, float) else value_text(value)}"
        for path, value in values.items()
        if isinstance(value, bool | int | float | str)
    )


def learning_curves(frame: Frame, heard: Mapping[str, Curves], column: str) -> list[Line]:
    """The objective by step, of the best run of every arm in the column."""
    found = []
    for arm in frame.spec.arms:
        best = frame.best(arm)
        if frame.spec.confirms(arm) or arm.column not in (column, "*") or best is None:
            continue
        points = heard[best.name].values.get(frame.spec.objective.metric, ()) if best.name in heard else ()
        if points:
            found.append(line(frame.row_of(arm), points))
    return found


def line(name: str, points: Curve) -> Line:
    """A curve as it is drawn."""
    kept = thinned(points)
    return Line(name, tuple(float(step) for step, _ in kept), tuple(value for _, value in kept))


def thinned(points: Curve, *, most: int = MOST_POINTS) -> Curve:
    """Evenly by position, the first and the last always among them."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return tuple(points[round(i * last / (most - 1))] for i in range(most))


# -- where the search looked, and what was confirmed ------------------------------------------------------
@dataclass(frozen=True)
class Slice:
    """All runs of a search along one dimension of its space."""

    arm: str
    row: str
    parameter: Parameter
    x: tuple[Value, ...]
    y: tuple[float, ...]
    index: tuple[int, ...]
    best: int | None  # its position in x
    edge: str | None  # lower or upper, where the best lies on one


def slices(frame: Frame, column: str) -> list[Slice]:
    """Of the Bayesian arms in a column. Runs without a value are left out, which have no height, and those
    with what is none of the choices, which have no place."""
    found = []
    for arm in frame.spec.arms:
        if not arm.bayesian or arm.column not in (column, "*"):
            continue
        best = frame.best(arm)
        for parameter in arm.space:
            shown = [
                t
                for t in frame.of(arm)
                if t.value is not None
                and parameter.path in t.point
                and (not parameter.choices or parameter.takes(t.point[parameter.path]))
            ]
            at = [t.name for t in shown].index(best.name) if best in shown and best is not None else None
            found.append(
                Slice(
                    arm=arm.name,
                    row=frame.row_of(arm),
                    parameter=parameter,
                    x=tuple(t.point[parameter.path] for t in shown),
                    y=tuple(t.value for t in shown if t.value is not None),
                    index=tuple(t.index for t in shown),
                    best=at,
                    edge=edge(parameter, shown[at].point[parameter.path]) if at is not None else None,
                )
            )
    return found


@dataclass(frozen=True)
class Confirmed:
    """One row's runs on fresh seeds; the same seed stands at the same place in every row."""

    row: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]


def confirmed(frame: Frame, column: str, *, metric: str) -> list[Confirmed]:
    arms: Iterable[Arm] = (
        a for a in frame.spec.arms if not frame.spec.confirms(a) and a.column in (column, "*")
    )
    found = []
    for arm in arms:
        values = sample(frame, arm, metric, diverged_too=False).values
        by_seed = sorted((seed, value) for (_, seed), value in values.items())
        if by_seed:
            seeds, numbers = zip(*by_seed, strict=True)
            found.append(Confirmed(frame.row_of(arm), seeds, numbers))
    return found
