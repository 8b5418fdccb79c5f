"""How does the objective go over training, at every setting that was tried? (the paper's Figures 3, F.2, F.3)

A panel for each column. Where the column has a search, its lines are runs on the search seed: each setting of
a grid that learns, what the other searches chose, base. Where it has none they are runs on fresh seeds: the
mean of every setting over the seeds that all of them have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from dashboards.evidence.frames import Curve, Curves, Frame, Trial
from dashboards.evidence.paper_t5 import pretrains
from dashboards.evidence.series import Line, line, setting
from dashboards.evidence.sooner import FEWEST, base_in
from orchestrator.study.spec import Arm


@dataclass(frozen=True)
class Column:
    """`base`: the row of the static default, the first line where there is one; `last`: its last value."""

    lines: tuple[Line, ...]
    base: str = ""
    last: float | None = None


def over_training(frame: Frame, heard: Mapping[str, Curves], column: str) -> Column:
    """Nothing, where no run was evaluated six times or more."""
    base = base_in(frame, column)
    arms = [arm for arm in frame.spec.arms if arm.column in (column, "*") and not frame.spec.confirms(arm)]
    searching = [arm for arm in arms if arm.phase == "search" and not arm.fresh_seeds]
    if any(arm.column == column for arm in searching) or frame.columns() == ("*",):
        lines = [each for arm in searching for each in _searched(frame, heard, arm)]
    else:
        plain = [arm for arm in arms if arm.fresh_seeds and arm.after is None and not arm.trains_longer]
        lines = _on_fresh_seeds(frame, heard, [*([base] if base and base not in plain else []), *plain])
    if not any(len(each.x) >= FEWEST for each in lines):
        return Column(())
    row = "" if base is None else frame.row_of(base)
    lines.sort(key=lambda each: each.row != row)
    of_base = [each for each in lines if each.row == row]
    return Column(tuple(lines), row, of_base[0].y[-1] if of_base else None)


def _searched(frame: Frame, heard: Mapping[str, Curves], arm: Arm) -> list[Line]:
    best, row = frame.best(arm), frame.row_of(arm)
    several = arm.is_grid and bool(frame.learns.get(arm.name))
    found = []
    for trial in (t for t in frame.of(arm) if (several and t.replicate == 0) or t == best):
        points = _points(frame, heard, trial)
        if points:
            name = f"{row} {setting(arm, trial)}".strip() if several else row
            found.append(replace(line(name, points), row=row, chosen=several and trial == best))
    return found


def _points(frame: Frame, heard: Mapping[str, Curves], trial: Trial) -> Curve:
    return heard[trial.name].values.get(frame.spec.objective.metric, ()) if trial.name in heard else ()


def _on_fresh_seeds(frame: Frame, heard: Mapping[str, Curves], arms: list[Arm]) -> list[Line]:
    curves: dict[str, dict[tuple[int, int], dict[int, float]]] = {}
    for arm in arms:
        known = {
            (t.replicate, t.seed): _points(frame, heard, t)
            for t in frame.confirming(arm)
            if t.value is not None
        }
        if any(known.values()):
            curves[frame.row_of(arm)] = {key: dict(points) for key, points in known.items() if points}
    return mean_lines(curves)


def mean_lines(curves: Mapping[str, Mapping[tuple[int, int], Mapping[int, float]]]) -> list[Line]:
    """Of each row's curves by run the mean, over the runs and at the steps that all of them have."""
    seeds = set.intersection(*(set(of) for of in curves.values())) if curves else set()
    found = []
    for row, of in curves.items():
        shown = [of[key] for key in sorted(seeds)]
        steps = sorted(set.intersection(*map(set, shown))) if shown else []
        points = tuple((step, fmean(each[step] for each in shown)) for step in steps)
        if points:
            found.append(replace(line(row, points), row=row))
    return found


# -- by how often the text is read ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Repeats:
    """One row: its last losses, in the mean over fresh seeds, by how often a run reads its text."""

    row: str
    often: tuple[int, ...]
    dev: tuple[float, ...]
    train: tuple[float, ...]


def repeats(frame: Frame) -> list[Repeats]:
    """Of a study that pretrains and whose columns say how often a run reads its text."""
    columns = {column: column.replace(",", "") for column in frame.columns()}
    if not pretrains(frame.spec) or len(columns) < 2 or not all(each.isdigit() for each in columns.values()):
        return []
    found = []
    for row in dict.fromkeys(frame.row_of(arm) for arm in frame.spec.arms):
        points = [
            (int(often), *losses)
            for column, often in columns.items()
            if (arm := frame.arm_at(row, column)) is not None and (losses := _last(frame, arm))
        ]
        if len(points) > 1:
            often_, dev, train = zip(*sorted(points), strict=True)
            found.append(Repeats(row, often_, dev, train))
    return found


def _last(frame: Frame, arm: Arm) -> tuple[float, float] | None:
    """The dev and the train loss that the runs ended with."""
    ended = [
        (t.value, t.values["train_loss"])
        for t in frame.confirming(arm)
        if t.value is not None and "train_loss" in t.values
    ]
    if not ended:
        return None
    dev, train = zip(*ended, strict=True)
    return fmean(dev), fmean(train)
