"""What does the ledger hold, and which state may follow which?

Rows are frozen; a change is a new row. Every move of a state goes through `allowed`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ground.errors import MoveRefused
from orchestrator.study.point import Point


class StudyState(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DRAINED = "drained"  # nothing more is launched; what runs goes on to its end
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class TrialState(enum.StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FAILED = "failed"


class AttemptState(enum.StrEnum):
    LAUNCHING = "launching"  # written before it is submitted
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    PREEMPTED = "preempted"  # the machine was taken: no failure
    LOST = "lost"  # the worker died or hung
    FAILED = "failed"  # the training code raised


class HostState(enum.StrEnum):
    IN_USE = "in use"
    DRAINING = "draining"  # nothing more begins there; what runs saves and goes on elsewhere
    DRAINED = "drained"
    SET_ASIDE = "set aside"  # after trouble of its own, for a while
    GONE = "gone"


State = StudyState | TrialState | AttemptState

NOT_ENDED = frozenset({StudyState.RUNNING, StudyState.PAUSED, StudyState.DRAINED})
ENDED = frozenset({TrialState.COMPLETED, TrialState.DIVERGED, TrialState.STOPPED, TrialState.FAILED})
RESULTS = frozenset({TrialState.COMPLETED, TrialState.DIVERGED})  # a failed or stopped run has none
DAMAGED = "damaged_checkpoints"  # of an attempt's provenance: it is a part of what its result rests on
TROUBLE = "trouble_on"  # of an attempt's provenance: which of its hosts it was lost or hindered by
LOADED = "loaded"  # the kind of an event: the packages that the run has imported since it began
LIVE_ATTEMPT = frozenset({AttemptState.LAUNCHING, AttemptState.RUNNING})

# By kind first: members of two StrEnums that spell alike are equal, and would share a key.
MOVES: dict[type[State], Mapping[Any, frozenset[Any]]] = {
    StudyState: {
        StudyState.RUNNING: frozenset(set(StudyState) - {StudyState.RUNNING}),
        StudyState.PAUSED: frozenset({StudyState.RUNNING, StudyState.CANCELLED}),
        StudyState.DRAINED: frozenset(set(StudyState) - {StudyState.DRAINED}),
        StudyState.COMPLETED: frozenset({StudyState.RUNNING}),  # extended, or a failed trial retried
    },
    TrialState: {
        TrialState.WAITING: frozenset({TrialState.RUNNING, TrialState.STOPPED}),
        TrialState.RUNNING: frozenset({TrialState.WAITING, *ENDED}),
        TrialState.FAILED: frozenset({TrialState.WAITING}),  # on a person's wish only
    },
    AttemptState: {
        AttemptState.LAUNCHING: frozenset(set(AttemptState) - {AttemptState.LAUNCHING}),
        AttemptState.RUNNING: frozenset(set(AttemptState) - LIVE_ATTEMPT),
    },
}


def allowed(before: State, after: State) -> None:
    """Raise MoveRefused, naming both states, unless `after` may follow `before`."""
    onward = MOVES[type(before)].get(before, frozenset())
    if type(after) is not type(before) or after not in onward:
        kind = type(before).__name__.removesuffix("State").lower()
        may = ", ".join(sorted(onward)) or "nothing"
        raise MoveRefused(f"A {kind} that is {before} cannot become {after}; it may become: {may}.")


@dataclass(frozen=True)
class StudyRow:
    study_id: str
    name: str
    spec: Mapping[str, Any]  # the canonical spec; it never changes
    spec_hash: str
    state: StudyState
    created_at: float
    reason: str = ""
    extra_trials: Mapping[str, int] = field(default_factory=dict)  # arm -> trials added by `extend`
    # arm -> the hyperparameters that its runs learn, as the entrypoint said; None: a study of before
    learns: Mapping[str, Sequence[str]] | None = None
    waits: str = ""  # while it runs: why its next trial has no host yet


@dataclass(frozen=True)
class TrialRow:
    """One trial. (study_id, arm, replicate, index) is its identity; trial_id spells it."""

    trial_id: str
    study_id: str
    arm: str
    replicate: int
    index: int
    point: Point
    config: Mapping[str, Any]
    state: TrialState
    created_at: float
    attempts: int = 0  # attempts begun
    losses: int = 0  # attempts that the machinery lost since the last wish to retry: what the cap counts
    failures: int = 0  # attempts in which the training code failed, since then
    value: float | None = None  # the objective, when it ended completed, or stopped with a value
    values: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None  # the newest finalised one, of any attempt
    charged: Mapping[str, float] = field(default_factory=dict)  # summed last clocks of all attempts
    productive: Mapping[str, float] = field(default_factory=dict)  # what led to the result; the rest is waste
    ended_at: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class AttemptRow:
    trial_id: str
    number: int  # 1, 2, …
    state: AttemptState
    started_at: float
    resumed_from: str | None = None  # a checkpoint: the one asked for, or the one that the run fell back to
    clocks: Mapping[str, float] = field(default_factory=dict)  # the last ones heard
    saved_clocks: Mapping[str, float] = field(default_factory=dict)  # those at its newest checkpoint
    sequence: int = 0  # the last event appended
    provenance: Mapping[str, Any] = field(default_factory=dict)
    ended_at: float | None = None
    reason: str = ""
    traceback: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return (self.trial_id, self.number)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Checkpoints that it could not go on from, the newest first; `resumed_from` is the one it did."""
        found = self.provenance.get(DAMAGED)
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


@dataclass(frozen=True)
class Event:
    """One numbered word from a worker. (trial_id, attempt, sequence) is its identity."""

    trial_id: str
    attempt: int
    sequence: int  # 1, 2, … within the attempt
    kind: str  # started, or the report's kind
    step: int
    payload: Mapping[str, Any]  # values, hyper, clocks; for started: provenance; for checkpoint: path;
    #                            for fallback: path (if it did not begin anew), damaged
    at: float  # unix seconds, by the worker's wall clock


@dataclass(frozen=True)
class StoredEvent:
    event_id: int  # grows by one over the whole ledger; a mirror's cursor
    study_id: str
    event: Event


@dataclass(frozen=True)
class Wish:
    """What a person asked for. The engine obeys it, or says why not in `answer`."""

    wish_id: int
    study_id: str
    verb: str  # pause, drain, resume, cancel, extend, retry, delete
    detail: Mapping[str, Any]
    asked_at: float
    asked_by: str
    answer: str | None = None  # None: not yet obeyed; "": done; else the sentence of a refusal


@dataclass(frozen=True)
class HostRow:
    """A host of the workers' Ray, as the leader saw it last."""

    name: str
    address: str
    has: Mapping[str, float]  # CPU, GPU, TPU; GPU_GiB, TPU_GiB: the memory of one, where it is known
    places: int  # trials at a time, at most
    state: HostState
    since: float  # it is in this state
    reason: str = ""  # of a host that is set aside, or that others use too
    drained_by: str = ""  # who wants it empty; "": nobody
    labels: Mapping[str, str] = field(default_factory=dict)  # Ray's, of a TPU: its slice, type and place


class Role(enum.StrEnum):
    """What a token opens, each more than the one before."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        return list(Role).index(self) >= list(Role).index(needed)


@dataclass(frozen=True)
class Token:
    """Leave to use the service. The secret itself is nowhere: `digest` is its SHA-256."""

    name: str
    digest: str
    role: Role
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, at: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True)
class Session:
    """A browser that has signed in. The key in its cookie is nowhere: `digest` is its SHA-256."""

    digest: str
    token: str  # the digest of what it signed in with: the session ends with it
    created_at: float
    expires_at: float

    def valid(self, at: float) -> bool:
        return at < self.expires_at


@dataclass(frozen=True)
class Receipt:
    """What a request with an idempotency key was answered with: said again when it is repeated."""

    key: str
    digest: str  # of the request: the key is for this one alone
    study_id: str
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class AuditLine:
    """Who asked for a change, and what came of it."""

    at: float
    who: str
    verb: str
    path: str
    status: int


def trial_id(study_id: str, arm: str, replicate: int, index: int) -> str:
    """The one spelling of a trial's identity: safe as a file name."""
    return f"{study_id}.{arm}.{replicate}.{index}"


def lane_of(trial: str) -> tuple[str, int]:
    """The arm and the replicate that a trial_id belongs to."""
    _, arm, replicate, _ = trial.split(".")
    return arm, int(replicate)


def study_of(trial: str) -> str:
    """The study that a trial_id belongs to."""
    return trial.split(".", 1)[0]
