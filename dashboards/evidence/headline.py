"""What won, by how much, on how many seeds, at what cost? The answer in words, for one screen.

Made by rules from the verdict and the table, so that the terminal, the report, the live page and scripts say
the same. The sides of a claim are called by their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from dashboards.evidence import attribution, average, contrasts, tables, tasks
from dashboards.evidence.cautions import Caution
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.frames import Frame
from dashboards.evidence.verdict import Verdict
from dashboards.evidence.wording import label, possessive
from orchestrator.study.roles import RowRole
from orchestrator.study.spec import Arm

Outcome = Literal["supported", "refuted", "undecided", "no claim", "no verdict yet", "failed"]
TITLES: Mapping[Outcome, str] = {
    "supported": "Claim supported",
    "refuted": "Claim refuted",
    "undecided": "Undecided",
    "no claim": "Completed",
    "no verdict yet": "No verdict yet",
    "failed": "Failed",
}
# In a sentence; a row without a role of the paper's is called by its own words.
SPOKEN: Mapping[RowRole, str] = {
    "base": "the default",
    "bo": "BO",
    "guided": "guided tuning",
    "guided-bo": "guided tuning with BO over η̂",
}
TOGETHER = {"alpha": "α", "beta1": "β1", "alpha+beta1": "α and β1 together"}
NAMED_EDGES = 2  # arms whose best point lies on an edge, by name; more are counted


@dataclass(frozen=True)
class Side:
    """One side of the claim on the seeds that both have."""

    arm: str
    label: str  # guided
    spoken: str  # guided tuning
    values: Mapping[int, float]  # by seed, or replicate
    mean: float | None


@dataclass(frozen=True)
class Headline:
    outcome: Outcome
    title: str
    text: str
    metric: str
    lower_is_better: bool
    column: str  # the claim's; the first without one
    sides: tuple[Side, ...]  # challenger, incumbent; none without a claim
    unit: str
    n: int
    gain: bool  # the challenger is better beyond the noise: there is something that a control could explain
    difference: str
    cost: str
    remarks: tuple[str, ...]


def headline(frame: Frame, judged: Verdict, cautions: Sequence[Caution]) -> Headline:
    claim, seen = frame.spec.claim, judged.contrast
    judgement = outcome(frame, judged)
    metric = claim.metric if claim else frame.spec.objective.metric
    sides = sides_of(frame)
    return Headline(
        outcome=judgement,
        title=TITLES[judgement],
        text=_text(frame, judged, judgement, sides),
        metric=metric,
        lower_is_better=frame.lower_is_better(metric),
        column=seen.column if seen and seen.column != "*" else frame.columns()[0],
        sides=sides,
        unit=seen.unit if seen else "seed",
        n=seen.n if seen else 0,
        gain=seen is not None and seen.better and seen.p <= attribution.ALPHA,
        difference=_difference(seen, sides) if seen and seen.n else "",
        cost=_cost(judged, sides),
        remarks=tuple(_remarks(frame, judged, sides, cautions)),
    )


def outcome(frame: Frame, judged: Verdict) -> Outcome:
    """What became of the claim, or of a study without one, in a word."""
    if frame.failure:
        return "failed"
    if not frame.finished or frame.cut_short:
        return "no verdict yet"
    return judged.answer


# -- the sides -------------------------------------------------------------------------------------------
def spoken(frame: Frame, arm: Arm) -> str:
    return SPOKEN.get(arm.known_role) or label(frame.row_of(arm))


def sides_of(frame: Frame) -> tuple[Side, ...]:
    """Challenger and incumbent, on the seeds that both have; none without a claim."""
    claim = frame.spec.claim
    if claim is None:
        return ()
    metric, ours, theirs = claim.metric, frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent)
    samples = (
        contrasts.sample(frame, ours, metric, beside=(theirs,)),
        contrasts.sample(frame, theirs, metric, beside=(ours,)),
    )
    if claim.average:
        samples = average.sides(frame, claim)
    return tuple(
        Side(arm.name, label(frame.row_of(arm)), spoken(frame, arm), of, fmean(of.values()) if of else None)
        for arm, of in zip((ours, theirs), contrasts.paired(samples), strict=True)
    )


# -- the sentence ----------------------------------------------------------------------------------------
def _text(frame: Frame, judged: Verdict, outcome: Outcome, sides: tuple[Side, ...]) -> str:
    if outcome == "failed":
        return frame.failure
    if outcome == "no verdict yet":
        trials = [t for of in frame.trials.values() for t in of]
        asked = sum(map(frame.requested, frame.spec.arms))
        stopped = f" {frame.cut_short}" if frame.cut_short and frame.finished else ""
        return f"{sum(t.ended for t in trials)} of {asked} runs ended.{stopped}"
    if not sides:
        best = best_row(frame)
        return "No run on fresh seeds gave a result." if best is None else f"Best row: {best.words}."
    ours, theirs = sides
    if judged.average is not None:  # the paper's words for the sides are of one column
        ours, theirs = (replace(side, spoken=side.label) for side in sides)
    about = _about(frame, judged)
    if outcome == "refuted" and over_cost(judged):
        said = f"{ours.spoken} cost {judged.cost_ratio:.3g}× as much as {theirs.spoken}, more than is allowed"
    elif judged.kind == "non-inferiority" or judged.at_least is not None:
        said = _of_kind(judged, outcome, ours, theirs)
    elif outcome == "supported":
        said = f"{ours.spoken} beat {theirs.spoken}{_at_cost(judged)}"
    elif outcome == "refuted":
        said = f"{ours.spoken} did not beat {theirs.spoken}{_at_cost(judged)}"
    elif judged.contrast is None or not judged.contrast.n:
        said = f"{ours.spoken} and {theirs.spoken} cannot be compared"
    elif judged.contrast.p <= attribution.ALPHA:  # the test would decide; a cost or a goal is not known
        said, about = judged.why.split(". ")[0].removesuffix("."), ""
    else:
        n, unit = judged.contrast.n, judged.contrast.unit
        said = f"{n} {unit}{'s' if n != 1 else ''} cannot tell {ours.spoken} and {theirs.spoken} apart"
    first = said[0].upper() if said[0].isascii() else said[0]  # α stays α
    return f"{first}{said[1:]}{about}."


def _of_kind(judged: Verdict, outcome: Outcome, ours: Side, theirs: Side) -> str:
    """Of a claim that one-sided tests judge."""
    of = f" in at least {judged.at_least} of {len(judged.cells)} columns" if judged.at_least else ""
    if judged.kind == "non-inferiority" and judged.time_margin is not None:
        margin = f"{100 * judged.time_margin:g}% of the training time"
        words = {
            "supported": f"{ours.spoken} is no worse than {theirs.spoken} by more than {margin}",
            "refuted": f"{ours.spoken} is worse than {theirs.spoken} by more than {margin}",
        }
        open_ = f"it is undecided whether {ours.spoken} is worse than {theirs.spoken} by more than {margin}"
    else:
        words = {
            "supported": f"{ours.spoken} beat {theirs.spoken}",
            "refuted": f"{ours.spoken} did not beat {theirs.spoken}",
        }
        open_ = f"it is undecided whether {ours.spoken} beats {theirs.spoken}"
    return f"{words.get(outcome, open_)}{of}{_at_cost(judged) if outcome == 'supported' else ''}"


def over_cost(judged: Verdict) -> bool:
    ratio, limit = judged.cost_ratio, judged.cost_limit
    return ratio is not None and limit is not None and ratio > limit


def _at_cost(judged: Verdict) -> str:
    if judged.cost_limit is None:
        return ""
    return " at equal cost" if judged.cost_limit == 1 else f" at {judged.cost_limit:g}× the cost"


def _about(frame: Frame, judged: Verdict) -> str:
    """What was tuned, or in which setting."""
    column = judged.contrast.column if judged.contrast else "*"
    if judged.average is not None:
        return f" in the average over {len(judged.average.columns)} {tasks.noun(frame.spec)}"
    if column == "*" or len(frame.columns()) < 2 or judged.at_least is not None:
        return ""
    return f" ({TOGETHER[column]})" if column in TOGETHER else f" in {column}"


def _difference(seen: Contrast, sides: tuple[Side, ...]) -> str:
    """2.3 times BO's (95% CI 1.45–6.5), 0.196 worse, on 6 of 6 seeds, p = .031."""
    if seen.mean is None:
        return ""
    within = seen.within if seen.ratio is None else seen.within.replace(" to ", "–")  # signed: −7.8 to +2.8
    interval = f" (95% CI {within})" if seen.interval else ""
    mean = "better" if seen.mean > 0 else "worse"
    parts = [f"{abs(seen.mean):.3g} {mean}" if seen.mean else "none"]
    if seen.ratio is None:
        parts[0] += interval
    else:
        parts.insert(0, f"{seen.ratio:.3g} times {possessive(sides[1].label)}{interval}")
    count, word = (seen.better_on, "better") if seen.better else (seen.worse_on, "worse")
    on = "on" if word == mean else f"{word} on"
    parts.append(f"{on} {count} of {seen.n} {seen.unit}{'s' if seen.n != 1 else ''}")
    return ", ".join([*parts, p_text(seen.p)])


def p_text(p: float) -> str:
    """p = .031; p < .001."""
    if p < 0.001:
        return "p < .001"
    return "p = 1" if p >= 0.9995 else f"p = {p:.2g}".replace("0.", ".", 1)


def _cost(judged: Verdict, sides: tuple[Side, ...]) -> str:
    if judged.cost_ratio is None or not sides:
        return ""
    allowed = "" if judged.cost_limit is None else f", allowed {judged.cost_limit:.2f}×"
    return f"{judged.cost_ratio:.2f}× {possessive(sides[1].label)}{allowed}, by {judged.cost_by}"


# -- remarks ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class BestRow:
    name: str
    column: str
    value: float
    n: int

    @property
    def words(self) -> str:
        where = f" in {tables.column_name(self.column)}" if tables.column_name(self.column) else ""
        return (
            f"{label(self.name)}{where}, {self.value:.4g} on {self.n} fresh seed{'s' if self.n != 1 else ''}"
        )


def best_row(frame: Frame, *, metric: str | None = None, column: str | None = None) -> BestRow | None:
    """The row with the best mean on fresh seeds, in this column or in any."""
    metric = metric or frame.spec.objective.metric
    sign = 1 if frame.lower_is_better(metric) else -1
    made = tables.table(frame, metric=metric, speedups=())
    if column is None and made.averaged:
        column = average.AVERAGE  # scores of different tasks cannot be compared
    found = [
        BestRow(row.name, cell.column, cell.value, cell.n)
        for row in made.rows
        for cell in row.cells
        if cell.source == "confirmed" and cell.value is not None and column in (None, cell.column)
    ]
    return min(found, key=lambda best: sign * best.value, default=None)


def _remarks(
    frame: Frame, judged: Verdict, sides: tuple[Side, ...], cautions: Sequence[Caution]
) -> Iterator[str]:
    seen = judged.contrast
    if sides and seen is not None:
        best = best_row(frame, metric=seen.metric, column=seen.column)
        if best is not None and label(best.name) not in [side.label for side in sides]:
            others = " and ".join(f"{side.label} {side.mean:.3g}" for side in sides if side.mean is not None)
            metric = tables.metric_name(seen.metric)
            yield f"Best row: {label(best.name)}, {metric} {best.value:.3g} (against {others})."
        if seen.decisive is not None and seen.median is not None:
            values = ", ".join(f"{side.label} {side.values[seen.decisive]:.3g}" for side in sides)
            yield (
                f"One {seen.unit} makes most of the gap: {seen.decisive}, {values}. "
                f"Median gap {abs(seen.median):.3g}."
            )
    edges = [each.arm for each in cautions if each.kind in ("edge of the space", "end of the grid")]
    if edges:
        arms = list(dict.fromkeys(edges))
        named = " and ".join(arms) if len(arms) <= NAMED_EDGES else f"{len(arms)} searches"
        ranges, it = ("a range", "it") if len(edges) == 1 else (f"{len(edges)} ranges", "them")
        yield f"The best of {named} is at the edge of {ranges}: widen {it}."
    for kind, words in (("failed", "runs failed"), ("lost", "runs were lost with their workers")):
        arms = [each.arm for each in cautions if each.kind == kind]
        if arms:
            yield f"Some {words}: {', '.join(arms[:3])}{' and others' if len(arms) > 3 else ''}."
    if judged.controls and judged.answer == "supported":
        undone = [control.row for control in judged.controls if control.says == "undoes"]
        if undone:
            yield f"More than half of the gain is there without guidance, too: {', '.join(undone)}."
