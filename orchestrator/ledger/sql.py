"""How does a database hold the ledger? SQLAlchemy Core over SQLite and PostgreSQL.

Every engine write is one short transaction that first takes the lock of the leader's row and compares the
epoch (`_leading`). So engine writes follow one another, even those of a leader that does not know yet that
it was replaced; the rows that only the engine changes need no locks of their own; and event ids are given
out and committed in order.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, exc, insert, or_, select, tuple_, update

from orchestrator.ground.errors import LedgerDamaged, NameTaken
from orchestrator.ledger import rules
from orchestrator.ledger import sql_rows as rows
from orchestrator.ledger.base import Ending, Tally
from orchestrator.ledger.codec import settled
from orchestrator.ledger.migrations import UPGRADES, Upgrade
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
from orchestrator.ledger.sql_connect import address, answering, connect, prepare, transaction
from orchestrator.ledger.sql_desk import SqlDesk
from orchestrator.ledger.sql_leader import lock_for
from orchestrator.ledger.sql_statements import Hot
from orchestrator.ledger.sql_tables import IS_OPEN, Tables, columns, record


class SqlLedger(SqlDesk):
    def __init__(
        self, url: str, *, busy_timeout_s: float = 10.0, upgrades: tuple[Upgrade, ...] = UPGRADES
    ) -> None:
        self._url = address(url)
        self._engine = connect(self._url, busy_timeout_s=busy_timeout_s)
        self._mutex = threading.Lock()  # around leadership
        self._open = threading.local()  # .transaction: the one of `together` in this thread
        self._lock = lock_for(self._engine)
        self._epoch = 0
        self._who = ""
        self._damage: LedgerDamaged | None = None  # what a read has met
        try:
            with answering(self._url, opening=True):
                prepare(self._engine, upgrades, patience_s=busy_timeout_s)
        except BaseException:
            self._engine.dispose()
            raise

    # -- leadership ---------------------------------------------------------------------------------
    def lead(self, who: str) -> int | None:
        with self._mutex, self._answering():
            if self._lock.held():
                if self._newest_leadership() == (self._epoch, self._who):
                    return self._epoch if who == self._who else None
                self._lock.drop()  # somebody got past the lock, as by deleting its file
            if not self._lock.take():
                return None
            try:
                self._epoch, self._who = self._next_epoch(who), who
            except BaseException:
                self._lock.drop()
                raise
            return self._epoch

    def release(self, epoch: int | None = None) -> None:
        with self._mutex:
            if epoch is None or epoch == self._epoch:
                self._lock.drop()

    def _newest_leadership(self) -> tuple[int, str]:
        with self._reading() as c:
            row = c.execute(Hot.leader).one()
        return row.epoch, row.who

    def _next_epoch(self, who: str) -> int:
        leader = Tables.leader
        with transaction(self._engine) as c:
            c.execute(update(leader).values(epoch=leader.c.epoch + 1, who=who))
            epoch: int = c.execute(select(leader.c.epoch)).scalar_one()
            return epoch

    def leader(self) -> str | None:
        with self._mutex, self._answering():
            if not self._lock.held() and self._lock.take():  # nobody holds it
                self._lock.drop()
                return None
            return self._newest_leadership()[1]

    # -- anyone writes ------------------------------------------------------------------------------
    def create_study(self, study: StudyRow, *, receipt: Receipt | None = None) -> StudyRow:
        studies = Tables.studies
        try:
            with self._writing() as c:
                if receipt is not None:
                    c.execute(insert(Tables.receipts).values(columns(receipt)))
                c.execute(insert(studies).values(columns(study)))
            return settled(study)
        except exc.IntegrityError as error:
            same = or_(studies.c.name == study.name, studies.c.study_id == study.study_id)
            if receipt is not None and self.receipt(receipt.key) is not None:
                raise rules.key_used(receipt.key) from error
            with self._reading() as c:
                other = c.execute(select(studies.c.name, studies.c.study_id).where(same)).first()
            if other is None:
                raise
            raise NameTaken(other.name, other.study_id) from error

    # -- the engine writes ----------------------------------------------------------------------------
    def move_study(
        self, epoch: int, study_id: str, before: StudyState, after: StudyState, *, reason: str = ""
    ) -> StudyRow:
        with self._leading(epoch) as c:
            study = rows.find_study(c, study_id)
            return rows.change(c, study, rules.moved_study(study, before, after, reason))

    def extend_study(self, epoch: int, study_id: str, extra_trials: Mapping[str, int]) -> StudyRow:
        with self._leading(epoch) as c:
            study = rows.find_study(c, study_id)
            return rows.change(c, study, rules.extended_study(study, extra_trials))

    def study_waits(self, epoch: int, study_id: str, why: str) -> None:
        with self._leading(epoch) as c:
            study = rows.find_study(c, study_id)
            rows.change(c, study, replace(study, waits=why))

    def delete_study(self, epoch: int, study_id: str) -> None:
        with self._leading(epoch) as c:
            rows.delete_study(c, study_id)

    def add_trial(self, epoch: int, trial: TrialRow) -> TrialRow:
        place = ("study_id", "arm", "replicate", "index")
        wanted = {name: getattr(trial, name) for name in ("trial_id", *place)}
        with self._leading(epoch) as c:
            found = [record(TrialRow, row) for row in c.execute(Hot.same_trial, wanted).mappings()]
            for other in found:
                if all(getattr(other, name) == wanted[name] for name in place):
                    return other
            rows.find_study(c, trial.study_id)
            rules.new_trial(trial)
            if found:
                raise rules.other_trial(trial)
            c.execute(Hot.add_trial, columns(trial))
            return settled(trial)

    def move_trial(
        self, epoch: int, trial_id: str, before: TrialState, after: TrialState, *, at: float, reason: str = ""
    ) -> TrialRow:
        with self._leading(epoch) as c:
            trial = rows.find_trial(c, trial_id)
            return rows.change(c, trial, rules.moved_trial(trial, before, after, at, reason))

    def remove_trial(self, epoch: int, trial_id: str) -> None:
        with self._leading(epoch) as c:
            rows.remove_trial(c, trial_id)

    def start_attempt(self, epoch: int, attempt: AttemptRow) -> AttemptRow:
        with self._leading(epoch) as c:
            trial = rows.find_trial(c, attempt.trial_id)
            if attempt.number == trial.attempts and trial.state == TrialState.RUNNING:
                return rows.find_attempt(c, attempt.trial_id, attempt.number)
            rows.change(c, trial, rules.started(trial, attempt))
            c.execute(Hot.add_attempt, columns(attempt) | {"study_id": trial.study_id})
            return settled(attempt)

    def attempt_running(self, epoch: int, trial_id: str, number: int) -> None:
        with self._leading(epoch) as c:
            attempt = rows.find_attempt(c, trial_id, number)
            rows.change(c, attempt, rules.running(attempt))

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        with self._leading(epoch) as c:
            trial_ids = {e.trial_id for e in events}
            found = c.execute(Hot.live_of_trials, {"trial_ids": list(trial_ids)}).mappings().all()
            study_of = {row["trial_id"]: row["study_id"] for row in found}
            live = {row.key: row for row in (record(AttemptRow, r) for r in found)}
            new = rules.fresh(events, live, rows.stored(c, events, live))
            if not new:
                return 0
            # Ids without gaps: this transaction holds the leader's row, so nobody else gives out any.
            rows.add_events(c, new, study_of, after=rows.last_event(c))
            rows.hear(c, live, new)
            return len(new)

    def end_attempt(self, epoch: int, trial_id: str, number: int, ending: Ending) -> TrialRow:
        with self._leading(epoch) as c:
            trial, attempt = rows.find_trial(c, trial_id), rows.find_attempt(c, trial_id, number)
            if attempt.state not in LIVE_ATTEMPT:
                return trial
            after, over = rules.ended(trial, attempt, ending)
            rows.change(c, attempt, over)
            return rows.change(c, trial, after)

    def see_hosts(self, epoch: int, hosts: Sequence[HostRow]) -> None:
        with self._leading(epoch) as c:
            before = [record(HostRow, row) for row in c.execute(select(Tables.hosts)).mappings()]
            rows.put_hosts(c, rules.seen_hosts(before, hosts))

    # -- reads --------------------------------------------------------------------------------------
    def study(self, id_or_name: str) -> StudyRow:
        with self._reading() as c:
            return rows.find_study(c, id_or_name, or_name=True)

    def studies(self, states: Collection[StudyState] | None = None) -> list[StudyRow]:
        s = Tables.studies
        query = select(s).order_by(s.c.created_at, s.c.study_id)
        if states is not None:
            query = query.where(s.c.state.in_(states))
        return self._all(StudyRow, query)

    def trial(self, trial_id: str) -> TrialRow:
        with self._reading() as c:
            return rows.find_trial(c, trial_id)

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
        t = Tables.trials
        query = select(t).where(*rows.matching(t, study_id=study_id, arm=arm, replicate=replicate))
        if states is not None:
            query = query.where(t.c.state.in_(states))
        if after is not None:
            query = query.where(tuple_(t.c.arm, t.c.replicate, t.c.index) > after)
        # The few in some states are sorted here: to spare a sort SQLite would walk all trials of the study.
        sort_here = states is not None and limit is None and offset == 0
        if not sort_here:
            query = query.order_by(t.c.arm, t.c.replicate, t.c.index).limit(limit).offset(offset)
        found = self._all(TrialRow, query)
        return sorted(found, key=lambda x: (x.arm, x.replicate, x.index)) if sort_here else found

    def counts(self, study_id: str) -> dict[tuple[str, int, TrialState], int]:
        return self.counts_of((study_id,))[study_id]

    def counts_of(self, study_ids: Collection[str]) -> dict[str, dict[tuple[str, int, TrialState], int]]:
        counts: dict[str, dict[tuple[str, int, TrialState], int]] = {each: {} for each in study_ids}
        with self._reading() as c:
            for study_id, state, arm, replicate, n in c.execute(Hot.counts, {"study_ids": list(counts)}):
                counts[study_id][arm, replicate, state] = n
        return counts

    def tallies(self, study_id: str) -> dict[tuple[str, TrialState], Tally]:
        with self._reading() as c:
            return rows.tallies(c, study_id)

    def best(self, study_id: str, *, minimize: bool) -> dict[str, TrialRow]:
        with self._reading() as c:
            return rows.best(c, study_id, minimize=minimize)

    def attempts(self, trial_id: str) -> list[AttemptRow]:
        a = Tables.attempts
        return self._all(AttemptRow, select(a).where(a.c.trial_id == trial_id).order_by(a.c.number))

    def live_attempts(self, study_id: str | None = None) -> list[AttemptRow]:
        if study_id is None:
            return self._all(AttemptRow, Hot.live)
        return self._all(AttemptRow, Hot.live.where(Tables.attempts.c.study_id == study_id))

    def events(
        self, *, after: int = 0, study_id: str | None = None, trial_id: str | None = None, limit: int = 1000
    ) -> list[StoredEvent]:
        with self._reading() as c:
            found = rows.events(c, after=after, study_id=study_id, trial_id=trial_id, limit=limit)
            return list(islice(found, limit))

    def newest_event(self) -> int:
        with self._reading() as c:
            return rows.last_event(c)

    def close(self) -> None:
        self.release()
        self._engine.dispose()

    # -- wishes -------------------------------------------------------------------------------------
    def wish(
        self, study_id: str, verb: str, detail: Mapping[str, Any], *, asked_at: float, asked_by: str
    ) -> Wish:
        w = Tables.wishes
        asked = {
            "study_id": study_id,
            "verb": verb,
            "detail": detail,
            "asked_at": asked_at,
            "asked_by": asked_by,
        }
        with self._writing() as c:
            rows.find_study(c, study_id)
            key = c.execute(insert(w).values(asked)).inserted_primary_key
            assert key is not None  # a single row was inserted
            wish_id: int = key[0]
            return settled(Wish(wish_id, study_id, verb, detail, asked_at, asked_by))

    def open_wishes(self) -> list[Wish]:
        return self._all(Wish, Hot.open_wishes)

    def answer_wish(self, epoch: int, wish_id: int, answer: str) -> None:
        w = Tables.wishes
        with self._leading(epoch) as c:
            if c.execute(select(w.c.wish_id).where(w.c.wish_id == wish_id)).first() is None:
                raise rules.no_wish(wish_id)
            c.execute(update(w).where(w.c.wish_id == wish_id, IS_OPEN).values(answer=answer))

    def asked(self, wish_id: int) -> Wish | None:
        return self._first(Wish, select(Tables.wishes).where(Tables.wishes.c.wish_id == wish_id))

    def wishes(self, study_id: str) -> list[Wish]:
        w = Tables.wishes
        return self._all(Wish, select(w).where(w.c.study_id == study_id).order_by(w.c.wish_id))

    # -- mirrors ------------------------------------------------------------------------------------
    def cursor(self, name: str) -> int:
        with self._reading() as c:
            found: int | None = c.execute(Hot.cursor, {"name": name}).scalar()
        return found or 0

    def move_cursor(self, name: str, event_id: int) -> None:
        with self._writing() as c:
            c.execute(Hot.move_cursor, {"name": name, "event_id": event_id})

    def require_sound(self) -> None:
        if self._damage is not None:
            raise self._damage

    # -- inside a transaction ---------------------------------------------------------------------------
    @contextmanager
    def together(self, epoch: int) -> Iterator[None]:
        with self._leading(epoch) as c:
            self._open.transaction = c
            try:
                yield
            finally:
                self._open.transaction = None

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            with answering(self._url):
                yield
        except LedgerDamaged as damage:
            self._damage = damage
            raise

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        inside = getattr(self._open, "transaction", None)
        if inside is not None:
            yield inside
            return
        with self._answering(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._answering(), transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def _leading(self, epoch: int) -> Iterator[Connection]:
        """A transaction of the leader, or Fenced. FOR UPDATE (nothing on SQLite, where one writes at a
        time anyway) makes the next leader wait until this write is done, or makes us see its epoch."""
        inside = getattr(self._open, "transaction", None)
        if inside is not None:
            yield inside
            return
        with self._writing() as c:
            newest = c.execute(Hot.leader_locked).one()
            rules.fence(epoch, newest.epoch, newest.who)
            yield c
