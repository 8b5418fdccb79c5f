"""Is an arm that could not be searched found out beforehand, with a sentence?"""

from __future__ import annotations

import sys

import pytest
from scipy.stats import qmc

from orchestrator.ground.errors import BadSpec, MissingPackage
from orchestrator.search import Observation, Request, arm_lacks, check_arm, derive_seed, searcher
from orchestrator.search.drawn import SOBOL_MAX_DIMENSIONS
from orchestrator.study.spec import Arm, Parameter

BAYESIAN = ("gp", "tpe")

SPACE = (
    Parameter(path="optimizer.alpha", low=0.01, high=10, scale="log"),
    Parameter(path="optimizer.beta1", low=0.05, high=0.99, scale="logit"),
    Parameter(path="dropout", low=0.0, high=0.5),
)
DEFAULT = {"optimizer.alpha": 1.0, "optimizer.beta1": 0.9, "dropout": 0.1}


def test_a_seed_is_stable_and_its_parts_are_not_run_together():
    # the first 63 bits of `printf '["study","gp",0]' | sha256sum`
    assert derive_seed("study", "gp", 0) == 938_681_910_138_926_699
    seeds = {derive_seed("a", "bc"), derive_seed("ab", "c"), derive_seed("a", 1), derive_seed("a", "1")}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def arm(method: str, *space: Parameter) -> Arm:
    return Arm(name="bo", method=method, space=space, trials=10)


@pytest.mark.parametrize("method", ["random", "sobol", "gp", "tpe"])
def test_a_sound_arm_has_no_problems(method):
    assert check_arm(arm(method, *SPACE), DEFAULT) == []


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_default_outside_the_space_matters_to_bayesian_arms_only(method):
    assert check_arm(arm(method, *SPACE), {}) == []


@pytest.mark.parametrize("method", BAYESIAN)
def test_a_default_that_trial_0_cannot_take_is_named(method):
    default = {"optimizer.alpha": 0.0, "optimizer.beta1": 0.999}
    assert check_arm(arm(method, *SPACE), default) == [
        "arm bo: the default configuration has optimizer.alpha = 0, which lies at infinity on a log scale. "
        "Choose a value from 0.01 to 10, or use scale 'linear'.",
        "arm bo: the default configuration has optimizer.beta1 = 0.999, outside the range 0.05 to 0.99, and "
        f"it is trial 0 of every {method} arm. Widen the range, or change the base.",
        f"arm bo: the default configuration has no number at dropout, and it is trial 0 of every {method} "
        "arm. Give dropout a value in the base.",
    ]


@pytest.mark.parametrize(
    ("method", "package", "brought_by"),
    [
        ("gp", "torch", "'orch-studies[gp]' (a CPU build of torch is enough)"),
        ("gp", "scipy", "'orch-studies[run]'"),
        ("gp", "optuna", "'orch-studies[run]'"),
        ("tpe", "optuna", "'orch-studies[run]'"),
        ("sobol", "scipy", "'orch-studies[run]'"),
    ],
)
def test_a_missing_package_is_found_before_anything_runs(method, package, brought_by, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # what makes an import of it fail
    sentence = (
        f"Method '{method}' needs {package}, which is not installed. "
        f"Install it: pip install {brought_by}, or choose method 'random'."
    )
    assert arm_lacks(arm(method, *SPACE)) == f"arm bo: m{sentence[1:]}"
    assert check_arm(arm(method, *SPACE), DEFAULT) == []  # it may be run on another machine
    with pytest.raises(MissingPackage) as missing:
        searcher(method).suggest(
            Request(
                space=SPACE, default=DEFAULT, index=1, seed=7, finished=(Observation(0, DEFAULT, value=1.0),)
            )
        )
    assert str(missing.value) == sentence


def test_a_sobol_arm_with_too_many_dimensions_is_refused():
    assert qmc.Sobol.MAXDIM == SOBOL_MAX_DIMENSIONS
    space = [Parameter.model_construct(path=f"p{i}") for i in range(21_202)]
    wide = Arm.model_construct(name="wide", method="sobol", space=space)
    assert check_arm(wide, {}) == [
        "arm wide: its space has 21202 dimensions and a Sobol sequence has at most 21201. "
        "Search fewer paths, or use method 'random'."
    ]


@pytest.mark.parametrize(("name", "hint"), [("sobel", " Did you mean 'sobol'?"), ("annealing", "")])
def test_an_unknown_method_is_refused_with_the_nearest_name(name, hint):
    with pytest.raises(BadSpec) as refused:
        searcher(name)
    assert str(refused.value) == (
        f"There is no method '{name}'.{hint} Methods are: fixed, random, sobol, grid, gp, tpe."
    )
