"""What does a study look like now? A reading of the ledger for terminals, scripts and pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.records import ENDED, AttemptRow, StudyRow, TrialRow, TrialState, study_of
from orchestrator.spec import Arm, StudySpec
from orchestrator.stopping import added, run_hours


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
    best_point: dict[str, float]
    run_hours: float  # charged: all attempts, also lost ones
    chip_hours: float
    wasted_hours: float  # charged and not part of a result
    attempts: int
    steps: float

    @property
    def ended(self) -> int:
        return sum(self.states.get(state, 0) for state in ENDED)


@dataclass(frozen=True)
class Overview:
    study_id: str
    name: str
    status: str
    reason: str
    metric: str
    goal: str  # minimize or maximize
    arms: tuple[ArmLine, ...]

    def count(self, phase: str) -> int:
        return sum(line.requested for line in self.arms if line.phase == phase)

    @property
    def requested(self) -> int:
        return sum(line.requested for line in self.arms)

    @property
    def ended(self) -> int:
        return sum(line.ended for line in self.arms)

    @property
    def no_valid_result(self) -> bool:
        return self.ended > 0 and all(line.best is None for line in self.arms)

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
            "arms": [asdict(line) for line in self.arms],
        }


def overview(ledger: Ledger, study: StudyRow) -> Overview:
    spec = StudySpec.model_validate(study.spec)
    by_arm: dict[str, list[TrialRow]] = {arm.name: [] for arm in spec.arms}
    for trial in ledger.trials(study.study_id):
        by_arm[trial.arm].append(trial)
    live: dict[str, list[float]] = {arm.name: [] for arm in spec.arms}
    for attempt in ledger.live_attempts(study.study_id):
        live[_arm_of(attempt.trial_id)].append(run_hours(attempt.clocks))
    return Overview(
        study_id=study.study_id,
        name=study.name,
        status=study.state,
        reason=study.reason,
        metric=spec.objective.metric,
        goal=spec.objective.goal,
        arms=tuple(_line(spec, study, arm, by_arm[arm.name], sum(live[arm.name])) for arm in spec.arms),
    )


def listed(ledger: Ledger, studies: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Studies in a list, from one query's counts: that must not grow slow with their trials."""
    counts = ledger.counts_of([study.study_id for study in studies])
    return [
        {
            "study": study.name,
            "study_id": study.study_id,
            "status": study.state,
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


def _line(spec: StudySpec, study: StudyRow, arm: Arm, trials: list[TrialRow], live_hours: float) -> ArmLine:
    charged = added(*(t.charged for t in trials))
    ended = [t for t in trials if t.state in ENDED]
    useful = sum(run_hours(t.productive) for t in ended)
    spent = sum(run_hours(t.charged) for t in ended)
    best = best_of(spec, trials)
    hours = run_hours(charged) + live_hours
    more = study.extra_trials.get(arm.name, 0)
    return ArmLine(
        arm=arm.name,
        phase=arm.phase,
        row=arm.row,
        column=arm.column,
        requested=(arm.trials + more) * spec.replicates_of(arm),
        states=dict(Counter(str(t.state) for t in trials)),
        best=best.value if best else None,
        best_trial=best.trial_id if best else None,
        best_point=dict(best.point) if best else {},
        run_hours=hours,
        chip_hours=hours * spec.resources.chips,
        wasted_hours=max(0.0, spent - useful),
        attempts=sum(t.attempts for t in trials),
        steps=charged.get("steps", 0.0),
    )


def best_of(spec: StudySpec, trials: list[TrialRow]) -> TrialRow | None:
    """The completed trial with the best objective; of equals the first."""
    valid = [t for t in trials if t.state is TrialState.COMPLETED and t.value is not None]
    sign = 1 if spec.objective.goal == "minimize" else -1
    return min(valid, key=lambda t: (sign * (t.value or 0.0), t.replicate, t.index), default=None)


def _arm_of(trial: str) -> str:
    return trial.removeprefix(study_of(trial) + ".").split(".", 1)[0]


def fallback_words(attempt: AttemptRow) -> str:
    """The sentence on checkpoints that an attempt found damaged; "" for one that found none."""
    if not attempt.damaged:
        return ""
    return f"Attempt {attempt.number} {passed_over(attempt.resumed_from, attempt.damaged)}."


def passed_over(used: str | None, damaged: Sequence[str]) -> str:
    """What a run did that found its checkpoint damaged."""
    begun = "began anew" if used is None else f"went on from {used}"
    are = "is damaged" if len(damaged) == 1 else "are damaged"
    return f"{begun}, since {' and '.join(damaged)} {are}"
