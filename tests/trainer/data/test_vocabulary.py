"""Does a vocabulary give sentences back, and is it the same wherever it was made?"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from trainer.data.contract import DataError
from trainer.data.examples import examples
from trainer.data.vocabulary import END, PAD, UNKNOWN, TooManyPieces, Vocabulary, vocabulary

TEXT = "der Hund läuft über Straße kissa hyppää pöydälle žuvis ėjo į mišką 12 345,67 € the dog runs"


def pairs(count: int = 300) -> list[tuple[str, str]]:
    rng, words = random.Random(0), TEXT.split()
    return [(" ".join(rng.choices(words, k=5)), " ".join(rng.choices(words, k=4))) for _ in range(count)]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary(pairs(), size=60, fingerprint="a", home=tmp_path_factory.mktemp("home"))


def test_sentences_of_the_text_come_back_letter_for_letter(words: Vocabulary) -> None:
    sentences = [side for pair in pairs() for side in pair]
    assert words.decode(words.encode(sentences)) == sentences


def test_special_ids_are_not_spoken_and_unknown_letters_are_lost_alone(words: Vocabulary) -> None:
    (ids,) = words.encode(["der Hund"])
    assert words.decode([[PAD, *ids, END, PAD, UNKNOWN, words.size + 5]]) == ["der Hund"]
    assert min(ids) > UNKNOWN
    assert words.decode(words.encode(["der 漢 Hund"]))[0].split() == ["der", "Hund"]


def test_it_is_trained_once_and_is_the_same_bytes_if_made_again(tmp_path: Path, words: Vocabulary) -> None:
    again = vocabulary(pairs(), size=60, fingerprint="a", home=tmp_path)
    assert again.fingerprint == words.fingerprint
    (file,) = tmp_path.glob("vocabulary-60-*.model")
    before = file.stat().st_mtime_ns
    assert vocabulary([("never", "read")], size=60, fingerprint="a", home=tmp_path).size == 60
    assert file.stat().st_mtime_ns == before
    saved = tmp_path / "mine.model"
    again.save(saved)
    assert Vocabulary.from_file(saved).encode(["der Hund"]) == words.encode(["der Hund"])


def test_more_pieces_than_the_text_carries_are_refused_with_the_most_that_it_does(tmp_path: Path) -> None:
    with pytest.raises(TooManyPieces, match=r"5,000 pieces, and this text carries \d+ at most") as refusal:
        vocabulary(pairs(), size=5_000, fingerprint="a", home=tmp_path)
    assert (
        vocabulary(pairs(), size=refusal.value.most, fingerprint="a", home=tmp_path).size
        == refusal.value.most
    )


def test_fewer_pieces_than_letters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Raise data\.vocabulary"):
        vocabulary(pairs(), size=10, fingerprint="a", home=tmp_path)


def test_a_split_is_kept_as_tokens_each_sentence_with_its_end(tmp_path: Path, words: Vocabulary) -> None:
    for _ in range(2):  # made, and then read
        made = examples(pairs(), words, longest=64, key="train", home=tmp_path)
        assert len(made) == 300
        ids = made.source[made.source_starts[7] : made.source_starts[8]].tolist()
        assert ids == [*words.encode([pairs()[7][0]])[0], END]
        assert int(made.target_lengths.sum()) == len(made.target)
    assert len(list(tmp_path.iterdir())) == 1


def test_long_pairs_are_left_out_and_counted(words: Vocabulary) -> None:
    lengths = [1 + max(map(len, words.encode(pair))) for pair in pairs()]
    limit = sorted(lengths)[150]
    made = examples(pairs(), words, longest=limit)
    assert len(made) == sum(length <= limit for length in lengths)
    assert len(made) + made.too_long == 300
    assert max(made.source_lengths.max(), made.target_lengths.max()) <= limit
    with pytest.raises(DataError, match="None of 300 pairs has at most 2 tokens a side"):
        examples(pairs(), words, longest=2)
