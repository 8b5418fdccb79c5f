"""Which tokens does a split hold? All its pairs in flat arrays, kept on disk and mapped into memory."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.contract import DataError, Pairs
from trainer.data.vocabulary import END, Vocabulary

_AT_A_TIME = 10_000  # pairs: no more of a text of millions is in memory at once
_FORMAT = 2
_ARRAYS = {"source": "<i4", "source_starts": "<i8", "target": "<i4", "target_starts": "<i8"}


@dataclass(frozen=True, eq=False)
class Examples:
    """Example i's tokens, its end among them, are `source[source_starts[i]:source_starts[i + 1]]`."""

    source: np.ndarray
    source_starts: np.ndarray
    target: np.ndarray
    target_starts: np.ndarray
    too_long: int = 0  # pairs that were left out

    def __len__(self) -> int:
        return len(self.source_starts) - 1

    @functools.cached_property
    def source_lengths(self) -> np.ndarray:
        return np.diff(self.source_starts).astype(np.int32)

    @functools.cached_property
    def target_lengths(self) -> np.ndarray:
        return np.diff(self.target_starts).astype(np.int32)


def examples(pairs: Pairs, vocabulary: Vocabulary, *, longest: int, key: str, home: Path) -> Examples:
    """The pairs with at most `longest` tokens a side, ends included. They are kept under `home`, and found
    again by the `key`, which must tell this text from every other."""
    told = f"{_FORMAT} {key} {vocabulary.fingerprint} {longest}"
    folder = home / f"tokens-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not folder.exists():
        _write(folder, _blocks(pairs, vocabulary, longest=longest))
    arrays = {name: np.memmap(folder / name, kind, mode="r") for name, kind in _ARRAYS.items()}
    return Examples(**arrays, too_long=len(pairs) - (len(arrays["source_starts"]) - 1))


def _blocks(pairs: Pairs, vocabulary: Vocabulary, *, longest: int) -> Iterator[tuple[np.ndarray, ...]]:
    """The four arrays, in pieces to be joined; the first ones hold the starts' leading 0."""
    none, zero = np.empty(0, "<i4"), np.zeros(1, "<i8")
    yield none, zero, none, zero
    total = np.zeros(2, np.int64)
    for first in range(0, len(pairs), _AT_A_TIME):
        some = [pairs[i] for i in range(first, min(first + _AT_A_TIME, len(pairs)))]
        sides = [vocabulary.encode([pair[side] for pair in some]) for side in (0, 1)]
        kept = [pair for pair in zip(*sides, strict=True) if max(map(len, pair)) < longest]
        block: list[np.ndarray] = []
        for side in (0, 1):
            rows = [pair[side] for pair in kept]
            lengths = np.array([len(row) + 1 for row in rows], np.int64)
            block.append(np.array([i for row in rows for i in (*row, END)], "<i4"))
            block.append((total[side] + np.cumsum(lengths)).astype("<i8"))
            total[side] += lengths.sum()
        yield tuple(block)
    if not total.any():
        raise DataError(
            f"None of {len(pairs):,} pairs has at most {longest} tokens a side. Raise data.longest_tokens."
            if len(pairs)
            else "The text holds no pairs. Give some, or let the filters keep some."
        )


def _write(folder: Path, blocks: Iterator[tuple[np.ndarray, ...]]) -> None:
    """The folder is there whole or not at all, whoever else writes the same."""
    unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        for block in blocks:
            for name, array in zip(_ARRAYS, block, strict=True):
                with (unfinished / name).open("ab") as file:
                    array.tofile(file)
        os.rename(unfinished, folder)
    except OSError:
        if not folder.exists():  # else another process was quicker, with the same
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
