"""Which row is meant, and what becomes of it? Inside a transaction that somebody else began (`sql.py`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from orchestrator.ledger import rules
from orchestrator.ledger.codec import settled
from orchestrator.ledger.records import AttemptRow, Event, Session, StudyRow, Token, TrialRow
from orchestrator.ledger.sql_statements import Hot
from orchestrator.ledger.sql_tables import IS_LIVE, Tables, columns, record

Row = TypeVar("Row", StudyRow, TrialRow, AttemptRow)
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
    wanted = {"trial_id": trial_id, "number": number}
    found = c.execute(Hot.attempt, wanted).mappings().first()
    if found is None:
        raise rules.no_attempt(trial_id, number)
    return record(AttemptRow, found)


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
            query = select(e.c.sequence).where(
                e.c.trial_id == key[0], e.c.attempt == key[1], e.c.sequence.between(low, high)
            )
            there |= {(*key, sequence) for sequence in c.execute(query).scalars()}
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


def add_session(c: Connection, session: Session) -> None:
    """And forget those that have expired by then."""
    sessions = Tables.sessions
    c.execute(delete(sessions).where(sessions.c.expires_at <= session.created_at))
    c.execute(insert(sessions).values(columns(session)))
