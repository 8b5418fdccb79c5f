"""Does a vocabulary give sentences back, and is it the same wherever it was made?"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.contract import DataError
from trainer.data.vocabulary import END, PAD, UNKNOWN, TooManyPieces, Vocabulary, _sample, vocabulary

ROOT = Path(__file__).parents[3]
TEXT = "der Hund läuft über Straße kissa hyppää pöydälle žuvis ėjo į mišką 12 345,67 € the dog runs"


def pairs(count: int = 300) -> list[tuple[str, str]]:
    rng, words = random.Random(0), TEXT.split()
    return [(" ".join(rng.choices(words, k=5)), " ".join(rng.choices(words, k=4))) for _ in range(count)]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return vocabulary(pairs(), size=60, fingerprint="a", home=tmp_path_factory.mktemp("home"))


@given(sentence=st.text(alphabet=sorted(set(TEXT)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_whatever_the_letters_of_the_text_spell_comes_back(words: Vocabulary, sentence: str) -> None:
    """Also spaces at the ends, and two in a row."""
    assert words.decode(words.encode([sentence])) == [sentence]


def test_sentences_of_the_text_come_back_letter_for_letter(words: Vocabulary) -> None:
    sentences = [side for pair in pairs() for side in pair]
    assert words.decode(words.encode(sentences)) == sentences


def test_special_ids_are_not_spoken_and_unknown_letters_are_lost_alone(words: Vocabulary) -> None:
    (ids,) = words.encode(["der Hund"])
    assert words.decode([[PAD, *ids, END, PAD, UNKNOWN, words.size + 5]]) == ["der Hund"]
    assert min(ids) > UNKNOWN
    (with_unknown,) = words.encode(["der 漢 Hund"])
    assert with_unknown.count(UNKNOWN) == 1
    assert words.decode([with_unknown]) == ["der  Hund"]


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
    with pytest.raises(DataError, match=r"the letters of this text alone need \d+"):
        vocabulary(pairs(), size=10, fingerprint="a", home=tmp_path)


def test_text_without_a_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no sentence to learn a vocabulary from"):
        vocabulary([], size=10, fingerprint="a", home=tmp_path)


def test_a_file_that_holds_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.model").write_bytes(b"not a model")
    for name in ("broken.model", "absent.model"):
        with pytest.raises(DataError, match=rf"{name} is no vocabulary that can be read"):
            Vocabulary.from_file(tmp_path / name)


def test_a_large_text_is_learned_from_in_evenly_spread_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.vocabulary.LEARNED_FROM", 4)
    text = [(f"s{i}", f"t{i}") for i in range(10)]
    assert list(_sample(text)) == ["s0", "t0", "s3", "t3", "s6", "t6", "s9", "t9"]


def test_two_processes_at_once_do_no_harm_and_say_nothing(tmp_path: Path, words: Vocabulary) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.trainer.data.test_vocabulary import pairs\n"
        "from trainer.data.examples import examples; from trainer.data.vocabulary import vocabulary\n"
        "home = Path(sys.argv[1]); v = vocabulary(pairs(), size=60, fingerprint='a', home=home)\n"
        "print(v.fingerprint, len(examples(pairs(), v, longest=64, key='train', home=home)))"
    )
    asked = [sys.executable, "-c", code, str(tmp_path)]
    both = [
        subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [each.communicate(timeout=60) for each in both] == [(f"{words.fingerprint} 300\n", "")] * 2
    assert len(list(tmp_path.iterdir())) == 2  # a vocabulary, a folder of tokens, nothing unfinished
