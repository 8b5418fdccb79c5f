"""On how many columns is a row better than another, which of them differ, and how often does chance give as
much?

A column counts as better where the mean difference is in the row's favour. Which of them differ is told by
their sign-flip p after Holm's correction over the columns. Chance is told in two ways:

- as if columns were independent: the binomial tail, as of coins that fall;
- as they are: rows that start from the same pretraining run, or train on the same seed, rise and fall
  together. So whole seeds are swapped, in all columns at once, and the share of swaps with as many columns is
  told. That is the one to go by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dashboards.evidence import stats
from dashboards.evidence.contrasts import Contrast, by_logarithm, contrast, paired, paired_gains, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.wording import labels
from orchestrator.study.claim import Claim
from orchestrator.study.configs import stated
from orchestrator.study.spec import Arm, StudySpec

TASK = "data.task"
ALPHA = 1 - stats.LEVEL


@dataclass(frozen=True)
class Clear:
    """A column that differs after the correction."""

    column: str
    better: bool
    p_holm: float


@dataclass(frozen=True)
class Counted:
    better: int  # columns in which the challenger's mean is better
    worse: int
    of: int  # in which something could be compared
    by_chance: float  # that at least so many are better, of independent columns
    by_swaps: float  # … of whole seeds swapped
    clear: tuple[Clear, ...]  # after Holm's correction
    pairs: int  # in the column that has fewest
    fewest: int  # pairs below which no p can reach .05 after the correction
    sentences: tuple[str, ...]


def task_in(spec: StudySpec, column: str) -> str | None:
    """The one task that all arms of a column train on; None where there is none or several."""
    named = {stated(spec, arm, TASK) for arm in spec.compared if arm.column == column}
    (task,) = named if len(named) == 1 else (None,)
    return task if isinstance(task, str) and task else None


def are_columns(spec: StudySpec) -> bool:
    """Whether each of several columns is a task of its own."""
    tasks = [task_in(spec, column) for column in spec.columns()]
    return len(tasks) > 1 and None not in tasks and len(set(tasks)) == len(tasks)


def noun(spec: StudySpec) -> str:
    return "tasks" if are_columns(spec) else "columns"


def counted(frame: Frame, claim: Claim) -> Counted | None:
    """Of a claim about an average; None of another, and where nothing can be compared."""
    if not claim.average:
        return None
    seen: dict[str, Contrast] = {}
    by_unit: list[dict[int, float]] = []
    pairs = frame.spec.cells(frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))
    for column, sides in pairs.items():
        here = contrast(frame, *sides, metric=claim.metric)
        if here.n:
            seen[column] = here
            by_unit.append(_gains(frame, sides, claim.metric))
    if not seen:
        return None
    adjusted = dict(zip(seen, stats.holm([each.p for each in seen.values()]), strict=True))
    better = sum(each.better for each in seen.values())
    found = Counted(
        better=better,
        worse=sum(math.fsum(each.differences) < 0 for each in seen.values()),
        of=len(seen),
        by_chance=at_least_by_chance(better, len(seen)),
        by_swaps=stats.as_many_p(by_unit),
        clear=tuple(Clear(c, seen[c].better, p) for c, p in adjusted.items() if p <= ALPHA + 1e-12),
        pairs=min(each.n for each in seen.values()),
        fewest=stats.fewest_pairs(ALPHA / len(seen)),
        sentences=(),
    )
    return replace(found, sentences=_sentences(frame, claim, found))


def _gains(frame: Frame, sides: tuple[Arm, Arm], metric: str) -> dict[int, float]:
    a, b = paired([sample(frame, arm, metric, beside=sides) for arm in sides])
    sign = -1.0 if frame.lower_is_better(metric) else 1.0
    log = by_logarithm(frame, metric, [*a.values(), *b.values()])
    return dict(zip(sorted(a), paired_gains(a, b, sign=sign, log=log), strict=True))


def at_least_by_chance(better: int, of: int) -> float:
    """Of so many fair coins, that at least `better` show heads."""
    return math.fsum(math.comb(of, k) / 2**of for k in range(better, of + 1))


def _sentences(frame: Frame, claim: Claim, found: Counted) -> tuple[str, ...]:
    ours, theirs = labels(frame, frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))
    what = noun(frame.spec)
    count = (
        f"{ours} is better than {theirs} on {found.better} of {found.of} {what}; by chance as many in "
        f"{percent(found.by_swaps)} (whole seeds swapped, since {what} share them), of independent {what} in "
        f"{percent(found.by_chance)}."
    )
    if found.clear:
        names = ", ".join(f"{c.column} ({'better' if c.better else 'worse'})" for c in found.clear)
        return count, f"After Holm's correction over {found.of} {what} these differ at .05: {names}."
    few = ""
    if found.pairs < found.fewest:
        few = f"; with fewer than {found.fewest} pairs in each none can"
    return count, f"After Holm's correction over {found.of} {what} none differs at .05{few}."


def percent(share: float) -> str:
    """50%, 3.1%, under 0.1%."""
    if share < 0.001:
        return "under 0.1%"
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def in_words(counted: Counted | None) -> Sequence[str]:
    return () if counted is None else counted.sentences
