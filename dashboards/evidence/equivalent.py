"""How many trials of a search until its best, on fresh seeds, is as good as one run of a row? By replays.

One search says little: how lucky it was outweighs how long it was. So a surface of the log loss is fitted to
all trials of the search in the ledger (a Gaussian process with noise, over the unit cube of its space),
surfaces are drawn from it, and searches are replayed on each. A choice from a list is an axis for each of
the list's entries, so that any two of them are equally far apart. A search chooses by what it saw, with
noise; its choice counts with the surface's own value, at the level of fresh seeds: shifted by what ran on
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dashboards.evidence.contrasts import sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.stats import LEVEL, Array
from orchestrator.ground import extras
from orchestrator.search.scales import from_unit, to_unit
from orchestrator.study.configs import default_point
from orchestrator.study.space import Parameter, Point
from orchestrator.study.spec import Arm

if TYPE_CHECKING:
    import numpy as np
else:
    np = extras.Later("numpy")

SPREAD, NEAR = 128, 64  # points of a surface: evenly in the cube, and around where it seems lowest
RADIUS = 0.1  # of the latter, a standard deviation in units of the cube
SURFACES, SEARCHES = 32, 4  # and searches replayed on each
MOST = 100  # trials; beyond, "more than"
LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)  # of the surface, in units of the cube
NOISES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)  # variances, over the surface's own
FEWEST = 5  # trials, to fit a surface to
REDRAWN = 0.25  # of the places near the lowest: how often a choice is another one
CORNER = math.sqrt(0.5)  # from 0 on its own axis: any two choices are 1 apart, as the ends of a range are


@dataclass(frozen=True)
class Confirmed:
    """A point of the space, and its losses on fresh seeds."""

    point: Sequence[float]
    losses: Sequence[float]


@dataclass(frozen=True)
class Equivalent:
    """`trials` None: more than `most`; likewise an end of the interval."""

    trials: int | None
    low: int | None
    high: int | None
    most: int

    @property
    def words(self) -> str:
        """8 (4 to 12), or > 100 (57 to > 100)."""
        trials, low, high = (
            f"> {self.most}" if n is None else f"{n}" for n in (self.trials, self.low, self.high)
        )
        return f"{trials} ({low} to {high})"


@dataclass(frozen=True)
class _Surface:
    """A Gaussian process of the log loss; `noise` is the variance of what one run adds to it."""

    mean: float
    variance: float
    noise: float
    length: float

    def covariance(self, a: Array, b: Array) -> Array:
        apart = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
        found: Array = self.variance * np.exp(-apart / (2 * self.length**2))
        return found


@dataclass(frozen=True)
class Axes:
    """How points of the unit cube lie on the axes of a surface. `choices`: by dimension of the cube how many
    there are to choose from, 0 where it is a range. `snap` gives every place the value that a search would
    run there."""

    choices: tuple[int, ...]
    snap: Callable[[Array], Array] = lambda cube: cube

    def __call__(self, cube: Array) -> Array:
        """By place and axis: a range has one axis, a choice as many as there are."""
        snapped = self.snap(cube)
        columns = []
        for values, count in zip(snapped.T, self.choices, strict=True):
            if count:
                columns += list(CORNER * np.eye(count)[np.minimum(values * count, count - 1).astype(int)].T)
            else:
                columns.append(values)
        return np.column_stack(columns)


def equivalent(curves: Array, row: Sequence[float]) -> Equivalent:
    """The trials that a search (its `replays`) needs to be as good as a row with these fresh losses."""
    random, most = np.random.default_rng(1), curves.shape[1]
    logs = np.log(np.asarray(row, float))
    needed = [_first(curve, float(random.choice(logs, len(logs)).mean())) for curve in curves]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(needed, (tail, 1 - tail), method="nearest")
    point = _first(curves.mean(axis=0), float(logs.mean()))
    trials, least, greatest = (None if n > most else int(n) for n in (point, low, high))
    return Equivalent(trials, least, greatest, most)


def replays(
    points: Sequence[Sequence[float]],
    losses: Sequence[float],
    *,
    confirmed: Sequence[Confirmed],
    default: Sequence[float] | None,
    startup: int,
    most: int = MOST,
    axes: Axes | None = None,
) -> Array | None:
    """By surface: the log loss, on fresh seeds, of what a search has chosen after each trial.

    Points lie in the unit cube; `axes` None: all its dimensions are ranges of floats. A Bayesian search
    begins at `default` and draws its first `startup` points; default None: a random search, whose best is
    known by order statistics. None where there is too little to fit a surface to, or a loss has no logarithm.
    """
    if len(losses) < FEWEST or not confirmed:
        return None
    if min(*losses, *(loss for each in confirmed for loss in each.losses)) <= 0:
        return None
    tried, y = np.asarray(points, float), np.log(np.asarray(losses, float))
    wide = tried.shape[1]
    axes = axes or Axes((0,) * wide)
    x = axes(tried)
    surface, random = _fitted(x, y), np.random.default_rng(0)
    spread = axes(_evenly(wide, SPREAD))
    lowest = tried[np.argmin(_posterior(surface, x, y, x)[0])]
    near = axes(_around(lowest, axes, random))
    known = axes(np.array([each.point for each in confirmed], float))
    begin = axes(np.array([] if default is None else [default], float).reshape(-1, wide))
    places = np.vstack([spread, near, begin])
    drawn = _drawn(surface, x, y, np.vstack([places, known]), random)  # by surface and place
    values, at_known = drawn[:, : len(places)], drawn[:, len(places) :]
    fresh = [np.log(np.asarray(each.losses, float)) for each in confirmed]
    # To the level of fresh seeds, whose luck is drawn anew for each surface.
    again = np.array([[random.choice(of, len(of)).mean() for of in fresh] for _ in range(SURFACES)])
    shifts = (again - at_known).mean(axis=1)
    if default is None:
        curves = np.array([_best_of_random(each[:SPREAD], math.sqrt(surface.noise), most) for each in values])
    else:
        curves = _replayed(surface, places, values, startup=startup, most=most, random=random)
    shifted: Array = curves + shifts[:, None]
    return shifted


def _first(curve: Array, target: float) -> int:
    """The trials after which the curve is as low as the target; one more than it has where it never is."""
    reached = np.flatnonzero(curve <= target)
    return int(reached[0]) + 1 if reached.size else len(curve) + 1


def _evenly(dimensions: int, count: int) -> Array:
    from scipy.stats import qmc

    found: Array = qmc.Sobol(dimensions, scramble=True, rng=0).random(count)
    return found


def _around(lowest: Array, axes: Axes, random: np.random.Generator) -> Array:
    """Places of the cube near one: in a range a small step away, of choices now and then another one."""
    near: Array = np.clip(lowest + RADIUS * random.standard_normal((NEAR, len(lowest))), 0, 1)
    for column in (i for i, count in enumerate(axes.choices) if count):
        anew = random.random(NEAR) < REDRAWN
        near[:, column] = np.where(anew, random.random(NEAR), lowest[column])
    return near


def _fitted(x: Array, y: Array) -> _Surface:
    """The length and the noise of the greatest likelihood, the variance and the mean that go with them."""
    best, found = -math.inf, _Surface(float(y.mean()), float(y.var()) or 1e-12, 1e-12, LENGTHS[-1])
    for length in LENGTHS:
        shape = _Surface(0.0, 1.0, 0.0, length).covariance(x, x)
        for noise in NOISES:
            lower = np.linalg.cholesky(shape + noise * np.eye(len(y)))
            one, seen = np.linalg.solve(lower, np.ones(len(y))), np.linalg.solve(lower, y)
            mean = float(one @ seen / (one @ one))
            variance = float(np.mean((seen - mean * one) ** 2)) or 1e-12
            likelihood = -np.log(np.diag(lower)).sum() - 0.5 * len(y) * math.log(variance)
            if likelihood > best:
                best, found = likelihood, _Surface(mean, variance, noise * variance, length)
    return found


def _posterior(surface: _Surface, x: Array, y: Array, at: Array) -> tuple[Array, Array]:
    """Mean and covariance of the surface at these places, given what was seen."""
    seen = surface.covariance(x, x) + surface.noise * np.eye(len(y))
    across = surface.covariance(at, x)
    weights = np.linalg.solve(seen, across.T).T
    return surface.mean + weights @ (y - surface.mean), surface.covariance(at, at) - weights @ across.T


def _drawn(surface: _Surface, x: Array, y: Array, at: Array, random: np.random.Generator) -> Array:
    mean, left = _posterior(surface, x, y, at)
    values, vectors = np.linalg.eigh((left + left.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn: Array = mean + random.standard_normal((SURFACES, len(at))) @ root.T
    return drawn


def _best_of_random(values: Array, noise: float, most: int) -> Array:
    """The mean value of what n random trials choose: of all that they may see, the r-th lowest is the lowest
    of n with probability ((M - r + 1)^n - (M - r)^n) / M^n."""
    seen = values[:, None] + noise * _quantiles(64)[None, :]
    order = np.argsort(seen, axis=None, kind="stable")
    of = np.repeat(values, 64)[order]
    total = len(of)
    above = np.arange(total, -1, -1) / total  # the share that lies at or above the r-th
    return np.array([of @ (above[:-1] ** n - above[1:] ** n) for n in range(1, most + 1)])


def _quantiles(count: int) -> Array:
    from scipy.special import ndtri

    found: Array = ndtri((np.arange(count) + 0.5) / count)
    return found


def _replayed(
    surface: _Surface, cube: Array, values: Array, *, startup: int, most: int, random: np.random.Generator
) -> Array:
    """By surface and number of trials: the mean value, over searches, of the best that was seen. Each search
    knows the surface's own scale, and proposes where the expected improvement is greatest."""
    of = np.repeat(values, SEARCHES, axis=0)
    count, places = of.shape
    rows, prior = np.arange(count), surface.covariance(cube, cube)
    mean, variance = np.full((count, places), surface.mean), np.full((count, places), surface.variance)
    factors = np.zeros((count, most, places))  # of the covariance with what was seen, as in Cholesky's
    lowest, best, chosen = np.full(count, np.inf), np.zeros(count), np.zeros((count, most))
    at: Any  # by search: the place of its next trial
    for n in range(most):
        if n == 0:
            at = np.full(count, places - 1)  # the default configuration
        elif n < startup:
            at = random.integers(SPREAD, size=count)
        else:
            at = _improvement(mean, variance, lowest).argmax(axis=1)
        truth = of[rows, at]
        seen = truth + math.sqrt(surface.noise) * random.standard_normal(count)
        better = seen < lowest
        lowest, best = np.where(better, seen, lowest), np.where(better, truth, best)
        chosen[:, n] = best
        column = prior[at] - np.einsum("rnp,rn->rp", factors[:, :n], factors[rows, :n, at])
        root = np.sqrt(column[rows, at] + surface.noise)
        factors[:, n] = column / root[:, None]
        mean = mean + factors[:, n] * ((seen - mean[rows, at]) / root)[:, None]
        variance = variance - factors[:, n] ** 2
    found: Array = chosen.reshape(SURFACES, SEARCHES, most).mean(axis=1)
    return found


def _improvement(mean: Array, variance: Array, lowest: Array) -> Array:
    from scipy.special import ndtr

    sd = np.sqrt(np.maximum(variance, 1e-18))
    z = (lowest[:, None] - mean) / sd
    found: Array = sd * (z * ndtr(z) + np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))
    return found


# -- of a study ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Worth:
    """What a row is worth in trials of a search of the same column."""

    row: str
    column: str
    search: str  # the search's row
    equivalent: Equivalent


def worth(frame: Frame) -> list[Worth]:
    """Of every row that was confirmed beside an unguided search over ranges, by the study's objective."""
    metric = frame.spec.objective.metric
    if not frame.lower_is_better(metric):
        return []
    found = []
    for search in frame.spec.arms:
        if search.phase != "search" or not search.space or search.is_grid or frame.learns[search.name]:
            continue
        for column in frame.columns() if search.column == "*" else (search.column,):
            found += _worth_beside(frame, search, column, metric)
    return found


def _axes(space: Sequence[Parameter]) -> Axes:
    def snapped(cube: Array) -> Array:
        """Whole numbers are no places in between."""
        found = cube.copy()
        for i in (i for i, p in enumerate(space) if p.type == "int"):
            found[:, i] = [to_unit(space[i], from_unit(space[i], float(unit))) for unit in cube[:, i]]
        return found

    return Axes(tuple(len(p.choices) for p in space), snapped)


def _worth_beside(frame: Frame, search: Arm, column: str, metric: str) -> list[Worth]:
    def fresh(arm: Arm) -> list[float]:
        return list(sample(frame, arm, metric, diverged_too=False).values.values())

    def units(point: Point) -> list[float]:
        return [to_unit(p, point[p.path]) for p in search.space]

    def known(point: Point) -> bool:
        return all(not p.choices or p.takes(point.get(p.path)) for p in search.space)

    tried = [t for t in frame.of(search) if t.value is not None and t.point and known(t.point)]
    default = default_point(frame.spec, search)
    whole = len(default) == len(search.space) and known(default)
    confirmed = [
        Confirmed(units(choice.point), fresh(search))
        for choice in frame.choices(search)[:1]
        if choice.point and known(choice.point)
    ]
    rows = {row: frame.arm_at(row, column) for row in dict.fromkeys(map(frame.row_of, frame.spec.arms))}
    plain = next(
        (a for a in rows.values() if a and not a.space and not a.after and not frame.learns[a.name]), None
    )
    if plain is not None and whole and plain.phase == "search":
        confirmed.append(Confirmed(units(default), fresh(plain)))
    curves = replays(
        [units(t.point) for t in tried],
        [t.value for t in tried if t.value is not None],
        confirmed=[each for each in confirmed if each.losses],
        default=units(default) if search.bayesian and whole else None,
        startup=search.startup_trials,
        axes=_axes(search.space),
    )
    others = {row: fresh(arm) for row, arm in rows.items() if arm is not None and arm != search}
    return [
        Worth(row, column, frame.row_of(search), equivalent(curves, losses))
        for row, losses in others.items()
        if curves is not None and losses and min(losses) > 0
    ]
