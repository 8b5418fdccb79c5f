"""Does the study support the claim that it registered before its first trial?

The rules, in the order in which they are asked:

1. No claim was registered: there is no verdict.
2. The study has not ended as planned: *undecided*. It goes on, was cancelled, or its budget ended it, and an
   answer on the way would depend on when one looks.
3. Every run of the challenger diverged, and some of the incumbent's completed: *refuted*. Where else no run
   of one of them completed: *undecided*, since nothing can be compared.
4. One search of the challenger cost more, over one of the incumbent's, than the claim allows: *refuted*,
   whatever the metric says. Training and evaluation on the runs' own clocks count, or the steps done, each at
   what the spec expects a step of its arm to cost: the claim says which. Waste is in it, in the mean over the
   replicates; confirmations are not, nor is compiling, which falls to whoever comes first, nor waiting.
5. The paired permutation test on the difference, two-sided, has p <= .05 (exact up to 16 pairs, above it by
   drawn swaps; see `contrasts` for what is paired and what a diverged run counts): *supported* if the
   challenger is better, *refuted* if it is worse.
6. Else *undecided*, with the seeds still needed: for a power of 80 % of this very test at the effect seen,
   and never fewer than the six pairs without which such a test cannot reach .05. Where no run reported the
   claim's metric, or all diverged, more seeds would not help.

One claim is one test: nothing is corrected here. Holm's correction stands beside the columns of the table.
Controls change no verdict; each is named with what it says of the gain (see `attribution`), in the claim's
own column and in every other one where both of its rows stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dashboards.evidence import stats
from dashboards.evidence.attribution import ALPHA, Column, Control, attribution
from dashboards.evidence.contrasts import Contrast, contrast
from dashboards.evidence.frames import Frame, Trial
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm, Claim, CostBy

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


def judge(frame: Frame) -> Verdict:
    claim = frame.spec.claim
    if claim is None:
        why = "The study registered no claim before its first trial, so there is nothing to judge."
        return Verdict("no claim", "", why, "", None, None, None, None, None, (), (), ())
    challenger, incumbent = frame.spec.arm(claim.challenger), frame.spec.arm(claim.incumbent)
    seen = contrast(frame, challenger, incumbent, metric=claim.metric)
    ratio = _cost_ratio(frame, claim, challenger, incumbent)
    hopeless = _hopeless(frame, challenger, incumbent, seen)
    answer, why = _decided(frame, claim, seen, ratio, hopeless)
    columns = attribution(frame, challenger, incumbent, metric=claim.metric)
    return Verdict(
        answer=answer,
        claim=claim.text,
        why=why,
        condition=_condition(frame, challenger, incumbent, seen),
        contrast=seen,
        cost_ratio=ratio,
        cost_by=claim.cost,
        cost_limit=claim.cost_ratio,
        more_needed=more_needed(seen) if answer == "undecided" and not hopeless else 0,
        controls=columns[0].controls if columns else (),
        controls_not_run=columns[0].not_run if columns else (),
        columns=columns,
    )


def _decided(
    frame: Frame, claim: Claim, seen: Contrast, ratio: float | None, hopeless: str
) -> tuple[Ruling, str]:
    if frame.cut_short:
        return "undecided", f"{frame.cut_short} {_so_far(seen)}"
    if frame.spec.goal_of(claim.metric) is None:  # such a claim was stored before its goal had to be stated
        return "undecided", (
            f"Whether high or low {claim.metric} is better was not stated; it is shown as if low were. "
            "Create the study again, under another name, with a goal in its claim."
        )
    valid = [frame.best(frame.spec.arm(arm)) is not None for arm in (claim.challenger, claim.incumbent)]
    if not all(valid):
        if valid == [False, True]:
            return _without_result(frame, claim)
        which = claim.incumbent if valid[0] else "either arm"
        return "undecided", f"No run of {which} completed, so there is nothing to compare with."
    if claim.cost_ratio is not None and ratio is not None and ratio > claim.cost_ratio:
        return "refuted", (
            f"The claim allows {claim.cost_ratio:g} times the cost of {claim.incumbent}, by {claim.cost}, "
            f"and {claim.challenger} took {ratio:.3g} times. {_so_far(seen)}"
        )
    if claim.cost_ratio is not None and ratio is None:
        return "undecided", f"What {claim.incumbent} cost is not known, so the claim's cost cannot be judged."
    if seen.mean is not None and seen.p <= ALPHA:
        return ("supported" if seen.better else "refuted"), _so_far(seen)
    return "undecided", hopeless or f"{_so_far(seen)} {_needs(seen)}"


def _without_result(frame: Frame, claim: Claim) -> tuple[Ruling, str]:
    """Only what diverged says something of the arm; a machine's failures do not."""
    states = [trial.state for trial in frame.trials[claim.challenger]]
    if states and all(state is TrialState.DIVERGED for state in states):
        return "refuted", f"Every run of {claim.challenger} diverged, and {claim.incumbent} found a result."
    gone = sum(state is not TrialState.DIVERGED for state in states)
    return "undecided", (
        f"No run of {claim.challenger} completed. {gone} of {len(states)} failed or were stopped, "
        f"which tells nothing of what they would have found."
    )


def _hopeless(frame: Frame, challenger: Arm, incumbent: Arm, seen: Contrast) -> str:
    """Why more seeds would not help, of a study that ended as planned; else empty."""
    if frame.cut_short:
        return ""
    completed = {
        arm.name: [trial for trial in frame.confirming(arm) if trial.state is TrialState.COMPLETED]
        for arm in (challenger, incumbent)
    }
    if all(seen.diverged) and not any(seen.missing) and not any(completed.values()):
        return "Every run of both arms on fresh seeds diverged, so nothing tells them apart."
    for arm, of in completed.items():
        if of and all(frame.value_of(trial, seen.metric) is None for trial in of):
            reported = ", ".join(sorted({name for trial in of for name in trial.values})) or "nothing"
            return f"No run of {arm} on fresh seeds reported {seen.metric!r}; they reported: {reported}."
    return ""


def _so_far(seen: Contrast) -> str:
    if seen.mean is None:
        return "No pair of runs on fresh seeds can be compared."
    pairs = f"1 {seen.unit}" if seen.n == 1 else f"{seen.n} paired {seen.unit}s"
    if seen.ratio is None:
        word = "better" if seen.better else "worse" if seen.mean else "neither better nor worse,"
        said = f"On {pairs} the challenger's {seen.metric} is {word} by {abs(seen.mean):.3g}"
    else:
        said = f"On {pairs} the challenger's {seen.metric} is {seen.ratio:.3g} times the incumbent's"
    said += f" (95 % interval {seen.within})" if seen.interval is not None else ""
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
        return (
            f"At the effect seen more than {stats.MOST_UNITS:,} pairs would be needed: it is close to none."
        )
    return f"At the effect seen about {max(seen.needed, seen.n + 1)} pairs in all would decide it."


def more_needed(seen: Contrast) -> int | None:
    """Units beyond those there. Where the effect is not yet known: up to the fewest that can decide."""
    least = stats.fewest_pairs(ALPHA)
    if seen.effect is None:
        return max(1, least - seen.n)
    return None if seen.needed is None else max(1, seen.needed - seen.n)


def _condition(frame: Frame, challenger: Arm, incumbent: Arm, seen: Contrast) -> str:
    said = [_selected(frame, challenger, incumbent, seen)]
    for what, (ours, theirs) in (("Diverged runs", seen.diverged), ("Without a result", seen.missing)):
        if ours or theirs:
            said.append(f"{what}: {ours} of the challenger, {theirs} of the incumbent.")
    sides = (frame.spec.confirmations(arm) for arm in (challenger, incumbent))
    added = max((frame.added.get(arm.name, 0) for of in sides for arm in of), default=0)
    if added:
        said.append(
            f"{added} {'seed was' if added == 1 else 'seeds were'} added after the study was created, and p "
            f"holds for a number that is fixed beforehand."
        )
    return " ".join(said)


def _selected(frame: Frame, challenger: Arm, incumbent: Arm, seen: Contrast) -> str:
    selections = {arm.name: frame.selections(arm) for arm in (challenger, incumbent)}
    if min(selections.values()) > 1:
        return f"Over {seen.n} replicates, each with its own selection by each arm."
    if set(selections.values()) == {1}:
        once = "Conditional on one selection by each arm"
        return f"{once}: the seeds are fresh, the chosen configurations are not."
    if not any(selections.values()):
        return "Nothing was chosen: the settings are those of the spec."
    words = (
        "chose nothing, its settings being those of the spec",
        "chose once, on which this is conditional",
    )
    parts = [
        f"{arm} {words[count] if count < len(words) else 'chose anew in each replicate'}"
        for arm, count in selections.items()
    ]
    return f"On {seen.n} {seen.unit}s: {'; '.join(parts)}."


def _cost_ratio(frame: Frame, claim: Claim, challenger: Arm, incumbent: Arm) -> float | None:
    """Of one search. Chips are the same for all arms of a study, so hours will do."""
    ours, theirs = (_spent(frame, claim, arm) for arm in (challenger, incumbent))
    return ours / theirs if ours is not None and theirs else None


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
    return frame.spent(arm, lambda t: (hours[t.arm] or 0.0) * _share_done(t))


def _share_done(trial: Trial) -> float:
    steps = trial.config.get("steps")
    if not isinstance(steps, int) or steps < 1 or "steps" not in trial.charged:
        return float(trial.ended)
    return trial.charged["steps"] / steps
