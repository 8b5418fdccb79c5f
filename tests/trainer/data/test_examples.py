"""Is a split's text kept as its tokens, whole, once, and apart from every other's?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.data import examples as module
from trainer.data.contract import DataError
from trainer.data.examples import Examples, examples
from trainer.data.vocabulary import END, Vocabulary, vocabulary

PAIRS = [(f"{i} katt{'a' * (i % 5)}", f"der {i} Hund{'e' * (i % 3)}") for i in range(200)]


class Unreadable(list[tuple[str, str]]):
    """Pairs whose number is known, and which nobody may read again."""

    def __getitem__(self, index: object) -> tuple[str, str]:  # type: ignore[override]
        raise AssertionError("The text was read again.")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary(PAIRS, size=40, fingerprint="a", home=tmp_path_factory.mktemp("home"))


def told(made: Examples, side: str) -> list[list[int]]:
    flat, starts = getattr(made, side), getattr(made, f"{side}_starts")
    return [flat[starts[i] : starts[i + 1]].tolist() for i in range(len(made))]


def test_every_sentence_is_there_in_order_with_its_end(
    tmp_path: Path, words: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_A_TIME", 64)  # several blocks
    made = examples(PAIRS, words, longest=64, key="train", home=tmp_path)
    for number, side in enumerate(("source", "target")):
        assert told(made, side) == [[*ids, END] for ids in words.encode([pair[number] for pair in PAIRS])]
        assert getattr(made, f"{side}_lengths").tolist() == [len(row) for row in told(made, side)]
    assert (made.source.dtype, made.too_long) == (np.dtype(np.int32), 0)


def test_what_is_kept_is_mapped_and_not_made_again(tmp_path: Path, words: Vocabulary) -> None:
    first = examples(PAIRS, words, longest=7, key="train", home=tmp_path)
    again = examples(Unreadable(PAIRS), words, longest=7, key="train", home=tmp_path)
    assert isinstance(again.source, np.memmap)
    assert told(again, "target") == told(first, "target")
    assert again.too_long == first.too_long > 0
    assert len(list(tmp_path.iterdir())) == 1


def test_another_text_vocabulary_or_length_is_kept_apart(tmp_path: Path, words: Vocabulary) -> None:
    other = vocabulary(PAIRS, size=45, fingerprint="a", home=tmp_path / "vocabularies")
    examples(PAIRS, words, longest=64, key="train", home=tmp_path / "kept")
    assert len(examples(PAIRS[:9], words, longest=64, key="guide", home=tmp_path / "kept")) == 9
    examples(PAIRS, other, longest=64, key="train", home=tmp_path / "kept")
    examples(PAIRS, words, longest=63, key="train", home=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_long_pairs_are_left_out_whole_and_counted(tmp_path: Path, words: Vocabulary) -> None:
    lengths = [1 + max(map(len, words.encode(pair))) for pair in PAIRS]
    limit = sorted(lengths)[100]
    made = examples(PAIRS, words, longest=limit, key="train", home=tmp_path)
    kept = [pair for pair, length in zip(PAIRS, lengths, strict=True) if length <= limit]
    assert 0 < len(kept) < len(PAIRS)
    assert words.decode(told(made, "source")) == [source for source, _ in kept]
    assert words.decode(told(made, "target")) == [target for _, target in kept]
    assert made.too_long == len(PAIRS) - len(kept)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [(PAIRS, "None of 200 pairs has at most 2 tokens a side"), ([], "The text holds no pairs")],
)
def test_a_split_without_examples_is_refused_and_leaves_nothing(
    tmp_path: Path, words: Vocabulary, pairs: list[tuple[str, str]], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        examples(pairs, words, longest=2, key="train", home=tmp_path)
    assert list(tmp_path.iterdir()) == []
