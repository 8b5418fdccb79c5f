"""Which statements does every trial ask for? Built once: building one takes longer than asking it."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Table, Update, and_, bindparam, func, insert, or_, select, text, update

from orchestrator.ledger.sql_tables import IS_LIVE, IS_OPEN, Tables

# As `trials_by_state` has them: so they come in groups, and nothing is sorted.
_PLACE = (Tables.trials.c.study_id, Tables.trials.c.state, Tables.trials.c.arm, Tables.trials.c.replicate)


class Hot:
    """Statements that never change, and changes of a row by the columns that differ."""

    leader = select(Tables.leader.c.epoch, Tables.leader.c.who)
    leader_locked = leader.with_for_update()
    deleted_events = select(Tables.leader.c.last_event)
    study = select(Tables.studies).where(Tables.studies.c.study_id == bindparam("study_id"))
    trial = select(Tables.trials).where(Tables.trials.c.trial_id == bindparam("trial_id"))
    same_trial = select(Tables.trials).where(
        or_(
            Tables.trials.c.trial_id == bindparam("trial_id"),
            and_(
                Tables.trials.c.study_id == bindparam("study_id"),
                Tables.trials.c.arm == bindparam("arm"),
                Tables.trials.c.replicate == bindparam("replicate"),
                Tables.trials.c.index == bindparam("index"),
            ),
        )
    )
    counts = (
        select(*_PLACE, func.count())
        .where(Tables.trials.c.study_id.in_(bindparam("study_ids", expanding=True)))
        .group_by(*_PLACE)
    )
    attempt = select(Tables.attempts).where(
        Tables.attempts.c.trial_id == bindparam("trial_id"), Tables.attempts.c.number == bindparam("number")
    )
    live = (
        select(Tables.attempts).where(IS_LIVE).order_by(Tables.attempts.c.trial_id, Tables.attempts.c.number)
    )
    live_of_trials = select(Tables.attempts).where(
        Tables.attempts.c.trial_id.in_(bindparam("trial_ids", expanding=True)), IS_LIVE
    )
    open_wishes = select(Tables.wishes).where(IS_OPEN).order_by(Tables.wishes.c.wish_id)
    last_event = select(func.max(Tables.events.c.event_id))
    cursor = select(Tables.cursors.c.event_id).where(Tables.cursors.c.name == bindparam("name"))
    move_cursor = text(  # SQLAlchemy spells an upsert by the dialect, and both know this one
        "INSERT INTO cursors (name, event_id) VALUES (:name, :event_id) "
        "ON CONFLICT (name) DO UPDATE SET event_id = excluded.event_id"
    )
    token = select(Tables.tokens).where(Tables.tokens.c.digest == bindparam("digest"))
    session = select(Tables.sessions).where(Tables.sessions.c.digest == bindparam("digest"))
    receipt = select(Tables.receipts).where(Tables.receipts.c.key == bindparam("key"))
    add_trial = insert(Tables.trials)
    add_attempt = insert(Tables.attempts)
    add_events = insert(Tables.events)

    @staticmethod
    @cache
    def change(table: Table, key: tuple[str, ...], changed: tuple[str, ...]) -> Update:
        """Set some columns of the row with that key; the key's values are bound as `of_…`."""
        of = [table.c[name] == bindparam(f"of_{name}") for name in key]
        return update(table).where(*of).values({name: bindparam(name) for name in changed})
