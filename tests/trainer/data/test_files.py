"""Are a user's own texts read as they are, in each form, and refused with the line that is wrong?"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from trainer.data import files
from trainer.data.contract import DataError

# U+2028 and a vertical tab are part of a sentence; a carriage return at its end is not.
PAIRS = [("Guten Tag", "Good day"), ("zwei\u2028Zeilen", "two lines"), ("ä ö ü ß", "a\vb"), ("42", "42")]


def aligned(folder: Path, name: str = "train", pairs: list[tuple[str, str]] = PAIRS) -> Path:
    for language, side in zip(("de", "en"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text("\n".join(side) + "\n", encoding="utf-8", newline="")
    return folder / name


def tabbed(pairs: list[tuple[str, str]] = PAIRS) -> bytes:
    return "".join(f"{source}\t{target}\r\n" for source, target in pairs).encode()


def json_lines(source: str, target: str) -> bytes:
    return "".join(json.dumps({source: s, target: t, "id": 1}) + "\n" for s, t in PAIRS).encode()


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        files.read(path, pair="de-en")
    return str(refused.value)


def test_two_aligned_files_are_pairs(tmp_path: Path) -> None:
    assert files.read(aligned(tmp_path), pair="de-en") == {"train": PAIRS}


def test_aligned_files_serve_both_directions(tmp_path: Path) -> None:
    swapped = [(target, source) for source, target in PAIRS]
    assert files.read(aligned(tmp_path), pair="en-de") == {"train": swapped}


@pytest.mark.parametrize("name", ["text.tsv", "anything"])
def test_a_tsv_is_pairs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + tabbed())  # with a byte order mark
    assert files.read(tmp_path / name, pair="de-en") == {"train": PAIRS}


@pytest.mark.parametrize("keys", [("de", "en"), ("source", "target")])
def test_json_lines_are_pairs_by_language_or_by_side(tmp_path: Path, keys: tuple[str, str]) -> None:
    (tmp_path / "text.jsonl").write_bytes(json_lines(*keys))
    assert files.read(tmp_path / "text.jsonl", pair="de-en") == {"train": PAIRS}


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_each_compression_is_read(tmp_path: Path, ending: str, pack: object) -> None:
    squeezed = pack.compress  # type: ignore[attr-defined]
    (tmp_path / f"a.tsv{ending}").write_bytes(squeezed(tabbed()))
    (tmp_path / f"b.jsonl{ending}").write_bytes(squeezed(json_lines("de", "en")))
    side = aligned(tmp_path, "c")
    (tmp_path / f"c.de{ending}").write_bytes(squeezed(side.with_name("c.de").read_bytes()))
    (tmp_path / "c.de").unlink()
    for path in (f"a.tsv{ending}", f"b.jsonl{ending}", "c"):
        assert files.read(tmp_path / path, pair="de-en") == {"train": PAIRS}


def test_a_folder_gives_the_splits_that_it_has_in_any_form(tmp_path: Path) -> None:
    aligned(tmp_path, "train")
    (tmp_path / "valid.tsv").write_bytes(tabbed(PAIRS[:1]))
    (tmp_path / "test.jsonl").write_bytes(json_lines("de", "en"))
    found = files.read(tmp_path, pair="de-en")
    assert found == {"train": PAIRS, "select": PAIRS[:1], "test": PAIRS}


def test_a_folder_with_two_texts_for_a_split_is_refused(tmp_path: Path) -> None:
    aligned(tmp_path, "train")
    (tmp_path / "dev.tsv").write_bytes(tabbed())
    (tmp_path / "valid.tsv").write_bytes(tabbed())
    assert "stands for 2 texts: dev.tsv, valid.tsv" in refusal(tmp_path)


def test_a_folder_without_train_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_bytes(tabbed())
    assert "has no train.*; it holds dev.tsv." in refusal(tmp_path)


def test_a_path_to_nothing_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    said = refusal(tmp_path / "train")
    assert "is neither a text nor the beginning of one" in said
    assert "train.de and train.en" in said


def test_a_missing_side_is_named(tmp_path: Path) -> None:
    aligned(tmp_path).with_name("train.en").unlink()
    assert f"{tmp_path / 'train.de'} is there and {tmp_path / 'train.en'} is not" in refusal(
        tmp_path / "train"
    )


def test_unequal_lengths_name_the_line_where_the_shorter_ends(tmp_path: Path) -> None:
    path = aligned(tmp_path)
    with path.with_name("train.de").open("a", encoding="utf-8") as file:
        file.write("noch einer\n")
    said = refusal(path)
    assert "train.en ends after line 4" in said
    assert "train.de has 5 lines" in said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.tsv", b"ja\tyes\nnein no\n", "line 2: it has no tab"),
        ("a.tsv", b"ja\tyes\nnein\tno\tNein\n", "line 2: it has 3 columns"),
        ("a.tsv", b"ja\tyes\n\tno\n", "line 2: the source is empty"),
        ("a.tsv", b"ja\tyes\nnein\t \n", "line 2: the target is empty"),
        ("a.tsv", b"ja\tyes\n\nnein\tno\n", "line 2: the pair is empty"),
        ("a.tsv", b"ja\tyes\nsch\xf6n\tnice\n", "line 2: byte 4 is 0xf6, not UTF-8"),
        ("a.tsv", b"", "is empty"),
        ("a.jsonl", b'{"de": "ja", "en": "yes"}\n{"de": "nein"\n', "line 2: it is no JSON"),
        ("a.jsonl", b'{"de": "ja", "en": "yes"}\n{"de": "nein", "fi": "ei"}\n', "line 2: "),
        ("a.jsonl", b'{"de": "ja", "en": 1}\n', "lacks a side"),
        ("a.jsonl", b'{"de": "ja", "en": " "}\n', "line 1: the target is empty"),
        ("a.tsv.gz", b"ja\tyes\n", "cannot be read"),
        ("a.tsv.gz", gzip.compress(b"ja\tyes\n" * 99, mtime=0)[:-9], "cannot be read"),
        ("a.tsv.xz", b"ja\tyes\n", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str, text: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(text)
    assert refusal(tmp_path / name).startswith(str(tmp_path / name))
    assert said in refusal(tmp_path / name)


def test_an_empty_side_of_aligned_files_is_named(tmp_path: Path) -> None:
    path = aligned(tmp_path, pairs=[("ja", "yes"), ("nein", " "), ("doch", "yes it is")])
    assert refusal(path).startswith(f"{tmp_path / 'train.en'}, line 2: this side is empty.")


def test_the_other_empty_sides_are_counted(tmp_path: Path) -> None:
    path = aligned(tmp_path, pairs=[("ja", " "), ("nein", ""), ("doch", "yes it is"), ("so", "")])
    assert refusal(path) == (
        f"{tmp_path / 'train.en'}, line 1: this side is empty. Allowed is text on both sides: fill it in, or "
        f"take the pair out. 2 other lines are like it."
    )
    (tmp_path / "a.tsv").write_bytes(b"ja\tyes\n\tno\n\n")
    assert refusal(tmp_path / "a.tsv").endswith(" Another line is like it.")


def test_a_text_whose_lines_end_in_bare_carriage_returns_names_that_cause(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"ja\tyes\rnein\tno\r")
    assert refusal(tmp_path / "a.tsv") == (
        f"{tmp_path / 'a.tsv'} is a single line with a bare carriage return (CR) in it. Lines end in a line "
        f"feed (LF), which a CR may precede: convert it, such as with tr '\\r' '\\n'."
    )
    (tmp_path / "train.de").write_bytes(b"eins\rzwei\ndrei\n")
    (tmp_path / "train.en").write_bytes(b"one\ntwo\nthree\n")
    assert f"{tmp_path / 'train.de'}, line 1, has a bare carriage return (CR) in it." in refusal(
        tmp_path / "train"
    )
    (tmp_path / "b.tsv").write_bytes(b"ja\tyes\nnein\tno\rdoch\tyes\n")
    assert "line 2: it has 3 columns" in refusal(tmp_path / "b.tsv")
    assert "It has a bare carriage return (CR) in it." in refusal(tmp_path / "b.tsv")
