"""Which documents of unlabelled text are held out from train, and which tokens has a document?

A hash of the document decides, so that equal documents are on one side, and a part that is read later trains
on nothing that is held out. What is held out is used from the beginning of the text, up to a bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from trainer.data.documents import Documents
from trainer.data.vocabulary import END, Vocabulary

KINDS = ("test", "select", "guide", "train")
# Letters that are read before a text counts as large. A small one gives up a larger share, as pairs do.
SMALL_LETTERS = 20_000_000
SHARE_OF_SMALL, SHARE_OF_LARGE = 0.05, 0.01  # of select, and of test
MOST_GUIDE = 0.5
MOST_TOKENS = 2**17  # of select, and of test: some 2,000 pairs have as many
_AT_ONCE = 2**18  # letters that are encoded in one call
_LONGEST = 50_000  # letters that SentencePiece takes at once: its memory grows with them


@dataclass(frozen=True)
class Shares:
    """Of the documents, by kind; the rest is train."""

    test: float
    select: float
    guide: float

    def kind(self, document: str) -> str:
        digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
        at = int.from_bytes(digest, "big") / 2**64
        if at < self.test:
            return "test"
        if at < self.test + self.select:
            return "select"
        return "guide" if at < self.test + self.select + self.guide else "train"


ALL = Shares(test=0, select=1, guide=0)  # of a split of its own


@dataclass(frozen=True, eq=False)
class Encoded:
    """A document, in the order of the text."""

    number: int
    kind: str  # "empty" besides `KINDS`
    letters: int
    ids: np.ndarray | None  # with its end; None where its kind was not asked for


def encoded(
    documents: Documents, shares: Shares, vocabulary: Vocabulary, *, wanted: Collection[str], since: int = 0
) -> Iterator[Encoded]:
    """All documents from a number on, with the tokens of those kinds that are wanted."""
    waiting: list[tuple[int, str, str]] = []
    letters = 0
    for number, document in enumerate(documents.since(since), start=since):
        kind = shares.kind(document) if document else "empty"
        waiting.append((number, kind, document))
        letters += len(document)
        if letters >= _AT_ONCE or len(waiting) >= _AT_ONCE:
            yield from _encoded(waiting, vocabulary, wanted)
            waiting, letters = [], 0
    yield from _encoded(waiting, vocabulary, wanted)


def _encoded(
    some: list[tuple[int, str, str]], vocabulary: Vocabulary, wanted: Collection[str]
) -> Iterator[Encoded]:
    pieces = [list(cut(text, _LONGEST)) if kind in wanted else [] for _, kind, text in some]
    ids = iter(vocabulary.encode([piece for each in pieces for piece in each]))
    for (number, kind, text), each in zip(some, pieces, strict=True):
        of_it = np.array([i for _ in each for i in (*next(ids),)] + [END], "<i4") if kind in wanted else None
        yield Encoded(number, kind, len(text), of_it)


def cut(document: str, most: int) -> Iterator[str]:
    """Pieces of so many letters at most, cut at single spaces, which are left out: SentencePiece begins each
    text with a space of its own. A word of more letters is cut where they end."""
    start = 0
    while len(document) - start > most:
        at = document.rfind(" ", start + 1, start + most)
        while at > 0 and (document[at + 1].isspace() or document[at - 1].isspace()):
            at = document.rfind(" ", start + 1, at)
        if at < 0:
            yield document[start : start + most]
            start += most
        else:
            yield document[start:at]
            start = at + 1
    yield document[start:]


def sentences(documents: Documents, shares: Shares, *, letters: int, longest: int) -> Iterator[str]:
    """Of train, from the beginning of the text: what a vocabulary is learned from."""
    for document in documents.since(0):
        if document and shares.kind(document) == "train":
            yield from cut(document, longest)
        letters -= len(document)
        if letters < 0:
            return


def is_small(documents: Documents) -> bool:
    left = SMALL_LETTERS
    for document in documents.since(0):
        left -= len(document)
        if left < 0:
            return False
    return True


def first_tokens(
    documents: Documents, shares: Shares, vocabulary: Vocabulary, bounds: dict[str, int]
) -> dict[str, np.ndarray]:
    """The first tokens of some kinds, each up to its bound; the text is read until all are full."""
    held: dict[str, list[np.ndarray]] = {kind: [] for kind in bounds}
    left = dict(bounds)
    for each in encoded(documents, shares, vocabulary, wanted=tuple(bounds)):
        if each.ids is not None and left[each.kind] > 0:
            held[each.kind].append(each.ids[: left[each.kind]])
            left[each.kind] -= len(each.ids)
            if max(left.values()) <= 0:
                break
    return {kind: joined(arrays) for kind, arrays in held.items()}


def joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, "<i4"), *arrays])
