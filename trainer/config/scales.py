"""In which coordinate do equal steps of a number count equally? As it is, its log, or its logit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Scale = Literal["linear", "log", "logit"]
# Between which values a number has a finite coordinate.
ENDS: Mapping[Scale, tuple[float, float]] = {
    "linear": (-math.inf, math.inf),
    "log": (0.0, math.inf),
    "logit": (0.0, 1.0),
}


def to_working(scale: Scale, value: float) -> float:
    """The value in the scale's coordinate; at the scale's ends (log 0, logit 0 and 1) an infinity."""
    if scale == "linear":
        return float(value)
    if scale == "log":
        return math.log(value) if value > 0 else -math.inf
    if value <= 0:
        return -math.inf
    # log1p keeps the digits of a small value, where 1 - value would round to 1
    return math.log(value) - math.log1p(-value) if value < 1 else math.inf


def from_working(scale: Scale, working: float) -> float:
    """The value at a working coordinate: the inverse of `to_working`."""
    if scale == "linear":
        return float(working)
    if scale == "log":
        return math.exp(working)
    odds = math.exp(-abs(working))  # the smaller side, so that nothing overflows
    return 1 / (1 + odds) if working >= 0 else odds / (1 + odds)
