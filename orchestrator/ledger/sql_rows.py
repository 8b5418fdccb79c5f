"""Which row is meant, what becomes of it, and what do they come to? Inside a transaction of `sql.py`."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select, text, update

from orchestrator.ledger import packs, rules
from orchestrator.ledger.base import Tally
from orchestrator.ledger.codec import settled
from orchestrator.ledger.records import (
    AttemptRow,
    Event,
    HostRow,
    Session,
    StoredEvent,
    StudyRow,
    Token,
    TrialRow,
    TrialState,
)
from orchestrator.ledger.sql_statements import Hot
from orchestrator.ledger.sql_tables import IS_LIVE, Tables, columns, record
from trainer.protocol import SECONDS

Row = TypeVar("Row", StudyRow, TrialRow, AttemptRow)
PAGE_ROWS = 100  # of events, read at a time
# What a row is found by, to be changed.
KEYS = {
    StudyRow: (Tables.studies, ("study_id",)),
    TrialRow: (Tables.trials, ("trial_id",)),
    AttemptRow: (Tables.attempts, ("trial_id", "number")),
}


# -- studies, trials, attempts ---------------------------------------------------------------------------
def find_study(c: Connection, id_or_name: str, *, or_name: bool = False) -> StudyRow:
    s = Tables.studies
    found = c.execute(Hot.study, {"study_id": id_or_name}).mappings().first()
    if found is None and or_name:
        found = c.execute(select(s).where(s.c.name == id_or_name)).mappings().first()
    if found is None:
        raise rules.no_study(id_or_name, c.execute(select(s.c.name)).scalars())
    return record(StudyRow, found)


def find_trial(c: Connection, trial_id: str) -> TrialRow:
    found = c.execute(Hot.trial, {"trial_id": trial_id}).mappings().first()
    if found is None:
        raise rules.no_trial(trial_id)
    return record(TrialRow, found)


def find_attempt(c: Connection, trial_id: str, number: int) -> AttemptRow:
    found = c.execute(Hot.attempt, {"trial_id": trial_id, "number": number}).mappings().first()
    if found is None:
        raise rules.no_attempt(trial_id, number)
    return record(AttemptRow, found)


def matching(table: Table, **wanted: str | int | None) -> list[ColumnElement[bool]]:
    """The conditions that a query's arguments come to; None asks for nothing."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def change(c: Connection, before: Row, after: Row) -> Row:
    """Write the columns that differ."""
    changes = columns(after, before)
    if changes:
        table, key = KEYS[type(before)]
        wanted = {f"of_{name}": getattr(before, name) for name in key}
        c.execute(Hot.change(table, key, tuple(sorted(changes))), changes | wanted)
    return settled(after, before)


def remove_trial(c: Connection, trial_id: str) -> None:
    """The row of a trial that never began; nothing if it is gone."""
    found = c.execute(Hot.trial, {"trial_id": trial_id}).mappings().first()
    if found is not None:
        rules.removable(record(TrialRow, found))
        c.execute(delete(Tables.trials).where(Tables.trials.c.trial_id == trial_id))


def delete_study(c: Connection, study_id: str) -> None:
    """All rows of an ended study; nothing if it is gone."""
    found = c.execute(Hot.study, {"study_id": study_id}).mappings().first()
    if found is None:
        return
    a = Tables.attempts
    live = c.execute(select(a.c.trial_id).where(a.c.study_id == study_id, IS_LIVE).limit(1)).first()
    rules.deletable(record(StudyRow, found), live=live is not None)
    c.execute(update(Tables.leader).values(last_event=last_event(c)))
    for table in (a, Tables.events, Tables.wishes, Tables.receipts, Tables.trials, Tables.studies):
        c.execute(delete(table).where(table.c.study_id == study_id))


# -- events ----------------------------------------------------------------------------------------------
def last_event(c: Connection) -> int:
    """The newest id that was ever given to an event, those of deleted studies included."""
    there: int | None = c.execute(Hot.last_event).scalar_one()
    deleted: int = c.execute(Hot.deleted_events).scalar_one()
    return max(there or 0, deleted)


def add_events(c: Connection, new: Sequence[Event], study_of: Mapping[str, str], *, after: int) -> None:
    """Give them the ids that follow, and write them."""
    added: list[dict[str, object]] = []
    for group in packs.packs(new):
        after += len(group)
        row = packs.packed(group)
        study_id = study_of[row.trial_id]
        added.append(columns(row) | {"event_id": after, "study_id": study_id, "count": len(group)})
    c.execute(Hot.add_events, added)


def events(
    c: Connection, *, after: int, study_id: str | None, trial_id: str | None, limit: int
) -> Iterator[StoredEvent]:
    """At least `limit` of those behind an id, if there are as many. Rows hold up to packs.MOST events each,
    so they are read a page at a time; no server-side cursor, which would stay open when the server dies."""
    e = Tables.events
    wanted = matching(e, study_id=study_id, trial_id=trial_id)
    page = max(1, min(limit, PAGE_ROWS))
    behind = after
    while True:
        query = select(e).where(e.c.event_id > behind, *wanted).order_by(e.c.event_id).limit(page)
        found = c.execute(query).mappings().all()
        for row in found:
            behind = row["event_id"]
            first = behind - row["count"] + 1
            for event_id, event in enumerate(packs.unpacked(record(Event, row), row["count"]), start=first):
                if event_id > after:
                    yield StoredEvent(event_id, row["study_id"], event)
        if len(found) < page:
            return


def stored(
    c: Connection, events: Sequence[Event], live: Mapping[tuple[str, int], AttemptRow]
) -> set[tuple[str, int, int]]:
    """Those of these events that are stored. Asked only of attempts that have been as far before."""
    e, there = Tables.events, set[tuple[str, int, int]]()
    said: dict[tuple[str, int], list[int]] = defaultdict(list)
    for event in events:
        said[(event.trial_id, event.attempt)].append(event.sequence)
    for key in said.keys() & live.keys():
        low, high = min(said[key]), max(said[key])
        if low <= live[key].sequence:
            query = select(e.c.sequence, e.c["count"]).where(
                e.c.trial_id == key[0],
                e.c.attempt == key[1],
                e.c.sequence.between(low, high + packs.MOST),  # a row's own is its last
            )
            for last, count in c.execute(query):
                there |= {(*key, sequence) for sequence in range(last - count + 1, last + 1)}
    return there


def hear(c: Connection, live: Mapping[tuple[str, int], AttemptRow], new: Sequence[Event]) -> None:
    """Move the attempts, and the trials' checkpoints, to where these events leave them."""
    heard, saved = dict(live), dict[str, str | None]()
    for event in new:
        key = (event.trial_id, event.attempt)
        before, heard[key] = heard[key], rules.heard(heard[key], event)
        if rules.moves_checkpoint(event) and heard[key] is not before:
            saved[event.trial_id] = rules.checkpoint_of(event)
    for key, attempt in heard.items():
        change(c, live[key], attempt)
    t = Tables.trials
    for trial_id, path in saved.items():
        c.execute(update(t).where(t.c.trial_id == trial_id).values(checkpoint=path))


# -- tokens ----------------------------------------------------------------------------------------------
def find_token(c: Connection, name: str) -> Token | None:
    tokens = Tables.tokens
    found = c.execute(select(tokens).where(tokens.c.name == name).with_for_update()).mappings().first()
    return None if found is None else record(Token, found)


def put_token(c: Connection, token: Token) -> Token:
    """In place of the one of its name."""
    tokens = Tables.tokens
    c.execute(delete(tokens).where(tokens.c.name == token.name))
    c.execute(insert(tokens).values(columns(token)))
    return settled(token)


def put_hosts(c: Connection, hosts: Sequence[HostRow]) -> None:
    """In place of all that are there."""
    c.execute(delete(Tables.hosts))
    if hosts:
        c.execute(insert(Tables.hosts), [columns(host) for host in hosts])


def drained_host(c: Connection, name: str, by: str) -> HostRow:
    """The leader's row is held meanwhile: it writes all hosts anew."""
    c.execute(Hot.leader_locked)
    found = {row["name"]: record(HostRow, row) for row in c.execute(select(Tables.hosts)).mappings()}
    if name not in found:
        raise rules.no_host(name, found)
    c.execute(update(Tables.hosts).where(Tables.hosts.c.name == name).values(drained_by=by))
    return replace(found[name], drained_by=by)


def ledger_id(c: Connection) -> str:
    """Made by whoever asks first."""
    leader = Tables.leader
    c.execute(update(leader).where(leader.c.ledger_id == "").values(ledger_id=secrets.token_hex(8)))
    found: str = c.execute(select(leader.c.ledger_id)).scalar_one()
    return found


def add_session(c: Connection, session: Session) -> None:
    """And forget those that have expired by then."""
    sessions = Tables.sessions
    c.execute(delete(sessions).where(sessions.c.expires_at <= session.created_at))
    c.execute(insert(sessions).values(columns(session)))


# -- what the trials of a study come to, arm by arm ------------------------------------------------------
# Summed by the database. To read 10,000 trials into Python takes half a second, nearly all of it their JSON;
# to sum them where they lie takes a tenth of that, and other threads go on meanwhile.

# A clock's reading that is no number (the codec writes NaN and infinities as objects) counts as 0, as it does
# in Python. SQLite takes a text in a sum for 0; PostgreSQL is asked, and sums decimals: they cannot overflow.
_NUMBER = {
    "sqlite": "COALESCE(JSON_EXTRACT({column}, '$.{name}'), 0.0)",
    "postgresql": (
        "CASE WHEN JSON_TYPEOF(CAST({column} AS json) -> '{name}') = 'number' "
        "THEN CAST(CAST({column} AS json) ->> '{name}' AS numeric) ELSE 0 END"
    ),
}


def _sums(number: str) -> str:
    """The query, for a database that takes a number out of a JSON text in that way."""
    seconds = {
        column: " + ".join(number.format(column=column, name=name) for name in SECONDS)
        for column in ("charged", "productive")
    }
    steps = number.format(column="charged", name="steps")
    return (
        f"SELECT arm, state, COUNT(*), SUM(attempts), SUM(losses), SUM(failures), SUM({steps}), "
        f"SUM({seconds['charged']}), SUM({seconds['productive']}) "
        "FROM trials WHERE study_id = :study_id GROUP BY arm, state"
    )


_SUMS = {dialect: text(_sums(number)) for dialect, number in _NUMBER.items()}


def tallies(c: Connection, study_id: str) -> dict[tuple[str, TrialState], Tally]:
    found = c.execute(_SUMS[c.dialect.name], {"study_id": study_id})
    return {
        (arm, TrialState(state)): Tally(
            trials,
            int(attempts),
            float(steps or 0),
            float(charged_s or 0),
            float(productive_s or 0),
            losses=int(losses),
            failures=int(failures),
        )
        for arm, state, trials, attempts, losses, failures, steps, charged_s, productive_s in found
    }


def best(c: Connection, study_id: str, *, minimize: bool) -> dict[str, TrialRow]:
    t = Tables.trials
    order = (t.c.value if minimize else t.c.value.desc(), t.c.replicate, t.c.index)
    place = func.row_number().over(partition_by=t.c.arm, order_by=order).label("place")
    ranked = (
        select(t.c.trial_id, place)
        .where(t.c.study_id == study_id, t.c.state == TrialState.COMPLETED, t.c.value.is_not(None))
        .subquery()
    )
    query = select(t).join(ranked, t.c.trial_id == ranked.c.trial_id).where(ranked.c.place == 1)
    return {row["arm"]: record(TrialRow, row) for row in c.execute(query).mappings()}
