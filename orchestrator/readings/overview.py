"""What does a study look like now? A reading of the ledger for terminals, scripts and pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.ledger.base import Tally
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import (
    ENDED,
    LOADED,
    RESULTS,
    AttemptRow,
    Event,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    lane_of,
)
from orchestrator.readings import states
from orchestrator.readings.failures import failure, stopped_alike
from orchestrator.runs.provenance import code_told
from orchestrator.study.space import Point
from orchestrator.study.spec import Arm, StudySpec
from trainer.protocol import FALLBACK

CHANGES = {  # what is known of a checkout
    True: "with uncommitted changes",
    False: "without uncommitted changes",
    None: "and whether it had uncommitted changes is not known",
}


@dataclass(frozen=True)
class ArmLine:
    """One arm over all its replicates."""

    arm: str
    phase: str
    row: str
    column: str
    requested: int
    states: dict[str, int]
    best: float | None
    best_trial: str | None
    best_point: Point
    run_hours: float  # charged: all attempts, also lost ones
    chip_hours: float
    wasted_hours: float  # charged and not part of a result
    attempts: int
    losses: int  # attempts that the machinery lost
    failures: int  # attempts in which the training code failed
    steps: float
    stopped: str = ""  # why no more of its runs are started, where its first ones failed alike

    @property
    def ended(self) -> int:
        return sum(self.states.get(state, 0) for state in ENDED)

    @property
    def given_up(self) -> int:
        """Trials that failed because their workers were lost too often. Their code did not fail."""
        return self.states.get(TrialState.FAILED, 0) - self.failures


@dataclass(frozen=True)
class Overview:
    study_id: str
    name: str
    status: str  # one of `states.Status`
    reason: str
    metric: str
    goal: str  # minimize or maximize
    arms: tuple[ArmLine, ...]
    failure: str = ""  # why nothing worked, of a study that ended without a run that completed
    failed_trial: str = ""  # one that failed, to be looked at
    waits: str = ""  # why the next of its trials has no host yet

    def count(self, phase: str) -> int:
        return sum(line.requested for line in self.arms if line.phase == phase)

    @property
    def requested(self) -> int:
        return sum(line.requested for line in self.arms)

    @property
    def ended(self) -> int:
        return sum(line.ended for line in self.arms)

    @property
    def running(self) -> int:
        return sum(line.states.get(TrialState.RUNNING, 0) for line in self.arms)

    def best(self, *phases: str) -> ArmLine | None:
        """The arm with the best objective; of these phases, or of all."""
        valid = [line for line in self.arms if line.best is not None and (not phases or line.phase in phases)]
        sign = 1 if self.goal == "minimize" else -1
        return min(valid, key=lambda line: sign * (line.best or 0.0), default=None)

    @property
    def no_valid_result(self) -> bool:
        return self.ended > 0 and all(line.best is None for line in self.arms if line.phase != "prepare")

    def to_dict(self) -> dict[str, Any]:
        """One object for scripts: `trials` are search trials; confirmations and controls stand apart."""
        return {
            "study": self.name,
            "study_id": self.study_id,
            "status": self.status,
            "reason": self.reason,
            "trials": self.count("search"),
            "confirmations": self.count("confirm"),
            "controls": self.count("control"),
            "ended": self.ended,
            "run_hours": sum(line.run_hours for line in self.arms),
            "chip_hours": sum(line.chip_hours for line in self.arms),
            "wasted_hours": sum(line.wasted_hours for line in self.arms),
            "no_valid_result": self.no_valid_result,
            "failure": self.failure,
            "failed_trial": self.failed_trial,
            "waits": self.waits,
            "arms": [asdict(line) for line in self.arms],
        }


def overview(ledger: Ledger, study: StudyRow) -> Overview:
    spec = StudySpec.stored(study.spec)
    by_arm: dict[str, dict[TrialState, Tally]] = {arm.name: {} for arm in spec.arms}
    for (arm_name, state), tally in ledger.tallies(study.study_id).items():
        by_arm[arm_name][state] = tally
    best = ledger.best(study.study_id, minimize=spec.objective.minimizes)
    live: dict[str, list[float]] = {arm.name: [] for arm in spec.arms}
    for attempt in ledger.live_attempts(study.study_id):
        live[lane_of(attempt.trial_id)[0]].append(run_hours(attempt.clocks))
    lines = [
        _line(spec, study, arm, by_arm[arm.name], best.get(arm.name), sum(live[arm.name]))
        for arm in spec.arms
    ]
    why, failed_trial = _failure(ledger, study, lines)
    return Overview(
        study_id=study.study_id,
        name=study.name,
        status=states.status(study.state, sum(line.states.get(TrialState.RUNNING, 0) for line in lines)),
        reason=study.reason,
        metric=spec.objective.metric,
        goal=spec.objective.goal,
        arms=tuple(replace(line, stopped=_stopped(ledger, study, line)) for line in lines),
        failure=why,
        failed_trial=failed_trial,
        waits=study.waits if study.state is StudyState.RUNNING else "",
    )


def _stopped(ledger: Ledger, study: StudyRow, line: ArmLine) -> str:
    if not (line.states.get(TrialState.FAILED) and line.states.get(TrialState.STOPPED)):
        return ""
    stopped = ledger.trials(study.study_id, arm=line.arm, states={TrialState.STOPPED})
    return stopped_alike(trial.reason for trial in stopped)


def _failure(ledger: Ledger, study: StudyRow, lines: Sequence[ArmLine]) -> tuple[str, str]:
    """Why nothing worked, and a trial that failed, as people write its name."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line.states)
    if study.state is not StudyState.COMPLETED or counts[TrialState.COMPLETED]:
        return "", ""
    failed = ledger.trials(study.study_id, states={TrialState.FAILED})
    name = failed[0].trial_id.replace(study.study_id, study.name, 1) if failed else ""
    return failure(counts, (trial.reason for trial in failed)), name


def work_of(spec: StudySpec) -> dict[str, float]:
    """By arm, what one run of it is of the work: its expected hours, or as much as any other."""
    hours = [arm.run_hours for arm in spec.arms]
    return {arm.name: 1.0 if None in hours else arm.run_hours or 1.0 for arm in spec.arms}


def share_ended(view: Overview, work: Mapping[str, float]) -> float:
    """Of all the work that a study asks for."""
    whole = sum(line.requested * work[line.arm] for line in view.arms)
    return sum(line.ended * work[line.arm] for line in view.arms) / whole


def listed(ledger: Ledger, studies: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Studies in a list, from one query's counts: that must not grow slow with their trials."""
    counts = ledger.counts_of([study.study_id for study in studies])
    return [
        {
            "study": study.name,
            "study_id": study.study_id,
            "status": states.status(study.state, states.under_way(counts[study.study_id])),
            "ended": sum(n for (_, _, state), n in counts[study.study_id].items() if state in ENDED),
            "requested": _requested(study),
            "created_at": study.created_at,
        }
        for study in studies
    ]


def _requested(study: StudyRow) -> int:
    """From the spec as it is stored: to check a hundred anew takes longer than to read and count them."""
    replicates = study.spec["replicates"]
    return sum(
        (arm["trials"] + study.extra_trials.get(arm["name"], 0)) * (arm["replicates"] or replicates)
        for arm in study.spec["arms"]
    )


def _line(
    spec: StudySpec,
    study: StudyRow,
    arm: Arm,
    states: Mapping[TrialState, Tally],
    best: TrialRow | None,
    live_hours: float,
) -> ArmLine:
    ended = [tally for state, tally in states.items() if state in ENDED]
    useful_s = sum(tally.productive_s for state, tally in states.items() if state in RESULTS)
    wasted_s = sum(tally.charged_s for tally in ended) - useful_s
    hours = sum(tally.charged_s for tally in states.values()) / 3600 + live_hours
    return ArmLine(
        arm=arm.name,
        phase=arm.phase,
        row=arm.row,
        column=arm.column,
        requested=spec.requested(arm, study.extra_trials),
        states={str(state): tally.trials for state, tally in states.items()},
        best=best.value if best else None,
        best_trial=best.trial_id if best else None,
        best_point=dict(best.point) if best else {},
        run_hours=hours,
        chip_hours=hours * spec.resources.chips,
        wasted_hours=max(0.0, wasted_s / 3600),
        attempts=sum(tally.attempts for tally in states.values()),
        losses=sum(tally.losses for tally in states.values()),
        failures=sum(tally.failures for tally in states.values()),
        steps=sum(tally.steps for tally in states.values()),
    )


def fallback_words(attempt: AttemptRow) -> str:
    """The sentence on checkpoints that an attempt found damaged; "" for one that found none."""
    if not attempt.damaged:
        return ""
    return f"Attempt {attempt.number} {passed_over(attempt.resumed_from, attempt.damaged)}."


def event_words(event: Event) -> str:
    """What an attempt said, beside its kind and step."""
    path = event.payload.get("path")
    if event.kind == "started":
        return f"on {event.payload.get('host', 'an unknown host')}"
    if event.kind == LOADED:
        return f"{len(event.payload.get('packages', ()))} packages"
    if event.kind == FALLBACK:
        return passed_over(path, event.payload.get("damaged", ()))
    if path is not None:
        return str(path)
    numbers = {**event.payload.get("values", {}), **event.payload.get("hyper", {})}
    return ", ".join(f"{name} {_five_digits(value)}" for name, value in numbers.items())


def _five_digits(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, int | float) and math.isfinite(value) else str(value)


def commit_of(attempt: AttemptRow) -> str:
    """The first ten digits of the commit that it ran; "" where that is not known."""
    return str(code_told(attempt.provenance).get("commit") or "")[:10]


def code_words(attempt: AttemptRow) -> str:
    """Whose code it ran, at which commit and with what changes; "" for attempts that were not told."""
    code = attempt.provenance.get("code")
    if not isinstance(code, Mapping) or not code:
        return ""
    notes = [str(note) for note in code.get("notes", ())]
    if "distribution" in code:
        told = f"{code['distribution']} {code.get('version')}, as it is installed"
    elif not code.get("commit"):
        told = str(code.get("root") or code.get("file") or code.get("entrypoint"))
    else:
        changes = CHANGES[code.get("dirty")] + (f" (diff: {code['diff']})" if "diff" in code else "")
        told = f"{code.get('repository') or code.get('root')} at {code['commit'][:10]}, {changes}"
    return " ".join((f"{told}.", *notes)) if notes else told


def passed_over(used: str | None, damaged: Sequence[str]) -> str:
    """What a run did that found its checkpoint damaged."""
    begun = "began anew" if used is None else f"went on from {used}"
    are = "is damaged" if len(damaged) == 1 else "are damaged"
    return f"{begun}, since {' and '.join(damaged)} {are}"
