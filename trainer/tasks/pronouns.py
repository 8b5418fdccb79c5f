"""What does a pronoun refer to? WSC, DPR and WNLI as T5's paper asks it: the pronoun between asterisks, and
the noun as the target (2.4, Appendix B).

    wsc: The city councilmen refused the demonstrators a permit because *they* feared violence.
                                                                                 The city councilmen

Only where a noun is known to be the right one is it trained on. An output is judged by whether it names the
candidate of its row, which is the right one or not.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import NamedTuple

from trainer.data.contract import Row
from trainer.tasks.super_glue import TRUE
from trainer.tasks.task import Record, Task, label_of, scores

WORD = "wsc"
PRONOUNS = frozenset(
    ("he", "him", "his", "she", "her", "hers", "it", "its", "they", "them", "their", "theirs")
)
_NONSPACE = re.compile(r"\S+")


def _row(text: str, target: str, candidate: str, label: bool, group: str) -> Row:
    return Row.of(f"{WORD}: {text}", target, {"candidate": candidate, "label": label}, group)


def _wsc(record: Record, training: bool) -> Sequence[Row]:
    true = label_of("super_glue/wsc", TRUE, record["label"]) == "True"
    if training and not true:
        return []
    text, noun = record["text"].strip(), record["span1_text"].strip()
    marked = mark(text, word_at(text, int(record["span2_index"]), record["span2_text"]))
    return [_row(marked, noun, noun, true, text)]


def _dpr(record: Record, training: bool) -> Sequence[Row]:
    """The two candidates are a row each where they are judged by. Sentences of twins have the same ones."""
    text, nouns = record["sentence"].strip(), [noun.strip() for noun in record["candidates"]]
    right = label_of("dpr", nouns, record["label"])
    marked = mark(text, word_at(text, 0, record["pronoun"]))
    candidates = [right] if training else nouns
    group = " ".join(sorted(nouns))
    return [_row(marked, right, noun, noun == right, group) for noun in candidates]


def _wnli(record: Record, training: bool) -> Sequence[Row]:
    premise, hypothesis = record["sentence1"].strip(), record["sentence2"].strip()
    true = label_of("glue/wnli_referent", TRUE, record["label"]) == "True"
    at, noun = pronoun_and_candidate(premise, hypothesis)
    return [_row(mark(premise, at), noun, noun, true, premise)]


def mark(text: str, at: int | None) -> str:
    """Asterisks around the word of this number, without the punctuation around it."""
    words = list(_NONSPACE.finditer(text))
    if at is None or not words:
        return text
    word = words[at]
    core = word.group().strip(string.punctuation) or word.group()
    begin = word.start() + word.group().index(core)
    return f"{text[:begin]}*{core}*{text[begin + len(core) :]}"


def word_at(text: str, index: int, pronoun: str) -> int | None:
    """The number of the word that is the pronoun: at the index, or the nearest one, since some indices of
    WSC are beside it. Where none is, the word at the index."""
    words = _bare(text)
    if not words:
        return None
    index = min(max(index, 0), len(words) - 1)
    meant = (_bare(pronoun) or [""])[0]
    return min(
        (at for at, word in enumerate(words) if word == meant),
        key=lambda at: abs(at - index),
        default=index,
    )


class _Match(NamedTuple):
    """How a hypothesis says a premise again with a noun in a pronoun's place: `shared` words around both."""

    shared: int
    unexplained: int  # words of the hypothesis that are neither the noun nor shared
    at: int  # the pronoun
    first: int  # of the noun's words
    end: int


def pronoun_and_candidate(premise: str, hypothesis: str) -> tuple[int | None, str]:
    """Which word of the premise is the pronoun, and what the hypothesis has in its place: the one with most
    words before and behind it that both sentences have (Appendix B). A possessive noun loses its ending."""
    said, again = _bare(premise), _bare(hypothesis)
    matches = [
        _Match(before + behind, (first - before) + (len(again) - end - behind), at, first, end)
        for at, word in enumerate(said)
        if word in PRONOUNS
        for first in range(len(again))
        for end in range(first + 1, len(again) + 1)
        if again[first:end] != [word]
        for before in [_alike(said[:at][::-1], again[:first][::-1])]
        for behind in [_alike(said[at + 1 :], again[end:])]
    ]
    if not matches:
        return None, hypothesis
    best = min(matches, key=lambda each: (-each.shared, each.unexplained, each.end - each.first, each.at))
    words = _NONSPACE.findall(hypothesis)[best.first : best.end]
    return best.at, _plain(" ".join(words).strip(string.punctuation.replace("'", "")))


def _plain(noun: str) -> str:
    """Not possessive."""
    return noun.removesuffix("'s").removesuffix("’s").removesuffix("'").removesuffix("’")


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """With how many words do both begin?"""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _bare(text: str) -> list[str]:
    """Its words in lower case, without the punctuation around them."""
    return [word.strip(string.punctuation).lower() for word in _NONSPACE.findall(text)]


TASKS = (
    Task("super_glue/wsc", _wsc, scores("pronouns"), several=True),
    Task("super_glue/wsc_dpr", _wsc, scores("pronouns"), several=True, trained_on=("super_glue/wsc", "dpr")),
    Task("dpr", _dpr, scores("pronouns"), several=True, validation=("test",)),
    Task("glue/wnli_referent", _wnli, scores("pronouns"), trained_on=("super_glue/wsc", "dpr")),
)
