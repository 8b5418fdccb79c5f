"""What may a parameter be, how is it written, and what is said of one that cannot be meant?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.ground.errors import BadSpec
from orchestrator.study.canonical import canonical, spec_hash
from orchestrator.study.configs import default_point
from orchestrator.study.space import Parameter, corners, value_text
from orchestrator.study.spec import Arm, StudySpec
from orchestrator.study.spec_files import spec_from_dict
from orchestrator.testing.searchers import MIXED, MIXED_DEFAULT, choices, typed, whole_numbers
from tests.faults.world import small_study


def sentence(**stated: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Parameter(path="a.b", **stated)
    (error,) = caught.value.errors()
    return str(error["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (
            {"type": "int", "low": 1.5, "high": 4},
            "a.b: low is 1.5 and type is 'int'. Allowed are whole numbers up to 10^12. Round it, or use type "
            "'float'.",
        ),
        (
            {"type": "int", "low": 1, "high": 10**13},
            "a.b: high is 10000000000000 and type is 'int'. Allowed are whole numbers up to 10^12. Round it, "
            "or use type 'float'.",
        ),
        (
            {"type": "int", "values": (1, 2.5)},
            "a.b: a value is 2.5 and type is 'int'. Allowed are whole numbers up to 10^12. Round it, or use "
            "type 'float'.",
        ),
        (
            {"type": "int", "low": 2000000, "high": 1},
            "a.b: the range is upside down: low 2000000 is not below high 1. Swap them.",
        ),
        (
            {"type": "int", "low": 0, "high": 8, "scale": "log"},
            "a.b: a log scale needs low above 0, and low is 0. Raise low, or use scale 'linear'.",
        ),
        (
            {"type": "int", "low": 1, "high": 8, "scale": "logit"},
            "a.b: scale is 'logit' and type is 'int'. Allowed are 'linear' and 'log'. Choose one of them.",
        ),
        (
            {"type": "int", "low": 1, "high": 10, "step": 2},
            "a.b: steps of 2 from low 1 do not end at high 10. Set high to 9 or 11, or change step.",
        ),
        (
            {"type": "int", "low": 1, "high": 2, "step": 4},
            "a.b: steps of 4 from low 1 do not end at high 2. Set high to 5 or change step.",
        ),
        (
            {"low": 1, "high": 9, "step": 2},
            "a.b: step is 2 and type is 'float'. A step goes with type 'int': add it, or leave step out.",
        ),
        (
            {"type": "int", "low": 1, "high": 9, "step": 2, "scale": "log"},
            "a.b: step is 2 and scale is 'log'. A log scale takes every whole number: leave step out, or use "
            "scale 'linear'.",
        ),
        (
            {"choices": ()},
            "a.b: choices is empty. Allowed are two or more. Write them, or give low and high.",
        ),
        (
            {"choices": ("adam",)},
            "a.b: adam is its only choice. Allowed are two or more. Add another, or put this one into the "
            "arm's config.",
        ),
        ({"choices": ("x", 1, 1.0)}, "a.b: 1 and 1 are the same choice. Keep one of them."),
        ({"choices": (True, "x", True)}, "a.b: true and true are the same choice. Keep one of them."),
        (
            {"choices": ("x", None)},
            "a.b: a choice is null. Allowed are texts, finite numbers, true and false. Write one of these.",
        ),
        (
            {"choices": ("x", ["y"])},
            "a.b: a choice is a list. Allowed are texts, finite numbers, true and false. Write one of these.",
        ),
        (
            {"choices": ("x", {"y": 1})},
            "a.b: a choice is an object. Allowed are texts, finite numbers, true and false. Write one of "
            "these.",
        ),
        (
            {"choices": ("x", float("nan"))},
            "a.b: a choice is nan. Allowed are texts, finite numbers, true and false. Write one of these.",
        ),
        (
            {"choices": ("x", "y" * 201)},
            "a.b: a choice has 201 characters. Allowed are 200. Shorten it.",
        ),
        (
            {"choices": ("x", "y"), "low": 1},
            "a.b: low is given beside choices. Choices are a list without order: leave low out.",
        ),
        (
            {"choices": (1, 2), "type": "int"},
            "a.b: type is given beside choices. Choices are a list without order: leave type out.",
        ),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused_in_a_sentence(stated: dict[str, Any], said: str) -> None:
    assert sentence(**stated) == said


def test_a_file_is_told_where_its_choices_are_wrong() -> None:
    data = small_study().model_dump(mode="json")
    data["arms"][1]["space"] = [{"path": "a", "choices": "adam"}]
    with pytest.raises(BadSpec) as caught:
        spec_from_dict(data)
    assert caught.value.problems == ["arms[1].space[0].choices is 'adam'. Allowed is a list."]
    data["arms"][1]["space"] = [{"path": "a", "choices": ["adam", float("nan")]}]
    with pytest.raises(BadSpec) as caught:
        spec_from_dict(data)
    assert caught.value.problems == [
        "arms[1].space[0].choices[1] is NaN. Allowed are finite numbers. Write one, or leave the key out."
    ]


def test_values_that_json_tells_apart_are_different_choices() -> None:
    mixed = Parameter(path="a", choices=(1, True, "1", "true", 0, False))
    assert [mixed.position(value) for value in (1, 1.0, True, "1", "true", 0, False)] == [0, 0, 1, 2, 3, 4, 5]
    assert typed({"a": mixed.own(1.0)}) == '{"a": 1}'
    assert mixed.position(2) is None


# -- the canonical text ------------------------------------------------------------------------------------
def test_keys_of_later_kinds_stand_only_in_the_text_of_those_kinds() -> None:
    plain = {"path": "a", "low": 0.0, "high": 1.0, "scale": "linear", "values": []}
    assert json.loads(canonical(Parameter(path="a", low=0, high=1))) == plain
    stated = Parameter(path="a", low=0, high=1, type="float", step=1, choices=())
    assert canonical(stated) == canonical(Parameter(path="a", low=0, high=1))
    assert stated.model_dump(mode="json") == plain
    whole = Parameter(path="a", type="int", low=1, high=9, step=2)
    assert canonical(whole) == (
        '{"high":9,"low":1,"path":"a","scale":"linear","step":2,"type":"int","values":[]}'
    )
    assert canonical(Parameter(path="a", choices=(1, 1.5, True, "x"))) == (
        '{"choices":[1,1.5,true,"x"],"high":null,"low":null,"path":"a","scale":"linear","values":[]}'
    )


def test_a_boolean_is_its_two_choices() -> None:
    short = Parameter.model_validate({"path": "a", "type": "bool"})
    assert canonical(short) == canonical(Parameter(path="a", choices=(False, True)))
    assert [type(choice) for choice in short.choices] == [bool, bool]
    assert canonical(short) != canonical(Parameter(path="a", choices=(0, 1)))


@settings(max_examples=50, deadline=None)
@given(parameter=whole_numbers("a") | choices("a"))
def test_a_parameter_is_the_same_once_written_and_read(parameter: Parameter) -> None:
    for written in (canonical(parameter), json.dumps(parameter.model_dump(mode="json"))):
        for again in (
            Parameter.model_validate_json(written, strict=True),
            Parameter.model_validate(json.loads(written)),
        ):
            assert canonical(again) == canonical(parameter)
            assert [json.dumps(v) for v in again.choices] == [json.dumps(v) for v in parameter.choices]


def test_a_spec_of_all_kinds_is_stored_and_read_with_its_hash() -> None:
    study = small_study(arms=[{"name": "a", "method": "random", "space": MIXED, "trials": 2}])
    stored = json.loads(json.dumps(study.model_dump(mode="json")))
    assert spec_hash(StudySpec.stored(stored)) == spec_hash(study) == spec_hash(spec_from_dict(stored))


# -- what it holds -----------------------------------------------------------------------------------------
@settings(max_examples=100, deadline=None)
@given(parameter=whole_numbers("a") | choices("a"), share=st.floats(0, 1, exclude_max=True))
def test_what_is_listed_is_taken_and_nothing_else_of_its_kind(parameter: Parameter, share: float) -> None:
    value = parameter.listed[int(share * len(parameter.listed))]
    assert parameter.takes(value)
    assert json.dumps(parameter.own(value)) == json.dumps(value)
    if parameter.type == "int":
        low, high = parameter.bounds
        assert not parameter.takes(low - 1)
        assert not parameter.takes(high + 1)
        assert not parameter.takes(int(value) + 0.5)
        assert parameter.step == 1 or not parameter.takes(int(value) + 1)
        assert not parameter.takes(True)


def test_a_default_is_taken_in_the_parameters_own_form() -> None:
    stated = {
        "layers": 6.0,
        "width": 64,
        "batch": True,
        "tied": False,
        "cache": 1.0,
        "optimizer": {"name": "x"},
    }
    study = small_study(
        base=stated, arms=[{"name": "a", "method": "random", "space": MIXED[1:], "trials": 2}]
    )
    found = default_point(study, study.arms[0])
    assert typed(found) == typed({"layers": 6, "width": 64, "optimizer.name": "x", "tied": False, "cache": 1})


def test_the_corners_hold_both_ends_and_every_choice() -> None:
    found = corners(MIXED)
    for parameter in MIXED:
        met = [json.dumps(point[parameter.path]) for point in found]
        assert set(met) == {json.dumps(value) for value in parameter.probes}
    assert len(found) == 4


def test_a_value_is_shown_short() -> None:
    shown = [value_text(v) for v in (True, False, 3, 1234567, 0.123456, "adam", "x" * 99)]
    assert shown == ["true", "false", "3", "1234567", "0.1235", "adam", f"{'x' * 39}…"]
    assert [p.text for p in MIXED] == [
        "0.01 to 10",
        "1 to 12",
        "16 to 1024",
        "8 to 64 in steps of 8",
        "sgd, adam, lion",
        "false, true",
        "1, 1, true, 2.5",
    ]


def test_a_grid_runs_whole_numbers_and_choices_and_no_range_of_floats() -> None:
    space = (
        Parameter(path="layers", type="int", low=2, high=6, step=2),
        Parameter(path="tied", choices=(False, True)),
    )
    grid = Arm(name="g", method="grid", space=space, trials=6)
    assert (grid.grid_size, grid.is_grid) == (6, True)
    with pytest.raises(ValidationError) as caught:
        Arm(name="g", method="grid", space=(*space, MIXED[0]), trials=6)
    assert "optimizer.alpha: a list of values goes with method 'grid'" in str(caught.value)
    assert default_point(small_study(base=MIXED_DEFAULT), grid) == {"layers": 6, "tied": False}
