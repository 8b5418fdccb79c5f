"""Does every ledger of ours keep the contract?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Store, open_ledger
from orchestrator.testing.ledger_attempts import AttemptsContract
from orchestrator.testing.ledger_desk import DeskContract
from orchestrator.testing.ledger_moves import MovesContract
from orchestrator.testing.ledger_rows import Opener
from orchestrator.testing.ledger_studies import StudiesContract


class TestLedger(StudiesContract, AttemptsContract, DeskContract):
    """In memory, in a file of SQLite, and on a real PostgreSQL."""

    test_a_write_of_one_who_no_longer_leads_is_fenced = pytest.mark.fault(15, real=True)(
        StudiesContract.test_a_write_of_one_who_no_longer_leads_is_fenced
    )
    test_a_write_that_is_repeated_changes_nothing = pytest.mark.fault(3)(
        StudiesContract.test_a_write_that_is_repeated_changes_nothing
    )
    test_of_fifty_creations_of_one_name_one_succeeds = pytest.mark.fault(14, real=True)(
        StudiesContract.test_of_fifty_creations_of_one_name_one_succeeds
    )
    test_of_fifty_creations_with_one_key_one_succeeds = pytest.mark.fault(14, real=True)(
        DeskContract.test_of_fifty_creations_with_one_key_one_succeeds
    )

    @pytest.fixture(params=["memory", "sqlite", "postgresql"])
    def opener(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
        opened: list[Store] = []
        if request.param == "memory":
            opened.append(open_ledger("memory://"))
            yield lambda: opened[0]
            return
        file = f"sqlite:///{tmp_path}/new/ledger.db"
        url = file if request.param == "sqlite" else request.getfixturevalue("postgres_url")

        def open_one() -> Store:
            opened.append(open_ledger(url))
            return opened[-1]

        yield open_one
        for ledger in opened:
            ledger.close()


@pytest.mark.fault(16)
class TestMovesInMemory(MovesContract):
    def fresh(self, folder: str) -> Store:
        return open_ledger("memory://")


@pytest.mark.fault(16)
class TestMovesOnSqlite(MovesContract):
    examples = 25

    def fresh(self, folder: str) -> Store:
        return open_ledger(f"sqlite:///{folder}/ledger.db")
