"""What does a clock's reading come to? Clocks summed, and the hours of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.ledger.records import RESULTS, TrialRow
from trainer.protocol import SECONDS


def run_hours(clocks: Mapping[str, float]) -> float:
    """All seconds of a run, whatever they went into, in hours."""
    return sum(clocks.get(name, 0.0) for name in SECONDS) / 3600


def added(*clocks: Mapping[str, float]) -> dict[str, float]:
    """Clocks summed name by name; a reading that is not finite counts as 0."""
    total: dict[str, float] = {}
    for reading in clocks:
        for name, value in reading.items():
            total[name] = total.get(name, 0.0) + (value if math.isfinite(value) else 0.0)
    return total


def wasted_hours(trial: TrialRow) -> float:
    """What an ended trial was charged beyond what led to its result; all of it where it has none, as one that
    was stopped at a rung."""
    useful = run_hours(trial.productive) if trial.state in RESULTS else 0.0
    return max(0.0, run_hours(trial.charged) - useful)
