"""What of a study's answer must come out equal, however it was disturbed? All but what it cost."""

from __future__ import annotations

from typing import Any

COSTS = ("costs", "equal_budgets")


def without_costs(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as JSON values, changed in place."""
    for key in COSTS:
        answer.pop(key)
    answer["verdict"].pop("cost_ratio")
    answer["headline"].pop("cost")
    for part in ("flip", "text", "why"):  # they name the cost beside its limit
        answer["explanation"].pop(part)
    for cell in (cell for made in answer["tables"] for cell in made["cells"]):
        cell.pop("run_hours")
        cell["speedup"] = cell["speedup"] and cell["speedup"]["length"]  # of which none is a cost
    for each in answer["sooner"]:
        for part in ("step_cost", "time", "sentence"):
            each.pop(part)
    for reached in answer["reached"]:
        reached.pop("chip_hours")
    return answer
