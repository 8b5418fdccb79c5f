"""Is ROUGE that of Lin's examples and of all subsequences written out?"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.tasks import rouge

UNHURRIED = settings(deadline=None)  # on a busy machine any of them takes longer now and then
FEW = st.lists(st.sampled_from("abc"), max_size=7)
PIECES = ("a", "b", "c", "A", "b-c", "d.", ".", "\n", "é")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map(" ".join)


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def is_within(part: tuple[str, ...], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


@UNHURRIED
@given(FEW, FEW)
def test_what_two_have_in_common_is_as_long_as_the_longest_of_all_subsequences(
    one: list[str], other: list[str]
) -> None:
    places = sorted(rouge.common(one, other))
    assert is_within(tuple(one[place] for place in places), other)
    assert len(set(places)) == len(places)
    every = (tuple(part) for size in range(len(one) + 1) for part in combinations(one, size))
    assert len(places) == max(len(part) for part in every if is_within(part, other))


@UNHURRIED
@given(FEW, FEW, st.sampled_from((1, 2)))
def test_ngrams_are_hit_as_often_as_pairs_of_equal_ones_can_be_made(
    said: list[str], true: list[str], n: int
) -> None:
    mine, theirs = ([tuple(of[i : i + n]) for i in range(len(of) - n + 1)] for of in (said, true))
    left, hits = list(theirs), 0
    for ngram in mine:
        if ngram in left:
            left.remove(ngram)
            hits += 1
    expected = f1(hits / len(mine), hits / len(theirs)) if hits else 0.0
    assert rouge.of_ngrams(" ".join(said), " ".join(true), n) == pytest.approx(expected)


@UNHURRIED
@given(FEW, FEW)
def test_of_one_sentence_each_lsum_is_that_of_their_longest_common_subsequence(
    said: list[str], true: list[str]
) -> None:
    every = (tuple(part) for size in range(len(true) + 1) for part in combinations(true, size))
    longest = max(len(part) for part in every if is_within(part, said))
    expected = f1(longest / len(said), longest / len(true)) if longest else 0.0
    assert rouge.of_sentences(" ".join(said), " ".join(true)) == pytest.approx(expected)


@UNHURRIED
@given(TEXTS, TEXTS)
def test_every_score_is_a_share_and_that_of_a_text_with_itself_is_whole(one: str, other: str) -> None:
    for score in (lambda a, b: rouge.of_ngrams(a, b, 1), rouge.of_sentences):
        assert 0 <= score(one, other) <= 1
        assert score(one, one) == (1.0 if rouge.tokens(one) else 0.0)
    assert rouge.of_sentences(one, other) <= rouge.of_ngrams(one, other, 1) + 1e-12


def test_the_examples_of_lin_s_paper() -> None:
    reference = "police killed the gunman"
    for candidate, pairs, sequence in (
        ("police kill the gunman", 1 / 3, 3 / 4),
        ("the gunman kill police", 1 / 3, 2 / 4),
        ("the gunman police killed", 2 / 3, 2 / 4),
    ):
        assert rouge.of_ngrams(candidate, reference, 2) == pytest.approx(pairs)
        assert rouge.of_sentences(candidate, reference) == pytest.approx(sequence)
    # 3.2: w1 w2 and w1 w3 w5 of a reference of five words are four of them together.
    union = rouge.of_sentences("w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "w1 w2 w3 w4 w5")
    assert union == pytest.approx(f1(4 / 10, 4 / 5))


def test_sentences_end_at_line_breaks_and_after_a_full_stop_between_spaces() -> None:
    parts = [["a", "b"], ["c", "3", "5"], ["d"]]
    assert rouge.sentences("A b . C 3.5\n\nd.") == rouge.sentences("a b .\nc 3.5 .\n. d") == parts
    swapped, reference = "c d . a b", "a b . c d"
    assert rouge.of_sentences(swapped, reference) == 1.0  # each sentence is there
    assert rouge.of_sentences(swapped.replace(" . ", " "), reference.replace(" . ", " ")) == 0.5


def test_a_word_is_hit_no_more_often_than_the_output_has_it() -> None:
    assert rouge.of_sentences("a", "a\na\na") == pytest.approx(f1(1, 1 / 3))
    assert Counter(rouge.tokens("Dogs' dog's U.S. über x_y")) == Counter(
        ["dogs", "dog", "s", "u", "s", "ber", "x", "y"]
    )
