"""Where is the truth kept? `open_ledger` turns an address into a ledger, `named` a name into its trial."""

from __future__ import annotations

from orchestrator.ground.errors import NotFound
from orchestrator.ledger.base import Desk, Ending, Ledger, Store
from orchestrator.ledger.records import TrialRow

__all__ = ["Desk", "Ending", "Ledger", "Store", "named", "open_ledger"]


def open_ledger(url: str) -> Store:
    """`memory://`, `sqlite:///path/to/file` or `postgresql://user@host/name`."""
    if url == "memory://":
        from orchestrator.ledger.memory import MemoryLedger

        return MemoryLedger()
    from orchestrator.ledger.sql import SqlLedger

    return SqlLedger(url)


def named(ledger: Ledger, given: str) -> TrialRow:
    """The trial that a person means by `study.arm.replicate.index`, with the study's id or its name."""
    study, dot, rest = given.partition(".")
    if not dot:
        raise NotFound(
            f"{given[:80]!r} is no trial. A trial is written study.arm.replicate.index, "
            f"such as bo-vs-guided-quick.base.0.0."
        )
    return ledger.trial(f"{ledger.study(study).study_id}.{rest}")
