"""Over which ledgers does the contract run? Memory, SQLite and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ledger import Store, open_ledger
from tests.contracts.ledger_rows import Opener


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one more ledger onto the same truth."""
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


@pytest.fixture
def ledger(opener: Opener) -> Store:
    return opener()
