"""Where does a value lie in its range? From 0 to 1, straight in the parameter's own scale.

Of floats low is 0 and high is 1. Whole numbers and choices have a share of the way each: choices equal ones,
whole numbers as wide as they are on their scale. A value lies inside its share. The way back always ends in
the space, and a whole number or a choice that goes there and back is the same.
"""

from __future__ import annotations

from orchestrator.study.space import Value
from orchestrator.study.spec import Parameter
from trainer.config.scales import from_working, to_working


def to_unit(parameter: Parameter, value: Value) -> float:
    """A number outside the range counts as the nearer end; ValueError for what is none of the choices."""
    if parameter.choices:
        at = parameter.position(value)
        if at is None:
            raise ValueError(f"{parameter.path} is {value!r:.60}. Allowed are: {parameter.text}.")
        return (at + 0.5) / len(parameter.choices)
    at_least, at_most = _edges(parameter)
    low, high = parameter.bounds
    number = min(max(float(value), low), high)
    if parameter.type == "float" and number in (low, high):
        return 0.0 if number == low else 1.0
    # halves, because the width of a range may overflow where its ends do not
    start, end, here = (to_working(parameter.scale, v) / 2 for v in (at_least, at_most, number))
    return min(max((here - start) / (end - start), 0.0), 1.0) if end > start else 0.0


def from_unit(parameter: Parameter, unit: float) -> Value:
    """The value at a unit coordinate, always one of the space; 0 and 1 give the ends exactly."""
    if parameter.choices:
        count = len(parameter.choices)
        choice: Value = parameter.choices[min(max(int(unit * count), 0), count - 1)]
        return choice
    low, high = parameter.bounds
    if unit <= 0:
        return low
    if unit >= 1:
        return high
    start, end = (to_working(parameter.scale, v) for v in _edges(parameter))
    value = from_working(parameter.scale, start * (1 - unit) + end * unit)
    if parameter.type == "int":
        value = low + parameter.step * round((value - low) / parameter.step)
    return min(max(value, low), high)


def _edges(parameter: Parameter) -> tuple[float, float]:
    """The range; of whole numbers half a step more on each side, so that its ends have a whole share."""
    low, high = parameter.bounds
    half = parameter.step / 2 if parameter.type == "int" else 0.0
    return low - half, high + half
