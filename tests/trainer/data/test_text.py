"""Does unlabelled text become a vocabulary and streams, while most of it is still to be read?"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.trainer.data.prepared_sets import write_set
from tests.trainer.data.test_parts import lines
from trainer.config import DataConfig
from trainer.data import awaited, held_out
from trainer.data.awaited import Awaited
from trainer.data.contract import DataError
from trainer.data.corpus import openings
from trainer.data.held_out import Shares
from trainer.data.parts import turn
from trainer.data.streams import Stream, Text
from trainer.data.text import open_text, opened
from trainer.data.vocabulary import END, Given

ROOT = str(Path(__file__).parents[3])


def write(folder: Path, every: list[str]) -> DataConfig:
    (folder / "notes.txt").write_text("\n".join(every) + "\n")
    return DataConfig(source="text", path=str(folder / "notes.txt"), vocabulary=150)


def read(stream: Stream) -> list[int]:
    found: list[int] = []
    for number in range(10**9):
        try:
            found += stream.part(number).tolist()
        except IndexError:
            assert stream.parts() == number
            return found
    raise AssertionError


def documents_in(text: Text, ids: list[int]) -> list[str]:
    ends = [at for at, each in enumerate(ids) if each == END]
    starts = [0, *(end + 1 for end in ends)]
    return text.vocabulary.decode([ids[start:end] for start, end in zip(starts, ends, strict=False)])


def plain(data: DataConfig, home: Path, **more: Any) -> Text:
    given = {"guide_tokens": 100, "part_tokens": 500, "beside": False, **more}
    return opened(data, home=home, **given)


def test_every_document_is_in_one_split(tmp_path: Path) -> None:
    every = lines(900)
    text = plain(write(tmp_path, [*every, "", *every[:100]]), tmp_path / "home")
    streams = {"train": text.train, "guide": text.guide, "select": text.select, "test": text.test("why")}
    found = {name: documents_in(text, read(stream)) for name, stream in streams.items()}
    assert sorted(chain.from_iterable(found.values())) == sorted([*every, *every[:100]])
    for name, of_it in found.items():
        for other in found.keys() - {name}:
            assert not {*of_it} & {*found[other]}
    assert text.guide.parts() == text.select.parts() == 1
    with pytest.raises(IndexError):
        text.guide.part(1)


def test_the_record_has_the_counts(tmp_path: Path) -> None:
    text = plain(write(tmp_path, [*lines(900), ""]), tmp_path / "home", part_tokens=10**6)
    record = json.loads(json.dumps(text.record))
    assert record["whole"] is True
    assert sum(record["documents"].values()) == 900
    assert record["empty"] == 1
    assert record["tokens"] == {
        "train": len(read(text.train)),
        "guide": len(text.guide.part(0)),
        "select": len(text.select.part(0)),
    }
    assert record["shares"] == {"test": 0.05, "select": 0.05, "guide": 0.01}
    assert text.name == "text notes.txt"


def test_the_embedding_has_rows_for_sentinels_above_the_pieces(tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    words = plain(data, tmp_path / "home").vocabulary
    assert (words.pieces, words.size, words.sentinels[0], len(words.sentinels)) == (150, 256, 249, 100)
    more = plain(replace(data, sentinels=107), tmp_path / "home").vocabulary
    assert (more.pieces, more.size, more.sentinels[0], len(more.sentinels)) == (150, 384, 256, 107)
    assert more.fingerprint == words.fingerprint


def test_a_vocabulary_that_is_given_is_taken(tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    theirs = plain(data, tmp_path / "home").vocabulary
    theirs.save(tmp_path / "spiece.model")
    other = DataConfig(source="text", path=data.path)
    text = plain(other, tmp_path / "other", given=Given(tmp_path / "spiece.model"))
    assert text.vocabulary.fingerprint == theirs.fingerprint
    assert not list((tmp_path / "other").glob("vocabulary-*"))


def test_fewer_pieces_are_learned_where_the_text_does_not_carry_them(tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    few = plain(DataConfig(source="text", path=data.path), tmp_path / "home")
    assert 150 < few.vocabulary.pieces < 32_000
    with pytest.raises(DataError, match=r"The vocabulary is to have 9,999 pieces, and this text carries"):
        plain(DataConfig(source="text", path=data.path, vocabulary=9_999), tmp_path / "home")


def test_the_guide_split_grows_until_it_has_a_batch(tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    small, large = (plain(data, tmp_path / "home", guide_tokens=tokens) for tokens in (100, 5_000))
    assert small.record["shares"]["guide"] == 0.01
    share = large.record["shares"]["guide"]
    assert np.log2(share / 0.01) % 1 == pytest.approx(0, abs=1e-6)
    assert len(large.guide.part(0)) >= 5_000
    assert (
        small.select.part(0).tolist() == large.select.part(0).tolist() or small.vocabulary != large.vocabulary
    )
    with pytest.raises(DataError) as refused:
        plain(data, tmp_path / "home", guide_tokens=10**6)
    assert str(refused.value).startswith(
        "Guidance asks for 1,000,000 held-out tokens, and half of the documents of text notes.txt have "
    )


@pytest.mark.parametrize("every", [["one document", "two documents"], ["", ""]])
def test_a_text_of_too_few_documents_is_refused(every: list[str], tmp_path: Path) -> None:
    data = replace(write(tmp_path, every), vocabulary=0)
    with pytest.raises(DataError) as refused:
        plain(data, tmp_path / "home", guide_tokens=1)
    assert str(refused.value) == (
        "text notes.txt has too few documents: a hash of each says to which split it falls, and none falls "
        "to train. Give it more."
    )


def test_held_out_text_of_a_large_one_is_of_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "SMALL_LETTERS", 10_000)
    monkeypatch.setattr("trainer.data.text.MOST_TOKENS", 200)
    every = lines(6_000)
    data = write(tmp_path, every)
    text = plain(data, tmp_path / "home", guide_tokens=300, part_tokens=20_000)
    shares = Shares(test=0.01, select=0.01, guide=0.01)
    assert text.record["shares"] == {"test": 0.01, "select": 0.01, "guide": 0.01}
    assert (len(text.select.part(0)), len(text.guide.part(0)), len(text.test("why").part(0))) == (
        200,
        300,
        200,
    )
    selected = documents_in(text, text.select.part(0).tolist())
    expected = [line for line in every if shares.kind(line) == "select"]
    assert selected == expected[: len(selected)]
    train = documents_in(text, read(text.train))
    assert train == [line for line in every if shares.kind(line) == "train"]  # nothing that is held out later


def test_what_is_there_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path, lines(900))
    first = plain(data, tmp_path / "home")
    before = read(first.train)

    def unread(*_: Any, **__: Any) -> Any:
        raise AssertionError("the text is read again")

    monkeypatch.setattr(held_out, "encoded", unread)
    monkeypatch.setattr("trainer.data.parts.encoded", unread)
    monkeypatch.setattr("trainer.data.documents._of_texts", unread)
    again = plain(data, tmp_path / "home")
    assert again.fingerprint == first.fingerprint
    assert read(again.train) == before


def test_opening_the_test_split_is_written_down(tmp_path: Path) -> None:
    text = plain(write(tmp_path, lines(900)), tmp_path / "home")
    assert openings(tmp_path / "home") == []
    assert len(text.test("a final score").part(0)) > 0
    assert [(line["corpus"], line["why"], line["fingerprint"]) for line in openings(tmp_path / "home")] == [
        ("text notes.txt", "a final score", text.fingerprint)
    ]


@pytest.mark.parametrize("most", [1, 499, 500, 501, 1_250])
def test_only_the_first_tokens_are_trained_on(most: int, tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    whole = plain(data, tmp_path / "home")
    text = plain(replace(data, tokens=most), tmp_path / "home")
    assert read(text.train) == read(whole.train)[:most]
    assert isinstance(text.train, Awaited)
    assert text.train.tokens() == most
    assert text.fingerprint != whole.fingerprint
    assert [len(text.train.part(i)) for i in range(-(-most // 500))][-1] == (most - 1) % 500 + 1


def test_more_tokens_than_there_are_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write(tmp_path, lines(900))
    count = len(read(plain(data, tmp_path / "home").train))
    with caplog.at_level(logging.WARNING, "trainer"):
        text = plain(replace(data, tokens=10**6), tmp_path / "home")
        assert len(read(text.train)) == count
    assert caplog.messages == [
        f"text notes.txt has {count:,} tokens to train on, and data.tokens is 1,000,000: all of them are "
        f"used."
    ]


def test_text_is_kept_in_memory_and_read_anew_when_it_was_edited(tmp_path: Path) -> None:
    data = write(tmp_path, lines(900))
    before = open_text(data, home=tmp_path / "home", guide_tokens=10)
    assert open_text(data, home=tmp_path / "home", guide_tokens=10) is before
    write(tmp_path, lines(901, seed=1))
    after = open_text(data, home=tmp_path / "home", guide_tokens=10)
    assert after.fingerprint != before.fingerprint


def test_a_process_beside_makes_the_same_parts(tmp_path: Path) -> None:
    data = write(tmp_path, lines(6_000))
    alone = plain(data, tmp_path / "one", part_tokens=20_000)
    assert alone.train.parts() is None
    text = plain(data, tmp_path / "two", part_tokens=20_000, beside=True)
    assert isinstance(text.train, Awaited)
    assert text.train._process is not None
    assert text.train._process.wait(timeout=60) == 0
    parts = text.train.parts()
    assert read(text.train) == read(alone.train)
    assert alone.train.parts() == parts


def test_a_run_that_waits_sees_a_part_that_another_has_made(tmp_path: Path) -> None:
    text = plain(write(tmp_path, lines(6_000)), tmp_path / "home")
    assert isinstance(text.train, Awaited)
    parts = text.train._parts
    seen: list[Any] = []
    with turn(parts.folder, wait=False) as mine:
        assert mine
        waiting = threading.Thread(target=lambda: seen.append(text.train.part(3)))
        waiting.start()
        assert list(parts.make(upto=3)) == [1, 2, 3]
        waiting.join(timeout=60)  # while the turn is still this one's
    assert seen[0].tolist() == parts.read(3).tolist()  # type: ignore[union-attr]


def test_what_is_wrong_far_behind_is_met_by_the_run_that_comes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "SMALL_LETTERS", 10_000)
    monkeypatch.setattr("trainer.data.text.LEARNED_FROM", 10_000)
    monkeypatch.setattr("trainer.data.text.MOST_TOKENS", 200)
    data = write(tmp_path, lines(20_000))
    with (tmp_path / "notes.txt").open("ab") as file:
        file.write(b"bad \xff\n")
    text = plain(data, tmp_path / "home", part_tokens=20_000, beside=True)
    with pytest.raises(DataError, match=r"notes\.txt, line 20001: byte 5 is 0xff, not UTF-8"):
        read(text.train)


def test_a_text_that_was_changed_while_it_was_read_is_refused(tmp_path: Path) -> None:
    text = plain(write(tmp_path, lines(6_000)), tmp_path / "home")
    write(tmp_path, lines(6_001, seed=1))
    with pytest.raises(DataError) as refused:
        text.train.part(1)
    assert str(refused.value) == "text notes.txt was changed while it was read. Start the run again."


def test_progress_is_said_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(awaited, "SAYS_EVERY_S", 0.0)
    data = write(tmp_path, lines(900))
    with caplog.at_level(logging.INFO, "trainer"):
        plain(data, tmp_path / "home")
        read(plain(replace(data, tokens=2_000), tmp_path / "home").train)
    assert {*caplog.messages} >= {
        "text notes.txt: 500 tokens are there, about 25 % of what is read; the rest is made.",
        "text notes.txt: 1,500 tokens are there, about 75 % of what is read; the rest is made.",
    }
    assert not any("2,000 tokens" in message for message in caplog.messages)
    assert re.fullmatch(
        r"text notes\.txt: 500 tokens are there, about \d % of what is read; the rest is made\.",
        caplog.messages[0],
    )


def test_a_prepared_set_is_read_with_its_validation_as_select(tmp_path: Path) -> None:
    library = pytest.importorskip("tensorflow_datasets")
    library.disable_progress_bar()
    every = lines(900)
    rows = [{"text": line, "url": "https://example.com"} for line in every]
    features = library.features.FeaturesDict(
        {"text": library.features.Text(), "url": library.features.Text()}
    )
    write_set(tmp_path / "c4/en", features, {"train": rows[:800], "validation": rows[800:]})
    data = DataConfig(source="tfds:c4/en", path=str(tmp_path), vocabulary=150)
    text = plain(data, tmp_path / "home", beside=True)
    assert sorted(documents_in(text, text.select.part(0).tolist())) == sorted(every[800:])
    streams = (text.train, text.guide, text.test("why"))
    found = [documents_in(text, read(stream)) for stream in streams]
    assert sorted(chain.from_iterable(found)) == sorted(every[:800])
    assert text.record["shares"]["select"] == 0


OPENER = """
import sys
from pathlib import Path
from trainer.config import DataConfig
from trainer.data import held_out, text
from trainer.data.text import opened

held_out.SMALL_LETTERS = text.LEARNED_FROM = 100_000
data = DataConfig(source="text", path=sys.argv[1], vocabulary=150)
text = opened(data, home=Path(sys.argv[2]), guide_tokens=100, part_tokens=500)
print(text.train._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_beside_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    random = Random(0)
    every = lines(1_000)
    data = write(tmp_path, [random.choice(every) for _ in range(300_000)])  # more than is made meanwhile
    run = subprocess.Popen(
        [sys.executable, "-c", OPENER, data.path, str(tmp_path / "home")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert run.stdout is not None
    beside = os.pidfd_open(int(run.stdout.readline()))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert select.select([beside], [], [], 60)[0]  # it has ended
    os.close(beside)
    assert not list((tmp_path / "home/text").glob("*/end.json"))


MEASURED = """
import resource, sys
from pathlib import Path
from trainer.config import DataConfig
from trainer.data.text import opened

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak()
data = DataConfig(source="text", path=sys.argv[1])
text = opened(data, home=Path(sys.argv[2]), guide_tokens=2**16, beside=False)
begun = peak()
number = 0
while True:
    try:
        text.train.part(number)
    except IndexError:
        break
    number += 1
print(begun - before, peak() - begun, number)
"""


@pytest.mark.slow  # that parts are made of any text shows tests/trainer/data/test_parts.py
def test_a_text_of_any_size_takes_under_500_mb(tmp_path: Path) -> None:
    """Of 80 MB, with 60,000 different words; measured in a process of its own."""
    random = Random(0)
    words = ["".join(random.choices("etaoinshrdlucmfwyp", k=random.randint(2, 11))) for _ in range(60_000)]
    with (tmp_path / "notes.txt").open("w") as file:
        for _ in range(64_000):
            file.write(" ".join(random.choices(words, k=150)) + "\n")
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "notes.txt"), str(tmp_path / "home")],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    begun, grown, parts = map(int, measured.stdout.split())
    assert parts >= 4
    assert begun < 500
    assert grown < 20  # later parts take nothing more
