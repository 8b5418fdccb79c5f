"""Where does a value lie in its range? Low is 0 and high is 1, straight in the parameter's own scale.

The way back always ends inside [low, high].
"""

from __future__ import annotations

from orchestrator.study.spec import Parameter
from trainer.config.scales import from_working, to_working


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
