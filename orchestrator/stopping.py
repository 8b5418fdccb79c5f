"""When is enough enough? The budget spent, and what a clock's reading costs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.spec import StudySpec
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


def budget_spent(spec: StudySpec, spent_run_hours: float, reserved_run_hours: float) -> str | None:
    """The sentence that ends launching once spent plus reserved reaches the budget; None before."""
    committed = spent_run_hours + reserved_run_hours
    chips = spec.resources.chips
    for unit, limit, used in (
        ("run-hours", spec.budget.run_hours, committed),
        ("chip-hours", spec.budget.chip_hours, committed * chips),
    ):
        if limit is not None and used >= limit:
            return f"The budget of {limit:g} {unit} is spent or reserved ({used:.4g} {unit})."
    return None
