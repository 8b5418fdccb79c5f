"""Which tokens does a split hold? All its pairs in flat arrays, kept on disk and mapped into memory."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.contract import DataError, Pairs
from trainer.data.vocabulary import END, Vocabulary

_AT_A_TIME = 10_000  # pairs: no more of a text of millions is in memory at once
_FORMAT = 2
_ARRAYS = {"source": "<i4", "source_starts": "<i8", "target": "<i4", "target_starts": "<i8"}
_CUT = "cut"  # a file beside them: how many sources and targets of each block were cut


@dataclass(frozen=True, eq=False)
class Examples:
    """Example i's tokens, its end among them, are `source[source_starts[i]:source_starts[i + 1]]`."""

    source: np.ndarray
    source_starts: np.ndarray
    target: np.ndarray
    target_starts: np.ndarray
    too_long: int = 0  # pairs that were left out
    cut: tuple[int, int] = (0, 0)  # sources and targets of which only the beginning is there

    def __len__(self) -> int:
        return len(self.source_starts) - 1

    @functools.cached_property
    def source_lengths(self) -> np.ndarray:
        return np.diff(self.source_starts).astype(np.int32)

    @functools.cached_property
    def target_lengths(self) -> np.ndarray:
        return np.diff(self.target_starts).astype(np.int32)


def examples(
    pairs: Pairs, vocabulary: Vocabulary, *, longest: int | tuple[int, int], key: str, home: Path
) -> Examples:
    """The pairs with at most `longest` tokens a side, ends included; or all of them, where `longest` is two
    numbers, to which their sides are cut. They are kept under `home`, and found again by the `key`, which
    must tell this text from every other."""
    told = f"{_FORMAT} {key} {vocabulary.fingerprint} {longest}"
    folder = home / f"tokens-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not folder.exists():
        _write(folder, _blocks(pairs, vocabulary, longest=longest))
    arrays: dict[str, Any] = {
        name: np.memmap(folder / name, kind, mode="r") for name, kind in _ARRAYS.items()
    }
    too_long = len(pairs) - (len(arrays["source_starts"]) - 1)
    if isinstance(longest, int):
        return Examples(**arrays, too_long=too_long)
    cut = np.fromfile(folder / _CUT, "<i8").reshape(-1, 2).sum(axis=0)
    return Examples(**arrays, cut=(int(cut[0]), int(cut[1])))


def _blocks(
    pairs: Pairs, vocabulary: Vocabulary, *, longest: int | tuple[int, int]
) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays, in pieces to be joined; the first ones hold the starts' leading 0."""
    none, zero = np.empty(0, "<i4"), np.zeros(1, "<i8")
    yield dict(zip(_ARRAYS, (none, zero, none, zero), strict=True))
    total = np.zeros(2, np.int64)
    for first in range(0, len(pairs), _AT_A_TIME):
        chunk = range(first, min(first + _AT_A_TIME, len(pairs)))
        many = getattr(pairs, "many", None)  # 4 times as fast where rows lie in files
        some = many(chunk) if many else [pairs[i] for i in chunk]
        sides = [vocabulary.encode([pair[side] for pair in some]) for side in (0, 1)]
        told: dict[str, np.ndarray] = {}
        if isinstance(longest, int):
            kept = [pair for pair in zip(*sides, strict=True) if max(map(len, pair)) < longest]
        else:
            both = list(zip(sides, longest, strict=True))
            told[_CUT] = np.array([sum(len(ids) >= most for ids in side) for side, most in both], "<i8")
            kept = list(zip(*([ids[: most - 1] for ids in side] for side, most in both), strict=True))
        for side, name in enumerate(("source", "target")):
            rows = [pair[side] for pair in kept]
            lengths = np.array([len(row) + 1 for row in rows], np.int64)
            told[name] = np.array([i for row in rows for i in (*row, END)], "<i4")
            told[f"{name}_starts"] = (total[side] + np.cumsum(lengths)).astype("<i8")
            total[side] += lengths.sum()
        yield told
    if not total.any():
        raise DataError(
            f"None of {len(pairs):,} pairs has at most {longest} tokens a side. Raise data.longest_tokens."
            if len(pairs)
            else "The text holds no pairs. Give some, or let the filters keep some."
        )


def _write(folder: Path, blocks: Iterator[Mapping[str, np.ndarray]]) -> None:
    """The folder is there whole or not at all, whoever else writes the same."""
    unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        for block in blocks:
            for name, array in block.items():
                with (unfinished / name).open("ab") as file:
                    array.tofile(file)
        os.rename(unfinished, folder)
    except OSError:
        if not folder.exists():  # else another process was quicker, with the same
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
