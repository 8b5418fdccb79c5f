"""What stands on the first screen of the report and of the live page? One component for both.

The words are those of `headline` and `explain`. The sides of the claim are called by their rows; challenger
and incumbent are words of the spec.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dashboards.evidence import stats, tables
from dashboards.evidence.cautions import Caution
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.headline import Headline, p_text
from dashboards.evidence.tables import Table, metric_name
from dashboards.evidence.verdict import Verdict
from dashboards.evidence.wording import NOT_NEEDED as NOT_NEEDED
from dashboards.evidence.wording import possessive
from dashboards.report.answer import Answer

MINUS = "\N{MINUS SIGN}"
JUDGED = ("supported", "refuted", "undecided")


@dataclass(frozen=True)
class Fact:
    """One of the three beneath the pictures, which opens its rule."""

    name: str
    figure: str
    beneath: str
    rule: str


@dataclass(frozen=True)
class Chip:
    """Cautions of one kind."""

    kind: str
    cautions: tuple[Caution, ...]

    @property
    def words(self) -> str:
        count = len(self.cautions)
        return self.kind if count == 1 else f"{self.kind} × {count}"


@dataclass(frozen=True)
class Screen:
    """`title`: the large words; `pill`: the outcome, if the title does not say it; `line`: what the outcome
    rests on."""

    headline: Headline
    title: str
    pill: str
    line: str
    remarks: tuple[str, ...]
    facts: tuple[Fact, ...]
    chips: tuple[Chip, ...]
    tables: tuple[Table, ...]

    @property
    def judged(self) -> bool:
        return self.headline.outcome in JUDGED

    @property
    def ended(self) -> bool:
        """As planned, so that it may be judged."""
        return self.headline.outcome not in ("no verdict yet", "failed")

    def named(self, text: str) -> str:
        """A sentence with the sides' names for challenger and incumbent."""
        for side, role in zip(self.headline.sides, ("challenger", "incumbent"), strict=False):
            text = re.sub(rf"\b(?:[Tt]he )?{role}\b", side.label, text)
        return text


def screen(answer: Answer) -> Screen:
    head, judged = answer.headline, answer.verdict
    ended = head.outcome not in ("no verdict yet", "failed")
    return Screen(
        headline=head,
        title="No verdict yet" if head.outcome == "no verdict yet" else head.text.removesuffix("."),
        pill="" if head.outcome == "no verdict yet" else head.title,
        line=_line(answer),
        remarks=head.remarks if ended else (),
        facts=tuple(_facts(head, judged)) if head.outcome in JUDGED else (),
        chips=tuple(_chips(answer)),
        tables=tuple(_tables(answer)),
    )


def _line(answer: Answer) -> str:
    """dev loss 0.314 against 0.118 on 6 fresh seeds, at 0.90× the cost."""
    head, judged = answer.headline, answer.verdict
    if head.outcome == "no verdict yet":
        return head.text
    if head.outcome == "failed":
        reason = answer.frame.reason
        return "" if reason in head.text else reason
    if head.outcome not in JUDGED:
        return answer.explanation.why
    means = [side.mean for side in head.sides if side.mean is not None]
    if not head.n or len(means) < 2:
        return answer.explanation.why
    fresh = f"{head.n} {'fresh ' if head.unit == 'seed' else ''}{head.unit}{'s' if head.n != 1 else ''}"
    cost = "" if judged.cost_ratio is None else f", at {judged.cost_ratio:.2f}× the cost"
    what = metric_name(head.metric) if judged.average is None else f"Average {metric_name(head.metric)}"
    return f"{what} {_number(means[0])} against {_number(means[1])} on {fresh}{cost}."


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)


def _chips(answer: Answer) -> Iterator[Chip]:
    """Without what the headline says: that the study goes on, or why it failed."""
    said = {"unfinished", "cut short"} if answer.headline.outcome == "failed" else {"unfinished"}
    found: dict[str, list[Caution]] = {}
    for each in answer.cautions:
        if each.kind not in said:
            found.setdefault(each.kind, []).append(each)
    yield from (Chip(kind, tuple(of)) for kind, of in found.items())


def _tables(answer: Answer) -> Iterator[Table]:
    """The claim's column first. A failed study has none; before the end no speed-up is told."""
    head = answer.headline
    if head.outcome == "failed":
        return
    for made in answer.tables:
        # An average keeps its place, the last.
        columns = sorted(made.columns, key=lambda column: column != head.column and not made.averaged)
        rows = tuple(
            replace(row, cells=tuple(sorted(row.cells, key=lambda cell: columns.index(cell.column))))
            for row in made.rows
        )
        sped = None if head.outcome == "no verdict yet" else made.speedup_in
        yield replace(made, columns=tuple(columns), rows=rows, speedup_in=sped)


def best_in(made: Table, column: str) -> str:
    """The row to be marked as the best of a column; "" where it is the only one, or another has as much."""
    values, best = tables.fresh_in(made, column), tables.best_in(made, column)
    alone = [*values.values()].count(values.get(best, 0.0)) == 1
    return best if alone and len(values) > 1 else ""


# -- the strip of three --------------------------------------------------------------------------------------
def _facts(head: Headline, judged: Verdict) -> Iterator[Fact]:
    seen = judged.contrast
    if seen is not None and seen.n and seen.mean is not None:
        if judged.at_least is None:
            yield _difference(head, seen)
        yield _test(head, judged, seen)
    if head.cost:
        yield _cost(head, judged)


def _difference(head: Headline, seen: Contrast) -> Fact:
    ours, theirs = (side.label for side in head.sides)
    metric, mean = metric_name(head.metric), seen.mean or 0.0
    within = f"95% CI {seen.within}".replace("-", MINUS) if seen.interval else "no interval: under 6 pairs"
    figure = f"{abs(mean):.3g} {'better' if mean > 0 else 'worse'}" if mean else "none"
    if seen.ratio is None:
        what = f"the mean difference in {metric}, and the interval holds every difference"
        return Fact("Difference", figure, within, _difference_rule(head, what, "0"))
    what = (
        f"the ratio is {possessive(ours)} {metric} over {possessive(theirs)}, in the geometric mean, and the "
        f"interval holds every ratio"
    )
    beneath = f"{seen.ratio:.3g} times {possessive(theirs)} ({within})"
    return Fact("Difference", figure, beneath, _difference_rule(head, what, "1"))


def _difference_rule(head: Headline, what: str, nothing: str) -> str:
    ours, theirs = (side.label for side in head.sides)
    return (
        f"The configurations that {ours} and {theirs} chose run again on the same fresh {head.unit}s and are "
        f"compared {head.unit} by {head.unit}: {what} that the test does not reject. So it leaves out "
        f"{nothing} exactly where p is at most .05. A diverged run counts with the worst value; a pair "
        f"without a result is left out."
    )


def _test(head: Headline, judged: Verdict, seen: Contrast) -> Fact:
    ours = head.sides[0].label
    count, word = (seen.better_on, "better") if seen.better else (seen.worse_on, "worse")
    units = f"{seen.unit}{'s' if seen.n != 1 else ''}"
    beneath = f"{word} on {count} of {seen.n} {units}"
    if judged.answer == "undecided" and judged.more_needed:
        beneath += f"; about {judged.more_needed} more needed"
    how = "exact" if seen.n <= stats.EXACT_UP_TO else f"by {stats.DRAWS:,} drawn swaps"
    if judged.p is None or judged.p_against is None:
        rule = (
            f"Sign-flip test of the paired differences, two-sided, {how}. With p at most .05 the claim is "
            f"supported if {ours} is better and refuted if it is worse; else it is undecided. With fewer "
            f"than six pairs p cannot reach .05."
        )
        return Fact("Test", p_text(seen.p), beneath, rule)
    other = p_text(judged.p_against)
    one = f"Sign-flip test of the paired differences, one-sided, {how}; the other way {other}."
    if judged.at_least is not None:
        many = len(judged.cells)
        rule = (
            f"{one} The claim is about at least {judged.at_least} of {many} columns: p is the one in place "
            f"{judged.at_least} of the columns' ordered p, times {many - judged.at_least + 1}. Supported "
            f"with p at most .05; refuted where by the same rule too many columns are the other way."
        )
        return Fact("Test", p_text(judged.p), f"at least {judged.at_least} of {many} columns", rule)
    rule = f"{one} Supported with p at most .05 that it is as claimed; refuted the other way."
    (cell,) = judged.cells
    if cell.margin is not None:
        rule += (
            f" The margin, {100 * cell.margin.time:g}% of the training time, allows "
            f"{math.exp(cell.margin.log):.3g} times {possessive(head.sides[1].label)} "
            f"{metric_name(head.metric)}, at κ = {cell.margin.kappa:.3g}."
        )
    return Fact("Test", p_text(judged.p), f"one-sided, {beneath}", rule)


def _cost(head: Headline, judged: Verdict) -> Fact:
    ours, theirs = (side.label for side in head.sides)
    by = {
        "clocks": "training and evaluation time on the runs' own clocks",
        "steps": "training steps, each at what the spec expects one to cost",
    }.get(judged.cost_by or "", "")
    limit = "" if judged.cost_limit is None else f"{judged.cost_limit:.2f}×"
    beyond = f" Above {limit} the claim is refuted, whatever the metric says." if limit else ""
    rule = (
        f"One search by {ours} over one by {theirs}: {by}. Failed and repeated work counts; compiling, "
        f"waiting and the runs on fresh seeds do not.{beyond}"
    )
    figure, _, beneath = head.cost.partition(" ")
    return Fact("Cost", figure, f"of {beneath}", rule)
