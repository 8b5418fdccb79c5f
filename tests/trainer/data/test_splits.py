"""Is each split cut from the text alone, with nothing of it in another, and is every opening written down?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from trainer.config import DataConfig
from trainer.data import filters, splits
from trainer.data.contract import Corpus, DataError, Pairs
from trainer.data.corpus import open_corpus, openings

Text = list[tuple[str, str]]


def text(count: int, *, start: int = 0) -> Text:
    return [(f"Satz {n} von vielen", f"sentence {n} of many") for n in range(start, start + count)]


def write(file: Path, pairs: Text) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    return file


def opened(path: Path, home: Path, *, guide_pairs: int = 0, **more: object) -> Corpus:
    config = DataConfig(source="files", path=str(path), identify_languages=False, **more)  # type: ignore[arg-type]
    return open_corpus(config, home=home, guide_pairs=guide_pairs)


def all_of(pairs: Pairs) -> Text:
    return [pairs[at] for at in range(len(pairs))]


def parts(corpus: Corpus) -> dict[str, Text]:
    named = {
        "train": corpus.train,
        "guide": corpus.guide,
        "select": corpus.select,
        "test": corpus.test("a test"),
    }
    return {name: all_of(pairs) for name, pairs in named.items()}


def sources(pairs: Sequence[tuple[str, str]]) -> set[str]:
    return {source for source, _ in pairs}


# -- the parts by themselves -----------------------------------------------------------------------------


def test_a_held_out_part_takes_all_translations_of_a_sentence_out_of_the_rest() -> None:
    hashes = np.array([5, 1, 5, 3, 1, 9, 1, 7], dtype=np.uint64)
    held, rest = splits.hold_out(np.arange(8), hashes, size=2)
    assert held.tolist() == [1, 4]  # of the three with the lowest hash
    assert rest.tolist() == [0, 2, 3, 5, 7]  # the third of them is in neither


def test_overlaps_agree_with_a_plain_count() -> None:
    named: dict[str, Text] = {
        "train": [("a", "1"), ("b", "2"), ("c", "3")],
        "guide": [("d", "4")],
        "select": [("a", "1"), ("a", "x"), ("e", "5"), ("d", "y")],
        "test": [("e", "5"), ("c", "z")],
    }
    expected = {}
    names = list(named)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            expected[f"{one}-{other}"] = {
                "sources": sum(source in sources(named[one]) for source, _ in named[other]),
                "pairs": sum(pair in named[one] for pair in named[other]),
            }
    assert splits.overlaps({name: filters.survey(pairs) for name, pairs in named.items()}) == expected
    assert expected["train-select"] == {"sources": 2, "pairs": 1}


@pytest.mark.parametrize(
    ("train", "share", "at_least", "size"),
    [(100_000, 0.01, 0, 1000), (100_000, 0.01, 2300, 2300), (1000, 0.01, 32, 64), (100, 0.01, 0, 50)],
)
def test_guidance_has_a_share_a_batch_or_64_pairs_but_half_at_most(
    train: int, share: float, at_least: int, size: int
) -> None:
    assert splits.guide_size(train, share=share, at_least=at_least) == size


def test_a_guidance_batch_beyond_half_of_the_text_is_refused() -> None:
    with pytest.raises(DataError) as refused:
        splits.guide_size(100, share=0.01, at_least=51)
    assert str(refused.value).startswith(
        "Guidance asks for 51 held-out pairs, and the text has 100 to train on."
    )


def test_a_view_of_a_view_gives_the_pairs_that_its_numbers_name() -> None:
    class Numbered:
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> tuple[str, str]:
            return str(index), str(-index)

    view = splits.choose(splits.choose(Numbered(), np.arange(10, 60)), np.array([3, 0, 49]))
    assert all_of(view) == [("13", "-13"), ("10", "-10"), ("59", "-59")]
    assert list(filters.in_order(view)) == all_of(view)


# -- the corpus ------------------------------------------------------------------------------------------


def test_one_text_becomes_four_splits_that_share_nothing(tmp_path: Path) -> None:
    pairs = [*text(1000), *text(200), *[(s, t + "!") for s, t in text(300)]]
    corpus = opened(write(tmp_path / "all.tsv", pairs), tmp_path)
    found = parts(corpus)
    assert {name: len(part) for name, part in found.items()} == corpus.record["splits"]
    assert len(found["test"]) == len(found["select"]) == 65  # 5 % of 1,300
    assert len(found["guide"]) == 64
    names = list(found)
    assert not any(sources(found[a]) & sources(found[b]) for a in names for b in names if a < b)
    assert corpus.record["overlap"] == 0
    assert corpus.record["duplicates"] == 200
    counts = {count["name"]: (count["before"], count["after"]) for count in corpus.record["filters"]}
    assert counts["duplicates"] == (1500, 1300)
    assert counts["in another split"] == (1300, corpus.record["pairs"])
    assert 1290 <= sum(map(len, found.values())) == corpus.record["pairs"]
    assert set().union(*map(set, found.values())) <= set(pairs)


def test_the_text_alone_decides_the_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "all.tsv", text(500))
    one, two = opened(path, tmp_path / "one"), opened(path, tmp_path / "two")
    assert one.fingerprint == two.fingerprint
    assert parts(one) == parts(two)
    shuffled = opened(write(tmp_path / "turned.tsv", text(500)[::-1]), tmp_path)
    assert {name: set(part) for name, part in parts(shuffled).items()} == {
        name: set(part) for name, part in parts(one).items()
    }
    assert shuffled.fingerprint != one.fingerprint  # the order is part of the text
    changed = opened(write(tmp_path / "one.tsv", [("anders", "different"), *text(500)[1:]]), tmp_path)
    assert changed.fingerprint != one.fingerprint


def test_given_splits_stay_whole_and_train_loses_what_they_have(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    write(folder / "train.tsv", text(500))
    write(folder / "dev.tsv", [*text(10), *text(5)])
    write(folder / "test.tsv", [(s, t + " anew") for s, t in text(20, start=490)])
    corpus = opened(folder, tmp_path)
    found = parts(corpus)
    assert found["select"] == [*text(10), *text(5)]
    assert found["test"] == [(s, t + " anew") for s, t in text(20, start=490)]
    assert set(found["train"]) | set(found["guide"]) == set(text(480, start=10))
    assert corpus.record["overlap"] == 0
    assert corpus.record["filters"][-1] == {"name": "in another split", "before": 500, "after": 480}


def test_what_given_splits_share_with_each_other_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    write(folder / "train.tsv", text(500))
    write(folder / "dev.tsv", text(10, start=1000))
    write(folder / "test.tsv", text(10, start=1007))
    record = opened(folder, tmp_path).record
    assert record["overlap"] == 3
    assert record["overlaps"]["select-test"] == {"sources": 3, "pairs": 3}


def test_the_first_pairs_are_used_where_there_is_a_most(tmp_path: Path) -> None:
    path = write(tmp_path / "all.tsv", text(500))
    few = opened(path, tmp_path, pairs=200)
    assert set().union(*map(set, parts(few).values())) == set(text(200))


def test_guidance_gets_its_batch(tmp_path: Path) -> None:
    path = write(tmp_path / "all.tsv", text(500))
    assert len(opened(path, tmp_path, guide_pairs=100).guide) == 100
    assert len(opened(path, tmp_path, guide_share=0.25).guide) == (500 - 50) // 4


def test_the_record_is_json_and_has_the_lengths_of_train(tmp_path: Path) -> None:
    corpus = opened(write(tmp_path / "all.tsv", text(500)), tmp_path)
    assert json.loads(json.dumps(corpus.record)) == corpus.record
    assert corpus.record["lengths"]["source"] == {"mean": 4.0, "median": 4.0, "longest": 4}
    assert corpus.record["languages_identified"] is False


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        opened(write(tmp_path / "few.tsv", text(3) * 5), tmp_path)
    assert "leaves 3 pairs to train on" in str(refused.value)


def test_every_opening_of_the_test_split_is_written_down(tmp_path: Path) -> None:
    path, home = write(tmp_path / "all.tsv", text(500)), tmp_path / "home"
    corpus = opened(path, home)
    assert openings(home) == []
    corpus.test("the first")
    opened(path, home).test("the second, ä")
    opened(path, home).test("the first")  # another process of the same run
    lines = openings(home)
    assert [line["why"] for line in lines] == ["the first", "the second, ä"]
    assert {line["fingerprint"] for line in lines} == {corpus.fingerprint}
    assert {line["corpus"] for line in lines} == {"files all.tsv de-en"}
    assert lines[0]["unix_s"] <= lines[1]["unix_s"]


def test_languages_are_looked_at_once_and_then_read_from_disk(tmp_path: Path) -> None:
    german = [
        ("Das ist der Satz mit der Nummer " + str(n), f"This is the sentence number {n}") for n in range(99)
    ]
    swapped = [("This is an English sentence here.", "Das ist ein deutscher Satz, nicht wahr?")]
    path = write(tmp_path / "all.tsv", [*german, *swapped])
    config = DataConfig(source="files", path=str(path))
    one = open_corpus(config, home=tmp_path)
    made = list((tmp_path / "surveys").iterdir())
    stamp = [file.stat().st_mtime_ns for file in made]
    two = open_corpus(config, home=tmp_path)
    assert [file.stat().st_mtime_ns for file in (tmp_path / "surveys").iterdir()] == stamp
    assert len(stamp) == 1
    assert one.fingerprint == two.fingerprint
    assert {"name": "language", "before": 100, "after": 99} in two.record["filters"]
    assert two.record["languages_identified"] is True


def test_the_embedded_corpus_has_the_pairs_asked_for_and_no_overlap(tmp_path: Path) -> None:
    corpus = open_corpus(DataConfig(pairs=300), home=tmp_path)
    found = parts(corpus)
    assert {name: len(part) for name, part in found.items()} | {"train": 0} == {
        "train": 0,
        "guide": 64,
        "select": 500,
        "test": 500,
    }
    assert 230 <= len(found["train"]) <= 236
    assert corpus.record["overlap"] == 0
    turned = open_corpus(DataConfig(pairs=300, pair="en-de"), home=tmp_path)
    everything = set().union(*map(set, found.values()))
    assert sum((t, s) in everything for s, t in turned.train) == len(turned.train)  # type: ignore[attr-defined]
