"""What does the end of an attempt make of its trial? A pure function of what both have said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from orchestrator.engine.rungs import Lags
from orchestrator.ledger.base import Ending
from orchestrator.ledger.costs import added
from orchestrator.ledger.records import AttemptRow, AttemptState, StudyState, TrialRow, TrialState
from orchestrator.runs.contract import Ended
from orchestrator.study.spec import StudySpec
from trainer.protocol import Outcome


def ending(
    ended: Ended,
    *,
    spec: StudySpec,
    study_state: StudyState,
    trial: TrialRow,
    attempt: AttemptRow,
    lags: Lags | None = None,
    at: float,
) -> Ending:
    """`attempt` holds the clocks of the last event; the outcome's own clocks go before them. A trial that
    `lags` is stopped, however its attempt ended, unless it had run to its end before it heard of that."""
    clocks = ended.outcome.clocks if ended.outcome and ended.outcome.clocks else attempt.clocks
    if ended.outcome is not None:
        prepares = spec.arm(trial.arm).phase == "prepare"
        made = _of_outcome(ended.outcome, spec=spec, prepares=prepares, at=at)
    elif ended.how == "raised":
        made = Ending(
            AttemptState.FAILED, TrialState.FAILED, at, reason=ended.reason, traceback=ended.traceback
        )
    elif ended.how in ("unwritten", "unable"):  # as if its machine had been taken
        made = Ending(
            AttemptState.PREEMPTED, TrialState.WAITING, at, reason=ended.reason, traceback=ended.traceback
        )
    else:
        made = _of_loss(ended, spec=spec, trial=trial, at=at)
    if lags is not None and made.trial_state in (TrialState.WAITING, TrialState.STOPPED):
        made = replace(made, trial_state=TrialState.STOPPED, reason=lags.reason)
        if made.value is None:
            values = {**(made.values or {}), spec.objective.metric: lags.value}
            made = replace(made, value=lags.value, values=values)
    elif made.trial_state is TrialState.WAITING and study_state is StudyState.CANCELLED:
        made = replace(made, trial_state=TrialState.STOPPED, reason="The study was cancelled.")
    return replace(
        made,
        clocks=clocks,
        charged=added(trial.charged, clocks),
        productive=_productive(trial, attempt, made.trial_state, clocks),
    )


def _of_outcome(outcome: Outcome, *, spec: StudySpec, prepares: bool, at: float) -> Ending:
    value = outcome.values.get(spec.objective.metric)
    finite = value is not None and math.isfinite(value)
    attempt_state, trial_state = {
        "completed": (AttemptState.COMPLETED, TrialState.COMPLETED),
        "diverged": (AttemptState.DIVERGED, TrialState.DIVERGED),
        "stopped": (AttemptState.STOPPED, TrialState.STOPPED),
        "preempted": (AttemptState.PREEMPTED, TrialState.WAITING),
    }[outcome.status]
    reason = outcome.reason
    if outcome.status == "completed" and value is None and not prepares:
        reported = ", ".join(sorted(outcome.values)) or "nothing"
        reason = (
            f"The run reported no {spec.objective.metric!r}, the study's objective; it reported: {reported}."
        )
        attempt_state, trial_state = AttemptState.FAILED, TrialState.FAILED
    elif outcome.status == "completed" and value is not None and not finite:
        reason = f"The run ended with {spec.objective.metric} = {value}."
        attempt_state, trial_state = AttemptState.DIVERGED, TrialState.DIVERGED
    counts = trial_state in (TrialState.COMPLETED, TrialState.STOPPED)
    return Ending(
        attempt_state,
        trial_state,
        at,
        reason=reason,
        value=value if finite and counts else None,
        values={k: v for k, v in outcome.values.items() if math.isfinite(v)},
        checkpoint=outcome.checkpoint,
    )


def _of_loss(ended: Ended, *, spec: StudySpec, trial: TrialRow, at: float) -> Ending:
    losses = trial.losses + 1
    if losses < spec.retries.attempts:
        return Ending(AttemptState.LOST, TrialState.WAITING, at, reason=ended.reason)
    return Ending(
        AttemptState.LOST,
        TrialState.FAILED,
        at,
        reason=f"Its worker was lost {losses} times, as often as this study allows. Last: {ended.reason}",
    )


def _productive(
    trial: TrialRow, attempt: AttemptRow, state: TrialState, clocks: Mapping[str, float]
) -> dict[str, float]:
    """What led to the result: of an attempt that is continued, the part before its checkpoint."""
    if state is TrialState.FAILED:
        return {}
    return added(trial.productive, attempt.saved_clocks if state is TrialState.WAITING else clocks)
