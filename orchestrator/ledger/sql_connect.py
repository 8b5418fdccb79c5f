"""How is a database reached, and its schema made ready? Its troubles come out as domain errors."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    exc,
    insert,
    inspect,
    make_url,
    select,
    update,
)

from orchestrator.ground.errors import BadSpec, LedgerBusy, LedgerDamaged
from orchestrator.ground.settings import without_secrets
from orchestrator.ledger import migrations, sql_file
from orchestrator.ledger.sql_tables import Tables

# "orch": our number among the advisory locks of a PostgreSQL database.
ADVISORY = 0x6F726368
_SQLITE_UNWRITTEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
# PostgreSQL's states for damage: data_corrupted, index_corrupted.
_POSTGRES_DAMAGED = ("XX001", "XX002")
# Those of SQLite's results that another try may not meet: the rest are mistakes of ours.
_SQLITE_BUSY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def address(url: str) -> URL:
    """The database's full address; BadSpec for one that is none."""
    if url.startswith("sqlite:///"):
        return _file_address(url, url.removeprefix("sqlite:///"))
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise _bad(url, "it cannot be read") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        raise _bad(url, "it names no file")
    raise _bad(url, f"{backend!r} is no database that orch knows")


def _file_address(url: str, file: str) -> URL:
    """One spelling of a file, so that all who open it meet at the same lock beside it.

    The whole rest of the address is the path, as it stands: a folder may have a ? in its name.
    """
    if file in ("", ":memory:"):
        raise _bad(url, "it names no file")
    try:
        return URL.create("sqlite", database=str(Path(file).expanduser().resolve()))
    except (RuntimeError, OSError) as error:  # ~ of nobody, a loop of links
        raise _bad(url, str(error)) from error


def _bad(url: str, why: str) -> BadSpec:
    shown = without_secrets(url)[:120]
    return BadSpec(
        f"The ledger address {shown!r} cannot be used: {why}. Allowed are sqlite:///path/to/file, "
        f"postgresql://user@host/name and memory://."
    )


def connect(url: URL, *, busy_timeout_s: float) -> Engine:
    """An engine whose connections wait `busy_timeout_s` at most for each other. Opens nothing yet."""
    if url.drivername == "sqlite":
        assert url.database is not None
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            url,
            pool_timeout=busy_timeout_s,
            connect_args={"timeout": busy_timeout_s, "check_same_thread": False, "isolation_level": None},
        )
        event.listen(engine, "connect", _tune_sqlite)
        return engine
    options = url.query.get("options", "")
    lock_timeout = f"-c lock_timeout={round(busy_timeout_s * 1000)}"
    url = url.update_query_dict({"options": f"{options} {lock_timeout}".strip()})
    # pre_ping: a server that was restarted is reconnected to. tcp_user_timeout: a network that swallows
    # everything is noticed in 30 s; the kernel's own patience is about 15 minutes.
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=busy_timeout_s,
        connect_args={"connect_timeout": max(2, round(busy_timeout_s)), "tcp_user_timeout": 30_000},
    )


def _tune_sqlite(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # FULL: a commit survives a power cut. In WAL mode that is one fsync a commit, and the engine commits
    # in batches; NORMAL could forget commits that a mirror has already passed on.
    connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def answering(url: URL, *, opening: bool = False) -> Iterator[None]:
    """Turn the troubles of a database that may pass into LedgerBusy, and damage into LedgerDamaged. While it
    is opened, a file that is no database is a wrong address; later it is damage too."""
    try:
        yield
    except exc.TimeoutError as error:
        raise _busy(url, "all connections are in use") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:  # what we wrote was whole
        raise _damaged(url, f"a row cannot be read: {error}") from error
    except exc.DBAPIError as error:
        said = " ".join(str(error.orig).split()).rstrip(".")
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB and opening:
            raise _bad(str(url.database), "the file is no SQLite database") from error
        if _is_damage(error):
            raise _damaged(url, said) from error
        if code in _SQLITE_UNWRITTEN:
            why = sql_file.not_writable(str(url.database))
            if why is None and code == sqlite3.SQLITE_READONLY:
                why = sql_file.read_only(str(url.database), Path(str(url.database)))
            if why is not None:
                raise why from error
        if not _may_pass(error):
            raise
        raise _busy(url, said) from error


def _is_damage(error: exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return (
        code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        or getattr(error.orig, "sqlstate", None) in _POSTGRES_DAMAGED
        or str(error.orig).startswith("Could not decode to UTF-8")  # the sqlite3 module's own, without a code
    )


def _damaged(url: URL, finding: str) -> LedgerDamaged:
    if url.drivername == "sqlite":
        return sql_file.damaged(str(url.database), finding)
    where = without_secrets(url.render_as_string(hide_password=True))
    return LedgerDamaged(
        f"The ledger {where} is damaged ({finding[:120]}). Stop orch and restore the database from a backup."
    )


def _may_pass(error: exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_BUSY  # extended codes carry the plain one in their low byte
    return error.connection_invalidated or isinstance(error, exc.OperationalError)


def _busy(url: URL, why: str) -> LedgerBusy:
    where = without_secrets(url.render_as_string(hide_password=True))
    return LedgerBusy(f"The ledger {where} does not answer now: {why}. Try again in a moment.")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes. On SQLite it takes the write lock at once: one that reads first and
    writes later could find that another has written in between, and would fail without waiting."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def prepare(engine: Engine, upgrades: tuple[migrations.Upgrade, ...], *, patience_s: float) -> None:
    """Create the schema, or bring it up to date. Safe when several processes do it at the same time."""
    where = engine.url.render_as_string(hide_password=True)
    if engine.dialect.name == "sqlite":
        sql_file.require_sound(str(engine.url.database))
        sql_file.make_private(str(engine.url.database))
    with engine.connect() as connection:
        found = _version(connection)
        if found is None:
            _refuse_another_programs(connection)
        else:
            migrations.statements(found, upgrades, where=where)  # one from the future is refused
    if found == migrations.version_after(upgrades):
        return
    if engine.dialect.name == "sqlite":
        _write_ahead(str(engine.url.database), patience_s=patience_s)
    with transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY})")
        found = _version(connection)  # again, now that nobody else can change it
        if found is None:
            Tables.metadata.create_all(connection)
            connection.execute(insert(Tables.version).values(version=migrations.version_after(upgrades)))
            connection.execute(
                insert(Tables.leader).values(id=1, epoch=0, who="", last_event=0, ledger_id="")
            )
            return
        for statement in migrations.statements(found, upgrades, where=where):
            connection.exec_driver_sql(statement)
        connection.execute(update(Tables.version).values(version=migrations.version_after(upgrades)))


def _refuse_another_programs(connection: Connection) -> None:
    """A file that holds anything is not ours to add to; a PostgreSQL schema is, if no name is in use."""
    there = set(inspect(connection).get_table_names())
    if Tables.version.name in there:  # made by another process just now
        return
    if connection.dialect.name == "postgresql":
        there &= set(Tables.metadata.tables)
    if there:
        shown = connection.engine.url.render_as_string(hide_password=True)
        raise _bad(shown, f"it holds another program's tables, such as {min(there)!r}")


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(Tables.version.name):
        return None
    version: int = connection.execute(select(Tables.version.c.version)).scalar_one()
    return version


def _write_ahead(path: str, *, patience_s: float) -> None:
    """Readers and the writer do not block each other. SQLite keeps the setting in the file.

    Two that switch a fresh file at once meet a "locked" for which SQLite does not wait by itself.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=patience_s, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > give_up_at:
                raise LedgerBusy(
                    f"The ledger {path} is locked by another process. Try again in a moment."
                ) from error
            time.sleep(0.01)
