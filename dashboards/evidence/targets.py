"""What did it cost to reach a result? For targets that the spec fixed before the first trial.

The cost of the runs up to the first that reached the target, in the order in which they were proposed; over
several replicates the median, where a miss is infinite and keeps its place.
"""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.evidence import stats
from dashboards.evidence.frames import Frame
from dashboards.evidence.series import line_of


@dataclass(frozen=True)
class Reached:
    """Of one arm and one target. Infinite: not by more than half of the replicates."""

    row: str
    column: str
    target: float
    runs: float
    chip_hours: float
    runs_in_all: float  # of a replicate, in the median


def reached(frame: Frame) -> list[Reached]:
    """Of every arm that chose something by itself, in the order of the spec. Repetitions are no search."""
    arms = [arm for arm in frame.searches() if arm.after is None]
    found = []
    for arm in arms:
        lines = {
            unit: [line_of(frame, arm, unit, replicate=r) for r in range(frame.spec.replicates_of(arm))]
            for unit in ("runs", "chip-hours")
        }
        for target in frame.spec.objective.targets:
            took = {
                unit: [stats.time_to_target(line, target, minimize=frame.minimize) for line in of]
                for unit, of in lines.items()
            }
            found.append(
                Reached(
                    row=frame.row_of(arm),
                    column=arm.column,
                    target=target,
                    runs=stats.median_time(took["runs"]),
                    chip_hours=stats.median_time(took["chip-hours"]),
                    runs_in_all=stats.median_time([float(line.cost.size) for line in lines["runs"]]),
                )
            )
    return found
