"""Where does an axis have its ticks, where plotly's own are hard to read?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LOG_TICKS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Around these values, with three ticks or more that are short to read: plotly has one or two, or single
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
    shown = {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return {"type": "log", "range": ends, **shown}
