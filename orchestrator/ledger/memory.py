"""What does a ledger look like without a database? Plain dicts under a lock: for rehearsals and tests.

Several engines may share one object: they are told apart by the `who` and the epoch of their leadership.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar, cast

from orchestrator.ground.errors import NameTaken
from orchestrator.ledger import costs, rules
from orchestrator.ledger.base import Ending, Tally
from orchestrator.ledger.codec import settled, storable
from orchestrator.ledger.memory_desk import MemoryDesk, locked
from orchestrator.ledger.records import (
    LIVE_ATTEMPT,
    AttemptRow,
    Event,
    HostRow,
    Receipt,
    StoredEvent,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    Wish,
)

Method = TypeVar("Method", bound=Callable[..., Any])


def led(method: Method) -> Method:
    """Only for the newest leader: Fenced for one who does not lead any more. Nobody else reads or writes
    meanwhile."""

    @wraps(method)
    def fenced(self: MemoryLedger, epoch: int, *args: Any, **kwargs: Any) -> Any:
        with self.together(epoch):
            return method(self, epoch, *args, **kwargs)

    return cast("Method", fenced)


class MemoryLedger(MemoryDesk):
    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0
        self._who = ""
        self._led = False
        self._studies: dict[str, StudyRow] = {}
        self._trials: dict[str, TrialRow] = {}
        # study -> (arm, replicate, state) -> index -> trial_id: serves identities, counts and filters
        self._places: dict[str, dict[tuple[str, int, TrialState], dict[int, str]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self._attempts: dict[str, dict[int, AttemptRow]] = defaultdict(dict)
        self._live: set[tuple[str, int]] = set()
        self._stored: set[tuple[str, int, int]] = set()
        self._stream: list[StoredEvent] = []
        self._study_stream: dict[str, list[StoredEvent]] = defaultdict(list)
        self._trial_stream: dict[str, list[StoredEvent]] = defaultdict(list)
        self._wishes: dict[int, Wish] = {}
        self._open_wishes: set[int] = set()
        self._last_event = self._last_wish = 0

    # -- leadership ---------------------------------------------------------------------------------
    @locked
    def lead(self, who: str) -> int | None:
        if self._led:
            return self._epoch if self._who == who else None
        self._led, self._who = True, who
        self._epoch += 1
        return self._epoch

    @locked
    def release(self, epoch: int | None = None) -> None:
        if epoch is None or epoch == self._epoch:
            self._led = False

    @locked
    def leader(self) -> str | None:
        return self._who if self._led else None

    # -- anyone writes ------------------------------------------------------------------------------
    @locked
    def create_study(self, study: StudyRow, *, receipt: Receipt | None = None) -> StudyRow:
        study = settled(study)
        if receipt is not None and receipt.key in self._receipts:
            raise rules.key_used(receipt.key)
        for other in self._studies.values():
            if study.name == other.name or study.study_id == other.study_id:
                raise NameTaken(other.name, other.study_id)
        if receipt is not None:
            self._receipts[receipt.key] = settled(receipt)
        self._studies[study.study_id] = study
        return study

    # -- the engine writes ----------------------------------------------------------------------------
    @contextmanager
    def together(self, epoch: int) -> Iterator[None]:
        with self._lock:
            rules.fence(epoch, self._epoch, self._who)
            yield

    @led
    def move_study(
        self, epoch: int, study_id: str, before: StudyState, after: StudyState, *, reason: str = ""
    ) -> StudyRow:
        return self._put_study(rules.moved_study(self._study(study_id), before, after, reason))

    @led
    def extend_study(self, epoch: int, study_id: str, extra_trials: Mapping[str, int]) -> StudyRow:
        return self._put_study(rules.extended_study(self._study(study_id), extra_trials))

    @led
    def study_waits(self, epoch: int, study_id: str, why: str) -> None:
        self._put_study(replace(self._study(study_id), waits=why))

    @led
    def delete_study(self, epoch: int, study_id: str) -> None:
        if study_id not in self._studies:
            return
        rules.deletable(self._studies[study_id], live=bool(self.live_attempts(study_id)))
        for trial_id in (t.trial_id for t in self.trials(study_id)):
            del self._trials[trial_id]
            self._attempts.pop(trial_id, None)
            self._trial_stream.pop(trial_id, None)
        self._places.pop(study_id, None)
        self._study_stream.pop(study_id, None)
        self._stream = [s for s in self._stream if s.study_id != study_id]
        self._stored = {key for key in self._stored if key[0] in self._trials}
        self._wishes = {n: w for n, w in self._wishes.items() if w.study_id != study_id}
        self._open_wishes &= self._wishes.keys()
        self._receipts = {k: r for k, r in self._receipts.items() if r.study_id != study_id}
        del self._studies[study_id]

    @led
    def add_trial(self, epoch: int, trial: TrialRow) -> TrialRow:
        self._study(trial.study_id)
        for state in TrialState:
            found = self._places[trial.study_id][(trial.arm, trial.replicate, state)].get(trial.index)
            if found is not None:
                return self._trials[found]
        rules.new_trial(trial)
        if trial.trial_id in self._trials:
            raise rules.other_trial(trial)
        return self._put_trial(trial)

    @led
    def move_trial(
        self, epoch: int, trial_id: str, before: TrialState, after: TrialState, *, at: float, reason: str = ""
    ) -> TrialRow:
        return self._put_trial(rules.moved_trial(self.trial(trial_id), before, after, at, reason))

    @led
    def remove_trial(self, epoch: int, trial_id: str) -> None:
        trial = self._trials.get(trial_id)
        if trial is not None:
            rules.removable(trial)
            del self._places[trial.study_id][trial.arm, trial.replicate, trial.state][trial.index]
            del self._trials[trial_id]

    @led
    def start_attempt(self, epoch: int, attempt: AttemptRow) -> AttemptRow:
        trial = self.trial(attempt.trial_id)
        if attempt.key in self._live:
            return self._attempts[attempt.trial_id][attempt.number]
        attempt = settled(attempt)
        self._put_trial(rules.started(trial, attempt))
        return self._put_attempt(attempt)

    @led
    def attempt_running(self, epoch: int, trial_id: str, number: int) -> None:
        self._put_attempt(rules.running(self._attempt(trial_id, number)))

    @led
    def append(self, epoch: int, events: Sequence[Event]) -> int:
        new = [settled(e) for e in rules.fresh(events, self._live, self._stored)]
        for event in new:
            study_id = self._trials[event.trial_id].study_id
            self._last_event += 1
            stored = StoredEvent(self._last_event, study_id, event)
            for stream in (
                self._stream,
                self._study_stream[study_id],
                self._trial_stream[event.trial_id],
            ):
                stream.append(stored)
            self._stored.add((event.trial_id, event.attempt, event.sequence))
            before = self._attempts[event.trial_id][event.attempt]
            after = self._put_attempt(rules.heard(before, event))
            if rules.moves_checkpoint(event) and after is not before:
                path = rules.checkpoint_of(event)
                self._put_trial(replace(self._trials[event.trial_id], checkpoint=path))
        return len(new)

    @led
    def end_attempt(self, epoch: int, trial_id: str, number: int, ending: Ending) -> TrialRow:
        trial, attempt = self.trial(trial_id), self._attempt(trial_id, number)
        if attempt.state not in LIVE_ATTEMPT:
            return trial
        after, over = rules.ended(trial, attempt, ending)
        after = settled(after, trial)  # what cannot be kept fails before anything is changed
        self._put_attempt(over)
        return self._put_trial(after)

    @led
    def see_hosts(self, epoch: int, hosts: Sequence[HostRow]) -> None:
        found = rules.seen_hosts(self._hosts.values(), [settled(host) for host in hosts])
        self._hosts = {host.name: host for host in found}

    # -- reads --------------------------------------------------------------------------------------
    @locked
    def study(self, id_or_name: str) -> StudyRow:
        asked = storable(id_or_name)
        if asked in self._studies:
            return self._studies[asked]
        named = {s.name: s for s in self._studies.values()}
        if asked not in named:
            raise rules.no_study(asked, named)
        return named[asked]

    @locked
    def studies(self, states: Collection[StudyState] | None = None) -> list[StudyRow]:
        found = [s for s in self._studies.values() if states is None or s.state in states]
        return sorted(found, key=lambda s: (s.created_at, s.study_id))

    @locked
    def trial(self, trial_id: str) -> TrialRow:
        if trial_id not in self._trials:
            raise rules.no_trial(trial_id)
        return self._trials[trial_id]

    @locked
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
        found = [
            self._trials[trial_id]
            for (its_arm, its_replicate, state), ids in self._places.get(study_id, {}).items()
            if arm in (None, its_arm) and replicate in (None, its_replicate)
            if states is None or state in states
            for trial_id in ids.values()
        ]
        found.sort(key=_place)
        if after is not None:
            found = found[bisect_right(found, after, key=_place) :]
        return found[offset : None if limit is None else offset + limit]

    @locked
    def counts(self, study_id: str) -> dict[tuple[str, int, TrialState], int]:
        return {place: len(ids) for place, ids in self._places.get(study_id, {}).items() if ids}

    @locked
    def counts_of(self, study_ids: Collection[str]) -> dict[str, dict[tuple[str, int, TrialState], int]]:
        return {study_id: self.counts(study_id) for study_id in study_ids}

    def tallies(self, study_id: str) -> dict[tuple[str, TrialState], Tally]:
        groups: dict[tuple[str, TrialState], list[TrialRow]] = defaultdict(list)
        for trial in self.trials(study_id):
            groups[trial.arm, trial.state].append(trial)
        return {place: costs.tally(trials) for place, trials in groups.items()}

    def best(self, study_id: str, *, minimize: bool) -> dict[str, TrialRow]:
        arms: dict[str, list[TrialRow]] = defaultdict(list)
        for trial in self.trials(study_id):
            arms[trial.arm].append(trial)
        found = {arm: costs.best(trials, minimize=minimize) for arm, trials in arms.items()}
        return {arm: trial for arm, trial in found.items() if trial is not None}

    @locked
    def attempts(self, trial_id: str) -> list[AttemptRow]:
        return list(self._attempts.get(trial_id, {}).values())

    @locked
    def live_attempts(self, study_id: str | None = None) -> list[AttemptRow]:
        return [
            self._attempts[trial_id][number]
            for trial_id, number in sorted(self._live)
            if study_id in (None, self._trials[trial_id].study_id)
        ]

    @locked
    def events(
        self, *, after: int = 0, study_id: str | None = None, trial_id: str | None = None, limit: int = 1000
    ) -> list[StoredEvent]:
        if trial_id is not None:
            stream = self._trial_stream.get(trial_id, [])
            if study_id is not None:  # a trial is of one study: asked with another, nothing is left
                stream = [s for s in stream if s.study_id == study_id]
        elif study_id is not None:
            stream = self._study_stream.get(study_id, [])
        else:
            stream = self._stream
        start = bisect_right(stream, after, key=lambda s: s.event_id)
        return stream[start : start + limit]

    @locked
    def newest_event(self) -> int:
        return self._last_event

    def close(self) -> None:
        """Nothing to let go: others may still share this object."""

    # -- wishes -------------------------------------------------------------------------------------
    @locked
    def wish(
        self, study_id: str, verb: str, detail: Mapping[str, Any], *, asked_at: float, asked_by: str
    ) -> Wish:
        self._study(study_id)
        self._last_wish += 1
        wish = settled(Wish(self._last_wish, study_id, verb, detail, asked_at, asked_by))
        self._wishes[wish.wish_id] = wish
        self._open_wishes.add(wish.wish_id)
        return wish

    @locked
    def open_wishes(self) -> list[Wish]:
        return [self._wishes[wish_id] for wish_id in sorted(self._open_wishes)]

    @led
    def answer_wish(self, epoch: int, wish_id: int, answer: str) -> None:
        if wish_id not in self._wishes:
            raise rules.no_wish(wish_id)
        if wish_id in self._open_wishes:
            self._open_wishes.remove(wish_id)
            self._wishes[wish_id] = settled(replace(self._wishes[wish_id], answer=answer))

    @locked
    def asked(self, wish_id: int) -> Wish | None:
        return self._wishes.get(wish_id)

    @locked
    def wishes(self, study_id: str) -> list[Wish]:
        return [w for w in self._wishes.values() if w.study_id == study_id]

    def require_sound(self) -> None:
        pass

    # -- inside: the lock is held -----------------------------------------------------------------------
    def _study(self, study_id: str) -> StudyRow:
        if study_id not in self._studies:
            raise rules.no_study(study_id, [s.name for s in self._studies.values()])
        return self._studies[study_id]

    def _attempt(self, trial_id: str, number: int) -> AttemptRow:
        if number not in self._attempts.get(trial_id, {}):
            raise rules.no_attempt(trial_id, number)
        return self._attempts[trial_id][number]

    def _put_study(self, study: StudyRow) -> StudyRow:
        self._studies[study.study_id] = study = settled(study, self._studies[study.study_id])
        return study

    def _put_trial(self, trial: TrialRow) -> TrialRow:
        before = self._trials.get(trial.trial_id)
        trial = settled(trial, before)
        places = self._places[trial.study_id]
        if before is not None:
            del places[(before.arm, before.replicate, before.state)][before.index]
        places[(trial.arm, trial.replicate, trial.state)][trial.index] = trial.trial_id
        self._trials[trial.trial_id] = trial
        return trial

    def _put_attempt(self, attempt: AttemptRow) -> AttemptRow:
        attempt = settled(attempt, self._attempts[attempt.trial_id].get(attempt.number))
        self._attempts[attempt.trial_id][attempt.number] = attempt
        (self._live.add if attempt.state in LIVE_ATTEMPT else self._live.discard)(attempt.key)
        return attempt


def _place(trial: TrialRow) -> tuple[str, int, int]:
    return (trial.arm, trial.replicate, trial.index)
