"""How does a ledger of an older release become one of this release?

A new ledger is created as the tables of today (`sql_tables.py`). An older one is upgraded in place, in the
transaction that opens it: UPGRADES[0] leads from version 1 to 2, and so on; each is a tuple of statements
that SQLite and PostgreSQL both understand. Whoever appends one also adds tests/ledger_dumps/v<old>.sql.
"""

from __future__ import annotations

from orchestrator.errors import LedgerTooNew

Upgrade = tuple[str, ...]

UPGRADES: tuple[Upgrade, ...] = (
    ("CREATE TABLE cursors (name TEXT NOT NULL PRIMARY KEY, event_id BIGINT NOT NULL)",),  # for mirrors
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
