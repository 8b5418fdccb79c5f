"""Has an axis ticks where its values are?"""

from __future__ import annotations

import math
from typing import Any

import pytest

from dashboards.report.ticks import log_axis, parameter_axis, placed
from orchestrator.study.spec import Parameter


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1.0, 2.1), ["1", "1.5", "2"]),
        ((1.0, 1.7), ["1", "1.2", "1.5"]),
        ((0.07, 0.31), ["0.07", "0.1", "0.15", "0.2", "0.3"]),
        ((0.02, 3.0), ["0.03", "0.1", "0.3", "1", "3"]),
        ((1e-4, 10.0), ["0.0001", "0.001", "0.01", "0.1", "1", "10"]),
        ((2.0, 2.2), ["2", "2.05", "2.1", "2.15", "2.2", "2.25"]),
    ],
)
def test_a_logarithmic_axis_has_round_ticks_where_its_values_are(
    values: tuple[float, float], shown: list[str]
) -> None:
    axis = log_axis(values)
    assert axis["ticktext"] == shown
    assert [float(text) for text in shown] == pytest.approx(axis["tickvals"])
    low, high = axis["range"]  # plotly's ranges are exponents, its ticks are not
    assert low < math.log10(values[0]) < math.log10(values[1]) < high
    assert all(low <= math.log10(tick) <= high for tick in axis["tickvals"])


def test_equal_values_have_an_axis_too() -> None:
    low, high = log_axis([0.5, 0.5])["range"]
    assert low < math.log10(0.5) < high


@pytest.mark.parametrize(
    ("low", "high", "scale", "shown"),
    [
        (0.25, 4, "log", ["0.25", "0.5", "1", "2", "4"]),
        (0.1, 10, "log", ["0.1", "1", "10"]),
        (0.1, 0.99, "logit", ["0.1", "0.3", "0.5", "0.7", "0.9", "0.97", "0.99"]),
    ],
)
def test_a_parameter_s_axis_is_labelled_with_its_values_at_their_place(
    low: float, high: float, scale: str, shown: list[str]
) -> None:
    axis = parameter_axis(Parameter.model_validate({"path": "x.y", "low": low, "high": high, "scale": scale}))
    assert axis["ticktext"] == shown
    values = [float(text) for text in shown]
    places = [math.log10(v) if scale == "log" else math.log(v / (1 - v)) for v in values]
    assert axis["tickvals"] == pytest.approx(places)
    assert axis["range"][0] < min(places) < max(places) < axis["range"][1]


@pytest.mark.parametrize(
    ("parameter", "shown", "range_"),
    [
        ({"choices": ["adam", "<b>", True, 3]}, ["adam", "&lt;b>", "true", "3"], [-0.5, 3.5]),
        ({"type": "int", "low": 1, "high": 4}, ["1", "2", "3", "4"], [0.82, 4.18]),
        ({"type": "int", "low": 0, "high": 100, "step": 10}, ["0", "20", "40", "60", "80", "100"], [-6, 106]),
        ({"type": "int", "low": 8, "high": 64, "scale": "log"}, ["8", "16", "32", "64"], None),
        ({"type": "int", "low": 1, "high": 6, "scale": "log"}, ["1", "2", "5"], None),
    ],
)
def test_whole_numbers_and_choices_have_ticks_at_values_that_there_are(
    parameter: dict[str, Any], shown: list[str], range_: list[float] | None
) -> None:
    made = Parameter.model_validate({"path": "x", **parameter})
    axis = parameter_axis(made)
    assert axis["ticktext"] == shown
    if made.choices:
        assert axis["tickvals"] == [placed(made, choice) for choice in made.choices]
    else:
        assert axis["tickvals"] == pytest.approx([placed(made, int(text)) for text in shown])
    if range_ is not None:
        assert axis["range"] == pytest.approx(range_)
