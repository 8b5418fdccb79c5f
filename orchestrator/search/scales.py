"""Where does a value lie in its range? Linear, log and logit coordinates, and the unit cube.

`to_working` is the coordinate in which equal steps count equally: the value, its log, or its logit.
`to_unit` is that coordinate with low at 0 and high at 1. The ways back always end inside [low, high].
"""

from __future__ import annotations

import math

from orchestrator.study.spec import Parameter, Scale


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


def to_unit(parameter: Parameter, value: float) -> float:
    """0 at low, 1 at high; a value outside the range counts as the nearer end."""
    low, high = parameter.bounds
    if value <= low:
        return 0.0
    if value >= high:
        return 1.0
    # halves, because the width of a range may overflow where its ends do not
    start, end, at = (to_working(parameter.scale, v) / 2 for v in (low, high, value))
    return min(max((at - start) / (end - start), 0.0), 1.0) if end > start else 0.0


def from_unit(parameter: Parameter, unit: float) -> float:
    """The value at a unit coordinate, always within [low, high]; 0 and 1 give the ends exactly."""
    low, high = parameter.bounds
    if unit <= 0:
        return low
    if unit >= 1:
        return high
    start, end = (to_working(parameter.scale, v) for v in (low, high))
    value = from_working(parameter.scale, start * (1 - unit) + end * unit)
    return min(max(value, low), high)
