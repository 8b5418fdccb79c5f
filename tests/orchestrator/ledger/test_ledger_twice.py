"""Does a second ledger of a process on the same file leave the first one's writes where others see them?"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.ledger import open_ledger
from orchestrator.testing.ledger_rows import study

READ = """
import sqlite3, sys
from contextlib import closing
with closing(sqlite3.connect(sys.argv[1])) as connection:
    print(connection.execute("SELECT COUNT(*) FROM studies").fetchone()[0])
"""


def seen_by_another_process(file: Path) -> int:
    done = subprocess.run([sys.executable, "-c", READ, str(file)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.fault(21, real=True)
def test_what_is_written_after_a_second_ledger_was_opened_and_closed_is_not_lost(tmp_path: Path) -> None:
    """SQLite's locks are the process's: a file that is opened and closed by hand drops them all."""
    file = tmp_path / "ledger.db"
    with closing(open_ledger(f"sqlite:///{file}")) as first:
        first.create_study(study())
        with closing(open_ledger(f"sqlite:///{file}")) as second:
            assert [row.study_id for row in second.studies()] == [study().study_id]
        assert seen_by_another_process(file) == 1  # which closes the last connection that it knows of
        assert Path(f"{file}-wal").exists()
        first.create_study(study("another"))
        assert seen_by_another_process(file) == 2
