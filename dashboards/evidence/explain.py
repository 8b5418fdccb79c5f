"""Why is the verdict what it is, what drove it, what would flip it, and how does one go on?

A paragraph made by rules from the numbers. It is the same text in the terminal, the pages and answer.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dashboards.evidence import average, stats, tables
from dashboards.evidence.attribution import ALPHA
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.frames import Frame
from dashboards.evidence.headline import Headline, Side, over_cost, p_text
from dashboards.evidence.verdict import Verdict
from dashboards.evidence.wording import possessive
from orchestrator.ledger.records import NOT_ENDED, StudyState
from orchestrator.study.spec import Arm

LUCK = 0.1  # of the search value: less lost on fresh seeds than this is not told


@dataclass(frozen=True)
class Explanation:
    why: str
    driver: str  # which seeds, which arm's luck; "" where nothing was compared
    flip: str  # what would change the answer; "" where nothing could
    command: str  # that goes on from here; "" where there is none

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.why, self.driver, self.flip) if part)


def explain(frame: Frame, judged: Verdict, head: Headline) -> Explanation:
    seen = judged.contrast
    compared = head.outcome in ("supported", "refuted", "undecided") and seen is not None and seen.n > 0
    return Explanation(
        why=" ".join(_why(frame, judged, head)),
        driver=" ".join(_driver(frame, seen, head.sides))
        if compared and seen and not judged.at_least
        else "",
        flip=" ".join(_flip(frame, judged, seen, head)) if compared and seen else "",
        command=_command(frame, judged, head),
    )


# -- why -------------------------------------------------------------------------------------------------
def _why(frame: Frame, judged: Verdict, head: Headline) -> Iterator[str]:
    seen = judged.contrast
    if head.outcome == "failed":
        yield f"{frame.failure} There is nothing to judge."
        return
    if head.outcome == "no claim":
        yield "The study registered no claim, so there is no verdict. The table shows the result of each row."
        return
    if head.outcome == "no verdict yet":
        judged_later = (
            "Its claim is not judged, since runs are missing. Create it again under another name."
            if frame.state is StudyState.CANCELLED
            else "The claim is judged once all of its runs have ended."
        )
        yield frame.cut_short if frame.finished else f"The study is {frame.status}. {judged_later}"
        return
    ours, theirs = head.sides
    if head.outcome == "refuted" and over_cost(judged):
        yield (
            f"The claim is refuted by its cost: {ours.label} took {judged.cost_ratio:.2f} times "
            f"{possessive(theirs.label)} cost by {judged.cost_by}, and {judged.cost_limit:.2f} are allowed. "
            f"The metric does not matter then."
        )
    elif seen is None or not seen.n or (head.outcome == "undecided" and not _seeds_would_tell(judged)):
        yield judged.why
    elif judged.cells:  # one-sided tests; the verdict's own sentence has their p
        yield f"The claim is {head.outcome}. {judged.why}"
    elif head.outcome == "undecided":
        yield (
            f"The test compares {_what(judged)}{ours.label} and {theirs.label} seed by seed on "
            f"{_counted(seen)} and finds "
            f"{p_text(seen.p)}; below or at .05 the claim would be decided."
        )
        least = stats.fewest_pairs(ALPHA)
        if seen.n < least:
            yield f"With fewer than {least} pairs no result can reach .05."
    elif all(side.mean is not None for side in head.sides):
        word = "lower" if seen.better == head.lower_is_better else "higher"
        word += " average" if judged.average is not None else ""
        yield (
            f"The claim is {head.outcome}: {ours.label} has the {word} {tables.metric_name(head.metric)}, "
            f"{ours.mean:.3g} against {theirs.mean:.3g}, and the sign-flip test over {_counted(seen)} gives "
            f"{p_text(seen.p)}, at or below .05."
        )
    else:
        yield judged.why
    if seen is not None and seen.n and judged.tasks is not None:
        yield from judged.tasks.sentences


def _what(judged: Verdict) -> str:
    return "" if judged.average is None else f"the averages over {len(judged.average.columns)} columns of "


def _seeds_would_tell(judged: Verdict) -> bool:
    """Whether an undecided claim waits for its test, and not for a cost or a goal that nobody knows."""
    decided = judged.contrast is None or (not judged.cells and judged.contrast.p <= ALPHA)
    return judged.more_needed != 0 and not decided


def _counted(seen: Contrast) -> str:
    return f"{seen.n} {seen.unit}{'s' if seen.n != 1 else ''}"


# -- what drove it ---------------------------------------------------------------------------------------
def _driver(frame: Frame, seen: Contrast, sides: Sequence[Side]) -> Iterator[str]:
    if seen.decisive is not None and seen.median is not None:
        ours, theirs = (side.values[seen.decisive] for side in sides)
        yield (
            f"{seen.unit.capitalize()} {seen.decisive} makes most of the gap ({sides[0].label} {ours:.3g}, "
            f"{sides[1].label} {theirs:.3g}); the median gap is {abs(seen.median):.3g}."
        )
    elif seen.n > 2:
        yield f"No single {seen.unit} makes the gap."
    for side in sides:
        luck = _luck(frame, frame.spec.arm(side.arm), side, seen.metric)
        if luck is not None:
            yield (
                f"{side.label[0].upper()}{side.label[1:]}'s choice had {luck:.3g} where it was chosen and "
                f"{side.mean:.3g} on fresh seeds: part of its search result was luck."
            )
    for side, diverged in zip(sides, seen.diverged, strict=True):
        if diverged:
            yield f"{diverged} of {possessive(side.label)} runs diverged and count with the worst value."


def _luck(frame: Frame, arm: Arm, side: Side, metric: str) -> float | None:
    """The search value of an arm's choice, where fresh seeds gave clearly less."""
    if not arm.space or side.mean is None:
        return None
    chosen = frame.chosen_value(arm, metric)
    if chosen is None or not chosen:
        return None
    sign = 1 if frame.lower_is_better(metric) else -1
    return chosen if sign * (side.mean - chosen) > LUCK * abs(chosen) else None


# -- what would flip it ----------------------------------------------------------------------------------
def _flip(frame: Frame, judged: Verdict, seen: Contrast, head: Headline) -> Iterator[str]:
    if head.outcome == "refuted" and over_cost(judged):
        yield f"At a cost limit of {judged.cost_ratio:.2f} the metric would decide: {_by_metric(seen)}."
        return
    if head.outcome == "undecided" and not _seeds_would_tell(judged):
        return
    if head.outcome == "undecided":
        if judged.more_needed is None:
            yield "The difference is so small that over 1,000 seeds would be needed to see it."
        elif judged.more_needed:
            units = f"{seen.unit}s" if judged.more_needed > 1 else seen.unit
            yield f"About {judged.more_needed} more {units} would decide it, if the difference stays."
    else:
        count = None if judged.cells else _to_turn(seen.differences)
        if count is not None:
            unit = seen.unit if count == 1 else f"{seen.unit}s"
            yield f"With {count} {unit} the other way round it would be undecided."
    if judged.cost_ratio is not None and judged.cost_limit is not None:
        yield (
            f"Above {judged.cost_limit:.2f} times {possessive(head.sides[1].label)} cost it is refuted; "
            f"the cost is {judged.cost_ratio:.2f}."
        )
    if not judged.cells:
        yield from _by_other_metric(frame, seen)


def _by_metric(seen: Contrast) -> str:
    if seen.p > ALPHA:
        return f"undecided, {p_text(seen.p)}"
    return f"{'supported' if seen.better else 'refuted'}, {p_text(seen.p)}"


def _to_turn(differences: Sequence[float]) -> int | None:
    """How many of the smallest differences in favour of the answer must change their sign until p > .05."""
    whole = math.fsum(differences)
    turned = list(differences)
    favourable = sorted((i for i, d in enumerate(turned) if d * whole > 0), key=lambda i: abs(turned[i]))
    for count, i in enumerate(favourable, start=1):
        turned[i] = -turned[i]
        if stats.sign_flip_p(turned) > ALPHA:
            return count
    return None


def _by_other_metric(frame: Frame, seen: Contrast) -> Iterator[str]:
    """The table's other metric, if there is one and it says something else."""
    for metric in tables.metrics(frame):
        if metric == seen.metric:
            continue
        assert frame.spec.claim is not None
        other = average.of_claim(frame, frame.spec.claim, metric=metric)
        if not other.n:
            continue
        same = (other.clear, other.n) == (seen.clear, seen.n)
        what = {"better": "better", "worse": "worse", "no": "not decided"}[other.clear]
        also, name = "also " if same else "", tables.metric_name(metric)
        yield f"By {name} it is {also}{what} ({p_text(other.p)}, {_counted(other)})."


# -- how to go on ----------------------------------------------------------------------------------------
def _command(frame: Frame, judged: Verdict, head: Headline) -> str:
    name = frame.spec.name
    if head.outcome == "undecided" and judged.more_needed and head.n and _seeds_would_tell(judged):
        return f"orch study extend {name} --seeds {judged.more_needed}"
    if head.outcome == "no verdict yet" and frame.state in NOT_ENDED:
        return f"orch study resume {name}"
    return ""
