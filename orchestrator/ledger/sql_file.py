"""Is the file of a SQLite ledger sound, private and writable, and what is a person told if it is not?"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

from orchestrator.ground.errors import LedgerBusy, LedgerDamaged
from orchestrator.ground.identity import user

CHECK_S = 1.0  # for `quick_check` at the start: it reads about 1 GB in that time
PRIVATE = 0o600  # training code of other users, and whoever else logs in, reads no tokens and no results
BESIDE = ("", "-wal", "-shm", "-journal", ".lock")  # the database, and what lies beside it


def make_private(path: str) -> None:
    """The file, made with mode 0600 where there is none; those beside it take their mode from it. What is
    another user's, or lies on a read-only disk, stays as it is.

    A file that is there is not opened: to close it again would drop the locks of every connection that this
    process has on it, and another process that leaves would then delete the write-ahead log under them.
    """
    with contextlib.suppress(OSError):  # it is there; or whoever opens it next says what is wrong
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    for ending in BESIDE:
        with contextlib.suppress(OSError):
            if (Path(path + ending).stat().st_mode & 0o777) != PRIVATE:
                os.chmod(path + ending, PRIVATE)


def require_sound(path: str, *, within_s: float = CHECK_S) -> None:
    """LedgerDamaged if SQLite finds a damaged page within that time. Reads find what lies in the rest."""
    if not Path(path).is_file():
        return
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        limit = threading.Timer(within_s, connection.interrupt)
        limit.start()
        try:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise damaged(path, str(error)) from error
            return  # interrupted, busy, or no database: said by whoever opens it
        finally:
            limit.cancel()
            limit.join()
    if found != ["ok"]:
        raise damaged(path, found[0].splitlines()[-1])


def damaged(where: str, finding: str) -> LedgerDamaged:
    """What is told of a damaged SQLite file."""
    finding = finding[:120].rstrip(".")
    return LedgerDamaged(
        f"The ledger {where} is damaged ({finding}). Stop orch, keep a copy of the file, and put a backup in "
        f"its place, without the -wal and -shm beside it. Without a backup, this saves what can still be "
        f"read: sqlite3 {where} .recover | sqlite3 recovered.db"
    )


def not_writable(path: str) -> LedgerBusy | None:
    """Of a file, or its folder, in which this user cannot write; None if that is not the trouble."""
    file = Path(path)
    for place in (file.parent, file):
        if place.exists() and not os.access(
            place, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            return read_only(path, place)
    return None


def read_only(path: str, place: Path) -> LedgerBusy:
    return LedgerBusy(
        f"The ledger {path} cannot be written: {place} is read-only for the user {user()}. Mount it to be "
        f"written, or give that user the permission; or name another folder in ORCH_HOME."
    )
