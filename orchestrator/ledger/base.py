"""What can a ledger do? The truth about studies, as a contract that every implementation passes.

Two kinds of writers. *Anyone* may create a study, add a wish or an audit line. *The engine* alone does
the rest, and each of its writes carries the epoch of its leadership: once another process leads, a write
with an older epoch raises Fenced and changes nothing.

Every engine write is idempotent: a caller that does not know whether a write happened repeats it.
A store that does not answer raises LedgerBusy, and one that is damaged LedgerDamaged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    AuditLine,
    Event,
    HostRow,
    Receipt,
    Session,
    StoredEvent,
    StudyRow,
    StudyState,
    Token,
    TrialRow,
    TrialState,
    Wish,
)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended and what that makes of its trial: written in one transaction."""

    attempt_state: AttemptState
    trial_state: TrialState  # WAITING: it will be tried again
    at: float
    reason: str = ""
    traceback: str = ""
    value: float | None = None
    values: Mapping[str, float] | None = None
    checkpoint: str | None = None  # None keeps what the trial has
    clocks: Mapping[str, float] | None = None  # the attempt's last ones; None keeps what events said
    charged: Mapping[str, float] | None = None  # the trial's new totals
    productive: Mapping[str, float] | None = None
    host: str = ""  # of a gang's: whose trouble it was


@dataclass(frozen=True)
class Tally:
    """What the trials of one arm that are in one state come to, all their attempts included."""

    trials: int
    attempts: int
    steps: float
    charged_s: float
    productive_s: float
    losses: int = 0
    failures: int = 0


class Ledger(Protocol):
    """Studies, trials, attempts and events. Rows come back as frozen records."""

    # -- leadership ---------------------------------------------------------------------------------
    def lead(self, who: str) -> int | None:
        """Become the leader and return the new epoch; None while another process leads.

        Asked again by the leader itself: the same epoch. Held until `release`, or until the process
        (on PostgreSQL: its connection) ends. Nothing expires by a clock.
        """

    def release(self, epoch: int | None = None) -> None:
        """Stop leading; does nothing for one who does not lead.

        Where several share one object (the memory ledger), their epochs tell them apart.
        """

    def leader(self) -> str | None:
        """Who leads now; None: nobody. To ask changes nothing."""

    # -- anyone writes ------------------------------------------------------------------------------
    def create_study(self, study: StudyRow, *, receipt: Receipt | None = None) -> StudyRow:
        """Add a study, and with it the receipt. NameTaken (with the other's id) when its name is in use.

        KeyUsed when a receipt of that key is there already: nothing is added, `receipt` gives it.
        """

    # -- the engine writes: fenced, idempotent --------------------------------------------------------
    def together(self, epoch: int) -> AbstractContextManager[None]:
        """Engine writes inside are one transaction, in a store that outlives its process: all or none.

        Only saves commits: whoever writes must be right with any number of them done. Reads inside, by the
        same thread, see them. Nothing slow belongs inside, since nobody else can write meanwhile.
        """

    def move_study(
        self, epoch: int, study_id: str, before: StudyState, after: StudyState, *, reason: str = ""
    ) -> StudyRow:
        """Compare-and-set of a study's state. Already `after`: returned as it is. Else MoveRefused."""

    def extend_study(self, epoch: int, study_id: str, extra_trials: Mapping[str, int]) -> StudyRow:
        """Set (not add) the trials added to each arm."""

    def study_waits(self, epoch: int, study_id: str, why: str) -> None:
        """Why its next trial has no host yet; "": it waits for none."""

    def delete_study(self, epoch: int, study_id: str) -> None:
        """Remove an ended study and all that belongs to it; MoveRefused while it goes on. Gone: nothing.

        The ids of its events are not given out again.
        """

    def add_trial(self, epoch: int, trial: TrialRow) -> TrialRow:
        """Add a waiting trial; if one of its (study, arm, replicate, index) exists, return that one."""

    def move_trial(
        self, epoch: int, trial_id: str, before: TrialState, after: TrialState, *, at: float, reason: str = ""
    ) -> TrialRow:
        """Compare-and-set without an attempt: waiting -> stopped, or failed -> waiting, where losses and
        failures go to 0."""

    def remove_trial(self, epoch: int, trial_id: str) -> None:
        """Take back a stopped trial that never began; MoveRefused for any other. Gone: nothing."""

    def start_attempt(self, epoch: int, attempt: AttemptRow) -> AttemptRow:
        """waiting -> running, and a LAUNCHING attempt with the trial's next number, in one transaction.

        Asked again with the same number while that attempt is live: the stored one.
        """

    def attempt_running(self, epoch: int, trial_id: str, number: int) -> None:
        """LAUNCHING -> RUNNING; does nothing if it is RUNNING already."""

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        """Append events; returns how many were new.

        Skipped without an error: one whose (trial, attempt, sequence) is stored, and one whose attempt is
        no longer live (a zombie's). An event also moves its attempt's `sequence` and `clocks`, a
        `started` event its `provenance`, and a `checkpoint` event its `saved_clocks` and the trial's
        `checkpoint` (payload["path"]). A `fallback` event moves its `resumed_from`, what of it is `damaged`,
        and the trial's `checkpoint`.
        """

    def end_attempt(self, epoch: int, trial_id: str, number: int, ending: Ending) -> TrialRow:
        """End a live attempt and move its trial, in one transaction. Already ended: the trial as it is."""

    def see_hosts(self, epoch: int, hosts: Sequence[HostRow]) -> None:
        """Which hosts there are, in place of what was there. What people have asked of them stays, and so
        does a host that is wanted empty and is not among them, as one that is gone."""

    # -- reads --------------------------------------------------------------------------------------
    def study(self, id_or_name: str) -> StudyRow:
        """NotFound (naming the nearest name, if any) when there is none."""

    def studies(self, states: Collection[StudyState] | None = None) -> list[StudyRow]:
        """By time of creation, oldest first."""

    def trial(self, trial_id: str) -> TrialRow: ...

    def trials(
        self,
        study_id: str,
        *,
        arm: str | None = None,
        replicate: int | None = None,
        states: Collection[TrialState] | None = None,
        limit: int | None = None,
        offset: int = 0,
        after: tuple[str, int, int] | None = None,
    ) -> list[TrialRow]:
        """By (arm, replicate, index); with `after`, those behind that place."""

    def counts(self, study_id: str) -> dict[tuple[str, int, TrialState], int]:
        """How many trials each (arm, replicate, state) has."""

    def counts_of(self, study_ids: Collection[str]) -> dict[str, dict[tuple[str, int, TrialState], int]]:
        """The same of each of these studies, asked at once; {} for one that is not there."""

    def tallies(self, study_id: str) -> dict[tuple[str, TrialState], Tally]:
        """What the trials of each (arm, state) come to. A reading that is not finite counts as 0."""

    def best(self, study_id: str, *, minimize: bool) -> dict[str, TrialRow]:
        """The completed trial of each arm with the best value; of equals the first by (replicate, index).
        An arm without one is not there."""

    def attempts(self, trial_id: str) -> list[AttemptRow]:
        """By number."""

    def live_attempts(self, study_id: str | None = None) -> list[AttemptRow]:
        """All that are LAUNCHING or RUNNING; the cost must not grow with what has ended."""

    def events(
        self, *, after: int = 0, study_id: str | None = None, trial_id: str | None = None, limit: int = 1000
    ) -> list[StoredEvent]:
        """Those with event_id > after, in order: the stream that mirrors and tailers follow."""

    def newest_event(self) -> int:
        """The id that was given out last, also if its study has been deleted; 0 at first."""

    def hosts(self) -> list[HostRow]:
        """By name."""

    def ledger_id(self) -> str:
        """What tells this ledger from all others, for ever."""

    def close(self) -> None: ...


class Desk(Protocol):
    """The smaller port, written by anyone: wishes, how far mirrors have read; who may use the service, what
    it has answered and who changed what."""

    def wish(
        self, study_id: str, verb: str, detail: Mapping[str, Any], *, asked_at: float, asked_by: str
    ) -> Wish: ...

    def open_wishes(self) -> list[Wish]:
        """Those without an answer, oldest first."""

    def answer_wish(self, epoch: int, wish_id: int, answer: str) -> None:
        """The engine's word on it: "" for done, else the sentence of a refusal. Fenced."""

    def asked(self, wish_id: int) -> Wish | None:
        """One wish; None once its study has been deleted, and it with it."""

    def wishes(self, study_id: str) -> list[Wish]:
        """All wishes of a study, oldest first: its audit."""

    def drain_host(self, name: str, *, by: str) -> HostRow:
        """Somebody wants it empty; by "" nobody does any more. NotFound for a host that was never seen."""

    def cursor(self, name: str) -> int:
        """The event_id up to which the mirror of that name has passed events on; 0 at first."""

    def move_cursor(self, name: str, event_id: int) -> None:
        """Set it, onward or back. Not fenced: a mirror is no part of the truth."""

    def receipt(self, key: str) -> Receipt | None:
        """What a request with this idempotency key was answered with."""

    def add_token(self, token: Token) -> None:
        """In place of one of its name that is no longer valid; MoveRefused while that one is."""

    def token(self, digest: str) -> Token | None:
        """The token whose secret has this SHA-256, valid or not."""

    def tokens(self) -> list[Token]:
        """All, by name, those that are no longer valid included."""

    def revoke_token(self, name: str, *, at: float) -> Token:
        """From now on it opens nothing. Once revoked, it stays as it is; NotFound for an unknown name."""

    def add_session(self, session: Session) -> None:
        """Write down that a browser has signed in. Sessions that have expired by then are forgotten."""

    def session(self, digest: str) -> Session | None:
        """The session whose key has this SHA-256, valid or not; None once it is ended or forgotten."""

    def end_session(self, digest: str) -> None:
        """From now on it opens nothing. Gone: nothing."""

    def audit(self, line: AuditLine) -> None:
        """Write down that somebody asked for a change."""

    def audited(self, *, limit: int = 100) -> list[AuditLine]:
        """The newest first."""

    def require_sound(self) -> None:
        """LedgerDamaged once a read through this object has met damage."""


class Store(Ledger, Desk, Protocol):
    """Both ports, as `open_ledger` gives them."""
