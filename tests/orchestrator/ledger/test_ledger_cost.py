"""Does the ledger read what it is asked for from an index?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.ledger.records import TrialState
from orchestrator.ledger.sql import SqlLedger
from orchestrator.testing.ledger_rows import T0, with_live_attempt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.close()


def test_what_a_tick_reads_comes_from_an_index(tmp_path: Path, ledger: SqlLedger) -> None:
    with_live_attempt(ledger)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as plain:
        asked: list[str] = []

        def plan(read: Callable[[], object]) -> str:
            asked.clear()
            with ledger._engine.connect() as connection:
                assert connection.connection.dbapi_connection is not None
                connection.connection.dbapi_connection.set_trace_callback(asked.append)
            read()
            return "; ".join(str(row[3]) for row in plain.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))

        assert plan(ledger.live_attempts) == "SCAN attempts USING INDEX attempts_live"
        assert plan(ledger.open_wishes) == "SCAN wishes USING INDEX wishes_open"
        counts = "SEARCH trials USING COVERING INDEX trials_by_state (study_id=?)"
        assert plan(lambda: ledger.counts_of(["s1", "s2"])) == counts  # and nothing is sorted
        waiting = plan(lambda: ledger.trials("s1", states={TrialState.WAITING, TrialState.RUNNING}))
        assert "INDEX trials_by_state (study_id=? AND state=?" in waiting
        assert "INDEX events_of_trial (trial_id=? AND event_id>?)" in plan(
            lambda: ledger.events(after=9, trial_id=T0)
        )
        assert "INDEX events_of_study (study_id=? AND event_id>?)" in plan(
            lambda: ledger.events(after=9, study_id="s1")
        )
