"""How much of a summary's reference is in it? ROUGE (Lin 2004): F1 of words, of pairs of words, and of the
longest common subsequences of sentences (-Lsum).

As Google's package rouge-score has it without a stemmer, which is how T5's released code calls it: lower
case, tokens of a-z and 0-9. Sentences end at line breaks and, as that code has it, after " . ", since its
vocabulary writes no line breaks. Where two subsequences are equally long, the one that ends earlier in the
reference is taken, as that package does. A score is the mean over rows; that code tells the median of
bootstrap samples of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_TOKEN = re.compile("[a-z0-9]+")
_SENTENCE_END = re.compile(r"(?<= \.) |\n")

Tokens = Sequence[str]


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def sentences(text: str) -> list[list[str]]:
    return [found for one in _SENTENCE_END.split(text) if (found := tokens(one))]


def of_ngrams(output: str, reference: str, n: int) -> float:
    said, true = (Counter(_ngrams(tokens(text), n)) for text in (output, reference))
    return _f1((said & true).total(), said.total(), true.total())


def of_sentences(output: str, reference: str) -> float:
    """-Lsum: each sentence of the reference is hit where any sentence of the output has a longest common
    subsequence with it. A word is hit no more often than the output has it."""
    said, true = sentences(output), sentences(reference)
    left = Counter(token for sentence in said for token in sentence)
    hits = 0
    for sentence in true:
        places = {place for other in said for place in common(sentence, other)}
        for place in sorted(places):
            if left[sentence[place]]:
                left[sentence[place]] -= 1
                hits += 1
    return _f1(hits, sum(map(len, said)), sum(map(len, true)))


def common(one: Tokens, other: Tokens) -> list[int]:
    """The places in `one` of a longest common subsequence, from the last to the first."""
    longest = [[0] * (len(other) + 1)]  # of the beginnings of both, by their lengths
    for token in one:
        above, row = longest[-1], [0]
        for at, another in enumerate(other):
            row.append(above[at] + 1 if token == another else max(above[at + 1], row[at]))
        longest.append(row)
    places, i, j = [], len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif longest[i][j - 1] > longest[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places


def _ngrams(words: Tokens, n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def _f1(hits: int, said: int, true: int) -> float:
    return 2 * hits / (said + true) if hits else 0.0
