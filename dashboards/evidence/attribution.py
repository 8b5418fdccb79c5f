"""What is a gain due to? The controls of a claim, in every column that has both of its rows.

The gain is the challenger's over the incumbent, on paired fresh seeds. If it is significant (p at most .05),
each control is tested for how much of the gain it keeps, on the seeds that all three share:

- *supports*: clearly less than half, so the control does not explain the gain;
- *undoes*: clearly more than half: most of the gain is there without guidance, too;
- *open*: neither is clear; or the gain in this column is not significant, so there is nothing to attribute.

"Clearly" means a paired t test of the half that is kept, two-sided at 5%, with Holm's correction over the
columns of its row. A search without confirmations shows nothing; neither does a control without a completed
run, nor a variant of guidance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dashboards.evidence import stats
from dashboards.evidence.contrasts import Contrast, by_logarithm, contrast, paired, paired_gains, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.wording import labels, possessive
from orchestrator.study import roles
from orchestrator.study.spec import Arm

ALPHA = 0.05
KEPT = 0.5  # of the gain: a control that keeps more undoes it
Says = Literal["supports", "undoes", "open"]

# The controls without which a gain cannot be attributed.
EXPECTED_CONTROLS: Mapping[roles.ControlKind, str] = {
    "random": "random search",
    "replay": "replay of the learned schedule",
    "constant-mean": "constant = mean of the learned schedule",
    "matched-decay": "matched decay",
    "bo-schedule": "BO over schedule parameters",
    "longer": "longer plain training",
    "default-rate": "the default at other learning rates",
    "beta1": "plain training with β1 .8",
    "blind-course": "blind course of what other runs learned",
}
# What it means that a control keeps the gain.
NO_GUIDANCE = ", and needs no guidance"
UNDOES: Mapping[roles.ControlKind, str] = {
    "beta1": ": plain training with β1 .8 gains {much}, and nothing has to be learned",
    "blind-course": ": what other runs learned gains {much}, and nothing has to be learned in the run itself",
}


@dataclass(frozen=True)
class Control:
    """One control in one column, and what it says of the gain there."""

    row: str
    arm: str
    says: Says
    sentence: str
    contrast: Contrast | None  # the challenger over the control
    kept: float | None = None  # of the gain, in the mean: 1 is all of it
    p: float | None = None  # that it keeps half of the gain, over the columns


@dataclass(frozen=True)
class Column:
    """The gain in one column, and its controls."""

    column: str
    gain: Contrast
    controls: tuple[Control, ...]
    not_run: tuple[str, ...]
    sentence: str


_ArmIn = tuple[str, str]  # an arm's name and a column: a row may have several arms in one, and an arm all


@dataclass(frozen=True)
class _Compared:
    """A control against the challenger, before any correction."""

    arm: Arm
    gain: Contrast
    seen: Contrast
    excess: tuple[float, ...]  # by pair: the challenger's lead less half of its gain; below 0 it keeps more
    kept: float | None  # of the mean gain
    completed: bool  # some run of the control on fresh seeds


def attribution(frame: Frame, challenger: Arm, incumbent: Arm, *, metric: str) -> tuple[Column, ...]:
    """By column, that of the challenger first."""
    own = frame.columns()[0] if challenger.column == "*" else challenger.column
    rows = [frame.row_of(arm) for arm in (challenger, incumbent)]
    sides: dict[str, tuple[Arm, Arm]] = {own: (challenger, incumbent)}
    for column in (column for column in frame.columns() if column != own):
        ours, theirs = (frame.arm_at(row, column) for row in rows)
        if ours is not None and theirs is not None and ours != theirs:
            sides[column] = ours, theirs
    gains = _corrected({c: contrast(frame, *pair, metric=metric) for c, pair in sides.items()})
    asked = {column: _controls_in(frame, column, sides[column]) for column in sides}
    judged: dict[_ArmIn, Control] = {}
    for row in dict.fromkeys(frame.row_of(arm) for of in asked.values() for arm in of):
        judged |= _judged(
            frame,
            {
                (arm.name, column): _compared(frame, arm, sides[column], gains[column], metric=metric)
                for column, of in asked.items()
                for arm in of
                if frame.row_of(arm) == row and _can_say(frame, arm)
            },
        )
    made = []
    for column, gain in gains.items():
        controls = tuple(
            judged.get((arm.name, column)) or _silent(frame, arm, *sides[column], metric=metric)
            for arm in asked[column]
        )
        not_run = _not_run(frame, asked[column])
        made.append(Column(column, gain, controls, not_run, _sentence(frame, gain, controls)))
    return tuple(made)


def _corrected(gains: Mapping[str, Contrast]) -> dict[str, Contrast]:
    adjusted = stats.holm([gain.p for gain in gains.values()])
    return {
        column: replace(gain, column=column, p_holm=p)
        for (column, gain), p in zip(gains.items(), adjusted, strict=True)
    }


def _controls_in(frame: Frame, column: str, sides: tuple[Arm, Arm]) -> list[Arm]:
    return [
        arm
        for arm in frame.spec.arms
        if arm.phase == "control"
        and arm.column in ("*", column)
        and not frame.spec.confirms(arm)
        and arm not in sides
    ]


def _can_say(frame: Frame, arm: Arm) -> bool:
    return bool(frame.confirming(arm)) and not frame.learns[arm.name]


def _compared(frame: Frame, arm: Arm, sides: tuple[Arm, Arm], gain: Contrast, *, metric: str) -> _Compared:
    """The lead and the gain are those on the seeds that all three share."""
    three = (*sides, arm)
    ours, theirs, controls = paired([sample(frame, each, metric, beside=three) for each in three])
    sign = -1.0 if frame.lower_is_better(metric) else 1.0
    log = by_logarithm(frame, metric, [*ours.values(), *theirs.values(), *controls.values()])
    leads = paired_gains(ours, controls, sign=sign, log=log)
    gains = paired_gains(ours, theirs, sign=sign, log=log)
    excess = tuple(lead - KEPT * gained for lead, gained in zip(leads, gains, strict=True))
    kept = 1 - math.fsum(leads) / math.fsum(gains) if math.fsum(gains) > 0 else None
    completed = bool(sample(frame, arm, metric, diverged_too=False).values)
    return _Compared(arm, gain, contrast(frame, sides[0], arm, metric=metric), excess, kept, completed)


def _judged(frame: Frame, here: Mapping[_ArmIn, _Compared]) -> dict[_ArmIn, Control]:
    """One row of controls over its columns, with Holm's correction. No gain or no result, no question."""
    asked = [at for at, each in here.items() if each.gain.clear == "better" and each.completed]
    adjusted = stats.holm([paired_t_p(here[at].excess) for at in asked])
    p_of = dict(zip(asked, adjusted, strict=True))
    alone = len({column for _, column in asked}) == len(asked)
    over = f" over {len(asked)} {'columns' if alone else 'comparisons'}" if len(asked) > 1 else ""
    return {at: _said(frame, each, p_of.get(at), over) for at, each in here.items()}


def _said(frame: Frame, each: _Compared, p: float | None, over: str) -> Control:
    row, seen = frame.row_of(each.arm), each.seen

    def control(says: Says, words: str) -> Control:
        return Control(row, each.arm.name, says, f"{row}: {words}", seen, each.kept, p)

    if seen.mean is None:
        return control("open", "no pair of runs can be compared yet.")
    lead = _lead(frame, seen, "the control")
    if seen.diverged[1]:
        lead += f", and {seen.diverged[1]} of its runs diverged"
    if each.gain.clear != "better":
        return control("open", f"no gain to explain; {lead}.")
    if p is None:
        return control("open", f"none of its runs completed; {lead}.")
    mean = _mean(each.excess)
    if mean is None or each.kept is None:
        return control("open", f"no gain on the seeds that all three share; {lead}.")
    sure = f"p = {p:.3g}{over}"
    keeps = f"it keeps {max(each.kept, 0):.0%} of the gain on average"
    if p > ALPHA:
        return control("open", f"{keeps}; not clear whether more or less than half ({sure}); {lead}.")
    if mean > 0:
        return control(
            "supports", f"{keeps}, clearly less than half ({sure}): it does not explain the gain; {lead}."
        )
    more = NO_GUIDANCE if each.arm.control is None else UNDOES.get(each.arm.control, NO_GUIDANCE)
    why = more.format(much="as much" if each.kept >= 1 else "most of it")
    return control("undoes", f"{keeps}, clearly more than half ({sure}){why}; {lead}.")


def _lead(frame: Frame, seen: Contrast, over: str = "") -> str:
    """The challenger against `over` (default: its opponent by name), in figures."""
    ours, theirs = labels(frame, frame.spec.arm(seen.challenger), frame.spec.arm(seen.incumbent))
    theirs = over or theirs
    interval = f" (95% interval {seen.within})" if seen.interval else ""
    pairs = f"{interval} on {seen.n} {seen.unit}{'s' * (seen.n != 1)}"
    if seen.ratio is None:
        return f"{possessive(ours)} lead over {theirs} is {seen.size}{pairs}"
    return f"{possessive(ours)} {seen.metric} is {seen.ratio:.3g} times {possessive(theirs)}{pairs}"


def _silent(frame: Frame, arm: Arm, challenger: Arm, incumbent: Arm, *, metric: str) -> Control:
    """A control that shows nothing: a variant of guidance, or a search that was not confirmed."""
    row = frame.row_of(arm)
    if frame.confirming(arm):
        seen = contrast(frame, challenger, arm, metric=metric)
        if seen.mean is None:
            return Control(row, arm.name, "open", f"{row}: no pair of runs can be compared yet.", seen)
        words = f"variant of guidance; not a control. {_lead(frame, seen, 'the variant')}"
        return Control(row, arm.name, "open", f"{row}: {words}, p = {seen.p:.3g}.", seen)
    objective = frame.spec.objective.metric
    best = [frame.chosen_value(each, objective) for each in (arm, challenger, incumbent)]
    values = [f"{value:.5g}" for value in best if value is not None]
    if len(values) < len(best):
        return Control(row, arm.name, "open", f"{row}: no result to compare yet.", None)
    ours, theirs, other = values
    guided, bo = labels(frame, challenger, incumbent)
    often = "in each replicate" if frame.spec.replicates_of(arm) > 1 else "each"
    sentence = (
        f"{row}: its best search run has {objective} {ours}, {possessive(guided)} {theirs}, {possessive(bo)} "
        f"{other}; one search run {often} on the search seeds, not confirmed, so it decides nothing."
    )
    return Control(row, arm.name, "open", sentence, None)


def _not_run(frame: Frame, controls: Sequence[Arm]) -> tuple[str, ...]:
    """The expected controls that do not stand in a column. Other learning rates may be columns themselves."""
    ran = {control for arm in controls for control in arm.controls_for}
    if any("default-rate" in roles.controls_named(column) for column in frame.columns()):
        ran.add("default-rate")
    return tuple(name for control, name in EXPECTED_CONTROLS.items() if control not in ran)


def _sentence(frame: Frame, gain: Contrast, controls: Sequence[Control]) -> str:
    if gain.mean is None:
        return "No pair of runs on fresh seeds can be compared."
    said = _lead(frame, gain)
    if gain.clear != "better":
        why = "not significant" if gain.better else "no gain"
        return f"{said}: {why}, so there is nothing to attribute."
    parts = {says: [c.row for c in controls if c.says == says] for says in ("undoes", "supports", "open")}
    words = {"undoes": "undone by", "supports": "supported against", "open": "open:"}
    found = [f"{words[says]} {', '.join(rows)}" for says, rows in parts.items() if rows]
    return f"{said}; {'; '.join(found) or 'no control was run'}."


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def paired_t_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t test; 1 for fewer than two pairs."""
    from scipy.special import stdtr

    n = len(differences)
    mean = _mean(differences)
    if mean is None or n < 2:
        return 1.0
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    if spread <= abs(mean) * 1e-12:  # equal to the last digit
        return 0.0 if mean else 1.0
    return float(2 * stdtr(n - 1, -abs(mean) / spread))
