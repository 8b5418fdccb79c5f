"""What did a result cost, in words? Rows of the tables of equal budgets and of targets reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dashboards.evidence.series import Equal
from dashboards.evidence.tables import column_name
from dashboards.evidence.targets import Reached
from dashboards.report.answer import Answer
from orchestrator.ground.durations import hours

UNITS = {"runs": "runs", "chip-hours": "compute time", "wall-clock hours": "wall-clock time"}


def compute(chip_hours: float, chips: float) -> str:
    """12.3 s of a run on one chip or one CPU; 0.5 chip-hours of larger ones."""
    return hours(chip_hours) if chips == 1 else f"{chip_hours:.3g} chip-hours"


def budget(unit: str, value: float | None, chips: float) -> str:
    """4 runs, 46 s."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "not reached"
    if unit == "runs":
        return f"{value:g} run{'s' if value != 1 else ''}"
    return compute(value, chips) if unit == "chip-hours" else hours(value)


@dataclass(frozen=True)
class EqualRow:
    column: str
    unit: str
    budget: str
    ours: float | None
    theirs: float | None
    their_runs: int
    to_reach: str
    their_total: str


def equal_rows(answer: Answer) -> Iterator[EqualRow]:
    """The claim's column first."""
    chips, first = answer.frame.spec.resources.chips, answer.headline.column
    ordered: list[Equal] = sorted(answer.equal, key=lambda each: each.column != first)
    for each in ordered:
        yield EqualRow(
            column=each.column,
            unit=UNITS[each.unit],
            budget=budget(each.unit, each.budget, chips),
            ours=each.challenger,
            theirs=each.incumbent,
            their_runs=each.incumbent_runs,
            to_reach=budget(each.unit, each.to_reach, chips),
            their_total=budget(each.unit, each.incumbent_total, chips),
        )


@dataclass(frozen=True)
class TargetTable:
    """One row for each method that reached a target; `missed`: those that reached none."""

    targets: tuple[float, ...]
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]  # row, column, one text for each target
    missed: tuple[str, ...]


def target_table(answer: Answer) -> TargetTable | None:
    if not answer.reached:
        return None
    chips, first = answer.frame.spec.resources.chips, answer.headline.column
    targets = tuple(dict.fromkeys(each.target for each in answer.reached))
    by_row: dict[tuple[str, str], list[Reached]] = {}
    for each in sorted(answer.reached, key=lambda each: each.column != first):
        by_row.setdefault((each.row, each.column), []).append(each)
    rows, missed = [], []
    for (row, column), of in by_row.items():
        if any(math.isfinite(each.runs) for each in of):
            rows.append((row, column, tuple(_took(of, target, chips) for target in targets)))
        else:
            missed.append(f"{row} ({column_name(column)})" if column_name(column) else row)
    return TargetTable(targets, tuple(rows), tuple(missed))


def _took(of: Sequence[Reached], target: float, chips: float) -> str:
    (each,) = (each for each in of if each.target == target)
    if not math.isfinite(each.runs):
        return "not reached"
    return f"{compute(each.chip_hours, chips)}, run {each.runs:g} of {each.runs_in_all:g}"
