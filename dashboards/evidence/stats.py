"""What can be concluded from a few numbers, and how surely?

Everything is a pure function; random draws come from a fixed seed, so that equal numbers give equal answers.
Exact where that is affordable: with the three to ten seeds of a study, approximations are what fails.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.ground import extras

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    np, Array = extras.Later("numpy"), Any  # tables of a service are shown without it
Statistic = Callable[[Array], Array]  # along the last axis

LEVEL = 0.95
POWER = 0.8
EXACT_UP_TO = 16  # pairs: 65,536 ways to flip their signs
DRAWS = 50_000  # of signs, above that
# The power is simulated for so many pairs beyond the fewest that can decide, 11 at a two-sided .05, and up to
# so many at all; above, it is that of the t test.
POWER_EXACT_BEYOND, POWER_EXACT_UP_TO = 5, 14
RESAMPLES = 5_000
DRAWN_AT_ONCE = 2_000_000  # numbers of a band's resamples: 16 MB, a few times over
BOOTSTRAP_FROM = 30  # values; below, its intervals are too narrow (see `mean_interval`)
MOST_UNITS = 1_000  # asked for; beyond, "more than"


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


# -- is there a difference? ------------------------------------------------------------------------------
def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of a paired permutation test on the mean difference: every pair may be swapped.

    Exact up to 16 pairs; above, 50,000 drawn swaps, the observed one counted among them.
    """
    d = np.asarray(differences, float)
    if d.size == 0:
        return 1.0
    observed = abs(d.sum()) * (1 - 1e-12) - 1e-15  # equal sums differ by rounding, and must count
    signs = _swaps(d.size)
    extreme = int(np.sum(np.abs(signs @ d) >= observed))
    return extreme / len(signs) if d.size <= EXACT_UP_TO else (1 + extreme) / (1 + len(signs))


def one_sided_p(differences: Sequence[float]) -> float:
    """p of the same test that the mean difference is above zero: how often a swap's mean is as high."""
    d = np.asarray(differences, float)
    if d.size == 0:
        return 1.0
    observed = d.sum() - abs(d.sum()) * 1e-12 - 1e-15
    signs = _swaps(d.size)
    extreme = int(np.sum(signs @ d >= observed))
    return extreme / len(signs) if d.size <= EXACT_UP_TO else (1 + extreme) / (1 + len(signs))


def sign_flip_interval(differences: Sequence[float], *, level: float = LEVEL) -> Interval | None:
    """All mean differences that `sign_flip_p` does not reject: zero is left out exactly where p <= 1 - level.

    A shift of all differences is as extreme under a swap as unswapped just where it lies between the mean of
    the pairs that are swapped and the mean of the others; p is the share of swaps in whose range it lies.
    None where no shift can be rejected, with fewer than six pairs at 95%.
    """
    d = np.asarray(differences, float)
    if d.size < fewest_pairs(1 - level):
        return None
    signs = _swaps(d.size)
    swapped = signs < 0
    counts = swapped.sum(axis=1)
    some = (counts > 0) & (counts < d.size)  # the others are as extreme wherever the mean is
    inside = (swapped[some] @ d) / counts[some]
    outside = (d.sum() - swapped[some] @ d) / (d.size - counts[some])
    always = len(signs) - int(some.sum())
    # How many swaps a shift may be in the range of and still be rejected.
    allowed = math.floor((1 - level) * len(signs) + 1e-9) - always
    if d.size > EXACT_UP_TO:
        allowed = math.floor((1 - level) * (1 + len(signs)) + 1e-9) - 1 - always
    lows, highs = np.minimum(inside, outside), np.maximum(inside, outside)
    low, high = np.sort(lows)[allowed], np.sort(highs)[len(highs) - 1 - allowed]
    return Interval(*(0.0 if abs(end) <= 1e-12 * np.abs(d).max() else float(end) for end in (low, high)))


@functools.cache
def _swaps(n: int) -> Array:
    """Of n pairs, a row of signs each: all of them up to 16 pairs, drawn ones above."""
    if n <= EXACT_UP_TO:
        return np.asarray(1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1), float)
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(DRAWS, n))


def fewest_pairs(alpha: float = 1 - LEVEL, *, one_sided: bool = False) -> int:
    """Below so many pairs no result can reach p <= alpha: of the 2^n swaps the observed one is always as
    extreme, and on both sides its opposite is too."""
    return math.ceil(math.log2((1 if one_sided else 2) / alpha) - 1e-9)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def as_many_p(by_unit: Sequence[Mapping[int, float]]) -> float:
    """How often, of all ways to swap whole units in all columns at once, as many columns or more have a mean
    difference above zero as there are. `by_unit`: the differences of each column; one may lack a unit."""
    units = sorted({unit for each in by_unit for unit in each})
    d = np.array([[each.get(unit, 0.0) for unit in units] for each in by_unit], float)
    above = 1e-12 * np.abs(d).sum(axis=1)  # sums that cancel differ from zero by rounding
    signs = _swaps(len(units))
    counts = np.sum(signs @ d.T > above, axis=1)
    extreme = int(np.sum(counts >= int(np.sum(d.sum(axis=1) > above))))
    return extreme / len(signs) if len(units) <= EXACT_UP_TO else (1 + extreme) / (1 + len(signs))


def partial_conjunction_p(ps: Sequence[float], least: int) -> float:
    """p of "an effect in at least `least` of these cells", of one-sided p values (Benjamini and Heller, 2008,
    by Bonferroni): the `least`-th smallest, times the cells that remain."""
    return min(1.0, (len(ps) - least + 1) * sorted(ps)[least - 1])


# -- how large is it? ------------------------------------------------------------------------------------
def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval | None:
    """Of the mean. None for fewer than two values.

    Fewer than 30: Student's t. Measured on normal data at nominal 95%, BCa covers 73% with 3 values, 85%
    with 6 and 88% with 10, a percentile bootstrap hardly more; Student's t covers 95%. From 30 on: BCa.
    """
    x = np.asarray(values, float)
    if x.size < 2:
        return None
    if x.size >= BOOTSTRAP_FROM:
        return bca_interval(x, lambda a: a.mean(axis=-1), level=level)
    from scipy.special import stdtrit

    half = float(stdtrit(x.size - 1, (1 + level) / 2) * x.std(ddof=1) / math.sqrt(x.size))
    return Interval(float(x.mean()) - half, float(x.mean()) + half)


def bca_interval(
    values: Sequence[float] | Array, statistic: Statistic, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Bias-corrected and accelerated bootstrap (Efron 1987)."""
    from scipy.special import ndtr, ndtri

    x = np.asarray(values, float)
    if np.ptp(x) == 0:
        return Interval(float(x[0]), float(x[0]))
    drawn = statistic(x[np.random.default_rng(0).integers(x.size, size=(resamples, x.size))])
    seen = float(statistic(x))
    below = (np.sum(drawn < seen) + np.sum(drawn <= seen)) / (2 * resamples)
    bias = ndtri(np.clip(below, 1 / resamples, 1 - 1 / resamples))
    without = statistic(np.array([np.delete(x, i) for i in range(x.size)]))
    away = without.mean() - without
    spread = np.sum(away**2) ** 1.5
    acceleration = np.sum(away**3) / (6 * spread) if spread > 0 else 0.0
    z = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(drawn, ndtr(bias + z / (1 - acceleration * z)))
    return Interval(float(low), float(high))


def stratified_band(
    strata: Sequence[Array], statistic: Statistic, *, level: float = LEVEL, resamples: int = 1_000
) -> tuple[Array, Array]:
    """A percentile bootstrap band, where each stratum is an array (replicates, points).

    Replicates are drawn anew within each stratum, so that none gains or loses weight; `statistic` sees all
    of them along its last axis. With a single replicate the band is as wide as the line.
    """
    random = np.random.default_rng(0)
    rows = [random.integers(len(stratum), size=(resamples, len(stratum))) for stratum in strata]
    at_once = max(1, DRAWN_AT_ONCE // max(1, sum(stratum.size for stratum in strata)))
    of_each = []  # the statistic of (resamples, points, replicates)
    for first in range(0, resamples, at_once):
        part = slice(first, first + at_once)
        drawn = [stratum[row[part]] for stratum, row in zip(strata, rows, strict=True)]
        of_each.append(statistic(np.concatenate([np.moveaxis(d, 1, -1) for d in drawn], axis=-1)))
    low, high = np.quantile(np.concatenate(of_each), ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high


def effect_size(differences: Sequence[float]) -> float | None:
    """Cohen's d of pairs: the mean difference over its standard deviation. None if that is not known."""
    d = np.asarray(differences, float)
    if d.size < 2:
        return None
    sd = float(d.std(ddof=1))
    if sd > 1e-12 * abs(d.mean()):  # below lies only rounding
        return float(d.mean()) / sd
    return math.copysign(math.inf, d.mean()) if d.mean() else 0.0


def probability_of_improvement(challenger: Sequence[float], incumbent: Sequence[float]) -> float:
    """How often a run of one beats a run of the other, higher being better; a tie counts half."""
    a, b = np.asarray(challenger, float)[:, None], np.asarray(incumbent, float)[None, :]
    return float(np.mean((a > b) + 0.5 * (a == b)))


def interquartile_mean(values: Array) -> Array:
    """The mean of the middle half along the last axis; a quarter is cut off at each end, rounded down."""
    x = np.sort(np.asarray(values, float), axis=-1)
    cut = x.shape[-1] // 4
    middle: Array = x[..., cut : x.shape[-1] - cut].mean(axis=-1)
    return middle


def units_to_decide(
    effect: float, *, alpha: float = 1 - LEVEL, power: float = POWER, one_sided: bool = False
) -> int | None:
    """How many pairs the sign-flip test needs to see an effect of so many paired standard deviations.

    Of normal differences. The paired t test's power is never smaller; with many pairs it is hardly larger
    (from 12 on less than .004 at a two-sided .05), and is used in its place. None: more than 1,000. One-sided
    the test rejects an effect on its side where the two-sided one at twice the level does.
    """
    level = 2 * alpha if one_sided else alpha
    least = fewest_pairs(level)
    if math.isinf(effect):
        return least
    for n in range(least, MOST_UNITS + 1):
        if _power_of_t(abs(effect), n, alpha=level) >= power and (
            not _power_is_exact(n, alpha=level) or abs(effect) >= _least_effect(n, alpha=level, power=power)
        ):
            return n
    return None


def effect_seen(
    pairs: int, *, alpha: float = 1 - LEVEL, power: float = POWER, one_sided: bool = False
) -> float | None:
    """The least effect that so many pairs are enough for (see `units_to_decide`); None: for none."""
    from scipy.special import nctdtrinc, stdtrit

    level = 2 * alpha if one_sided else alpha
    if pairs < fewest_pairs(level):
        return None
    by_t = float(nctdtrinc(pairs - 1, 1 - power, stdtrit(pairs - 1, 1 - level / 2))) / math.sqrt(pairs)
    return (
        max(by_t, _least_effect(pairs, alpha=level, power=power))
        if _power_is_exact(pairs, alpha=level)
        else by_t
    )


def _power_is_exact(n: int, *, alpha: float) -> bool:
    return n <= min(fewest_pairs(alpha) + POWER_EXACT_BEYOND, POWER_EXACT_UP_TO)


def _power_of_t(effect: float, n: int, *, alpha: float) -> float:
    """Of the two-sided paired t test with n pairs."""
    from scipy.special import nctdtr, stdtrit

    shift, critical = effect * math.sqrt(n), stdtrit(n - 1, 1 - alpha / 2)
    power = float(1 - nctdtr(n - 1, shift, critical) + nctdtr(n - 1, shift, -critical))
    return 1.0 if math.isnan(power) else power  # NaN: so far out that it is 1


@functools.cache
def _least_effect(n: int, *, alpha: float, power: float) -> float:
    """The least effect that the sign-flip test of n pairs sees with this power.

    Swapping a set of pairs gives a mean as extreme as the observed one unless the set and the rest both have
    positive sums. So a draw of noise has, for each split of the pairs in two, an effect up to which it counts
    against the observed order: minus the smaller of the two means. The test rejects once so few splits count
    that their share is at most alpha. The t test's effect on the same draws, known without drawing, takes out
    most of the error of drawing.
    """
    from scipy.special import nctdtrinc, stdtrit

    splits = np.arange(1, 2 ** (n - 1))  # by which pairs are swapped; the last never is
    swapped = (splits[:, None] >> np.arange(n)) & 1
    counts = swapped.sum(axis=1)
    allowed = math.floor(alpha * 2 ** (n - 1) + 1e-9)  # the observed order is one of them
    draws = min(DRAWS, 2**22 // (splits.size + 1))
    noise = np.random.default_rng(0).standard_normal((draws, n))
    sums, totals = noise @ swapped.T, noise.sum(axis=1, keepdims=True)
    until = np.maximum(-sums / counts, (sums - totals) / (n - counts))
    seen = np.partition(until, -allowed, axis=1)[:, -allowed]
    critical = stdtrit(n - 1, 1 - alpha / 2)
    by_t = critical * noise.std(axis=1, ddof=1) / math.sqrt(n) - noise.mean(axis=1)
    exact_by_t = nctdtrinc(n - 1, 1 - power, critical) / math.sqrt(n)
    return float(exact_by_t + np.quantile(seen, power) - np.quantile(by_t, power))


# -- how soon is it reached? -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Steps:
    """A best-so-far line: after `cost[i]` the best was `best[i]`. It ends where its arm ended."""

    cost: Array
    best: Array


def best_so_far(costs: Sequence[float], values: Sequence[float | None], *, minimize: bool) -> Steps:
    """`costs` are those of each run; one without a value counts toward cost only."""
    worst = math.inf if minimize else -math.inf
    known = np.array([worst if value is None else value for value in values], float)
    best = np.minimum.accumulate(known) if minimize else np.maximum.accumulate(known)
    return Steps(np.cumsum(np.asarray(costs, float)), best)


def at(line: Steps, costs: Array) -> Array:
    """The best at these costs. NaN before the first result and after the line's end: nothing is invented."""
    where = np.searchsorted(line.cost, np.asarray(costs) * (1 + 1e-12), side="right") - 1
    best = np.where(where >= 0, line.best[np.maximum(where, 0)], np.nan) if line.cost.size else costs * np.nan
    past = costs > line.cost[-1] * (1 + 1e-12) if line.cost.size else True
    return np.where(past | ~np.isfinite(best), np.nan, best)


def over_replicates(
    lines: Sequence[Steps], statistic: Statistic | None = None, *, most: int | None = None
) -> tuple[Array, Array, Array, Array]:
    """(cost, middle, low, high): the median of the replicates' lines and its band, at `most` costs or fewer.

    Only where every replicate has a best: before, and after the first of them has ended, it is censored.
    """
    middle_of = statistic or (lambda a: np.median(a, axis=-1))
    if not lines:
        return (nothing := np.zeros(0)), nothing, nothing, nothing
    grid = np.unique(np.concatenate([line.cost for line in lines]))
    all_lines = np.array([at(line, grid) for line in lines]).reshape(len(lines), grid.size)
    known = np.isfinite(all_lines).all(axis=0)
    grid, all_lines = grid[known], all_lines[:, known]
    if most is not None and grid.size > most:
        kept = _steps(all_lines, most)
        grid, all_lines = grid[kept], all_lines[:, kept]
    middle = middle_of(all_lines.T)
    if len(lines) < 2 or not grid.size:
        return grid, middle, middle, middle
    return (grid, middle, *stratified_band([all_lines], middle_of))


def _steps(lines: Array, most: int) -> NDArray[np.intp]:
    """Which points draw the same steps: both ends, and where a line betters. Of too many, some evenly."""
    betters = (np.diff(lines, axis=1) != 0).any(axis=0)
    kept = np.flatnonzero(np.r_[True, betters[:-1], True])
    return kept if kept.size <= most else kept[np.linspace(0, kept.size - 1, most).round().astype(int)]


def time_to_target(line: Steps, target: float, *, minimize: bool) -> float:
    """The cost at which the target was reached; infinity for a miss."""
    reached = np.flatnonzero(line.best <= target if minimize else line.best >= target)
    return float(line.cost[reached[0]]) if reached.size else math.inf


def median_time(times: Sequence[float]) -> float:
    """A miss keeps its place: with half of them missing the median is infinite."""
    return float(np.median(np.asarray(times, float))) if times else math.inf
