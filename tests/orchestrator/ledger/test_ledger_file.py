"""Is damage in a SQLite ledger told as damage, a read-only home as read-only? Who else may read the file?"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.ground import identity
from orchestrator.ground.errors import BadSpec, LedgerBusy, LedgerDamaged
from orchestrator.ledger import open_ledger, sql_file
from orchestrator.testing.ledger_rows import event, everything, with_live_attempt

PAGE = 4096
NOBODY = 65534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ledger of one study, with many events: some 30 pages."""
    made = tmp_path / "home" / "ledger.db"
    ledger = open_ledger(f"sqlite:///{made}")
    epoch = with_live_attempt(ledger)
    for first in range(1, 200, 50):
        ledger.append(epoch, [event(i, text="x" * 300) for i in range(first, first + 50)])
    ledger.close()
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made


def damage(file: Path, page: int, content: bytes = bytes(PAGE)) -> None:
    with file.open("r+b") as opened:
        opened.seek(page * PAGE)
        opened.write(content)


def damage_all(file: Path) -> None:
    """All pages but those that are read at each opening."""
    for page in range(2, file.stat().st_size // PAGE):
        damage(file, page)


def told(file: Path, finding: str) -> str:
    return (
        f"The ledger {file} is damaged ({finding}). Stop orch, keep a copy of the file, and put a backup "
        f"in its place, without the -wal and -shm beside it. Without a backup, this saves what can still be "
        f"read: sqlite3 {file} .recover | sqlite3 recovered.db"
    )


def was_found(file: Path) -> bool:
    """At the start or by a read, and in no other way."""
    try:
        ledger = open_ledger(f"sqlite:///{file}")
    except LedgerDamaged:
        return True
    try:
        everything(ledger)
    except LedgerDamaged:
        return True
    finally:
        ledger.close()
    return False


@pytest.mark.parametrize("how", ["zeroed", "overwritten"])
def test_a_damaged_page_is_told_as_damage_whichever_it_is(file: Path, how: str) -> None:
    whole = file.read_bytes()
    noise = random.Random(15)
    found = 0
    for page in range(1, len(whole) // PAGE):  # the first names the format: without it there is no database
        file.write_bytes(whole)
        for ending in ("-wal", "-shm"):
            Path(f"{file}{ending}").unlink(missing_ok=True)
        damage(file, page, bytes(PAGE) if how == "zeroed" else noise.randbytes(PAGE))
        found += was_found(file)
    assert found >= len(whole) // PAGE - 2  # a page that nothing uses may be anything


def test_damage_is_found_at_the_start_by_every_command(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(file.parent))
    damage(file, file.stat().st_size // PAGE - 2)
    for command in (["study", "list"], ["serve", "--api-only", "--port", "0"]):
        assert cli.run(command) == 6
        said = capsys.readouterr().err
        assert said.startswith(f"orch: The ledger {file} is damaged (")
        assert "put a backup in its place" in said
    assert cli.run(["study", "list", "--json"]) == 6
    assert '"kind": "ledger-damaged"' in capsys.readouterr().out


def test_damage_that_a_read_meets_is_remembered(file: Path) -> None:
    ledger = open_ledger(f"sqlite:///{file}")
    ledger.require_sound()
    damage_all(file)
    with pytest.raises(LedgerDamaged) as met:
        everything(ledger)
    assert str(met.value) == told(file, "database disk image is malformed")
    with pytest.raises(LedgerDamaged):
        ledger.require_sound()
    ledger.close()


def test_a_row_whose_text_is_overwritten_is_damage(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE studies SET spec = '{broken'")
        connection.commit()
    ledger = open_ledger(f"sqlite:///{file}")
    with pytest.raises(LedgerDamaged, match="a row cannot be read"):
        ledger.studies()
    ledger.close()


def test_a_half_of_a_file_is_damage_and_a_file_of_notes_is_a_wrong_address(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LedgerDamaged):
        open_ledger(f"sqlite:///{file}")
    notes = file.with_name("notes")
    notes.write_text("my notes\n" * 200)
    with pytest.raises(BadSpec, match="the file is no SQLite database"):
        open_ledger(f"sqlite:///{notes}")


def test_a_check_that_takes_too_long_is_left(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(file, file.stat().st_size // PAGE - 2)
    with pytest.raises(LedgerDamaged):
        sql_file.require_sound(str(file))

    connect = sqlite3.connect

    class Interrupted:
        """A connection whose statement is interrupted at its first step: the time is up."""

        def __init__(self, *_: object, **__: object) -> None:
            self._real = connect(file)
            self._real.set_progress_handler(lambda: 1, 1)

        def execute(self, statement: str) -> sqlite3.Cursor:
            return self._real.execute(statement)

        def interrupt(self) -> None:
            self._real.interrupt()

        def close(self) -> None:
            self._real.close()

    monkeypatch.setattr(sql_file.sqlite3, "connect", Interrupted)
    sql_file.require_sound(str(file))


# -- a home that cannot be written ---------------------------------------------------------------------------
@contextmanager
def one_who_may_not_write(*places: Path) -> Iterator[None]:
    """Root may write anywhere; so it becomes nobody for a while."""
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        for above in (places[0], *places[0].parents):
            if above != Path("/") and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o600)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(LedgerBusy) as caught:
        act()
    return str(caught.value)


def test_a_read_only_home_says_that_it_is_read_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.getpass, "getuser", lambda: "ada")
    home = file.parent
    for ending in ("-wal", "-shm", ".lock"):
        Path(f"{file}{ending}").unlink(missing_ok=True)

    def sentence(path: Path, place: Path) -> str:
        return (
            f"The ledger {path} cannot be written: {place} is read-only for the user ada. Mount it to be "
            f"written, or give that user the permission; or name another folder in ORCH_HOME."
        )

    with one_who_may_not_write(home, file):
        assert refused(lambda: open_ledger(f"sqlite:///{file}")) == sentence(file, home)
        other = home / "other.db"
        assert refused(lambda: open_ledger(f"sqlite:///{other}")) == sentence(other, home)


def test_a_home_that_becomes_read_only_under_a_service_says_so(file: Path) -> None:
    ledger = open_ledger(f"sqlite:///{file}")
    Path(f"{file}.lock").unlink(missing_ok=True)
    with one_who_may_not_write(file.parent):
        assert f"{file.parent} is read-only" in refused(lambda: ledger.lead("engine"))
    ledger.close()


# -- who else may read it ------------------------------------------------------------------------------------
def modes(file: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in file.parent.iterdir()}


def test_the_ledger_and_all_beside_it_are_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ledger.db"
    ledger = open_ledger(f"sqlite:///{file}")
    with_live_attempt(ledger)
    assert modes(file) == dict.fromkeys(
        ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"), "0o600"
    )
    ledger.close()


def test_a_ledger_of_a_former_release_is_closed_to_others_when_it_is_opened(file: Path) -> None:
    ledger = open_ledger(f"sqlite:///{file}")  # by another process, which goes on
    with_live_attempt(open_ledger(f"sqlite:///{file.with_name('fresh.db')}"))
    ledger.studies()
    ledger.lead("engine")
    for path in file.parent.iterdir():
        path.chmod(0o644)
    open_ledger(f"sqlite:///{file}").close()
    assert {mode for name, mode in modes(file).items() if name.startswith("ledger.db")} == {"0o600"}
    ledger.close()
