"""Is a claim that one-sided tests judge supported: of non-inferiority, or over several columns?

A cell is a column that has the rows of the claim's two arms. In each, one sign-flip test asks whether the
challenger is better, or not worse by more than the claim's margin, and the same test in the other direction
whether it is worse, or worse than the margin.

A margin in time becomes a margin on the log of the metric, κ·log(1 + margin): κ is how fast the loss falls
with the length of plain training, loss ~ length^-κ. It is estimated from the study's own plain runs of the
column, seed by seed, between the two shortest lengths that were run; if all have one length, it is that of
short runs of the trainer, 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

from dashboards.evidence import stats
from dashboards.evidence.attribution import ALPHA
from dashboards.evidence.contrasts import Contrast, contrast
from dashboards.evidence.frames import Frame
from dashboards.evidence.wording import labels, possessive, signed
from orchestrator.study.spec import Claim, StudySpec

LOSS_PER_TIME = 2.2  # κ of short runs of the trainer: 1.2 to 3.4, between 1.0 and 1.15 times the steps


@dataclass(frozen=True)
class Margin:
    """How much higher the log of the metric may be, and what of the study it follows from."""

    time: float  # the claim's: 0.03 is 3% of the training time
    kappa: float
    seeds: int  # of plain runs at two lengths that κ is read off; 0: it is LOSS_PER_TIME
    lengths: tuple[int, int] | None  # in steps

    @property
    def log(self) -> float:
        """Zero where longer training does not lower the loss: then no time makes up for a higher one."""
        return max(0.0, self.kappa) * math.log1p(self.time)


@dataclass(frozen=True)
class Cell:
    """One column. `p`: that the challenger is better there, or not worse beyond the margin; `p_against`: that
    it is worse, or worse beyond the margin. Both one-sided."""

    column: str
    challenger: str
    incumbent: str
    unit: str
    n: int
    margin: Margin | None  # of superiority there is none
    p: float
    p_against: float
    effect: float | None  # from the margin, in paired standard deviations
    sentence: str


@dataclass(frozen=True)
class Tested:
    """A claim about cells: p that at least `least` are as claimed, p_against that too few can be."""

    cells: tuple[Cell, ...]
    least: int
    p: float
    p_against: float
    needed: int | None  # pairs in a cell; None: not known, or more than can be asked for
    more_needed: int | None  # … beyond those there
    hopeless: str  # why more would not help; else empty


def one_sided(claim: Claim) -> bool:
    return claim.kind == "non-inferiority" or claim.at_least is not None


def levels(cells: int, least: int) -> tuple[float, float]:
    """At which level a cell is tested, for the claim and against it, by the partial conjunction."""
    return ALPHA / (cells - least + 1), ALPHA / least


def level_of(spec: StudySpec, claim: Claim) -> float:
    """Of the test in one column."""
    if claim.at_least is None:
        return ALPHA
    sides = spec.cells(spec.arm(claim.challenger), spec.arm(claim.incumbent))
    return levels(len(sides), claim.at_least)[0]


def tested(frame: Frame, claim: Claim) -> Tested:
    sides = frame.spec.cells(frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))
    if claim.at_least is None:
        sides = dict([next(iter(sides.items()))])
    least = claim.at_least or 1
    cells = [
        _cell(frame, claim, column, contrast(frame, *pair, metric=claim.metric))
        for column, pair in sides.items()
    ]
    against = len(cells) - least + 1  # so many cells the other way leave too few
    needed, more = _needed([cell for cell, _ in cells], least)
    objections = [objection for _, objection in cells]
    return Tested(
        cells=tuple(cell for cell, _ in cells),
        least=least,
        p=stats.partial_conjunction_p([cell.p for cell, _ in cells], least),
        p_against=stats.partial_conjunction_p([cell.p_against for cell, _ in cells], against),
        needed=needed,
        more_needed=more,
        hopeless=objections[0] if all(objections) else "",
    )


def _cell(frame: Frame, claim: Claim, column: str, seen: Contrast) -> tuple[Cell, str]:
    """And why no test can be made of it, if pairs are there; else an empty text."""
    margin = None if claim.time_margin is None else margin_in(frame, column, claim)
    objection = ""
    if margin is not None and seen.n and seen.ratio is None:
        objection = (
            f"{claim.metric} is not above zero in all runs, so it is compared as a difference, to which "
            f"a margin in time does not apply."
        )
    beyond = () if objection else tuple(d + (margin.log if margin else 0.0) for d in seen.differences)
    cell = Cell(
        column=column,
        challenger=seen.challenger,
        incumbent=seen.incumbent,
        unit=seen.unit,
        n=seen.n,
        margin=margin,
        p=stats.one_sided_p(beyond),
        p_against=stats.one_sided_p([-d for d in beyond]),
        effect=stats.effect_size(beyond),
        sentence="",
    )
    return replace(cell, sentence=objection or _sentence(frame, cell, seen)), objection


def _sentence(frame: Frame, cell: Cell, seen: Contrast) -> str:
    if seen.mean is None:
        return "No pair of runs on fresh seeds can be compared."
    pairs = f"1 {seen.unit}" if seen.n == 1 else f"{seen.n} paired {seen.unit}s"
    ours, theirs = labels(frame, frame.spec.arm(seen.challenger), frame.spec.arm(seen.incumbent))
    said = f"On {pairs}, {possessive(ours)} "
    if seen.ratio is None:
        said += f"mean gain in {seen.metric} over {theirs} is {signed(seen.mean)}"
    else:
        said += f"{seen.metric} is {seen.ratio:.3g} times {possessive(theirs)}"
    said += f" (95% interval {seen.within})" if seen.interval is not None else ""
    if cell.margin is None:
        return f"{said}; one-sided p = {cell.p:.3g} for better, {cell.p_against:.3g} for worse."
    return (
        f"{said}; the margin allows {math.exp(cell.margin.log):.3g} times ({_why(cell.margin)}); "
        f"one-sided p = {cell.p:.3g} for within, {cell.p_against:.3g} for beyond."
    )


def _why(margin: Margin) -> str:
    time = f"{margin.time * 100:g}% of the training time at κ = {margin.kappa:.3g}"
    if margin.lengths is None:
        return f"{time}, assumed: no plain runs of two lengths"
    seeds = f"{margin.seeds} seed{'s' * (margin.seeds != 1)}"
    return f"{time}, from plain runs of {margin.lengths[0]} and {margin.lengths[1]} steps on {seeds}"


# -- what a margin in time is worth ----------------------------------------------------------------------
def margin_in(frame: Frame, column: str, claim: Claim) -> Margin:
    """Of a column. κ is of the two shortest lengths with a seed in common."""
    assert claim.time_margin is not None
    by_length = _plain(frame, column, claim.metric)
    lengths = sorted(by_length)
    for short, long in pairwise(lengths):
        seeds = sorted(by_length[short].keys() & by_length[long].keys())
        if seeds:
            falls = fmean(math.log(by_length[short][s] / by_length[long][s]) for s in seeds)
            return Margin(claim.time_margin, falls / math.log(long / short), len(seeds), (short, long))
    return Margin(claim.time_margin, LOSS_PER_TIME, 0, None)


def _plain(frame: Frame, column: str, metric: str) -> Mapping[int, Mapping[int, float]]:
    """The metric of completed plain runs on fresh seeds, by their steps and seed: of the default (role base)
    and of the controls that train it for longer."""
    found: dict[int, dict[int, float]] = {}
    for arm in frame.spec.arms:
        plain = arm.known_role == "base" or arm.trains_longer
        if not plain or arm.column not in (column, "*") or frame.spec.confirms(arm):
            continue
        for trial in frame.confirming(arm):
            value, steps = frame.value_of(trial, metric), trial.config.get("steps")
            if value is not None and value > 0 and isinstance(steps, int) and steps > 0:
                found.setdefault(steps, {})[trial.seed] = value
    return found


# -- how many pairs would decide it ----------------------------------------------------------------------
def _needed(cells: Sequence[Cell], least: int) -> tuple[int | None, int | None]:
    """Pairs in each of the cells on which the answer hangs at the effects seen, and how many more than there:
    of those as claimed the `least` clearest or, if they are fewer, of the others as many as leave too few."""
    for sign, count, level in zip(
        (1, -1), (least, len(cells) - least + 1), levels(len(cells), least), strict=True
    ):
        fewest = stats.fewest_pairs(level, one_sided=True)
        here = []  # (pairs in all, more) of the cells on that side
        for cell in cells:
            if cell.effect is None:  # nothing is known of the spread
                here.append((fewest, max(1, fewest - cell.n)))
            elif sign * cell.effect > 0:
                pairs = stats.units_to_decide(cell.effect, alpha=level, one_sided=True)
                if pairs is not None:
                    here.append((pairs, max(0, pairs - cell.n)))
        if len(here) >= count:
            chosen = sorted(here)[:count]
            return chosen[-1][0], max(1, *(more for _, more in chosen))
    return None, None
