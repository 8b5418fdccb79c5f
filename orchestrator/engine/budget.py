"""Is the budget of a study spent?"""

from __future__ import annotations

from orchestrator.study.spec import StudySpec


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
