"""What does MLflow get to hear of a study? Events and rows as points, params and tags; pure.

Every point carries the ledger's own time and step, so that the same point told twice is one point.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.ledger import costs
from orchestrator.ledger.codec import storable
from orchestrator.ledger.costs import added, run_hours, wasted_hours
from orchestrator.ledger.records import (
    ENDED,
    LIVE_ATTEMPT,
    LOADED,
    AttemptRow,
    Event,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
)
from orchestrator.runs.provenance import code_told
from orchestrator.study.spec import Arm, StudySpec

KEY_CHARS, PARAM_CHARS = 250, 6000  # MLflow's own limits
TAG_CHARS = 1000  # its limit is 8,000; so a batch of 100 stays far below the 1 MB of a request
PROVENANCE_CHARS = 5000  # one for each trial
ATTACHED = "orch.attached."  # and a file's name: the tag that holds its fingerprint
# A point is left out where a chart without it looks the same, off by less than a line's width: one part in so
# many of what the number moved through, and of the number itself, for logarithmic axes.
SEEN, SEEN_LOG = 250, 50
LIVE_MS = 5000  # what moves is seen as soon, in a run that goes on for long
NOT_ALLOWED = re.compile(r"[^/\w.\- :]|\.\.+")

# A diverged run is a result, but not one to be listed among the good ones: the tag orch.state tells.
STATUS = {
    TrialState.WAITING: "SCHEDULED",
    TrialState.RUNNING: "RUNNING",
    TrialState.COMPLETED: "FINISHED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
    TrialState.STOPPED: "KILLED",
}
STUDY_STATUS = {
    StudyState.RUNNING: "RUNNING",
    StudyState.PAUSED: "SCHEDULED",
    StudyState.DRAINED: "SCHEDULED",
    StudyState.COMPLETED: "FINISHED",
    StudyState.CANCELLED: "KILLED",
}


@dataclass(frozen=True)
class Measurement:
    name: str
    value: float
    at_ms: int
    step: int


def measurement(name: str, value: float, at: float, step: int) -> Measurement:
    """An infinity is told as NaN: MLflow would silently make 1.8e308 of it, and no axis survives that."""
    return Measurement(name, value if math.isfinite(value) else math.nan, milliseconds(at), step)


def milliseconds(at: float) -> int:
    return max(0, round(at * 1000))


@lru_cache(maxsize=4096)
def key(text: str) -> str:
    """A name that MLflow takes: its characters, its length, and no path that means another one."""
    name = posixpath.normpath(NOT_ALLOWED.sub("_", text)[:KEY_CHARS]).lstrip("/")
    return "_" if name in ("", ".") else name


# -- what a trial reports ----------------------------------------------------------------------------------
class Reports:
    """Events of one trial, in the ledger's order, as points: each metric once at each step.

    An attempt that went on from a checkpoint tells some steps again; they were told before. Points on a
    straight line between two others are left out, within less than what a chart shows: see `_Curve`.
    """

    def __init__(self) -> None:
        self._curves: dict[str, _Curve] = {}
        self.heard = (0, 0)  # the attempt and the sequence of the last event

    def rest(self) -> list[Measurement]:
        """What is to be told where no event follows: the ends of the lines."""
        return [curve.held for curve in self._curves.values() if curve.held is not None]

    def points(self, event: Event) -> list[Measurement]:
        self.heard = max(self.heard, (event.attempt, event.sequence))
        if event.kind in ("started", LOADED):  # their payload is provenance
            return []
        payload = event.payload
        named = [(value_name(name), value) for name, value in payload.get("values", {}).items()]
        named += [(key(f"hyper/{name}"), value) for name, value in payload.get("hyper", {}).items()]
        found: list[Measurement] = []
        for name, value in named:
            curve = self._curves.get(name)
            if curve is None:
                curve = self._curves[name] = _Curve()
            found += curve.points(name, value, event)
        return found


class _Curve:
    """One metric of a trial, without the points that a line between two others passes by.

    A train report is held back while a line from the last point that was told passes by all that were held
    since; the newest of them is told once the curve bends. An evaluation is told at once, and so is a train
    report some seconds after the last that was told, unless the number stays as it is.
    """

    def __init__(self) -> None:
        self._steps: set[int] = set()
        self._told: Measurement | None = None
        self.held: Measurement | None = None  # the newest that was not told
        self._least, self._most = math.inf, -math.inf  # of all values so far
        self._low, self._high = -math.inf, math.inf  # slopes of the lines that pass by all that were held

    def points(self, name: str, value: float, event: Event) -> list[Measurement]:
        training, held, told = event.kind == "train", self.held, self._told
        if event.step in self._steps:
            again = not training and held is not None and held.step == event.step
            return self._tell(held) if again else []
        self._steps.add(event.step)
        point = measurement(name, value, event.at, event.step)
        last = held or told
        if math.isfinite(value):
            self._least, self._most = min(self._least, value), max(self._most, value)
        if told is None or last is None or last.step > point.step or not math.isfinite(value - told.value):
            return self._tell(held, point)
        steps, rise = point.step - told.step, value - told.value
        if held is None or self._low <= rise / steps <= self._high:
            bend = []
        else:
            bend = self._tell(held)
            steps, rise, told = point.step - held.step, value - held.value, held
        if not training or (rise and point.at_ms - told.at_ms >= LIVE_MS):
            return bend + self._tell(point)
        room = min((self._most - self._least) / SEEN, abs(value) / SEEN_LOG)
        self._low = max(self._low, (rise - room) / steps)
        self._high = min(self._high, (rise + room) / steps)
        self.held = point
        return bend

    def _tell(self, *points: Measurement | None) -> list[Measurement]:
        told = [point for point in points if point is not None]
        self._told, self.held = told[-1], None
        self._low, self._high = -math.inf, math.inf
        return told


def value_name(name: str) -> str:
    """`hypergrad.alpha` stands beside `hyper/alpha`; all others keep the name that they were reported by."""
    return key("hypergrad/" + name[10:] if name.startswith("hypergrad.") else name)


# -- trials ------------------------------------------------------------------------------------------------
def experiment(study: StudyRow) -> str:
    """The name of a study's experiment."""
    return f"orch/{study.name}"


def trial_name(trial: TrialRow) -> str:
    return f"{trial.arm}.{trial.replicate}.{trial.index}"


def trial_tags(trial: TrialRow) -> dict[str, str]:
    """What is known of a trial from the first."""
    return _tags(
        {
            "trial_id": trial.trial_id,
            "study_id": trial.study_id,
            "kind": "trial",
            "arm": trial.arm,
            "replicate": trial.replicate,
            "index": trial.index,
            **({"point": json.dumps(dict(trial.point))} if trial.point else {}),
        }
    )


def trial_params(trial: TrialRow) -> dict[str, str]:
    """The whole config, flat; the point is in it."""
    return _params(flat(trial.config))


def attempt_tags(attempts: Iterable[AttemptRow]) -> dict[str, str]:
    """One for each attempt that has ended: its state, its seconds, its reason."""
    return {
        f"orch.attempt.{a.number}": _cut(
            json.dumps(
                {
                    "state": str(a.state),
                    "seconds": run_hours(a.clocks) * 3600,
                    **({"reason": a.reason} if a.reason else {}),
                }
            ),
            TAG_CHARS,
        )
        for a in attempts
        if a.state not in LIVE_ATTEMPT
    }


def state_tags(state: str, **more: object) -> dict[str, str]:
    """Written after all else: what they say has been mirrored whole."""
    return _tags({"state": state, **more})


def provenance_tags(facts: Mapping[str, Any]) -> dict[str, str]:
    """On what an attempt runs: code, versions, host, devices, as one text; the code's commit and repository
    also by MLflow's names."""
    known = {name: value for name, value in facts.items() if value not in (None, [], {})}
    tags = {"orch.provenance": _cut(storable(json.dumps(known, default=str)), PROVENANCE_CHARS)}
    code = code_told(facts)
    named = {"commit": "mlflow.source.git.commit", "repository": "mlflow.source.git.repoURL"}
    return tags | {tag: _cut(storable(code[key]), TAG_CHARS) for key, tag in named.items() if code.get(key)}


def result_points(spec: StudySpec, trial: TrialRow, attempts: Sequence[AttemptRow]) -> list[Measurement]:
    """What an ended trial found and cost. The step is the attempt that ended it."""
    ends = [a.ended_at for a in attempts if a.ended_at is not None]
    at = ends[-1] if ends else trial.ended_at or trial.created_at
    hours = run_hours(trial.charged)
    found = {
        **{f"final/{name}": value for name, value in trial.values.items()},
        **({} if trial.value is None else {"objective": trial.value}),
        **{f"cost/{name}": value for name, value in trial.charged.items()},
        "cost/run_hours": hours,
        "cost/chip_hours": hours * spec.resources.chips,
        "cost/wasted_hours": wasted_hours(trial),
        "cost/attempts": trial.attempts,
        "cost/losses": trial.losses,
        "cost/failures": trial.failures,
    }
    return [measurement(key(name), value, at, trial.attempts) for name, value in found.items()]


# -- arms and studies --------------------------------------------------------------------------------------
def tally(spec: StudySpec, ended: Sequence[TrialRow], *, best_among: Sequence[TrialRow]) -> list[Measurement]:
    """How many runs have ended and how, what they cost, the best; the step is their number."""
    states = Counter(trial.state for trial in ended)
    charged = added(*(t.charged for t in ended))
    hours = run_hours(charged)
    best = costs.best(best_among, minimize=spec.objective.minimizes)
    found = {
        "runs/ended": len(ended),
        **{f"runs/{state}": states[state] for state in sorted(ENDED)},
        **{f"cost/{name}": value for name, value in charged.items()},
        "cost/run_hours": hours,
        "cost/chip_hours": hours * spec.resources.chips,
        "cost/wasted_hours": sum(map(wasted_hours, ended)),
        "cost/attempts": sum(t.attempts for t in ended),
        "cost/losses": sum(t.losses for t in ended),
        "cost/failures": sum(t.failures for t in ended),
        **({} if best is None or best.value is None else {f"best/{spec.objective.metric}": best.value}),
    }
    at = max(t.ended_at or t.created_at for t in ended)
    return [measurement(key(name), value, at, len(ended)) for name, value in found.items()]


def phase_points(spec: StudySpec, ended: Sequence[TrialRow]) -> list[Measurement]:
    """Searches, confirmations and controls are counted apart."""
    phases = Counter(spec.arm(t.arm).phase for t in ended)
    at = max(t.ended_at or t.created_at for t in ended)
    return [measurement(f"runs/{phase}", n, at, len(ended)) for phase, n in sorted(phases.items())]


def arm_tags(study: StudyRow, arm: Arm) -> dict[str, str]:
    return _tags({"study_id": study.study_id, "kind": "arm", "arm": arm.name, "phase": arm.phase})


def arm_params(arm: Arm) -> dict[str, str]:
    return _params(flat(arm.model_dump(mode="json", exclude_none=True)))


def study_tags(study: StudyRow, spec: StudySpec) -> dict[str, str]:
    notes = filter(None, (spec.question, f"Claim: {spec.claim.text}" if spec.claim else ""))
    tags = _tags({"study_id": study.study_id, "kind": "study", "spec_hash": study.spec_hash})
    return tags | {"mlflow.note.content": _cut("\n\n".join(notes), TAG_CHARS) or study.name}


def study_params(spec: StudySpec) -> dict[str, str]:
    """All of the spec but its arms, which have runs of their own."""
    return _params(flat(spec.model_dump(mode="json", exclude={"arms"}, exclude_none=True)))


# -- texts -------------------------------------------------------------------------------------------------
def flat(data: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Dotted paths with their values as text; a list is one value."""
    found: dict[str, str] = {}
    for name, value in data.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}.")
        else:
            found[path] = value if isinstance(value, str) and value else json.dumps(value, default=str)
    return found


def _params(data: Mapping[str, object]) -> dict[str, str]:
    return {key(name): _cut(storable(str(value)), PARAM_CHARS) for name, value in data.items()}


def _tags(data: Mapping[str, object]) -> dict[str, str]:
    return {key(f"orch.{name}"): _cut(storable(str(value)), TAG_CHARS) for name, value in data.items()}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
