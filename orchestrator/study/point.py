"""What is a point of a search space, as a value? Its parameters are described in `space`."""

from __future__ import annotations

from collections.abc import Mapping

Value = bool | int | float | str  # of one parameter
Point = Mapping[str, Value]  # path -> value
