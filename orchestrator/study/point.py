"""What is a point of a search space, as a value? Its parameters are described in `space`."""

from __future__ import annotations

from collections.abc import Mapping

Value = bool | int | float | str  # of one parameter
Point = Mapping[str, Value]  # path -> value

SHOWN = 40  # characters of a text in a sentence or a table


def value_text(value: Value) -> str:
    """true, 3, 0.001, adam: short enough for a sentence or a cell of a table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if len(value) <= SHOWN else f"{value[: SHOWN - 1]}…"
    return f"{value}" if isinstance(value, int) else f"{value:.4g}"


def number_key(value: object) -> tuple[str, object]:
    """Equal for values that JSON cannot tell apart: 1 and 1.0 are one number; 1, true and "1" are three
    values, though Python calls 1 and True equal."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__, value
