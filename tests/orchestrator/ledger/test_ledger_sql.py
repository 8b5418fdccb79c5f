"""What has only a ledger in a database? Locks, versions, servers that restart, leaders that are killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.ground.errors import Fenced, LedgerBusy, LedgerTooNew
from orchestrator.ledger import open_ledger
from orchestrator.ledger.codec import encode
from orchestrator.ledger.migrations import UPGRADES, version_after
from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    AuditLine,
    Event,
    HostRow,
    HostState,
    Receipt,
    Role,
    Session,
    StudyRow,
    StudyState,
    Token,
    TrialRow,
    Wish,
)
from orchestrator.ledger.sql import SqlLedger
from orchestrator.ledger.sql_tables import Tables
from orchestrator.testing.ledger_rows import (
    DONE,
    T0,
    T1,
    event,
    everything,
    led,
    study,
    with_live_attempt,
)
from trainer.config.choices import FORMER_T5_SMALL

DUMPS = Path(__file__).parents[2] / "ledger_dumps"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def opened() -> Iterator[Callable[..., SqlLedger]]:
    """Opens ledgers and closes them after the test."""
    ledgers: list[SqlLedger] = []

    def open_one(url: str, **options: Any) -> SqlLedger:
        ledgers.append(SqlLedger(url, **options))
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        ledger.close()


def from_dump(file: Path, version: int) -> str:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((DUMPS / f"v{version}.sql").read_text(encoding="utf-8"))
    return f"sqlite:///{file}"


def version_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        [(version,)] = connection.execute("SELECT version FROM schema_version").fetchall()
    return int(version)


def eventually(act: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    """What `act` gives once it is neither None nor busy."""
    give_up_at = time.monotonic() + within_s
    while True:
        try:
            if (result := act()) is not None:
                return result
            why: object = "it gave None"
        except LedgerBusy as busy:
            why = busy
        assert time.monotonic() < give_up_at, why
        time.sleep(0.02)


# -- schema versions ---------------------------------------------------------------------------------------


def test_every_field_of_a_record_has_its_column() -> None:
    for row, table, ours in (
        (StudyRow, Tables.studies, set()),
        (TrialRow, Tables.trials, set()),
        (AttemptRow, Tables.attempts, {"study_id"}),
        (Event, Tables.events, {"study_id", "event_id", "count"}),
        (Wish, Tables.wishes, set()),
        (HostRow, Tables.hosts, set()),
        (Token, Tables.tokens, set()),
        (Session, Tables.sessions, set()),
        (Receipt, Tables.receipts, set()),
        (AuditLine, Tables.audit, set()),
    ):
        assert {c.name for c in table.columns} - ours == {f.name for f in fields(row)} - ours


@pytest.mark.fault(21, real=True)
@pytest.mark.parametrize("version", range(1, version_after(UPGRADES) + 1))
def test_a_ledger_of_any_release_opens_and_goes_on(
    file: Path, version: int, opened: Callable[..., SqlLedger]
) -> None:
    ledger = opened(from_dump(file, version))
    assert version_of(file) == version_after(UPGRADES)
    assert ledger.study("Größe").spec["arms"] == [{"name": "bo"}]
    assert ledger.study("Größe").learns == ({"bo": ["alpha"]} if version >= 5 else None)
    assert [t.state.value for t in ledger.trials("s1")] == ["completed", "running", "waiting"]
    assert [a.state for a in ledger.attempts(T0)] == [AttemptState.LOST, AttemptState.COMPLETED]
    assert [w.detail for w in ledger.open_wishes()] == [{}]
    drained = [study.study_id for study in ledger.studies({StudyState.DRAINED})]
    assert drained == (["s3"] if version >= 6 else [])
    assert ledger.cursor("mlflow/4c1b/s1") == (2 if version >= 2 else 0)
    ledger.move_cursor("mlflow/4c1b/s1", 3)
    assert ledger.cursor("mlflow/4c1b/s1") == 3
    assert [t.name for t in ledger.tokens()] == (["ada", "bob"] if version >= 3 else [])
    ledger.add_token(Token("eve", "7a11", Role.RUN, created_at=5.0))
    assert ledger.token("7a11") == Token("eve", "7a11", Role.RUN, created_at=5.0)
    assert (ledger.receipt("ada/k1") is not None) == (version >= 3)
    kept = Session("c0ffee", "5e88", created_at=6.0, expires_at=300.0) if version >= 4 else None
    assert ledger.session("c0ffee") == kept
    ledger.add_session(Session("bee", "7a11", created_at=7.0, expires_at=8.0))
    assert ledger.session("bee") == Session("bee", "7a11", created_at=7.0, expires_at=8.0)
    kept_host = HostRow("h", "10.0.0.2", {"CPU": 2.0}, 2, HostState.DRAINED, 6.0, "", "ada")
    assert ledger.hosts() == ([kept_host] if version >= 8 else [])
    assert ledger.study("Größe").waits == ("for a GPU" if version >= 8 else "")
    assert len(ledger.ledger_id()) == 16
    ledger.audit(AuditLine(9.0, "eve", "POST", "/x", 201))
    assert [line.who for line in ledger.audited()] == ["eve", *(["ada"] if version >= 3 else [])]
    epoch = led(ledger)
    assert epoch == 2
    assert ledger.append(epoch, [event(1, of=T1)]) == 1
    newest = 8 if version >= 3 else 4  # there were later ones, of a study that was deleted
    assert [s.event_id for s in ledger.events()] == [1, 2, 3, newest]
    assert ledger.end_attempt(epoch, T1, 1, DONE).value == 0.5


def test_what_a_former_release_called_failures_are_losses(
    file: Path, opened: Callable[..., SqlLedger]
) -> None:
    """It counted lost workers there, and not the training code's failures."""
    url = from_dump(file, 3)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE trials SET state = 'failed' WHERE trial_id = ?", (T1,))
        connection.execute("UPDATE attempts SET state = 'failed' WHERE trial_id = ?", (T1,))
    ledger = opened(url)
    assert [(ledger.trial(t).losses, ledger.trial(t).failures) for t in (T0, T1)] == [(1, 0), (0, 1)]


def test_an_upgrade_runs_on_postgresql_too(postgres_url: str, opened: Callable[..., SqlLedger]) -> None:
    opened(postgres_url).close()
    with psycopg.connect(postgres_url) as connection:  # back to version 1
        for table in ("tokens", "receipts", "audit", "cursors", "sessions", "hosts"):
            connection.execute(f"DROP TABLE {table}")
        since = ("leader.last_event", "trials.losses", "studies.learns", "events.count", "studies.waits")
        for column in (*since, "leader.ledger_id"):
            connection.execute("ALTER TABLE {} DROP COLUMN {}".format(*column.split(".")))
        connection.execute("UPDATE schema_version SET version = 1")
    ledger = opened(postgres_url)
    epoch = with_live_attempt(ledger)
    assert ledger.append(epoch, [event(1)]) == 1
    ledger.add_token(Token("ada", "5e88", Role.RUN, created_at=1.0))
    assert ledger.revoke_token("ada", at=2.0).revoked_at == 2.0
    ledger.add_session(Session("bee", "5e88", created_at=7.0, expires_at=8.0))
    assert ledger.session("bee") == Session("bee", "5e88", created_at=7.0, expires_at=8.0)
    ledger.audit(AuditLine(9.0, "ada", "POST", "/x", 201))
    assert len(ledger.audited()) == 1


def test_an_older_ledger_is_upgraded_in_place_and_once(file: Path, opened: Callable[..., SqlLedger]) -> None:
    url = from_dump(file, 1)
    more = (("ALTER TABLE studies ADD COLUMN owner TEXT",), ("UPDATE studies SET owner = 'ada'",))
    for _ in range(2):
        assert opened(url, upgrades=(*UPGRADES, *more)).study("s1").name == "Größe"
        assert version_of(file) == version_after(UPGRADES) + 2
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT owner FROM studies").fetchall() == [("ada",)]


def test_a_new_ledger_needs_no_upgrade(file: Path, opened: Callable[..., SqlLedger]) -> None:
    upgrades = (("ALTER TABLE studies ADD COLUMN owner TEXT",),)
    for _ in range(2):  # it has the tables of today, so a statement would be one too many
        opened(f"sqlite:///{file}", upgrades=upgrades).close()
        assert version_of(file) == 2
    with closing(sqlite3.connect(file)) as connection:
        assert "owner" not in {row[1] for row in connection.execute("PRAGMA table_info(studies)")}


def test_an_upgrade_that_fails_leaves_the_old_ledger(file: Path, opened: Callable[..., SqlLedger]) -> None:
    url = from_dump(file, 1)
    with pytest.raises(Exception, match="no such table: nowhere"):
        opened(url, upgrades=(("ALTER TABLE studies ADD COLUMN owner TEXT",), ("DELETE FROM nowhere",)))
    assert version_of(file) == 1
    assert opened(url).study("s1").name == "Größe"


@pytest.mark.fault(21, real=True)
def test_a_newer_ledger_is_refused_and_left_alone(file: Path) -> None:
    url = from_dump(file, 1)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE schema_version SET version = 11")
        connection.commit()
    with pytest.raises(LedgerTooNew) as caught:
        open_ledger(url)
    assert str(caught.value) == (
        f"The ledger {url} has schema version 11, and this release of orch knows versions 1 to "
        f"{version_after(UPGRADES)}. Install a newer release, or use another ledger."
    )
    assert version_of(file) == 11


OPEN_AT_ONCE = """
import sys
from orchestrator.ledger import open_ledger
from orchestrator.ledger.sql import SqlLedger
print("ready", flush=True)
sys.stdin.readline()
open_ledger(sys.argv[1]).close()
"""


def test_processes_that_open_a_fresh_file_at_once_all_succeed(file: Path) -> None:
    url = f"sqlite:///{file}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AT_ONCE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert version_of(file) == version_after(UPGRADES)


# -- troubles that pass ------------------------------------------------------------------------------------


@pytest.mark.fault(11, real=True)
def test_a_locked_file_is_busy_and_then_answers_again(file: Path, opened: Callable[..., SqlLedger]) -> None:
    ledger = opened(f"sqlite:///{file}", busy_timeout_s=0.05)
    epoch = with_live_attempt(ledger)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = everything(ledger)  # readers are not kept waiting
        for write in (
            lambda: ledger.append(epoch, [event(1)]),
            lambda: ledger.wish("s1", "pause", {}, asked_at=1.0, asked_by="ada"),
            lambda: ledger.create_study(study("s2")),
        ):
            with pytest.raises(LedgerBusy) as caught:
                write()
        assert str(caught.value) == (
            f"The ledger sqlite:///{file} does not answer now: database is locked. Try again in a moment."
        )
        other.execute("ROLLBACK")
    assert everything(ledger) == before
    assert ledger.append(epoch, [event(1)]) == 1


def test_a_full_disk_is_busy_and_nothing_is_lost(file: Path, opened: Callable[..., SqlLedger]) -> None:
    ledger = opened(f"sqlite:///{file}")
    epoch = with_live_attempt(ledger)
    room = file.stat().st_size  # of a pool of connections, one: it was the only one in use
    with ledger._engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {room // 4096 + 8}")
    before = everything(ledger)
    with pytest.raises(LedgerBusy, match="database or disk is full"):
        ledger.append(epoch, [event(i, text="x" * 5000) for i in range(1, 100)])
    assert everything(ledger) == before
    with ledger._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert ledger.append(epoch, [event(i, text="x" * 5000) for i in range(1, 100)]) == 99


def test_a_locked_row_on_postgresql_is_busy(postgres_url: str, opened: Callable[..., SqlLedger]) -> None:
    ledger = opened(postgres_url, busy_timeout_s=0.1)
    epoch = with_live_attempt(ledger)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM leader FOR UPDATE")
        with pytest.raises(LedgerBusy, match="lock timeout"):
            ledger.append(epoch, [event(1)])
    assert ledger.append(epoch, [event(1)]) == 1


def test_a_server_that_is_not_there_is_busy_and_names_no_password(tmp_path: Path) -> None:
    with pytest.raises(LedgerBusy) as caught:
        open_ledger(f"postgresql://ada:secret@/name?host={tmp_path}")
    assert "does not answer now" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.fault(11, real=True)
def test_a_restarted_server_is_reconnected_to(
    postgres_server: Any, postgres_url: str, opened: Callable[..., SqlLedger]
) -> None:
    leader, other = opened(postgres_url), opened(postgres_url)
    epoch = with_live_attempt(leader)
    leader.append(epoch, [event(1)])
    postgres_server.stop()
    try:
        for act in (leader.studies, lambda: leader.append(epoch, [event(2)]), lambda: leader.lead("engine")):
            with pytest.raises(LedgerBusy):
                act()
    finally:
        postgres_server.start()
    assert eventually(lambda: leader.append(epoch, [event(1), event(2)])) == 1
    assert len(other.events()) == 2
    # its session is gone, and with it the leadership: whoever asks first leads
    assert eventually(lambda: other.lead("other")) == epoch + 1
    assert leader.lead("engine") is None
    with pytest.raises(Fenced):
        leader.append(epoch, [event(3)])


# -- leadership --------------------------------------------------------------------------------------------


def test_a_leader_notices_that_its_session_was_ended(
    postgres_url: str, opened: Callable[..., SqlLedger]
) -> None:
    first, second = opened(postgres_url), opened(postgres_url)
    stale = with_live_attempt(first)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND objid = 'leader'::regclass::oid"
        ).fetchall()
    assert ended == [(True,)]
    assert eventually(lambda: second.lead("second")) == stale + 1
    assert first.lead("engine") is None
    with pytest.raises(Fenced):
        first.end_attempt(stale, T0, 1, DONE)
    second.release()
    assert first.lead("engine") == stale + 2


def test_a_leader_whose_session_was_ended_leads_anew_if_nobody_else_does(
    postgres_url: str, opened: Callable[..., SqlLedger]
) -> None:
    ledger = opened(postgres_url)
    assert ledger.lead("engine") == 1
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 'leader'::regclass::oid")
    assert eventually(lambda: ledger.lead("engine")) == 2


def test_ledgers_in_two_schemas_have_a_leader_each(
    postgres_server: Any, postgres_url: str, opened: Callable[..., SqlLedger]
) -> None:
    with psycopg.connect(postgres_server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS another")
    another = f"{postgres_server.get_uri()}&options=-csearch_path%3Danother"
    assert opened(postgres_url).lead("a") is not None
    assert opened(another).lead("b") is not None


LEAD = """
import subprocess, sys
from orchestrator.ledger import open_ledger
epoch = open_ledger(sys.argv[1]).lead("victim")
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
print(epoch, child.pid, flush=True)
input()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_leader_is_followed_even_while_a_child_of_it_lives(
    kind: str, file: Path, request: pytest.FixtureRequest, opened: Callable[..., SqlLedger]
) -> None:
    url = f"sqlite:///{file}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    ledger = opened(url)
    victim = subprocess.Popen(
        [sys.executable, "-c", LEAD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    epoch, child = (int(word) for word in victim.stdout.readline().split())
    try:
        assert epoch == 1
        assert ledger.lead("next") is None
        victim.kill()
        victim.communicate(timeout=10)
        assert victim.returncode == -signal.SIGKILL
        assert eventually(lambda: ledger.lead("next")) == 2
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_leader_past_whom_another_got_learns_of_it(file: Path, opened: Callable[..., SqlLedger]) -> None:
    first, second = opened(f"sqlite:///{file}"), opened(f"sqlite:///{file}")
    assert first.lead("first") == 1
    Path(f"{file}.lock").unlink()  # what nobody should do
    assert second.lead("second") == 2
    assert first.lead("first") is None


def test_a_study_of_the_former_t5_small_is_marked_as_it_is_upgraded_and_its_name_stays(
    file: Path, opened: Callable[..., SqlLedger]
) -> None:
    url = from_dump(file, 8)
    spec = {"name": "t5-small", "base": {"model": {"size": "t5-small"}}, "arms": [{"name": "bo"}]}
    config = {"model": {"size": "t5-small"}, "steps": 3}
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE studies SET spec = ?", (encode(spec),))
        connection.execute("UPDATE trials SET config = ? WHERE trial_id = ?", (encode(config), T1))
        connection.commit()
    ledger = opened(url)
    found = ledger.study("Größe").spec
    assert (found["name"], found["base"]["model"]["size"]) == ("t5-small", FORMER_T5_SMALL)
    assert [t.config.get("model") for t in ledger.trials("s1") if t.trial_id == T1] == [
        {"size": FORMER_T5_SMALL}
    ]
