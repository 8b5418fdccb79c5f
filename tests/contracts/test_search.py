"""Does every search method keep the promises of `Searcher`, and each of ours its own?"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from scipy.stats import qmc

from orchestrator.ground.errors import BadSpec
from orchestrator.search import Observation, derive_seed
from orchestrator.search.scales import from_unit, to_unit
from orchestrator.study.methods import METHODS
from orchestrator.study.spec import Parameter
from orchestrator.testing.searchers import (
    DEFAULT,
    MIXED_DEFAULT,
    SPACE,
    BayesianContract,
    SearcherContract,
    bowl,
    choices,
    history,
    is_inside,
    landscape,
    parameters,
    suggest,
    suggest_mixed,
    typed,
    whole_numbers,
)
from trainer.config.scales import from_working, to_working

BAYESIAN = ("gp", "tpe")


class TestFixed(SearcherContract):
    method = "fixed"


class TestRandom(SearcherContract):
    method = "random"
    examples = 100


class TestSobol(SearcherContract):
    method = "sobol"
    examples = 100


class TestGrid(SearcherContract):
    method = "grid"


class TestGaussianProcess(BayesianContract):
    method = "gp"


class TestTpe(BayesianContract):
    method = "tpe"


def test_every_method_of_ours_is_held_to_the_contract():
    tested = {
        c.method: c
        for c in (*SearcherContract.__subclasses__(), *BayesianContract.__subclasses__())
        if c is not BayesianContract
    }
    assert {name: issubclass(c, BayesianContract) for name, c in tested.items()} == {
        name: method.bayesian for name, method in METHODS.ours.items()
    }


# -- Bayesian optimization ------------------------------------------------------------------------


@pytest.mark.parametrize("method", BAYESIAN)
def test_start_up_points_are_those_of_random_search_and_later_ones_are_not(method):
    for index in (1, 2, 3):
        assert suggest(method, index) == suggest("random", index)
    assert suggest(method, 4) != suggest("random", 4)


@pytest.mark.parametrize("method", BAYESIAN)
def test_one_start_up_trial_is_enough_for_the_model(method):
    one = (Observation(0, DEFAULT, value=1.0),)
    assert suggest(method, 1, startup_trials=1, finished=one) != suggest("random", 1)


@pytest.mark.parametrize("method", BAYESIAN)
def test_pending_trials_change_the_proposal(method):
    alone = suggest(method)
    assert suggest(method, pending=(alone,)) != alone


def test_the_gaussian_process_keeps_away_from_a_pending_point():
    def distance(a, b) -> float:
        return math.dist(*([to_unit(p, point[p.path]) for p in SPACE] for point in (a, b)))

    finished = history(30)
    alone = suggest("gp", 30, finished=finished)
    beside = suggest("gp", 30, finished=finished, pending=(alone,) * 3)
    again = suggest("gp", 30, finished=finished, seed=8)  # what another draw of the sampler makes of it
    assert distance(alone, beside) > 2 * distance(alone, again)


@pytest.mark.parametrize("method", BAYESIAN)
@pytest.mark.parametrize("minimize", [True, False])
@pytest.mark.parametrize(
    "bad",
    [
        {"value": None, "diverged": True},
        {"value": 0.0, "diverged": True},  # its last finite value is no result
        {"value": math.nan},
        {"value": math.inf},
        {"value": -math.inf, "diverged": True},
    ],
    ids=["diverged", "diverged with a value", "nan", "inf", "diverged at -inf"],
)
def test_a_run_without_a_sound_value_is_told_as_the_worst_finite_one(method, minimize, bad):
    finished = history(8)
    worst = (max if minimize else min)(o.value for o in finished)
    tempting = suggest(method, 9, finished=finished, minimize=minimize)
    lost = Observation(8, tempting, **bad)
    as_worst = Observation(8, tempting, value=worst)
    found = suggest(method, 9, finished=(*finished, lost), minimize=minimize)
    assert found == suggest(method, 9, finished=(*finished, as_worst), minimize=minimize)
    assert found != tempting


@pytest.mark.parametrize("method", BAYESIAN)
@pytest.mark.parametrize("diverged", [True, False], ids=["diverged", "failed"])
def test_without_any_finite_value_the_draw_goes_on_at_random(method, diverged):
    lost = tuple(replace(o, value=None, diverged=diverged) for o in history(8))
    assert suggest(method, finished=lost, pending=(DEFAULT,)) == suggest("random")


def search(method: str, trials: int, *, seed: int) -> float:
    """The best value of a whole arm."""
    finished: list[Observation] = []
    for index in range(trials):
        point = suggest(method, index, seed=seed, finished=tuple(finished))
        finished.append(Observation(index, point, value=bowl(point)))
    return min(o.value for o in finished)


@pytest.mark.parametrize(("method", "trials", "gain"), [("gp", 20, 20), ("tpe", 60, 2)])
def test_the_model_finds_a_quadratics_optimum_better_than_random_at_equal_count(method, trials, gain):
    ours, random = (
        statistics.median(search(m, trials, seed=seed) for seed in (1, 2, 3)) for m in (method, "random")
    )
    assert ours * gain < random


def test_proposals_do_not_depend_on_threads_and_settings_are_put_back():
    import optuna
    import torch

    points, finished = [], history(150)  # long enough for torch to share the work out
    threads, verbosity = torch.get_num_threads(), optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(optuna.logging.DEBUG)
        for count in (1, 2):
            torch.set_num_threads(count)
            points.append([suggest("gp", 150, finished=finished, pending=(DEFAULT,))])
            assert torch.get_num_threads() == count
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(verbosity)
    assert points[0] == points[1]


def mixed_search(method: str, trials: int, *, seed: int) -> float:
    """The best value of a whole arm over all kinds of parameter."""
    finished: list[Observation] = []
    for index in range(trials):
        point = suggest_mixed(method, index, seed=seed, finished=tuple(finished))
        finished.append(Observation(index, point, value=landscape(point)))
    return min(o.value for o in finished)


# A quarter of a minute for the Gaussian process; that it finds an optimum is shown above, on numbers.
@pytest.mark.parametrize(
    ("method", "trials", "gain"), [pytest.param("gp", 16, 2, marks=pytest.mark.slow), ("tpe", 60, 1.5)]
)
def test_the_model_finds_the_best_of_a_mixed_space_better_than_random_at_equal_count(method, trials, gain):
    ours, random = (
        statistics.median(mixed_search(m, trials, seed=seed) for seed in (1, 2, 3))
        for m in (method, "random")
    )
    assert ours * gain < random


@pytest.mark.parametrize("method", BAYESIAN)
def test_optuna_searches_whole_numbers_and_choices_as_its_own(method, monkeypatch):
    import optuna

    asked = []
    ask = optuna.Study.ask
    monkeypatch.setattr(
        optuna.Study, "ask", lambda study, axes: asked.append((study.get_trials(), axes)) or ask(study, axes)
    )
    suggest_mixed(method, pending=(MIXED_DEFAULT,))
    ((told, axes),) = asked
    assert axes == {
        "optimizer.alpha": optuna.distributions.FloatDistribution(0, 1),
        "layers": optuna.distributions.IntDistribution(1, 12),
        "width": optuna.distributions.IntDistribution(16, 1024, log=True),
        "batch": optuna.distributions.IntDistribution(8, 64, step=8),
        "optimizer.name": optuna.distributions.CategoricalDistribution(('"sgd"', '"adam"', '"lion"')),
        "tied": optuna.distributions.CategoricalDistribution(("false", "true")),
        "cache": optuna.distributions.CategoricalDistribution(("1", '"1"', "true", "2.5")),
    }
    assert told[-1].state == optuna.trial.TrialState.RUNNING
    assert told[-1].params | {"optimizer.alpha": None} == {
        "optimizer.alpha": None,
        "layers": 6,
        "width": 64,
        "batch": 16,
        "optimizer.name": '"sgd"',
        "tied": "false",
        "cache": "true",
    }


@pytest.mark.parametrize("method", BAYESIAN)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_range_of_a_million_million_whole_numbers_is_searched_without_a_list_of_them(method, scale):
    wide = Parameter(path="width", type="int", low=1, high=10**12, scale=scale)
    told = tuple(Observation(i, {"width": 10 ** (3 * i)}, value=float(i)) for i in range(5))
    point = suggest(method, 8, space=(wide,), default={"width": 5}, finished=told)
    assert isinstance(point["width"], int)
    assert wide.takes(point["width"])


# -- methods that draw by index -------------------------------------------------------------------


def test_a_fixed_arm_changes_nothing():
    assert suggest("fixed") == {}


def test_a_grid_goes_through_all_combinations_the_last_path_first():
    found = [tuple(suggest("grid", i).values()) for i in range(12)]
    assert found == list(itertools.product((1.0, 2.0), (0.1, 0.2, 0.3), (7.0, 5.0)))


def test_a_grid_goes_through_whole_numbers_and_choices_too():
    found = [tuple(suggest_mixed("grid", i).values()) for i in range(24)]
    assert found == list(itertools.product((2, 3, 4), (8, 64), (False, True), (0.5, 1.0)))
    assert {tuple(map(type, values)) for values in found} == {(int, int, bool, float)}


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_whole_numbers_and_choices_are_drawn_with_the_chance_of_their_share(method):
    space = (
        Parameter(path="linear", type="int", low=2, high=10, step=2),
        Parameter(path="log", type="int", low=1, high=4, scale="log"),
        Parameter(path="choice", choices=("a", "b", "c")),
    )
    count = 2048
    drawn = [suggest(method, i, space=space) for i in range(count)]
    width = math.log(4.5 / 0.5)
    chances = {
        "linear": dict.fromkeys((2, 4, 6, 8, 10), 0.2),
        "log": {k: math.log((k + 0.5) / (k - 0.5)) / width for k in (1, 2, 3, 4)},
        "choice": dict.fromkeys("abc", 1 / 3),
    }
    for path, expected in chances.items():
        found = [point[path] for point in drawn]
        assert set(found) == set(expected)
        for value, chance in expected.items():
            deviation = math.sqrt(chance * (1 - chance) / count)
            assert abs(found.count(value) / count - chance) < 4 * deviation, (path, value)


def test_a_grid_has_no_point_beyond_its_last():
    with pytest.raises(BadSpec) as refused:
        suggest("grid", 12)
    assert str(refused.value) == (
        "The grid has 12 points, and point 13 was asked for. "
        "A grid cannot be extended: make a new study with more values."
    )


def test_sobol_points_are_scipys_sequence():
    cube = tuple(Parameter(path=name, low=0, high=1) for name in "abcd")
    expected = qmc.Sobol(4, scramble=True, rng=derive_seed(7, "sobol")).random(16)
    found = [list(suggest("sobol", i, space=cube).values()) for i in range(16)]
    assert found == expected.tolist()


def test_random_draws_are_uniform_on_the_scale_and_independent_across_paths():
    units = [
        [to_unit(p, v) for p, v in zip(SPACE, suggest("random", i).values(), strict=True)] for i in range(500)
    ]
    columns = list(zip(*units, strict=True))
    assert all(stats.kstest(column, "uniform").pvalue > 0.01 for column in columns)
    for one, other in itertools.combinations(columns, 2):
        assert abs(stats.pearsonr(one, other).statistic) < 0.12  # 2.7 deviations of 500 independent pairs


def test_a_random_value_does_not_depend_on_the_other_paths():
    assert suggest("random", space=SPACE[:1]).items() <= suggest("random", space=SPACE[::-1]).items()


# -- scales ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [0.0, 1e-9, 0.25, 0.5, 0.9, 1.0])
def test_the_unit_cube_agrees_with_independent_formulas(unit):
    alpha, beta1, dropout = SPACE
    expected = {
        alpha: 0.01 * 1000**unit,
        beta1: special.expit(special.logit(0.05) * (1 - unit) + special.logit(0.99) * unit),
        dropout: 0.5 * unit,
    }
    for parameter, value in expected.items():
        assert from_unit(parameter, unit) == pytest.approx(value, rel=1e-12)
        assert to_unit(parameter, value) == pytest.approx(unit, abs=1e-12)


@pytest.mark.parametrize("value", [1e-300, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12])
def test_working_coordinates_agree_with_scipy_and_come_back(value):
    assert to_working("linear", value) == value
    assert to_working("log", value) == pytest.approx(math.log10(value) / math.log10(math.e), rel=1e-14)
    assert to_working("logit", value) == pytest.approx(float(special.logit(value)), rel=1e-12)
    for scale in ("linear", "log", "logit"):
        assert from_working(scale, to_working(scale, value)) == pytest.approx(value, rel=1e-12)


def test_the_ends_of_a_scale_lie_at_infinity():
    assert to_working("log", 0) == to_working("logit", 0) == -math.inf
    assert to_working("logit", 1) == math.inf
    assert from_working("logit", -math.inf) == 0
    assert from_working("logit", math.inf) == 1


@given(parameter=parameters("a"), unit=st.floats(-1, 2))
@settings(max_examples=300, deadline=None)
def test_any_unit_coordinate_falls_inside_any_range_and_the_ends_are_exact(parameter, unit):
    value = from_unit(parameter, unit)
    assert parameter.low <= value <= parameter.high
    assert 0 <= to_unit(parameter, value) <= 1
    for end in parameter.bounds:
        assert from_unit(parameter, to_unit(parameter, end)) == end


@given(
    parameter=whole_numbers("a") | choices("a"),
    share=st.floats(0, 1, exclude_max=True),
    unit=st.floats(-1, 2),
)
@settings(max_examples=300, deadline=None)
def test_whole_numbers_and_choices_come_back_as_themselves_from_the_unit_cube(parameter, share, unit):
    value = parameter.listed[int(share * len(parameter.listed))]
    assert 0 < to_unit(parameter, value) < 1
    assert typed({"a": from_unit(parameter, to_unit(parameter, value))}) == typed({"a": value})
    assert is_inside({"a": from_unit(parameter, unit)}, (parameter,))
    assert typed({"a": from_unit(parameter, 0)}) == typed({"a": parameter.listed[0]})
    assert typed({"a": from_unit(parameter, 1)}) == typed({"a": parameter.listed[-1]})


def test_what_is_none_of_the_choices_has_no_place():
    with pytest.raises(ValueError, match=r"^a is 'z'\. Allowed are: x, true\.$"):
        to_unit(Parameter(path="a", choices=("x", True)), "z")


@given(unit=st.floats(0, 1), parameter=st.sampled_from(SPACE))
def test_the_way_to_the_unit_cube_and_back_keeps_the_value(parameter, unit):
    value = from_unit(parameter, unit)
    assert from_unit(parameter, to_unit(parameter, value)) == pytest.approx(value, rel=1e-12, abs=1e-300)
