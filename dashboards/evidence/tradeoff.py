"""What did each row's result cost, and how good is it? One point a row, in the claim's column.

Of a table with an average it is the average, and the cost is summed over the columns.

The cost is the training and evaluation time of one search and of one run of its choice, on the runs' own
clocks, as the claim's cost is; compiling falls to whoever comes first and is left out. How good it is was
measured on fresh seeds, by what the table shows: test BLEU or test score where there is one, else the
objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.evidence import average, tables
from dashboards.evidence.frames import Frame
from dashboards.evidence.speedup import RowSpeedup, clock, clocked, led_to


@dataclass(frozen=True)
class Point:
    row: str
    hours: float
    value: float
    n: int  # seeds


@dataclass(frozen=True)
class Tradeoff:
    metric: str
    column: str
    points: tuple[Point, ...]
    best: str  # the row with the best value; "" without any


def tradeoff(frame: Frame, speedups: Sequence[RowSpeedup] | None = None) -> Tradeoff:
    """`speedups`: where they are known, which the table would else compute."""
    made = tables.table(frame, speedups=speedups)
    claim = frame.spec.claim
    claimed = frame.spec.arm(claim.challenger).column if claim else "*"
    column = claimed if claimed in made.columns else made.columns[0]
    if made.averaged:
        column = average.AVERAGE
    points = []
    for row in made.rows:
        (cell,) = (cell for cell in row.cells if cell.column == column)
        if cell.source != "confirmed" or cell.value is None:
            continue
        in_it = frame.columns() if column == average.AVERAGE else (column,)
        arms = {arm.name: arm for c in in_it if (arm := frame.arm_at(row.name, c)) is not None}.values()
        hours = math.fsum(led_to(frame, a, clock) + clocked(frame.confirming(a)) for a in arms) / 3600
        if hours > 0:
            points.append(Point(row.name, hours, cell.value, cell.n))
    sign = 1 if made.lower_is_better else -1
    best = min(points, key=lambda point: sign * point.value, default=None)
    return Tradeoff(made.metric, column, tuple(points), best.row if best else "")
