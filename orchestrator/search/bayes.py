"""Which point comes next when history teaches? A Gaussian process or TPE, by Optuna, rebuilt each time.

Optuna sees an in-memory study, made anew from the request at every call, so that nothing has to survive a
restart. Ranges of floats are the unit cube there; whole numbers and choices are Optuna's own kinds of
parameter. Trial 0 is the default configuration and the start-up points are those of random search: the
model speaks from `startup_trials` on.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from orchestrator.search.base import Observation, Point, Request, derive_seed, require
from orchestrator.search.drawn import random_point
from orchestrator.search.scales import from_unit, to_unit
from orchestrator.study.space import Value
from orchestrator.study.spec import Arm, Parameter

if TYPE_CHECKING:
    import optuna

# Optuna standardises values by mean and deviation; the square of a larger one would overflow to NaN.
LARGEST_TOLD = 1e100
MOST_LISTED = 10_000  # whole numbers of one range: Optuna's Gaussian process lists all of them

# An ask changes settings of the whole process (torch's threads, a log level) and puts them back.
_ONE_ASK_AT_A_TIME = threading.Lock()


def worst(values: Iterable[float | None], *, minimize: bool) -> float | None:
    """The worst finite value: what a diverged trial is told as. None when there is none."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    return (max if minimize else min)(finite, default=None)


class BayesianSearch:
    """Optuna's sampler of that name: `gp` or `tpe`."""

    uses_history = True

    def __init__(self, method: str, *packages: str) -> None:
        self.method, self.packages = method, packages

    def check(self, arm: Arm) -> list[str]:
        return []

    def suggest(self, request: Request) -> dict[str, Value]:
        if request.index == 0:
            return {p.path: request.default[p.path] for p in request.space}
        told = _told(request)
        if request.index < request.startup_trials or not told:
            return random_point(request)
        require(self.method, *self.packages)
        threads = _single_threaded() if self.method == "gp" else nullcontext()
        with _ONE_ASK_AT_A_TIME, quiet(), threads:
            params = self._ask(request, told)
        return {p.path: _from_optuna(p, params[p.path]) for p in request.space}

    def _ask(self, request: Request, told: list[tuple[Observation, float]]) -> dict[str, Any]:
        import optuna

        axes = {p.path: _axis(p) for p in request.space}

        def trial(point: Point, value: float | None) -> optuna.trial.FrozenTrial:
            running = optuna.trial.TrialState.RUNNING
            return optuna.trial.create_trial(
                state=running if value is None else optuna.trial.TrialState.COMPLETE,
                params={p.path: _to_optuna(p, point[p.path]) for p in request.space},
                distributions=axes,
                value=value,
            )

        study = optuna.create_study(
            direction="minimize" if request.minimize else "maximize", sampler=self._sampler(request)
        )
        study.add_trials(trial(o.point, value) for o, value in told)
        # a pending point has no index, so its coordinates order it
        pending = sorted(
            (point for point in request.pending if _known(request, point)),
            key=lambda point: [_rank(p, point[p.path]) for p in request.space],
        )
        study.add_trials(trial(point, None) for point in pending)
        params: dict[str, Any] = study.ask(axes).params
        return params

    def _sampler(self, request: Request) -> optuna.samplers.BaseSampler:
        """No random start of Optuna's own: the start-up points are ours."""
        import optuna

        seed = (
            derive_seed(request.seed, request.index, self.method) % 2**32
        )  # numpy's RandomState takes 32 bits
        if self.method == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=0)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, constant_liar=True)


# -- parameters as Optuna's ------------------------------------------------------------------------------
def _axis(p: Parameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if p.choices:  # as texts, since Optuna takes 1 and true for one choice
        return CategoricalDistribution([json.dumps(choice) for choice in p.choices])
    if _is_listed(p):
        low, high = p.bounds
        return IntDistribution(int(low), int(high), log=p.scale == "log", step=p.step)
    return FloatDistribution(0.0, 1.0)


def _is_listed(p: Parameter) -> bool:
    """Whether it is whole numbers that Optuna is told of as such. Its Gaussian process makes a list of them:
    of a wide range it is given the place in the range instead, as of floats."""
    return p.type == "int" and len(p.listed) <= MOST_LISTED


def _to_optuna(p: Parameter, value: Value) -> Any:
    """A whole number outside the range, or between two steps, counts as the nearest."""
    if p.choices:
        return json.dumps(p.choices[_rank(p, value)])
    unit = to_unit(p, value)
    return from_unit(p, unit) if _is_listed(p) else unit


def _from_optuna(p: Parameter, given: Any) -> Value:
    if p.choices:
        return next(choice for choice in p.choices if json.dumps(choice) == given)  # type: ignore[no-any-return]
    return int(given) if _is_listed(p) else from_unit(p, given)


def _rank(p: Parameter, value: Value) -> Any:
    """What orders the values of a parameter: they themselves, or the places of its choices."""
    return p.position(value) if p.choices else value


def _known(request: Request, point: Point) -> bool:
    """False where it holds something that is none of the choices, which no model can be told."""
    return all(not p.choices or p.position(point[p.path]) is not None for p in request.space)


def gp() -> BayesianSearch:
    """A Gaussian process and log expected improvement."""
    # optuna imports torch and scipy only at the first ask of a model
    return BayesianSearch("gp", "optuna", "scipy", "torch")


def tpe() -> BayesianSearch:
    """Tree-structured Parzen estimators."""
    return BayesianSearch("tpe", "optuna")


def _told(request: Request) -> list[tuple[Observation, float]]:
    """What the model learns, by index; nothing when no finite value exists.

    A diverged trial is told as the worst finite value: left out, it would be proposed again. One that
    failed says nothing about its point and is left out.
    """
    ended = sorted((o for o in request.finished if o.diverged or o.value is not None), key=lambda o: o.index)
    ended = [o for o in ended if _known(request, o.point)]
    bad = worst((o.value for o in ended if not o.diverged), minimize=request.minimize)
    if bad is None:
        return []

    def value(o: Observation) -> float:
        sound = not o.diverged and o.value is not None and math.isfinite(o.value)
        return min(max(o.value if sound and o.value is not None else bad, -LARGEST_TOLD), LARGEST_TOLD)

    return [(o, value(o)) for o in ended]


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna announces every study that it makes; for a search that would be one line a proposal."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """One torch thread: sums split over more threads round differently, and proposals must not.

    Optuna does so itself for its two optimisations, but not for the evaluations around them: without
    this, one and two threads gave different points at 150 trials with one pending.
    """
    from torch import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(1)
    try:
        yield
    finally:
        set_num_threads(before)
