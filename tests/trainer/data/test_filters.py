"""Does each filter drop exactly the pairs that it should, and count them?"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.data import filters
from trainer.data.filters import Count, Survey

GERMAN = (
    "Wir haben gestern im Garten hinter dem Haus zusammen gegessen.",
    "Die Kinder gehen jeden Morgen um acht Uhr in die Schule.",
    "Ich weiß nicht, ob er heute noch kommen wird.",
)
ENGLISH = (
    "Yesterday we had dinner together in the garden behind the house.",
    "The children go to school every morning at eight o'clock.",
    "I do not know whether he will still come today.",
)


Judge = Callable[[str, str], bool]


@pytest.fixture(scope="module")
def foreign() -> Judge:
    judge = filters.identifier("de-en")
    assert judge is not None
    return judge


def words(count: int) -> str:
    return " ".join(["wort"] * count)


def kept(pairs: list[tuple[str, str]], *names: str) -> list[int]:
    return filters.sift(filters.survey(pairs), names=names)[0].tolist()


def test_a_pair_with_an_empty_side_is_dropped() -> None:
    assert kept([("a", "b"), ("", "b"), ("a", " "), ("", "")], "empty") == [0]


def test_a_side_of_more_than_250_words_is_dropped() -> None:
    pairs = [(words(250), words(250)), (words(251), words(250)), (words(250), words(251))]
    assert kept(pairs, "length") == [0]


def test_a_side_three_times_as_long_is_dropped_but_one_word_may_stand_for_nine() -> None:
    pairs = [
        (words(n), words(m)) for n, m in [(1, 9), (1, 10), (4, 12), (4, 13), (13, 4), (10, 30), (31, 10)]
    ]
    assert kept(pairs, "length ratio") == [0, 2, 5]


def test_the_first_of_equal_pairs_stays_and_another_translation_too() -> None:
    pairs = [("b", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("ax", ""), ("", "ax"), ("a", "x")]
    assert kept(pairs, "duplicates") == [0, 1, 3, 4, 5]


def test_counts_follow_each_other_and_agree_with_a_plain_loop() -> None:
    draw = random.Random(0)
    pairs = [
        (words(draw.choice([0, 1, 2, 9, 40, 300])), words(draw.choice([0, 1, 8, 40, 260])))
        for _ in range(400)
    ]
    rules = {
        "empty": lambda s, t: bool(s and t),
        "length": lambda s, t: len(s.split()) <= 250 and len(t.split()) <= 250,
        "length ratio": lambda s, t: (
            max(len(s.split()), len(t.split())) <= 3 * max(3, min(len(s.split()), len(t.split())))
        ),
    }
    left, expected = list(enumerate(pairs)), []
    for name, rule in rules.items():
        passed = [(at, pair) for at, pair in left if rule(*pair)]
        expected.append(Count(name, len(left), len(passed)))
        left = passed
    first = {pair: at for at, pair in reversed(left)}
    expected.append(Count("duplicates", len(left), len(first)))
    found, counts = filters.sift(
        filters.survey(pairs), names=("empty", "length", "length ratio", "duplicates")
    )
    assert counts == expected
    assert found.tolist() == sorted(first.values())


def test_swapped_and_copied_sides_are_in_another_language(foreign: Judge) -> None:
    for german, english in zip(GERMAN, ENGLISH, strict=True):
        assert not foreign(german, english)
        assert foreign(english, german)
        assert foreign(english, english)
        assert foreign(german, german)


def test_a_text_without_letters_is_in_no_other_language(foreign: Judge) -> None:
    assert not foreign("42", "42")
    assert not foreign("3 + 4 = 7", "3 + 4 = 7")


def test_languages_that_the_library_lacks_are_not_identified() -> None:
    assert filters.identifier("de-qqq") is None


def test_the_language_filter_counts_what_it_drops(foreign: Judge) -> None:
    pairs = [(GERMAN[0], ENGLISH[0]), (ENGLISH[1], GERMAN[1]), ("", ""), (GERMAN[2], ENGLISH[2])]
    text = filters.survey(pairs, foreign=foreign)
    assert text.identified
    found, counts = filters.sift(text, names=("empty", "language"))
    assert (found.tolist(), counts) == ([0, 3], [Count("empty", 4, 3), Count("language", 3, 2)])
    assert not filters.survey(pairs).identified


def test_a_survey_survives_the_disk(tmp_path: Path) -> None:
    text = filters.survey([("a b", "c"), ("d", "e f g")])
    text.save(tmp_path / "text.npz")
    again = Survey.load(tmp_path / "text.npz")
    assert again is not None
    for name in ("source", "both", "source_words", "target_words", "languages"):
        np.testing.assert_array_equal(getattr(text, name), getattr(again, name))
    assert again.source_words.tolist() == [2, 1]
    assert again.target_words.tolist() == [1, 3]


def test_a_damaged_survey_is_none(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    filters.survey([("a b", "c")] * 50).save(whole)
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:-200])
    (tmp_path / "none.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", source=np.zeros(3))
    for name in ("half", "none", "other", "absent"):
        assert Survey.load(tmp_path / f"{name}.npz") is None


def test_progress_is_told_in_a_long_text() -> None:
    said: list[str] = []
    filters.survey([("a", "b")] * 200_001, tell=said.append)
    assert said == ["100,000 of 200,001 pairs read", "200,000 of 200,001 pairs read"]
