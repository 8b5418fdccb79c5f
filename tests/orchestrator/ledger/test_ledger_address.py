"""Which file or server does a ledger's address mean, and what is refused before it is touched?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import open_ledger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "it cannot be read"),
        ("sqlite://", "it names no file"),
        ("sqlite:///:memory:", "it names no file"),
        ("mysql://ada:secret@host/name", "'mysql' is no database that orch knows"),
    ],
)
def test_an_address_that_is_none_is_refused_with_a_sentence(url: str, why: str) -> None:
    with pytest.raises(BadSpec) as caught:
        open_ledger(url)
    assert str(caught.value) == (
        f"The ledger address {url.replace('ada:secret@', '')!r} cannot be used: {why}. Allowed are "
        f"sqlite:///path/to/file, postgresql://user@host/name and memory://."
    )


def test_a_file_that_is_no_database_is_refused_and_left_alone(file: Path) -> None:
    file.write_text("my notes\n" * 200)
    with pytest.raises(BadSpec, match="the file is no SQLite database"):
        open_ledger(f"sqlite:///{file}")
    assert file.read_text() == "my notes\n" * 200


def test_another_program_s_file_is_refused_and_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE places (url)")
        connection.commit()
    with pytest.raises(BadSpec, match="it holds another program's tables, such as 'places'"):
        open_ledger(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("places",)]


def test_another_program_s_schema_is_shared_unless_a_name_is_in_use(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE places (url text)")
        open_ledger(postgres_url).close()
        connection.execute("DROP TABLE schema_version")
        with pytest.raises(BadSpec, match="it holds another program's tables, such as 'attempts'"):
            open_ledger(postgres_url)


def test_a_path_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (f"{tmp_path}/odd ?a=b#c %20/ledger.db", "~/ledger.db"):
        open_ledger(f"sqlite:///{path}").close()
    assert {p.parent.name for p in tmp_path.rglob("ledger.db")} == {"odd ?a=b#c %20", tmp_path.name}


def test_two_spellings_of_a_file_are_one_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    first, second = open_ledger("sqlite:///ledger.db"), open_ledger(f"sqlite:///{tmp_path}/link/ledger.db")
    assert first.lead("a") == 1
    assert second.lead("b") is None
    second.close()
    first.close()
