"""Which names stand in a ledger's file? Read as it lies there: nothing is made, upgraded or waited for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

MOST = 500  # names: nobody reads more, and the newest studies come first
WAIT_S = 0.2  # for a file that is locked


def studies(file: Path) -> list[str]:
    """Their names, the newest first."""
    rows = _rows(file, "SELECT name FROM studies ORDER BY created_at DESC LIMIT ?", (MOST,))
    return [name for (name,) in rows]


def arms(file: Path, study: str) -> list[str]:
    """Of a study by name or id."""
    rows = _rows(file, "SELECT spec FROM studies WHERE ? IN (name, study_id)", (study,))
    return [arm["name"] for (spec,) in rows for arm in json.loads(spec)["arms"]]


def trials(file: Path, study: str, prefix: str) -> list[str]:
    """Of a study by name or id: arm.replicate.index of those that begin with `prefix`, the newest first."""
    called = "arm || '.' || replicate || '.' || \"index\""
    rows = _rows(
        file,
        f"SELECT {called} FROM trials WHERE study_id IN (SELECT study_id FROM studies WHERE ? IN (name, "
        f"study_id)) AND substr({called}, 1, length(?)) = ? ORDER BY created_at DESC LIMIT ?",
        (study, prefix, prefix, MOST),
    )
    return [name for (name,) in rows]


def tokens(file: Path) -> list[str]:
    """The names of those that were not revoked."""
    rows = _rows(file, "SELECT name FROM tokens WHERE revoked_at IS NULL ORDER BY name LIMIT ?", (MOST,))
    return [name for (name,) in rows]


def _rows(file: Path, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)) as there:
        return there.execute(statement, values).fetchall()
