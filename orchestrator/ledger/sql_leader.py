"""Who may lead? A lock that the operating system or the server gives back when its holder dies.

Nothing here looks at a clock. What a leader writes is fenced by the epoch besides (`sql.py`).
"""

from __future__ import annotations

import fcntl
import os

from sqlalchemy import Connection, Engine, exc

from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import sql_file
from orchestrator.ledger.sql_connect import ADVISORY


def lock_for(engine: Engine) -> FileLock | AdvisoryLock:
    if engine.dialect.name == "sqlite":
        return FileLock(f"{engine.url.database}.lock")
    return AdvisoryLock(engine)


class FileLock:
    """An flock on a file beside the database. The file stays: to delete it would make two locks of one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Without waiting; False while another holds it."""
        # A descriptor of our own, so that two ledgers in one process exclude each other; not inherited
        # by programs that we start, so that a worker cannot keep a dead engine's lock.
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, sql_file.PRIVATE)
        except OSError as problem:
            raise (
                sql_file.not_writable(self._path)
                or LedgerBusy(f"The lock {self._path} cannot be opened: {problem.strerror}. Mend that.")
            ) from problem
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def held(self) -> bool:
        """Whether this object still holds it."""
        return self._fd is not None

    def drop(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class AdvisoryLock:
    """A session's advisory lock on a connection that does nothing else: it is held while that one lives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def take(self) -> bool:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.detach()  # closing it ends the session, and so the lock; the pool never sees it again
            # A leader whose machine vanished is found dead in 25 s; the system's own patience is two hours.
            for setting, value in (("idle", 10), ("interval", 5), ("count", 3)):
                connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
            # The table's oid is in the key: ledgers in two schemas of one database have a leader each.
            taken = connection.exec_driver_sql(
                f"SELECT pg_try_advisory_lock(({ADVISORY}::bigint << 32) + 'leader'::regclass::oid::bigint)"
            ).scalar_one()
        except BaseException:
            connection.close()
            raise
        if taken:
            self._connection = connection
        else:
            connection.close()
        return bool(taken)

    def held(self) -> bool:
        return self._says("SELECT 1")

    def drop(self) -> None:
        # With an answer, before the connection is closed: the server notices a closed one only later.
        if self._says("SELECT pg_advisory_unlock_all()"):
            self._let_go()

    def _says(self, statement: str) -> bool:
        """Whether the session answers. One that is gone took the lock with it, and is let go."""
        if self._connection is None:
            return False
        try:
            self._connection.exec_driver_sql(statement)
        except exc.SQLAlchemyError:
            self._let_go()
        return self._connection is not None

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
