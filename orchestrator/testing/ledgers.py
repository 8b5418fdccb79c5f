"""Does a ledger keep its contract? All of it, in one suite.

A subclass of `LedgerContract` states the fixture `opener` and the method `fresh`.
"""

from __future__ import annotations

from orchestrator.testing.ledger_attempts import AttemptsContract
from orchestrator.testing.ledger_desk import DeskContract
from orchestrator.testing.ledger_moves import MovesContract
from orchestrator.testing.ledger_studies import StudiesContract


class LedgerContract(StudiesContract, AttemptsContract, DeskContract, MovesContract):
    """What `orchestrator.ledger.Store` promises."""
