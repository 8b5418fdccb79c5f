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

    An attempt that went on from a checkpoint tells some steps again; they were told before. While a number
    stays as it is, train reports do not repeat it: an evaluation does, and the last one before it changes is
    told with the change, so that a curve looks as if all had been.
    """

    def __init__(self) -> None:
        self._steps: dict[str, set[int]] = {}
        self._last: dict[str, float] = {}
        self._held: dict[str, Measurement] = {}  # the newest that was not passed on

    def points(self, event: Event) -> list[Measurement]:
        if event.kind in ("started", LOADED):  # their payload is provenance
            return []
        payload = event.payload
        named = [(value_name(name), value) for name, value in payload.get("values", {}).items()]
        named += [(key(f"hyper/{name}"), value) for name, value in payload.get("hyper", {}).items()]
        return [point for name, value in named for point in self._new(name, value, event)]

    def _new(self, name: str, value: float, event: Event) -> list[Measurement]:
        steps, held = self._steps.setdefault(name, set()), self._held.get(name)
        training = event.kind == "train"
        if event.step in steps:
            if training or held is None or held.step != event.step:
                return []
            return [self._held.pop(name)]
        steps.add(event.step)
        point, stays = measurement(name, value, event.at, event.step), self._last.get(name) == value
        self._last[name] = value
        if stays and training:
            self._held[name] = point
            return []
        self._held.pop(name, None)
        return [point] if held is None or stays else [held, point]


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
