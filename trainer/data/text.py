"""How does the unlabelled text that a config names become a vocabulary and four streams of tokens?

Each text is cut by a hash of its documents. Its vocabulary is learned from the beginning of train, and what
is held out is taken from the beginning too; so a run begins when its first part is there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import DataConfig
from trainer.data import held_out
from trainer.data.awaited import Awaited, Held
from trainer.data.contract import DataError
from trainer.data.corpus import write_opening
from trainer.data.digests import Stamp
from trainer.data.documents import Documents, documents
from trainer.data.held_out import ALL, MOST_GUIDE, MOST_TOKENS, SMALL_LETTERS, Shares
from trainer.data.kept import write_whole
from trainer.data.parts import PART_TOKENS, Parts, turn
from trainer.data.streams import Stream, Text
from trainer.data.tokens import pieces_of, written
from trainer.data.vocabulary import MOST_LETTERS, SETTINGS, Given, TooManyPieces, Vocabulary, learned

LEARNED_FROM = 10_000_000  # letters: twice as many take twice the memory, and 30 s before the first step
_FORMAT = 1  # raised whenever other cuts come out of the same text


def open_text(data: DataConfig, *, home: Path, guide_tokens: int, given: Given | None = None) -> Text:
    """The unlabelled text of a config; from memory, from disk, or made now as far as a first step needs it.
    `guide_tokens`: the least that guidance needs, a batch. `given`: a vocabulary that is not to be learned.
    """
    return _opened(data, home, guide_tokens, given, written(data, given))


@functools.lru_cache(maxsize=2)  # the next run of a warm process is nearly always on the same text
def _opened(
    data: DataConfig, home: Path, guide_tokens: int, given: Given | None, stamps: tuple[Stamp, ...]
) -> Text:
    return opened(data, home=home, guide_tokens=guide_tokens, given=given)


def opened(
    data: DataConfig,
    *,
    home: Path,
    guide_tokens: int,
    given: Given | None = None,
    part_tokens: int = PART_TOKENS,
    beside: bool = True,
) -> Text:
    """The same, anew. `beside`: another process makes the parts that are not there yet."""
    began_s = time.perf_counter()
    text = documents(data, home=home)
    cut = _cut(text, data, home=home, guide_tokens=guide_tokens, given=given)
    vocabulary = cut.words.open()
    parts = Parts.under(home, text, cut.shares, vocabulary, part_tokens=part_tokens)
    train = Awaited(parts, data, home=home, most_tokens=data.tokens, beside=beside)
    try:
        train.part(0)
    except IndexError:
        raise _too_few(text, "train") from None
    told = [text.identity, asdict(cut.shares), len(cut.select), len(cut.guide), data.tokens]
    fingerprint = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    newest, tokens = train.newest(), train.tokens()
    record = {
        "documents": {kind: newest.counts.get(kind, 0) for kind in held_out.KINDS},
        "empty": newest.counts.get("empty", 0),
        "letters": newest.counts.get("letters", 0),
        "tokens": {
            "train": min(newest.tokens, data.tokens or newest.tokens),
            "guide": len(cut.guide),
            "select": len(cut.select),
        },
        "whole": tokens is not None,  # else the counts are of the beginning, which is there
        "shares": asdict(cut.shares),
        "pieces": vocabulary.pieces,
        "sentinels": len(vocabulary.sentinels),
        "versions": dict(text.versions),
        "seconds": round(time.perf_counter() - began_s, 3),
    }
    return Text(
        name=text.name,
        fingerprint=fingerprint,
        vocabulary=vocabulary,
        train=train,
        guide=Held(cut.guide),
        select=Held(cut.select),
        test=_test(text, cut.shares, vocabulary, fingerprint=fingerprint, home=home),
        record=record,
    )


@dataclass(frozen=True, eq=False)
class _Cut:
    """What is decided at the beginning of a text, and what is held out there."""

    shares: Shares
    words: Given
    select: np.ndarray
    guide: np.ndarray


def _cut(text: Documents, data: DataConfig, *, home: Path, guide_tokens: int, given: Given | None) -> _Cut:
    """From disk, or made now by one of several processes that ask for it."""
    words = given.open().fingerprint if given else _learning(data)
    told = [_FORMAT, text.identity, text.select.identity if text.select else "", words, SMALL_LETTERS]
    told += [MOST_TOKENS, data.guide_share, guide_tokens]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]
    folder = home / "text" / f"cut-{key}"
    if (found := _read(folder, given, data.sentinels)) is None:
        with turn(folder, wait=True):
            if (found := _read(folder, given, data.sentinels)) is None:
                found = _decided(text, data, home=home, guide_tokens=guide_tokens, given=given)
                _write(folder, found)
    return found


def _read(folder: Path, given: Given | None, sentinels: int) -> _Cut | None:
    try:
        told = json.loads((folder / "cut.json").read_bytes())  # written last
        select, guide = (np.fromfile(folder / f"{name}.tokens", "<i4") for name in ("select", "guide"))
        words = given or Given(Path(told["vocabulary"]), sentinels=sentinels)
        return _Cut(Shares(**told["shares"]), words, select, guide) if words.file.is_file() else None
    except (OSError, ValueError, TypeError, KeyError):  # absent, or damaged
        return None


def _write(folder: Path, found: _Cut) -> None:
    for name in ("select", "guide"):
        write_whole(folder / f"{name}.tokens", getattr(found, name).tobytes())
    told = {"shares": asdict(found.shares), "vocabulary": str(found.words.file)}
    write_whole(folder / "cut.json", json.dumps(told).encode())


def _decided(
    text: Documents, data: DataConfig, *, home: Path, guide_tokens: int, given: Given | None
) -> _Cut:
    """The share of guide is doubled until it has the tokens that guidance needs."""
    own, least = text.select, max(guide_tokens, 1)
    share = held_out.SHARE_OF_SMALL if held_out.is_small(text) else held_out.SHARE_OF_LARGE
    bounds = {"guide": max(least, MOST_TOKENS), **({} if own else {"select": MOST_TOKENS})}
    guide = data.guide_share
    while True:
        shares = Shares(test=share, select=0 if own else share, guide=guide)
        words = given or Given(_learned(text, shares, data, home), sentinels=data.sentinels)
        vocabulary = words.open()
        held = held_out.first_tokens(text, shares, vocabulary, bounds)
        if len(held["guide"]) >= least:
            break
        if guide == MOST_GUIDE:
            raise DataError(
                f"Guidance asks for {least:,} held-out tokens, and half of the documents of {text.name} have "
                f"{len(held['guide']):,}. Use smaller guidance batches, or more text."
            )
        guide = min(MOST_GUIDE, 2 * guide)
    if own:
        held |= held_out.first_tokens(own, ALL, vocabulary, {"select": MOST_TOKENS})
    if not len(held["select"]):
        raise _too_few(text, "the dev split")
    return _Cut(shares, words, held["select"], held["guide"])


def _too_few(text: Documents, split: str) -> DataError:
    return DataError(
        f"{text.name} has too few documents: a hash of each says to which split it falls, and none falls to "
        f"{split}. Give it more."
    )


def _learning(data: DataConfig) -> list[Any]:
    """What a vocabulary depends on besides the text."""
    import sentencepiece

    asked = data.vocabulary or -pieces_of(data)  # what is asked for is there or refused
    return [asked, LEARNED_FROM, MOST_LETTERS, dict(SETTINGS), sentencepiece.__version__]


def _learned(text: Documents, shares: Shares, data: DataConfig, home: Path) -> Path:
    """The file of a vocabulary of the beginning of train."""
    pieces = data.vocabulary or pieces_of(data)
    told = json.dumps([text.identity, asdict(shares), *_learning(data)], sort_keys=True)
    file = home / f"vocabulary-{pieces}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.model"
    if file.exists():
        return file

    def model(size: int) -> bytes:
        of_train = held_out.sentences(text, shares, letters=LEARNED_FROM, longest=MOST_LETTERS)
        if (first := next(of_train, None)) is None:
            raise _too_few(text, "train")
        return learned(chain([first], of_train), size=size)

    try:
        write_whole(file, model(pieces))
    except TooManyPieces as problem:
        if data.vocabulary:
            raise
        write_whole(file, model(problem.most))
    return file


def _test(
    text: Documents, shares: Shares, vocabulary: Vocabulary, *, fingerprint: str, home: Path
) -> Callable[[str | None], Stream]:
    """Hands the test split out and writes that down."""

    def test(why: str | None) -> Stream:
        found = held_out.first_tokens(text, shares, vocabulary, {"test": MOST_TOKENS})["test"]
        write_opening(home, text.name, fingerprint, why)
        return Held(found)

    return test
