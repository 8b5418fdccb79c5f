"""Are documents read in a fixed order, from any number on, and refused in a sentence that names the place?"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.data.prepared_sets import write_set
from trainer.config import DataConfig
from trainer.data import cldr, documents, prose, sources
from trainer.data.contract import DataError
from trainer.data.documents import Documents
from trainer.data.kept import Kept

NOTES = [
    "the first",
    "",
    "  the second, with spaces around it \t",
    "Größe\u2028is one document",
    "\r",
    "last",
]


def text(path: Path, home: Path, **more: Any) -> Documents:
    return documents.documents(DataConfig(source="text", path=str(path), **more), home=home)


def read(path: Path, home: Path, **more: Any) -> list[str]:
    found = text(path, home, **more)
    every = list(found.since(0))
    for number in range(len(every) + 2):
        assert list(found.since(number)) == every[number:]
    return every


def refusal(path: Path, home: Path, **more: Any) -> str:
    with pytest.raises(DataError) as refused:
        list(text(path, home, **more).since(0))
    return str(refused.value)


def json_lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_line_is_a_document_and_an_empty_one_has_a_number(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("\n".join(NOTES) + "\n", encoding="utf-8")
    said = [
        "the first",
        "",
        "the second, with spaces around it",
        "Größe\u2028is one document",
        "",
        "last",
    ]
    assert read(tmp_path / "notes.txt", tmp_path) == said
    assert text(tmp_path / "notes.txt", tmp_path).name == "text notes.txt"


def test_json_lines_have_documents_under_a_key(tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text(json_lines({"text": f"text {i}", "body": f"two\nlines {i}\n"} for i in range(3)) + "\n")
    assert read(file, tmp_path) == ["text 0", "text 1", "text 2", ""]
    assert read(file, tmp_path, key="body") == ["two\nlines 0", "two\nlines 1", "two\nlines 2", ""]
    assert text(file, tmp_path).identity != text(file, tmp_path, key="body").identity


def test_a_folder_is_read_in_the_order_of_its_files_compressed_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b.txt").write_text("four\nfive")
    (folder / "a.jsonl.gz").write_bytes(
        gzip.compress(json_lines([{"text": "one"}, {"text": "two"}]).encode())
    )
    (folder / "ab.txt.gz").write_bytes(gzip.compress(b"three"))
    for other in (".hidden.txt", "README.md", "picture.png"):
        (folder / other).write_bytes(b"\xff\xfe")
    assert read(folder, tmp_path) == ["one", "two", "three", "four", "five"]


def test_equal_text_has_one_identity_wherever_it_lies(tmp_path: Path) -> None:
    for name, line in (("a.txt", "same"), ("b.txt", "same"), ("c.txt", "other")):
        (tmp_path / name).write_text(line)
    of = {name: text(tmp_path / name, tmp_path).identity for name in ("a.txt", "b.txt", "c.txt")}
    assert of["a.txt"] == of["b.txt"] != of["c.txt"]


@pytest.mark.parametrize(
    ("name", "inside", "said"),
    [
        ("n.txt", b"one\ntwo \xff\n", "n.txt, line 2: byte 5 is 0xff, not UTF-8. Allowed is UTF-8: convert"),
        ("n.jsonl", b'{"text": "a"}\n{"body": "b", "n": 1}\n', "n.jsonl, line 2: it has 'body', 'n', and no"),
        (
            "n.jsonl",
            b'{"text": 3}\n',
            "n.jsonl, line 1: it has 'text', and no text under 'text'. Name the key",
        ),
        ("n.jsonl", b"[1]\n", "n.jsonl, line 1: it is no object, and no text under 'text'."),
        ("n.jsonl", b'{"text": "a"}\n\n{\n', "n.jsonl, line 3: it is no JSON (Expecting property name"),
        (
            "n.jsonl",
            b'{"text": "ab\\ud800"}\n',
            "n.jsonl, line 1: letter 3 under 'text' is half of a surrogate",
        ),
        (
            "n.txt",
            b"short\n" + 51 * b"x",
            "n.txt, line 2: it has more than 50 bytes. Allowed is at most so many",
        ),
        ("n.txt.gz", b"no gzip", "n.txt.gz cannot be read: Not a gzipped file"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(
    name: str, inside: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MOST_BYTES", 50)
    (tmp_path / name).write_bytes(inside)
    assert refusal(tmp_path / name, tmp_path).startswith(f"{tmp_path}/{said}")


def test_a_place_without_text_says_what_it_holds(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere", tmp_path).startswith(
        f"{tmp_path}/nowhere is neither a file nor a fol"
    )
    (tmp_path / "picture.png").touch()
    said = refusal(tmp_path, tmp_path)
    assert said.startswith(
        f"{tmp_path} has no text; it holds picture.png. Allowed are files that end in .txt,"
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set under the name of C4, and one without a text."""
    library = pytest.importorskip("tensorflow_datasets")
    library.disable_progress_bar()
    folder, text = tmp_path_factory.mktemp("tfds"), library.features.Text()
    rows = [{"text": f" Größe {n} \n", "url": f"https://{n}.example"} for n in range(600)]
    splits = {"train": rows[:590], "validation": rows[590:]}
    write_set(folder / "c4/en", library.features.FeaturesDict({"text": text, "url": text}), splits)
    asked = library.features.FeaturesDict({"question": text, "answer": text})
    write_set(folder / "asked/v1", asked, {"train": [{"question": "why?", "answer": "so"}]})
    return folder


def test_a_prepared_set_with_a_text_has_its_rows_as_documents(prepared: Path, tmp_path: Path) -> None:
    config = DataConfig(source="tfds:c4/en", path=str(prepared))
    found = documents.documents(config, home=tmp_path)
    every = list(found.since(0))
    assert sorted(every) == sorted(f"Größe {n}" for n in range(590))
    for number in (0, 1, 255, 256, 257, 589, 590, 700):
        assert list(found.since(number)) == every[number:]
    assert found.select is not None
    assert sorted(found.select.since(0)) == sorted(f"Größe {n}" for n in range(590, 600))
    assert found.identity == documents.documents(config, home=tmp_path).identity != found.select.identity
    assert found.versions["c4/en"] == "1.0.0"
    assert found.size_bytes > 590 * 8


def test_a_set_without_a_text_names_what_its_rows_have(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        documents.documents(DataConfig(source="tfds:asked", path=str(prepared)), home=tmp_path)
    assert str(refused.value) == (
        "The rows of asked have answer, question. Allowed is a set whose rows have a text, such as c4/en."
    )


@pytest.fixture
def little_prose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Paragraphs in place of the docstrings, and fewer records."""
    made = tuple(f"Paragraph {n} says in {n % 7} words what it is for." for n in range(500))
    kept = Kept(made, "fingerprint", "made here", tmp_path)
    monkeypatch.setattr(prose, "paragraphs", lambda home: kept)
    monkeypatch.setattr(documents, "RECORDS", range(400, 900))
    return list(made)


def of_prose(home: Path, share: float) -> Documents:
    return documents.documents(DataConfig(source="prose", records_share=share), home=home)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_prose_has_its_share_of_letters_from_records_all_the_way(
    share: float, little_prose: list[str], tmp_path: Path
) -> None:
    found = list(of_prose(tmp_path, share).since(0))
    longest = max(map(len, found))
    letters = of_records = 0
    for document in found:
        letters += len(document)
        of_records += len(document) * (not document.startswith("Paragraph"))
        assert abs(of_records - share * letters) <= longest
    assert 0 < of_records < letters


def test_prose_is_docstrings_alone_or_records_alone_where_the_share_says_so(
    little_prose: list[str], tmp_path: Path
) -> None:
    docstrings = list(of_prose(tmp_path, 0).since(0))
    assert " ".join(docstrings) == " ".join(little_prose)
    assert all(500 <= len(document) < 600 for document in docstrings[:-1])
    records = list(of_prose(tmp_path, 1).since(0))
    assert records
    assert not {*records} & {*docstrings}
    identities = {of_prose(tmp_path, share).identity for share in (0, 0.3, 1)}
    assert len(identities) == 3


def test_prose_holds_no_record_that_a_translation_of_cldr_has(
    little_prose: list[str], tmp_path: Path
) -> None:
    first = documents.RECORDS.start
    text = "\n".join(of_prose(tmp_path, 1).since(0))
    for level in ("phrases", "sentences"):
        records = cldr.generate(level=level, count=first + 200, seed=sources._CLDR_SEED)
        assert sum(record["en"] in text for record in records[first:]) == 200
        translated = {record["en"] for record in records[:first]}
        if level == "phrases":
            assert not translated & {piece for line in text.split("\n") for piece in line.split("; ")}
        else:
            assert not any(sentence in text for sentence in translated)


def test_records_of_prose_begin_after_those_of_cldr() -> None:
    assert documents.RECORDS.start >= sources.CLDR_PAIRS + 2 * sources.CLDR_HELD_OUT
    assert sources._CLDR_SEED == documents.RECORDS_SEED
