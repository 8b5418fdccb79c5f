"""Does the study support the claim that it registered before its first trial?

The rules, in the order in which they are applied:

1. No claim was registered: there is no verdict.
2. The study has not ended as planned: *undecided*. It is still running, was cancelled, or its budget ended
   it. An answer before the end would depend on when one looks.
3. Every run of the challenger diverged, and some of the incumbent's completed: *refuted*. If no run of one of
   them completed for another reason: *undecided*, since nothing can be compared.
4. One search of the challenger cost more, relative to one of the incumbent's, than the claim allows:
   *refuted*, whatever the metric shows. The claim states what counts as cost: training and evaluation time on
   the runs' own clocks, or the steps done, each at the cost that the spec expects for its arm. Waste is
   included, as the mean over the replicates; confirmations, compilation and waiting are not.
5. A claim that the challenger is better: the paired permutation test on the difference, two-sided, gives p <=
   .05 (exact up to 16 pairs, by drawn swaps above; see `contrasts` for what is paired and how diverged runs
   count): *supported* if the challenger is better, *refuted* if it is worse.
6. A claim that the challenger is not worse by more than a margin in time (non-inferiority): the same test,
   one-sided, on the difference and the margin. *Supported* if p <= .05 that it is within the margin,
   *refuted* if p <= .05 that it is worse than the margin. See `cells` for how a margin in time is converted.
7. A claim about at least k of m columns: each column has a one-sided p; the k-th smallest of them times m - k
   + 1 is the p of the claim (partial conjunction; Benjamini and Heller, 2008). *Supported* if that is at most
   .05; *refuted* if by the same rule in the other direction more than m - k columns are worse, or worse than
   the margin. With k = m every column must pass by itself. Rule 3 applies to single pairs: a column without a
   comparison counts neither way. Cost is summed over the columns.
8. A claim about an average: on every seed the mean over all columns in which both rows stand, and the test
   of rule 5 on these means. A seed that lacks a value in one of the columns is left out and told. Cost is
   summed over the columns, and rule 3 is passed over: a diverged run counts with the worst value.
9. Otherwise *undecided*, with the seeds still needed: for 80% power of this test at the observed effect, and
   never fewer than the pairs that the test needs to reach .05: six for a two-sided test, five for a one-sided
   one, more over several columns. If no run reported the claim's metric, or all diverged, more seeds would
   not help.

One claim is one test, without correction. Holm's correction is applied to the columns of the table. Controls
change no verdict; each is listed with what it shows about the gain (see `attribution`), in the claim's own
column and in every other column that has both rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.evidence import average, stats, tasks
from dashboards.evidence.attribution import ALPHA, Column, Control, attribution
from dashboards.evidence.cells import Cell, Tested, levels, one_sided, tested
from dashboards.evidence.contrasts import Contrast, contrast
from dashboards.evidence.frames import Frame
from dashboards.evidence.wording import labels, possessive
from orchestrator.ledger.records import TrialState
from orchestrator.study.claim import Claim, ClaimKind, CostBy
from orchestrator.study.spec import Arm

Ruling = Literal["supported", "refuted", "undecided", "no claim"]


@dataclass(frozen=True)
class Verdict:
    answer: Ruling
    claim: str
    why: str  # a sentence or two
    condition: str  # what the answer holds for
    contrast: Contrast | None
    cost_ratio: float | None  # the challenger's cost over the incumbent's
    cost_by: CostBy | None  # what counts as cost
    cost_limit: float | None
    more_needed: int | None  # seeds (or replicates) beyond those there; 0: none would help; None: over 1,000
    controls: tuple[Control, ...]  # in the claim's column
    controls_not_run: tuple[str, ...]
    columns: tuple[Column, ...]  # the gain and its controls in each, the claim's first
    kind: ClaimKind | None = None
    time_margin: float | None = None
    at_least: int | None = None  # of the cells, where the claim is about several
    cells: tuple[Cell, ...] = ()  # of a claim that one-sided tests judge
    p: float | None = None  # of the test that decides, over all cells: that it is as claimed
    p_against: float | None = None  # the other way; None: the test is two-sided
    average: average.Averaged | None = None  # of a claim about the mean over columns
    tasks: tasks.Counted | None = None  # … and on how many of them the challenger is better


def judge(frame: Frame) -> Verdict:
    claim = frame.spec.claim
    if claim is None:
        why = "The study registered no claim before its first trial, so there is nothing to judge."
        return Verdict("no claim", "", why, "", None, None, None, None, None, (), (), ())
    challenger, incumbent = frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent)
    several = claim.average or claim.at_least
    sides = list(frame.spec.cells(challenger, incumbent).values()) if several else []
    seen = average.of_claim(frame, claim)
    over = average.averaged(frame, claim) if claim.average else None
    by_cell = tested(frame, claim) if one_sided(claim) else None
    ratio = _cost_ratio(frame, claim, sides or [(challenger, incumbent)])
    hopeless = _hopeless(frame, claim, sides or [(challenger, incumbent)], by_cell)
    answer, why = _decided(frame, claim, seen, ratio, by_cell, hopeless)
    columns = attribution(frame, challenger, incumbent, metric=claim.metric)
    more = by_cell.more_needed if by_cell else more_needed(seen)
    return Verdict(
        answer=answer,
        claim=claim.text,
        why=why,
        condition=" ".join([_condition(frame, challenger, incumbent, seen), *_left_out(frame, seen, over)]),
        contrast=seen,
        cost_ratio=ratio,
        cost_by=claim.cost,
        cost_limit=claim.cost_ratio,
        more_needed=more if answer == "undecided" and not hopeless else 0,
        # What a gain in the mean is due to is told by column.
        controls=columns[0].controls if columns and over is None else (),
        controls_not_run=columns[0].not_run if columns and over is None else (),
        columns=columns,
        kind=claim.kind,
        time_margin=claim.time_margin,
        at_least=claim.at_least,
        cells=by_cell.cells if by_cell else (),
        p=by_cell.p if by_cell else seen.p,
        p_against=by_cell.p_against if by_cell else None,
        average=over,
        tasks=tasks.counted(frame, claim),
    )


def _decided(
    frame: Frame,
    claim: Claim,
    seen: Contrast,
    ratio: float | None,
    by_cell: Tested | None,
    hopeless: str,
) -> tuple[Ruling, str]:
    ours, theirs = labels(frame, frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))
    so_far = _so_far(frame, seen) if by_cell is None else _cells_so_far(frame, claim, by_cell)
    if frame.cut_short:
        return "undecided", f"{frame.cut_short} {so_far}"
    if frame.spec.goal_of(claim.metric) is None:  # such a claim was stored before its goal had to be stated
        return "undecided", (
            f"The claim does not state whether high or low {claim.metric} is better; low is assumed. "
            "Create the study again, under another name, with a goal in its claim."
        )
    nothing = None if claim.average or claim.at_least is not None else _nothing_found(frame, claim)
    if nothing is not None:
        return nothing
    if claim.cost_ratio is not None and ratio is not None and ratio > claim.cost_ratio:
        return "refuted", (
            f"The claim allows {claim.cost_ratio:g} times {possessive(theirs)} cost, by {claim.cost}; "
            f"{ours} took {ratio:.3g} times. {so_far}"
        )
    if claim.cost_ratio is not None and ratio is None:
        return "undecided", f"The cost of {theirs} is not known, so the claim's cost cannot be judged."
    if by_cell is not None:
        if min(by_cell.p, by_cell.p_against) <= ALPHA:
            return ("supported" if by_cell.p <= ALPHA else "refuted"), so_far
        return "undecided", hopeless or f"{so_far} {_cells_need(by_cell)}"
    if seen.mean is not None and seen.p <= ALPHA:
        return ("supported" if seen.better else "refuted"), so_far
    return "undecided", hopeless or f"{so_far} {_needs(seen)}"


def _nothing_found(frame: Frame, claim: Claim) -> tuple[Ruling, str] | None:
    """The answer where no run of one of the two arms completed."""
    valid = [frame.best(frame.spec.arm(arm)) is not None for arm in (claim.challenger, claim.incumbent)]
    if all(valid):
        return None
    if valid == [False, True]:
        return _without_result(frame, claim)
    which = claim.incumbent if valid[0] else "either arm"
    return "undecided", f"No run of {which} completed, so there is nothing to compare with."


def _without_result(frame: Frame, claim: Claim) -> tuple[Ruling, str]:
    """Only what diverged says something of the arm; a machine's failures do not."""
    states = [trial.state for trial in frame.trials[claim.challenger]]
    if states and all(state is TrialState.DIVERGED for state in states):
        return "refuted", f"Every run of {claim.challenger} diverged, and {claim.incumbent} found a result."
    gone = sum(state is not TrialState.DIVERGED for state in states)
    return "undecided", (
        f"No run of {claim.challenger} completed. {gone} of {len(states)} failed or were stopped, "
        f"which says nothing about their results."
    )


def _hopeless(frame: Frame, claim: Claim, sides: Sequence[tuple[Arm, Arm]], by_cell: Tested | None) -> str:
    """Why more seeds would not help, of a study that ended as planned; else empty."""
    if frame.cut_short:
        return ""
    of_each = [_cannot_tell(frame, contrast(frame, *pair, metric=claim.metric), pair) for pair in sides]
    if all(of_each) or (claim.average and any(of_each)):  # a mean needs every column
        return next(filter(None, of_each))
    return by_cell.hopeless if by_cell else ""


def _cannot_tell(frame: Frame, seen: Contrast, sides: tuple[Arm, Arm]) -> str:
    completed = {
        arm.name: [trial for trial in frame.confirming(arm) if trial.state is TrialState.COMPLETED]
        for arm in sides
    }
    if all(seen.diverged) and not any(seen.missing) and not any(completed.values()):
        return "Every run of both arms on fresh seeds diverged, so they cannot be compared."
    for arm, of in completed.items():
        if of and all(frame.value_of(trial, seen.metric) is None for trial in of):
            reported = ", ".join(sorted({name for trial in of for name in trial.values})) or "nothing"
            return f"No run of {arm} on fresh seeds reported {seen.metric!r}; they reported: {reported}."
    return ""


def _cells_so_far(frame: Frame, claim: Claim, by_cell: Tested) -> str:
    if claim.at_least is None:
        return by_cell.cells[0].sentence
    ours, theirs = labels(frame, frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent))
    of = len(by_cell.cells)
    within = "within the margin" if claim.time_margin is not None else "better"
    least = f"at least {by_cell.least} of {of} columns"
    return (
        f"{ours} and {theirs} are compared in {of} columns: "
        f"p = {by_cell.p:.3g} that {ours} is {within} in {least} ({_rank(by_cell.least)} smallest "
        f"one-sided p, times {of - by_cell.least + 1}); p = {by_cell.p_against:.3g} for fewer."
    )


def _rank(n: int) -> str:
    suffix = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"


def _cells_need(by_cell: Tested) -> str:
    of = len(by_cell.cells)
    level = levels(of, by_cell.least)[0]
    fewest, in_each = stats.fewest_pairs(level, one_sided=True), " in a column" if of > 1 else ""
    few = ""
    if max(cell.n for cell in by_cell.cells) < fewest:
        few = f"Fewer than {fewest} pairs{in_each} can never reach p = {level:.3g}. "
    if by_cell.needed is None:
        return f"{few}At the observed effect more than {stats.MOST_UNITS:,} pairs{in_each} would be needed."
    return f"{few}At the observed effect about {by_cell.needed} pairs{in_each} in all would decide it."


def _so_far(frame: Frame, seen: Contrast) -> str:
    if seen.mean is None:
        return "No pair of runs on fresh seeds can be compared."
    ours, theirs = labels(frame, frame.spec.arm(seen.challenger), frame.spec.arm(seen.incumbent))
    pairs = f"1 {seen.unit}" if seen.n == 1 else f"{seen.n} paired {seen.unit}s"
    metric = seen.metric if seen.column != average.AVERAGE else f"average {seen.metric}"
    if seen.ratio is None:
        word = (
            f"{abs(seen.mean):.3g} {'better' if seen.better else 'worse'} than" if seen.mean else "equal to"
        )
        said = f"On {pairs}, {possessive(ours)} {metric} is {word} {possessive(theirs)}"
    else:
        said = f"On {pairs}, {possessive(ours)} {metric} is {seen.ratio:.3g} times {possessive(theirs)}"
    said += f" (95% interval {seen.within})" if seen.interval is not None else ""
    count, word = (seen.better_on, "better") if seen.better else (seen.worse_on, "worse")
    said += f", {word} on {count} of {seen.n}" if seen.n > 1 and count else ""
    if seen.decisive is not None:
        said += f", and {seen.unit} {seen.decisive} makes most of the gap"
    return f"{said}; p = {seen.p:.3g}."


def _needs(seen: Contrast) -> str:
    least = stats.fewest_pairs(ALPHA)
    if seen.effect is None or seen.n < least:
        few = f"Fewer than {least} pairs can never reach p = {ALPHA:g}."
        return few if seen.needed is None else f"{few} About {seen.needed} in all would decide it."
    if seen.needed is None:
        return f"At the observed effect more than {stats.MOST_UNITS:,} pairs would be needed."
    return f"At the observed effect about {max(seen.needed, seen.n + 1)} pairs in all would decide it."


def more_needed(seen: Contrast) -> int | None:
    """Units beyond those there. Where the effect is not yet known: up to the fewest that can decide."""
    least = stats.fewest_pairs(ALPHA)
    if seen.effect is None:
        return max(1, least - seen.n)
    return None if seen.needed is None else max(1, seen.needed - seen.n)


def _condition(frame: Frame, challenger: Arm, incumbent: Arm, seen: Contrast) -> str:
    said = [_selected(frame, challenger, incumbent, seen)]
    ours, theirs = labels(frame, challenger, incumbent)
    for what, (a, b) in (("Diverged runs", seen.diverged), ("Runs without a result", seen.missing)):
        if a or b:
            said.append(f"{what}: {ours} {a}, {theirs} {b}.")
    sides = (frame.spec.confirmations(arm) for arm in (challenger, incumbent))
    added = max((frame.added.get(arm.name, 0) for of in sides for arm in of), default=0)
    if added:
        said.append(
            f"{added} {'seed was' if added == 1 else 'seeds were'} added after the study was created; p "
            f"assumes a number of seeds that is fixed in advance."
        )
    return " ".join(said)


def _left_out(frame: Frame, seen: Contrast, over: average.Averaged | None) -> Sequence[str]:
    """Which seeds are not in the average, and what a seed stands for."""
    if over is None:
        return ()
    said = []
    if over.left_out:
        count, which = len(over.left_out), ", ".join(map(str, over.left_out))
        are = f"{seen.unit.capitalize()}{'s' if count != 1 else ''} {which} {'are' if count != 1 else 'is'}"
        said.append(f"{are} left out of the average: a pair is missing in {', '.join(over.lacking)}.")
    return [*said, *average.begun_by_number(frame)]


def _selected(frame: Frame, challenger: Arm, incumbent: Arm, seen: Contrast) -> str:
    names = labels(frame, challenger, incumbent)
    selections = dict(zip(names, map(frame.selections, (challenger, incumbent)), strict=True))
    if min(selections.values()) > 1:
        return f"Over {seen.n} replicates; each method searched in each of them."
    if set(selections.values()) == {1}:
        return "Each method searched once; this does not cover variation between searches."
    if not any(selections.values()):
        return "Nothing was searched: the settings are those of the spec."
    words = (
        "has fixed settings from the spec",
        "searched once, so variation between its searches is not covered",
    )
    parts = [
        f"{arm} {words[count] if count < len(words) else 'searched in each replicate'}"
        for arm, count in selections.items()
    ]
    return f"On {seen.n} {seen.unit}s: {'; '.join(parts)}."


def _cost_ratio(frame: Frame, claim: Claim, sides: Sequence[tuple[Arm, Arm]]) -> float | None:
    """Of one search, over all columns of the claim. Chips are the same for all arms, so hours will do."""
    ours, theirs = ([_spent(frame, claim, arm) for arm in of] for of in zip(*sides, strict=True))
    known = [[cost for cost in of if cost is not None] for of in (ours, theirs)]
    if len(known[0]) < len(ours) or len(known[1]) < len(theirs) or not math.fsum(known[1]):
        return None
    return math.fsum(known[0]) / math.fsum(known[1])


def _spent(frame: Frame, claim: Claim, arm: Arm) -> float | None:
    """None by steps, where the spec does not say what a run of the arm, or of one that it follows, takes."""
    if claim.cost == "clocks":
        return frame.spent(arm, lambda t: t.charged.get("train_s", 0.0) + t.charged.get("eval_s", 0.0))
    hours = {each.name: each.run_hours for each in frame.spec.arms}
    asked = arm
    while hours[asked.name] is not None and asked.after is not None:
        asked = frame.spec.arm(asked.after.arm)
    if hours[asked.name] is None:
        return None
    # A run's share of its steps; what a run does not say of its steps counts as a whole run.
    return frame.spent(arm, lambda t: (hours[t.arm] or 0.0) * t.share_done)
