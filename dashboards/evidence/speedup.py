"""By how much would plain training have to be lengthened to reach what a row reached, with all that it cost?

Losses fall as a power of time, so plain runs at several lengths are joined on the log of both: the curve is
read and not modelled. Where plain training of some length and the row are equally good, the mean difference
of log loss, seed by seed, is zero; the interval holds all lengths that the sign-flip test of those
differences does not reject. The speed-up is that length over the row's cost, both in costs of plain training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.evidence.stats import LEVEL, Array, Interval, sign_flip_interval

POINTS = 201  # of the curve, evenly on the log of the length


@dataclass(frozen=True)
class Speedup:
    """`value` is None where plain training reaches the row at none of the lengths that were run: `beyond` and
    `short` say on which side, in speed-ups. So is an end of the interval that lies outside of them."""

    n: int
    value: float | None
    low: float | None
    high: float | None
    tested: bool  # there are enough seeds for an interval
    span: Interval  # what could be read: the shortest and the longest plain runs, over the row's cost
    side: (
        str  # within, beyond (the longest plain runs are worse than the row), short (the shortest are better)
    )


def speedup(
    plain: Mapping[float, Mapping[int, float]], row: Mapping[int, float], *, cost: float
) -> Speedup | None:
    """`plain`: losses by length (1: the study's own) and seed; `row`: its losses by seed; `cost`: what one of
    its runs costs, in plain runs of length 1. None without two lengths and a seed that all of them share."""
    lengths = sorted(plain)
    seeds = sorted(set(row).intersection(*(plain[length] for length in lengths))) if lengths else []
    losses = [[plain[length][seed] for seed in seeds] for length in lengths]
    if len(lengths) < 2 or not seeds or min(min(of) for of in [*losses, [row[s] for s in seeds]]) <= 0:
        return None
    at = np.linspace(math.log(lengths[0]), math.log(lengths[-1]), POINTS)
    ours = np.log([row[seed] for seed in seeds])
    curves = [np.interp(at, np.log(lengths), np.log(of)) for of in np.array(losses).T]
    excess = np.array(curves).T - ours  # by length and seed: how much worse plain training is
    mean = excess.mean(axis=1)
    kept = _kept(excess)
    scale = [math.exp(float(x)) / cost for x in (at[0], at[-1])]
    return Speedup(
        n=len(seeds),
        value=None if (crossed := _crossing(at, mean)) is None else math.exp(crossed) / cost,
        low=None if kept is None or kept[0] == 0 else math.exp(float(at[kept[0]])) / cost,
        high=None if kept is None or kept[-1] == POINTS - 1 else math.exp(float(at[kept[-1]])) / cost,
        tested=sign_flip_interval(excess[0]) is not None,
        span=Interval(*scale),
        side="beyond" if mean[-1] > 0 else "short" if mean[0] < 0 else "within",
    )


def _crossing(at: Array, mean: Array) -> float | None:
    """The log of the length from which on plain training is no worse; None where it is at none or at all."""
    if mean[-1] > 0 or mean[0] < 0:
        return None
    worse = np.flatnonzero(mean > 0)
    i = int(worse[-1]) if worse.size else 0
    if i == POINTS - 1 or mean[i] == mean[i + 1]:
        return float(at[i])
    return float(at[i] + (at[i + 1] - at[i]) * mean[i] / (mean[i] - mean[i + 1]))


def _kept(excess: Array) -> NDArray[np.intp] | None:
    """The lengths that the test does not reject; None where it cannot reject, or rejects them all."""
    intervals = [sign_flip_interval(each, level=LEVEL) for each in excess]
    kept = np.flatnonzero([i is None or i.low <= 0 <= i.high for i in intervals])
    return kept if kept.size else None
