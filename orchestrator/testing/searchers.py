"""Does a searcher keep the promises of `Searcher`: a pure function, inside the space?

A subclass of `SearcherContract`, or of `BayesianContract` where its Method says so, states its `method`. It
is asked about all kinds of parameter that its Method names.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.search import Observation, Point, Request, searcher
from orchestrator.search.scales import from_unit, to_unit
from orchestrator.study.methods import METHODS
from orchestrator.study.space import LARGEST_WHOLE, Kind, Value, number_key
from orchestrator.study.spec import Arm, Parameter
from trainer.config.scales import Scale

SPACE = (
    Parameter(path="optimizer.alpha", low=0.01, high=10, scale="log"),
    Parameter(path="optimizer.beta1", low=0.05, high=0.99, scale="logit"),
    Parameter(path="dropout", low=0.0, high=0.5),
)
GRID = (
    Parameter(path="a", values=(1.0, 2.0)),
    Parameter(path="b", values=(0.1, 0.2, 0.3)),
    Parameter(path="c", values=(7.0, 5.0)),
)
# Of all kinds; a method is asked about those that it knows.
MIXED = (
    Parameter(path="optimizer.alpha", low=0.01, high=10, scale="log"),
    Parameter(path="layers", type="int", low=1, high=12),
    Parameter(path="width", type="int", low=16, high=1024, scale="log"),
    Parameter(path="batch", type="int", low=8, high=64, step=8),
    Parameter(path="optimizer.name", choices=("sgd", "adam", "lion")),
    Parameter(path="tied", choices=(False, True)),
    Parameter(path="cache", choices=(1, "1", True, 2.5)),  # of which Python calls two equal
)
MIXED_GRID = (
    Parameter(path="layers", type="int", low=2, high=4),
    Parameter(path="batch", type="int", values=(8, 64)),
    Parameter(path="tied", choices=(False, True)),
    Parameter(path="alpha", values=(0.5, 1.0)),
)
MIXED_DEFAULT: dict[str, Value] = {
    "optimizer.alpha": 1.0,
    "layers": 6,
    "width": 64,
    "batch": 16,
    "optimizer.name": "sgd",
    "tied": False,
    "cache": True,
}
DEFAULT = {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9, "dropout": 0.1}
ELSEWHERE = {"optimizer.alpha": 0.2, "optimizer.beta1": 0.3, "dropout": 0.4}


def bowl(point: Point) -> float:
    """A quadratic on the unit cube with its optimum, 0, at 0.3 everywhere."""
    return sum((to_unit(p, point[p.path]) - 0.3) ** 2 for p in SPACE)


def landscape(point: Point) -> float:
    """Of a point of mixed parameters. Numbers are best at 0.3 of their range; of the choices adam, true and
    "1" are, and any other adds as much as a number at the far end of its range."""
    best = {"optimizer.name": "adam", "tied": True, "cache": "1"}
    return sum(
        0.49 * (p.position(point[p.path]) != p.position(best[p.path]))
        if p.choices
        else (to_unit(p, point[p.path]) - 0.3) ** 2
        for p in MIXED
        if p.path in point
    )


def drawn(space: tuple[Parameter, ...], count: int) -> list[dict[str, Value]]:
    """Points of random search."""
    draw = searcher("random")
    return [draw.suggest(Request(space=space, default={}, index=i, seed=99)) for i in range(count)]


def history(count: int) -> tuple[Observation, ...]:
    """What random search found on the bowl."""
    points = drawn(SPACE, count)
    return tuple(Observation(index=i, point=p, value=bowl(p)) for i, p in enumerate(points))


def mixed_space(method: str) -> tuple[Parameter, ...]:
    """Of all kinds that the method knows."""
    described = METHODS[method]
    space = {"none": (), "values": MIXED_GRID, "range": MIXED}[described.space]
    return tuple(p for p in space if p.kind in described.kinds)


def mixed_history(space: tuple[Parameter, ...], count: int) -> tuple[Observation, ...]:
    """What random search found on the landscape."""
    points = drawn(space, count)
    return tuple(Observation(index=i, point=p, value=landscape(p)) for i, p in enumerate(points))


def mixed(method: str, index: int = 8, **changes: Any) -> Request:
    """The request that tests of all kinds vary."""
    space = mixed_space(method)
    request = Request(
        space=space,
        default={p.path: MIXED_DEFAULT[p.path] for p in space if p.path in MIXED_DEFAULT},
        index=index,
        seed=7,
        startup_trials=4,
        finished=mixed_history(space, 8) if METHODS[method].space == "range" else (),
    )
    return replace(request, **changes)


def asked(method: str, index: int = 8, **changes: Any) -> Request:
    """The request that most tests vary."""
    space = {"none": (), "values": GRID, "range": SPACE}[METHODS[method].space]
    request = Request(
        space=space, default=DEFAULT, index=index, seed=7, startup_trials=4, finished=history(8)
    )
    return replace(request, **changes)


def suggest(method: str, *args: int, **changes: Any) -> dict[str, Value]:
    return searcher(method).suggest(asked(method, *args, **changes))


def suggest_mixed(method: str, *args: int, **changes: Any) -> dict[str, Value]:
    return searcher(method).suggest(mixed(method, *args, **changes))


def points(method: str) -> list[dict[str, Value]]:
    """Also asked of a fresh process, which must say the same."""
    return [
        *(suggest(method, i, pending=(DEFAULT, ELSEWHERE)) for i in (0, 3, 8, 9)),
        *(suggest_mixed(method, i, pending=(MIXED_DEFAULT,)) for i in (0, 3, 8, 9)),
    ]


def typed(point: Mapping[str, object]) -> str:
    """A text that differs where values do, also by their type alone."""
    return json.dumps(dict(point))


@st.composite
def whole_numbers(draw: st.DrawFn, path: str) -> Parameter:
    """Any range of whole numbers that a spec may state."""
    scale: Scale = draw(st.sampled_from(["linear", "log"]))
    low = draw(st.integers(1 if scale == "log" else -LARGEST_WHOLE, LARGEST_WHOLE - 1))
    step = 1 if scale == "log" else draw(st.integers(1, 1000))
    most = (LARGEST_WHOLE - low) // step
    assume(most >= 1)
    high = low + step * draw(st.integers(1, most))
    return Parameter(path=path, type="int", low=low, high=high, step=step, scale=scale)


def choices(path: str) -> st.SearchStrategy[Parameter]:
    """Any list of choices that a spec may state."""
    one = (
        st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
    )
    some = st.lists(one, min_size=2, max_size=5, unique_by=number_key)
    return some.map(lambda each: Parameter(path=path, choices=tuple(each)))


def any_range(method: str, path: str) -> st.SearchStrategy[Parameter]:
    """Of any kind that the method knows."""
    kinds: dict[Kind, st.SearchStrategy[Parameter]] = {
        "float": parameters(path), "int": whole_numbers(path), "choice": choices(path)
    }  # fmt: skip
    return st.one_of(*(kinds[kind] for kind in METHODS[method].kinds))


@st.composite
def parameters(draw: st.DrawFn, path: str) -> Parameter:
    """Any range that a spec may state."""
    scale: Scale = draw(st.sampled_from(["linear", "log", "logit"]))
    numbers = {
        "linear": st.floats(-1.7e308, 1.7e308),
        "log": st.floats(5e-324, 1.7e308),
        "logit": st.floats(5e-324, 1, exclude_max=True),
    }[scale]
    low, high = sorted((draw(numbers), draw(numbers)))
    assume(low < high)
    return Parameter(path=path, low=low, high=high, scale=scale)


def spaces(method: str) -> st.SearchStrategy[tuple[Parameter, ...]]:
    """Any space of two paths that an arm of this method may have."""
    described = METHODS[method]
    values = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4, unique=True).map(tuple)
    valued = {path: st.builds(Parameter, path=st.just(path), values=values) for path in "ab"}
    listed = {
        path: valued[path] | choices(path) if "choice" in described.kinds else valued[path] for path in "ab"
    }
    return {
        "none": st.just(()),
        "values": st.tuples(listed["a"], listed["b"]),
        "range": st.tuples(any_range(method, "a"), any_range(method, "b")),
    }[described.space]


def is_inside(point: Point, space: tuple[Parameter, ...]) -> bool:
    """Whether it has every path of the space, and there what the parameter takes, in the type that it has."""
    return list(point) == [p.path for p in space] and all(
        p.takes(point[p.path]) and typed({"": p.own(point[p.path])}) == typed({"": point[p.path]})
        for p in space
    )


class SearcherContract:
    """What every searcher promises. `method`: its name, as installed."""

    method: str
    examples = 25  # of spaces that are tried

    def suggest(self, index: int = 8, **changes: Any) -> dict[str, Value]:
        return suggest(self.method, index, **changes)

    @property
    def indices(self) -> range:
        """Of a mixed space: a model takes its time, and what is drawn has to come to every choice."""
        return range(2, 7) if METHODS[self.method].bayesian else range(24)

    def suggest_mixed(self, index: int = 8, **changes: Any) -> dict[str, Value]:
        return suggest_mixed(self.method, index, **changes)

    def test_it_learns_from_results_where_its_description_says_so(self) -> None:
        assert searcher(self.method).uses_history == METHODS[self.method].bayesian

    def test_a_sound_arm_has_no_problems(self) -> None:
        trials = 12 if METHODS[self.method].space == "values" else 10
        arm = Arm(name="a", method=self.method, space=asked(self.method).space, trials=trials)
        assert searcher(self.method).check(arm) == []

    def test_a_point_names_every_path_of_the_space_in_plain_floats(self) -> None:
        point = self.suggest()
        assert list(point) == [p.path for p in asked(self.method).space]
        assert all(type(v) is float for v in point.values())

    def test_a_value_of_each_kind_has_its_own_type(self) -> None:
        space = mixed_space(self.method)
        for index in self.indices:
            point = self.suggest_mixed(index)
            assert is_inside(point, space), point
        kinds = {"float": float, "int": int}
        assert all(type(point[p.path]) is kinds[p.kind] for p in space if p.kind != "choice")

    def test_of_a_mixed_space_the_same_request_gives_the_same_point_and_every_choice_comes(self) -> None:
        space = mixed_space(self.method)
        found = [self.suggest_mixed(index) for index in self.indices]
        assert list(map(typed, found)) == [typed(self.suggest_mixed(index)) for index in self.indices]
        if not METHODS[self.method].bayesian:
            for p in space:
                assert {p.position(point[p.path]) for point in found} >= set(range(len(p.choices)))

    def test_the_same_request_gives_the_same_point_and_another_index_another(self) -> None:
        assert self.suggest() == self.suggest()
        assert (self.suggest(8) != self.suggest(9)) == (METHODS[self.method].space != "none")

    def test_another_seed_gives_another_point_where_points_are_drawn(self) -> None:
        assert (self.suggest(seed=7) != self.suggest(seed=8)) == (METHODS[self.method].space == "range")

    def test_a_fresh_process_proposes_the_same_points_and_says_nothing(self) -> None:
        code = (
            "import json; from orchestrator.testing import searchers; "
            f"print(json.dumps(searchers.points({self.method!r})))"
        )
        fresh = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONHASHSEED": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        assert fresh.stderr == ""
        assert json.loads(fresh.stdout) == points(self.method)

    def test_who_promises_not_to_look_at_history_does_not(self) -> None:
        opposite = tuple(replace(o, value=-bowl(o.point)) for o in history(8))
        if searcher(self.method).uses_history:
            assert self.suggest() != self.suggest(finished=opposite)
        else:
            assert self.suggest() == self.suggest(finished=opposite)
            assert self.suggest() == self.suggest(finished=(), pending=(DEFAULT,))

    def test_a_point_lies_inside_any_space(self) -> None:
        @settings(max_examples=self.examples, deadline=None)
        @given(space=spaces(self.method), number=st.integers(0, 5000))
        def inside(space: tuple[Parameter, ...], number: int) -> None:
            count = math.prod(len(p.listed) for p in space) if METHODS[self.method].space == "values" else 0
            request = Request(
                space=space,
                default={p.path: p.probes[0] for p in space},
                index=number % count if count else number,
                seed=number,
                finished=tuple(
                    Observation(
                        i,
                        {p.path: from_unit(p, (i + k) % 4 / 3) for k, p in enumerate(space)},
                        value=float(i * i),
                    )
                    for i in range(4)
                ),
            )
            assert is_inside(searcher(self.method).suggest(request), space)

        inside()


class BayesianContract(SearcherContract):
    """What a searcher promises besides that learns from results."""

    def test_trial_0_is_the_default_whatever_has_finished(self) -> None:
        assert self.suggest(0) == DEFAULT
        assert self.suggest(0, finished=(), startup_trials=1) == DEFAULT

    def test_the_order_of_arrival_changes_nothing(self) -> None:
        finished = history(12)
        pending = tuple(o.point for o in history(15)[12:])
        point = self.suggest(15, finished=finished, pending=pending)
        shuffled = finished[5:] + finished[:5][::-1]
        assert self.suggest(15, finished=shuffled, pending=pending[::-1]) == point

    def test_of_a_mixed_space_trial_0_is_the_default_too(self) -> None:
        request = mixed(self.method, 0)
        assert typed(searcher(self.method).suggest(request)) == typed(request.default)

    def test_of_a_mixed_space_the_order_of_arrival_changes_nothing(self) -> None:
        known = mixed_history(mixed_space(self.method), 15)
        finished, pending = known[:12], tuple(o.point for o in known[12:])
        point = self.suggest_mixed(15, finished=finished, pending=pending)
        shuffled = finished[5:] + finished[:5][::-1]
        assert typed(self.suggest_mixed(15, finished=shuffled, pending=pending[::-1])) == typed(point)

    def test_what_is_none_of_the_choices_does_not_stop_the_search(self) -> None:
        """Trial 0 of an arm that follows another may stand outside the space."""
        space = mixed_space(self.method)
        outside = {p.path: "elsewhere" if p.choices else p.bounds[1] * 2 + 1 for p in space}
        finished = (*mixed_history(space, 8), Observation(8, outside, value=0.0))
        assert is_inside(self.suggest_mixed(9, finished=finished, pending=(outside,)), space)

    def test_a_failed_trial_is_left_out(self) -> None:
        failed = Observation(8, DEFAULT, value=None)
        assert self.suggest(9, finished=(*history(8), failed)) == self.suggest(9, finished=history(8))

    @pytest.mark.parametrize("minimize", [True, False])
    def test_the_value_of_a_diverged_trial_is_no_result(self, minimize: bool) -> None:
        found = [
            self.suggest(
                9, finished=(*history(8), Observation(8, DEFAULT, value, diverged=True)), minimize=minimize
            )
            for value in (None, 0.0, math.inf, -math.inf, math.nan)
        ]
        assert found == found[:1] * 5

    @pytest.mark.parametrize("diverged", [True, False], ids=["diverged", "failed"])
    def test_without_any_finite_value_the_search_goes_on(self, diverged: bool) -> None:
        lost = tuple(replace(o, value=None, diverged=diverged) for o in history(8))
        assert is_inside(self.suggest(finished=lost, pending=(DEFAULT,)), SPACE)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_value_that_is_not_finite_does_not_stop_the_search(self, value: float) -> None:
        assert is_inside(self.suggest(9, finished=(*history(8), Observation(8, DEFAULT, value))), SPACE)

    def test_values_too_large_to_square_do_not_stop_the_search(self) -> None:
        finished = tuple(replace(o, value=1.7e308 * (-1) ** o.index) for o in history(8))
        assert is_inside(self.suggest(finished=finished), SPACE)

    def test_equal_values_everywhere_do_not_stop_the_search(self) -> None:
        assert is_inside(self.suggest(finished=tuple(replace(o, value=1.0) for o in history(8))), SPACE)

    def test_maximizing_is_minimizing_the_opposite(self) -> None:
        finished = history(12)
        opposite = tuple(replace(o, value=-bowl(o.point)) for o in finished)
        found = self.suggest(12, finished=finished)
        assert self.suggest(12, finished=opposite, minimize=False) == found
        assert self.suggest(12, finished=finished, minimize=False) != found
