"""Which tables hold the ledger? One for each record, with the record's fields as columns.

A change to these tables is a new schema version: append its statements to `migrations.UPGRADES`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect

from orchestrator.ledger.codec import Row, decode, encode, storable
from orchestrator.ledger.records import AttemptState, HostState, Role, StudyState, TrialState

# As literal SQL, also in queries: a planner uses a partial index only where it can see that the query's
# condition implies the index's, and a bound parameter hides that.
IS_LIVE = text("state IN ('launching', 'running')")
IS_OPEN = text("answer IS NULL")

# Texts order by code point in SQLite; PostgreSQL would order them by the language of the server.
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
# Only an INTEGER is SQLite's own row id.
_BIG_ID = BigInteger().with_variant(Integer(), "sqlite")


class Words(TypeDecorator[str]):
    """Free text, made storable."""

    impl = _TEXT
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Json(TypeDecorator[Any]):
    """JSON as text: PostgreSQL's own type refuses null characters, and SQLite has none."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else decode(value)


class OneOf(TypeDecorator[Any]):
    """A state or a role, by its value."""

    impl = _TEXT
    cache_ok = True

    def __init__(
        self,
        states: type[StudyState] | type[TrialState] | type[AttemptState] | type[HostState] | type[Role],
    ) -> None:
        super().__init__()
        self.states = states

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else self.states(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self.states(value)


class Tables:
    """The schema of this release."""

    metadata: ClassVar[MetaData] = MetaData()

    # One row: the schema's version, apart from the rest so that any release can read it.
    version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

    # One row: the newest leadership. Every engine write holds this row's lock until it commits.
    leader = Table(
        "leader",
        metadata,
        Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
        Column("epoch", _BIG_ID, nullable=False),
        Column("who", Words, nullable=False),
        Column("last_event", _BIG_ID, nullable=False),  # the newest id of events that were deleted since
        Column("ledger_id", Words, nullable=False),  # "": nobody has asked for it yet
    )

    studies = Table(
        "studies",
        metadata,
        Column("study_id", Words, primary_key=True),
        Column("name", Words, nullable=False, unique=True),
        Column("spec", Json, nullable=False),
        Column("spec_hash", Words, nullable=False),
        Column("state", OneOf(StudyState), nullable=False),
        Column("created_at", Double, nullable=False),
        Column("reason", Words, nullable=False),
        Column("extra_trials", Json, nullable=False),
        Column("learns", Json),
        Column("waits", Words, nullable=False),
    )

    trials = Table(
        "trials",
        metadata,
        Column("trial_id", Words, primary_key=True),
        Column("study_id", Words, ForeignKey("studies.study_id"), nullable=False),
        Column("arm", Words, nullable=False),
        Column("replicate", Integer, nullable=False),
        Column("index", Integer, nullable=False),
        Column("point", Json, nullable=False),
        Column("config", Json, nullable=False),
        Column("state", OneOf(TrialState), nullable=False),
        Column("created_at", Double, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("losses", Integer, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("value", Double),
        Column("values", Json, nullable=False),
        Column("checkpoint", Words),
        Column("charged", Json, nullable=False),
        Column("productive", Json, nullable=False),
        Column("ended_at", Double),
        Column("reason", Words, nullable=False),
        UniqueConstraint("study_id", "arm", "replicate", "index"),
        # for trials in some states; and it holds all that `counts` reads
        Index("trials_by_state", "study_id", "state", "arm", "replicate", "index"),
    )

    attempts = Table(
        "attempts",
        metadata,
        Column("trial_id", Words, ForeignKey("trials.trial_id"), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("study_id", Words, nullable=False),  # the trial's
        Column("state", OneOf(AttemptState), nullable=False),
        Column("started_at", Double, nullable=False),
        Column("resumed_from", Words),
        Column("clocks", Json, nullable=False),
        Column("saved_clocks", Json, nullable=False),
        Column("sequence", Integer, nullable=False),
        Column("provenance", Json, nullable=False),
        Column("ended_at", Double),
        Column("reason", Words, nullable=False),
        Column("traceback", Words, nullable=False),
        Index("attempts_live", "trial_id", "number", sqlite_where=IS_LIVE, postgresql_where=IS_LIVE),
    )

    # No foreign keys here: `append` has just read the live attempt in the same transaction.
    events = Table(
        "events",
        metadata,
        Column("event_id", _BIG_ID, primary_key=True, autoincrement=False),
        Column("study_id", Words, nullable=False),
        Column("trial_id", Words, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("sequence", Integer, nullable=False),
        Column("kind", Words, nullable=False),
        Column("step", BigInteger, nullable=False),
        Column("payload", Json, nullable=False),
        Column("at", Double, nullable=False),
        Column("count", Integer, nullable=False),  # of the events in it: see `packs`
        UniqueConstraint("trial_id", "attempt", "sequence"),
        Index("events_of_study", "study_id", "event_id"),
        Index("events_of_trial", "trial_id", "event_id"),
    )

    wishes = Table(
        "wishes",
        metadata,
        Column("wish_id", _BIG_ID, primary_key=True, autoincrement=True),
        Column("study_id", Words, ForeignKey("studies.study_id"), nullable=False, index=True),
        Column("verb", Words, nullable=False),
        Column("detail", Json, nullable=False),
        Column("asked_at", Double, nullable=False),
        Column("asked_by", Words, nullable=False),
        Column("answer", Words),
        Index("wishes_open", "wish_id", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
    )

    # How far each mirror has passed on the events.
    cursors = Table(
        "cursors",
        metadata,
        Column("name", Words, primary_key=True),
        Column("event_id", _BIG_ID, nullable=False),
    )

    hosts = Table(
        "hosts",
        metadata,
        Column("name", Words, primary_key=True),
        Column("address", Words, nullable=False),
        Column("has", Json, nullable=False),
        Column("places", Integer, nullable=False),
        Column("state", OneOf(HostState), nullable=False),
        Column("since", Double, nullable=False),
        Column("reason", Words, nullable=False),
        Column("drained_by", Words, nullable=False),
        Column("labels", Json, nullable=False),
    )

    tokens = Table(
        "tokens",
        metadata,
        Column("name", Words, primary_key=True),
        Column("digest", Words, nullable=False, unique=True),
        Column("role", OneOf(Role), nullable=False),
        Column("created_at", Double, nullable=False),
        Column("expires_at", Double),
        Column("revoked_at", Double),
    )

    sessions = Table(
        "sessions",
        metadata,
        Column("digest", Words, primary_key=True),
        Column("token", Words, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
    )

    receipts = Table(
        "receipts",
        metadata,
        Column("key", Words, primary_key=True),
        Column("digest", Words, nullable=False),
        Column("study_id", Words, nullable=False, index=True),
        Column("answer", Json, nullable=False),
    )

    # A log: nothing refers to a line of it, so it has no key.
    audit = Table(
        "audit",
        metadata,
        Column("at", Double, nullable=False, index=True),
        Column("who", Words, nullable=False),
        Column("verb", Words, nullable=False),
        Column("path", Words, nullable=False),
        Column("status", Integer, nullable=False),
    )


def columns(row: Row, before: Row | None = None) -> dict[str, Any]:
    """The row's columns; with `before`, those that differ (replace() keeps the others' identity)."""
    found = {f.name: getattr(row, f.name) for f in fields(row)}
    return {k: v for k, v in found.items() if before is None or v is not getattr(before, k)}


def record(kind: type[Row], found: RowMapping) -> Row:
    return kind(**{f.name: found[f.name] for f in fields(kind)})
