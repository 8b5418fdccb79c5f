"""Which tokens does a split hold? All its pairs in two flat arrays, kept on disk and mapped into memory."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.contract import DataError, Pairs
from trainer.data.vocabulary import END, Vocabulary

_AT_A_TIME = 10_000
_ARRAYS = ("source", "source_starts", "target", "target_starts")


@dataclass(frozen=True)
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
        return np.diff(self.source_starts)

    @functools.cached_property
    def target_lengths(self) -> np.ndarray:
        return np.diff(self.target_starts)


def examples(
    pairs: Pairs, vocabulary: Vocabulary, *, longest: int, key: str = "", home: Path | None = None
) -> Examples:
    """The pairs with at most `longest` tokens a side. Kept under `home`; `key` tells the text by."""
    if home is None:
        return _encoded(pairs, vocabulary, longest=longest)
    name = hashlib.sha256(f"{key} {vocabulary.fingerprint} {longest}".encode()).hexdigest()[:16]
    folder = home / f"tokens-{name}"
    if not folder.exists():
        _write(folder, _encoded(pairs, vocabulary, longest=longest))
    arrays = {each: np.load(folder / f"{each}.npy", mmap_mode="r") for each in _ARRAYS}
    return Examples(**arrays, too_long=len(pairs) - (len(arrays["source_starts"]) - 1))


def _encoded(pairs: Pairs, vocabulary: Vocabulary, *, longest: int) -> Examples:
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    lengths: tuple[list[int], list[int]] = ([], [])
    for first in range(0, len(pairs), _AT_A_TIME):
        some = [pairs[i] for i in range(first, min(first + _AT_A_TIME, len(pairs)))]
        encoded = [vocabulary.encode([pair[side] for pair in some]) for side in (0, 1)]
        kept = [(s, t) for s, t in zip(*encoded, strict=True) if max(len(s), len(t)) < longest]
        for side in (0, 1):
            rows = [pair[side] for pair in kept]
            lengths[side].extend(len(row) + 1 for row in rows)
            sides[side].append(np.array([i for row in rows for i in (*row, END)], np.int32))
    if not lengths[0]:
        raise DataError(
            f"None of {len(pairs):,} pairs has at most {longest} tokens a side. Raise data.longest_tokens."
        )
    flat = [np.concatenate(side) for side in sides]
    starts = [np.concatenate([[0], np.cumsum(each)]).astype(np.int64) for each in lengths]
    return Examples(flat[0], starts[0], flat[1], starts[1], too_long=len(pairs) - len(lengths[0]))


def _write(folder: Path, made: Examples) -> None:
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in _ARRAYS:
        np.save(unfinished / f"{name}.npy", getattr(made, name))
    try:
        os.rename(unfinished, folder)
    except OSError:  # another process was quicker, with the same
        shutil.rmtree(unfinished)
        if not folder.exists():
            raise
