"""Where is the truth kept? `open_ledger` turns an address into a ledger."""

from __future__ import annotations

from orchestrator.ledger.base import Desk, Ending, Ledger, Store

__all__ = ["Desk", "Ending", "Ledger", "Store", "open_ledger"]


def open_ledger(url: str) -> Store:
    """`memory://`, `sqlite:///path/to/file` or `postgresql://user@host/name`."""
    if url == "memory://":
        from orchestrator.ledger.memory import MemoryLedger

        return MemoryLedger()
    from orchestrator.ledger.sql import SqlLedger

    return SqlLedger(url)
