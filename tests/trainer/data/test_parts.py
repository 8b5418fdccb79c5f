"""Are parts a function of the text and the vocabulary alone, whoever makes them and is killed meanwhile?"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import sentencepiece

from trainer.config import DataConfig
from trainer.data import held_out
from trainer.data.documents import Documents, documents
from trainer.data.held_out import Shares
from trainer.data.parts import Note, Parts, turn
from trainer.data.vocabulary import Vocabulary

SHARES = Shares(test=0.1, select=0.1, guide=0.05)
WORDS = [a + b + c for a in "bdgklmnprst" for b in "aeiou" for c in ("", "n", "r", "st")]


def lines(count: int, *, seed: int = 0) -> list[str]:
    random = Random(seed)
    return [" ".join(random.choices(WORDS, k=random.randint(1, 30))) for _ in range(count)]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines(2_000)), model_writer=model, vocab_size=150, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, normalization_rule_name="identity", remove_extra_whitespaces=False,
        minloglevel=2,
    )  # fmt: skip
    return Vocabulary(model.getvalue())


def text(folder: Path, documents_of_it: list[str]) -> Documents:
    (folder / "notes.txt").write_text("\n".join(documents_of_it) + "\n")
    return documents(DataConfig(source="text", path=str(folder / "notes.txt")), home=folder)


def tokens(documents_of_it: list[str], vocabulary: Vocabulary) -> list[int]:
    """Of train, one document after the other: an independent account of what parts hold."""
    found: list[int] = []
    for document in documents_of_it:
        digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
        if document and int.from_bytes(digest, "big") >= 0.25 * 2**64:
            found += [*vocabulary.encode([document])[0], 1]
    return found


def joined(parts: Parts) -> list[int]:
    arrays, number = [], 0
    while (array := parts.read(number)) is not None:
        arrays.append(array)
        number += 1
    assert all(len(array) == parts.part_tokens for array in arrays[:-1])
    return [int(i) for array in arrays for i in array]


def parts_of(folder: Path, found: Documents, vocabulary: Vocabulary, size: int) -> Parts:
    return Parts.under(folder / "home", found, SHARES, vocabulary, part_tokens=size)


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
def test_parts_are_the_documents_of_train_with_their_ends(
    size: int, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    every = ["", *lines(60), "", *lines(20)]
    parts = parts_of(tmp_path, text(tmp_path, every), vocabulary, size)
    expected = tokens(every, vocabulary)
    assert list(parts.make(upto=10**9)) == list(range(-(-len(expected) // size)))
    assert joined(parts) == expected
    end = parts.end()
    assert end is not None
    assert (end.tokens, end.counts["empty"], end.counts["letters"]) == (
        len(expected),
        2,
        sum(map(len, every)),
    )
    assert sum(end.counts[kind] for kind in held_out.KINDS) == 80
    assert list(parts.make(upto=10**9)) == []


def test_each_part_can_be_the_last_that_somebody_makes(vocabulary: Vocabulary, tmp_path: Path) -> None:
    """A new process for each, at every place in documents, ends among them."""
    every = lines(5)
    found, expected = text(tmp_path, every), tokens(every, vocabulary)
    for size in (1, 7):
        for number in range(-(-len(expected) // size)):
            assert list(parts_of(tmp_path, found, vocabulary, size).make(upto=number)) == [number]
        parts = parts_of(tmp_path, found, vocabulary, size)
        assert list(parts.make(upto=10**9)) == []
        assert joined(parts) == expected
        assert parts.end() == Note(5, 0, len(expected), parts.newest().counts)


def test_a_text_of_whole_parts_has_no_empty_one(vocabulary: Vocabulary, tmp_path: Path) -> None:
    every = lines(30)
    expected = tokens(every, vocabulary)
    parts = parts_of(tmp_path, text(tmp_path, every), vocabulary, len(expected))
    assert list(parts.make(upto=10**9)) == [0]
    assert parts.read(1) is None
    assert joined(parts) == expected


@pytest.mark.parametrize("damage", ["shorter", "absent", "no note", "half a note"])
def test_what_a_power_cut_left_is_made_again(damage: str, vocabulary: Vocabulary, tmp_path: Path) -> None:
    every = lines(60)
    parts = parts_of(tmp_path, text(tmp_path, every), vocabulary, 100)
    list(parts.make(upto=10**9))
    part, note = (parts.folder / f"000002.{ending}" for ending in ("tokens", "json"))
    if damage == "shorter":
        os.truncate(part, 12)
    elif damage == "half a note":
        os.truncate(note, 12)
    else:
        (part if damage == "absent" else note).unlink()
    assert parts.read(2) is None
    assert list(parts.make(upto=10**9)) == [2]
    assert joined(parts) == tokens(every, vocabulary)


def test_long_documents_are_encoded_piece_by_piece_and_come_out_the_same(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(held_out, "_LONGEST", 40)
    monkeypatch.setattr(held_out, "_AT_ONCE", 100)
    every = [f"{line}  {line} " for line in lines(40)]
    stripped = [line.strip() for line in every]
    parts = parts_of(tmp_path, text(tmp_path, every), vocabulary, 64)
    list(parts.make(upto=10**9))
    assert joined(parts) == tokens(stripped, vocabulary)


def test_pieces_are_of_so_many_letters_and_lose_single_spaces_alone() -> None:
    for document in (*lines(50, seed=1), "a  b   c    d", "x" * 95, f"{'x' * 30} {'y' * 30}", "", "a b"):
        for most in (1, 2, 10, 31):
            pieces = list(held_out.cut(document, most))
            assert max(map(len, pieces)) <= most
            at = 0
            for piece in pieces:
                at += document.startswith(" ", at) and not document.startswith(piece, at)
                assert document.startswith(piece, at)
                at += len(piece)
            assert at == len(document)


def test_shares_are_kept_and_equal_documents_stay_together() -> None:
    kinds = [SHARES.kind(f"document {n}") for n in range(20_000)]
    of = {kind: kinds.count(kind) / len(kinds) for kind in held_out.KINDS}
    assert of == pytest.approx({"test": 0.1, "select": 0.1, "guide": 0.05, "train": 0.75}, abs=0.01)
    more = Shares(test=0.1, select=0.1, guide=0.1)  # moves nothing into test or select
    assert all(
        more.kind(f"document {n}") == kind for n, kind in enumerate(kinds) if kind in ("test", "select")
    )


def test_one_at_a_time_makes_parts(tmp_path: Path) -> None:
    with turn(tmp_path, wait=False) as mine:
        assert mine
        with turn(tmp_path, wait=False) as another:
            assert not another
    with turn(tmp_path, wait=False) as again:
        assert again


MAKER = """
import sys
from pathlib import Path
from trainer.config import DataConfig
from trainer.data.documents import documents
from trainer.data.parts import Parts, turn
from trainer.data.vocabulary import Vocabulary
from tests.trainer.data.test_parts import SHARES

folder, size = Path(sys.argv[1]), int(sys.argv[2])
text = documents(DataConfig(source="text", path=str(folder / "notes.txt")), home=folder)
parts = Parts.under(folder / "home", text, SHARES, Vocabulary.from_file(folder / "a.model"), part_tokens=size)
with turn(parts.folder, wait=True) as mine:
    for number in parts.make(upto=10**9):
        print(number, flush=True)
"""


def _maker(folder: Path, size: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(folder), str(size)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


def test_a_maker_that_is_killed_is_followed_by_one_that_waited_bit_for_bit(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    every = lines(4_000)
    found = text(tmp_path, every)
    vocabulary.save(tmp_path / "a.model")
    parts = parts_of(tmp_path, found, vocabulary, 64)
    first = _maker(tmp_path, 64)
    assert first.stdout is not None
    while int(first.stdout.readline()) < 50:
        pass
    second = _maker(tmp_path, 64)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert parts.end() is None
    finished = {file.name: os.stat(file) for file in parts.folder.glob("*.tokens")}
    made, _ = second.communicate(timeout=120)
    assert second.returncode == 0
    numbers = [int(line) for line in made.split()]
    last = max(int(name.removesuffix(".tokens")) for name in finished)
    assert numbers == list(range(last + 1, parts.count(len(joined(parts)))))
    assert joined(parts) == tokens(every, vocabulary)
    for name, before in finished.items():
        after = os.stat(parts.folder / name)
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_somebody_left_unfinished_long_ago_is_taken_away(vocabulary: Vocabulary, tmp_path: Path) -> None:
    parts = parts_of(tmp_path, text(tmp_path, lines(9)), vocabulary, 100)
    parts.folder.mkdir(parents=True)
    old, new = (parts.folder / f"unfinished-{word}-000000.tokens" for word in ("old", "new"))
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    list(parts.make(upto=10**9))
    assert (old.exists(), new.exists()) == (False, True)


def test_parts_are_read_where_they_lie_and_cannot_be_written(vocabulary: Vocabulary, tmp_path: Path) -> None:
    parts = parts_of(tmp_path, text(tmp_path, lines(60)), vocabulary, 100)
    list(parts.make(upto=0))
    found = parts.read(0)
    assert isinstance(found, np.memmap)
    assert found.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
