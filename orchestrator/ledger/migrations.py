"""How does a ledger of an older release become one of this release?

A new ledger is created as the tables of today (`sql_tables.py`). An older one is upgraded in place, in the
transaction that opens it: UPGRADES[0] leads from version 1 to 2, and so on; each is a tuple of statements
that SQLite and PostgreSQL both understand. Whoever appends one also adds tests/ledger_dumps/v<old>.sql.
"""

from __future__ import annotations

from orchestrator.ground.errors import LedgerTooNew

Upgrade = tuple[str, ...]

UPGRADES: tuple[Upgrade, ...] = (
    ("CREATE TABLE cursors (name TEXT NOT NULL PRIMARY KEY, event_id BIGINT NOT NULL)",),  # for mirrors
    (  # for the service
        "ALTER TABLE leader ADD COLUMN last_event BIGINT NOT NULL DEFAULT 0",
        "CREATE TABLE tokens (name TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL UNIQUE, "
        "role TEXT NOT NULL, created_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION, "
        "revoked_at DOUBLE PRECISION)",
        "CREATE TABLE receipts (key TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL, study_id TEXT NOT NULL, "
        "answer TEXT NOT NULL)",
        "CREATE INDEX ix_receipts_study_id ON receipts (study_id)",
        "CREATE TABLE audit (at DOUBLE PRECISION NOT NULL, who TEXT NOT NULL, verb TEXT NOT NULL, "
        "path TEXT NOT NULL, status INTEGER NOT NULL)",
        "CREATE INDEX ix_audit_at ON audit (at)",
    ),
    (  # losses of the machinery, which were called failures, and failures of the training code are told
        # apart; browsers have sessions
        "ALTER TABLE trials ADD COLUMN losses INTEGER NOT NULL DEFAULT 0",
        "UPDATE trials SET losses = failures",
        "UPDATE trials SET failures = CASE WHEN state = 'failed' THEN (SELECT COUNT(*) FROM attempts WHERE "
        "attempts.trial_id = trials.trial_id AND attempts.number = trials.attempts AND "
        "attempts.state = 'failed') ELSE 0 END",
        "CREATE TABLE sessions (digest TEXT NOT NULL PRIMARY KEY, token TEXT NOT NULL, "
        "created_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL)",
    ),
    ("ALTER TABLE studies ADD COLUMN learns TEXT",),  # so that a reader need not ask the entrypoint
    (),  # studies may be drained, a state that releases of before cannot read
    ("ALTER TABLE events ADD COLUMN count INTEGER NOT NULL DEFAULT 1",),  # many events may be in one row
    (  # for several hosts
        "CREATE TABLE hosts (name TEXT NOT NULL PRIMARY KEY, address TEXT NOT NULL, has TEXT NOT NULL, "
        "places INTEGER NOT NULL, state TEXT NOT NULL, since DOUBLE PRECISION NOT NULL, "
        "reason TEXT NOT NULL, drained_by TEXT NOT NULL)",
        "ALTER TABLE studies ADD COLUMN waits TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE leader ADD COLUMN ledger_id TEXT NOT NULL DEFAULT ''",
    ),
    (  # `t5-small` is T5's own now: what named the model of before is refused, never trained as another
        *(
            f"UPDATE {table} SET {column} = REPLACE({column}, '\"t5-small\"', '\"t5-small of orch 0.1\"') "
            f"WHERE {column} <> REPLACE({column}, '\"t5-small\"', '')"
            for table, column in (("studies", "spec"), ("trials", "config"), ("trials", "point"))
        ),
        'UPDATE studies SET spec = REPLACE(spec, \'"name":"t5-small of orch 0.1"\', '
        '\'"name":"t5-small"\')',  # a study or an arm of that name
    ),
    ("ALTER TABLE hosts ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'",),  # of TPU slices
)


def version_after(upgrades: tuple[Upgrade, ...]) -> int:
    return 1 + len(upgrades)


def statements(found: int, upgrades: tuple[Upgrade, ...], *, where: str) -> list[str]:
    """What has to be executed on a ledger of version `found`; LedgerTooNew for one from the future."""
    newest = version_after(upgrades)
    if found > newest:
        raise LedgerTooNew(
            f"The ledger {where} has schema version {found}, and this release of orch knows versions 1 to "
            f"{newest}. Install a newer release, or use another ledger."
        )
    return [statement for upgrade in upgrades[found - 1 :] for statement in upgrade]
