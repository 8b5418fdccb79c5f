"""Where does an axis have its ticks, where plotly's own are hard to read?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from orchestrator.study.space import Value, value_text
from orchestrator.study.spec import Parameter
from trainer.config.scales import to_working

LOG_TICKS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
LOGIT_TICKS = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999)
MOST_TICKS = 7
EDGE = 0.06  # of a parameter's range, left free beyond each of its ends


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Around these values, with three to seven ticks that are short to read: plotly has one or two, or single
    digits, where the axis is shorter than a decade."""
    low, high = min(values), max(values)
    margin = max(0.05 * math.log10(high / low), 0.01)
    ends = [math.log10(low) - margin, math.log10(high) + margin]
    ticks: list[float] = []
    for digits in (*LOG_TICKS, tuple(1 + i / 20 for i in range(180))):
        tens = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        ticks = [float(f"{digit}e{k}") for k in tens for digit in digits]
        ticks = [tick for tick in ticks if ends[0] <= math.log10(tick) <= ends[1]]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: math.ceil(len(ticks) / MOST_TICKS)] if ticks else ticks
    shown = {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return {"type": "log", "range": ends, **shown}


def positive_axis(values: Sequence[float]) -> dict[str, Any]:
    """Logarithmic where all values are above zero; else plotly's own."""
    return log_axis(values) if values and min(values) > 0 else {}


def placed(parameter: Parameter, value: Value) -> float:
    """Where a value stands on an axis of its parameter's own scale; choices in their order, one apart."""
    if parameter.choices or isinstance(value, str):
        return float(parameter.position(value) or 0)
    return math.log10(value) if parameter.scale == "log" else to_working(parameter.scale, value)


def parameter_axis(parameter: Parameter) -> dict[str, Any]:
    """Over the whole range of a parameter, in its own scale, labelled with its values or choices."""
    if parameter.choices:
        texts = [value_text(choice).replace("<", "&lt;") for choice in parameter.choices]  # no markup
        return {"range": [-0.5, len(texts) - 0.5], "tickvals": list(range(len(texts))), "ticktext": texts}
    low, high = (placed(parameter, end) for end in parameter.bounds)
    margin = EDGE * (high - low)
    axis: dict[str, Any] = {"range": [low - margin, high + margin]}
    if parameter.scale == "linear":
        if parameter.type == "float":
            return axis
        ticks = [float(v) for v in parameter.listed[:: math.ceil(len(parameter.listed) / MOST_TICKS)]]
        return {**axis, "tickvals": ticks, "ticktext": [f"{tick:.0f}" for tick in ticks]}
    if parameter.scale == "logit":
        ticks = [t for t in LOGIT_TICKS if parameter.bounds[0] <= t <= parameter.bounds[1]]
    else:
        ticks = _doublings(*parameter.bounds) or log_axis(parameter.bounds)["tickvals"]
    if parameter.type == "int":
        ticks = [tick for tick in ticks if tick == int(tick)]
    texts = [f"{tick:g}" for tick in ticks]
    return {**axis, "tickvals": [placed(parameter, tick) for tick in ticks], "ticktext": texts}


def _doublings(low: float, high: float) -> list[float]:
    """0.25, 0.5, 1, 2, 4, for a range whose ends are so many doublings apart; else nothing."""
    count = math.log2(high / low)
    if not (2 <= count <= MOST_TICKS - 1 and abs(count - round(count)) < 1e-9):
        return []
    return [low * 2.0**i for i in range(round(count) + 1)]
