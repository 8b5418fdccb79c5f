"""Does a searcher keep the promises of `Searcher`: a pure function, inside the space?

A subclass of `SearcherContract`, or of `BayesianContract` where its Method says so, states its `method`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.search import Observation, Point, Request, searcher
from orchestrator.search.scales import from_unit, to_unit
from orchestrator.study.methods import METHODS
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
DEFAULT = {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9, "dropout": 0.1}
ELSEWHERE = {"optimizer.alpha": 0.2, "optimizer.beta1": 0.3, "dropout": 0.4}


def bowl(point: Point) -> float:
    """A quadratic on the unit cube with its optimum, 0, at 0.3 everywhere."""
    return sum((to_unit(p, point[p.path]) - 0.3) ** 2 for p in SPACE)


def history(count: int) -> tuple[Observation, ...]:
    """What random search found on the bowl."""
    draw = searcher("random")
    points = [draw.suggest(Request(space=SPACE, default=DEFAULT, index=i, seed=99)) for i in range(count)]
    return tuple(Observation(index=i, point=p, value=bowl(p)) for i, p in enumerate(points))


def asked(method: str, index: int = 8, **changes: Any) -> Request:
    """The request that most tests vary."""
    space = {"none": (), "values": GRID, "range": SPACE}[METHODS[method].space]
    request = Request(
        space=space, default=DEFAULT, index=index, seed=7, startup_trials=4, finished=history(8)
    )
    return replace(request, **changes)


def suggest(method: str, *args: int, **changes: Any) -> dict[str, float]:
    return searcher(method).suggest(asked(method, *args, **changes))


def points(method: str) -> list[dict[str, float]]:
    """Also asked of a fresh process, which must say the same."""
    return [suggest(method, i, pending=(DEFAULT, ELSEWHERE)) for i in (0, 3, 8, 9)]


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
    values = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4, unique=True).map(tuple)
    return {
        "none": st.just(()),
        "values": st.tuples(*(st.builds(Parameter, path=st.just(path), values=values) for path in "ab")),
        "range": st.tuples(parameters("a"), parameters("b")),
    }[METHODS[method].space]


def is_inside(point: Point, space: tuple[Parameter, ...]) -> bool:
    return list(point) == [p.path for p in space] and all(
        point[p.path] in p.values if p.values else p.bounds[0] <= point[p.path] <= p.bounds[1] for p in space
    )


class SearcherContract:
    """What every searcher promises. `method`: its name, as installed."""

    method: str
    examples = 25  # of spaces that are tried

    def suggest(self, index: int = 8, **changes: Any) -> dict[str, float]:
        return suggest(self.method, index, **changes)

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
            count = math.prod(len(p.values) for p in space)
            request = Request(
                space=space,
                default={p.path: p.bounds[0] for p in space},
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
