"""Which pairs are held out from train, does a split hold what another has, and which of its rows choose?

A held-out part is the pairs whose source has the lowest hash: it depends on the text alone, is spread over
it evenly, and takes all translations of a sentence together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from trainer.data.contract import SPLITS, DataError, Pairs, group_of
from trainer.data.filters import Survey

MOST_HELD_OUT = 2000  # pairs; newstest2018 has some 3,000
HELD_OUT_SHARE = 0.05
LEAST_GUIDE_PAIRS = 64


class Chosen:
    """Pairs of a text by their numbers, without copying them."""

    def __init__(self, pairs: Pairs, indices: np.ndarray) -> None:
        self._pairs, self._indices = pairs, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[str, str]:
        return self._pairs[int(self._indices[index])]

    def many(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        chosen = self._indices[np.asarray(indices, dtype=np.int64)].tolist()
        many = getattr(self._pairs, "many", None)
        return list(many(chosen)) if many else [self._pairs[index] for index in chosen]


def choose(pairs: Pairs, indices: np.ndarray) -> Pairs:
    """Those pairs: a list of a list, else a view."""
    if isinstance(pairs, list):
        return [pairs[index] for index in indices.tolist()]
    return Chosen(pairs, indices)


def hold_out(
    kept: np.ndarray, source: np.ndarray, *, size: int, whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(held out, rest) of the numbers `kept`; `source` has the hashes of the whole text.

    The rest lacks every source that is held out, so a few pairs may be in neither; or, where sources are held
    out `whole`, a few more than `size` are held out, in the order of the text.
    """
    hashes = source[kept]
    order = np.argsort(hashes, kind="stable")
    held = order[:size]
    out = np.isin(hashes, hashes[held])
    return kept[out] if whole else kept[held], kept[~out]


def without(kept: np.ndarray, source: np.ndarray, others: Iterable[Survey]) -> np.ndarray:
    """The numbers whose source stands in none of the other splits."""
    for other in others:
        kept = kept[~np.isin(source[kept], other.source)]
    return kept


def held_out_size(text_pairs: int) -> int:
    """Of select, and of test, where they are cut from a text of so many pairs."""
    return min(MOST_HELD_OUT, max(1, int(HELD_OUT_SHARE * text_pairs)))


def guide_size(train_pairs: int, *, share: float, at_least: int) -> int:
    """The share of train, a batch (`at_least`) and 64 pairs: the most of them, and at most half of train."""
    half = train_pairs // 2
    if at_least > half or not half:
        raise DataError(
            f"Guidance asks for {max(at_least, 1)} held-out pairs, and the text has {train_pairs} to train "
            f"on. Allowed is half of them: use smaller guidance batches, or more text."
        )
    return min(half, max(int(share * train_pairs), at_least, LEAST_GUIDE_PAIRS))


def halves(select: Pairs, *, most: int, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows that choose, rows that are reported) of the dev split, by number. Half of its first `most` rows
    choose; no row that is reported has an input, or a group, of theirs."""
    inputs = [group_of(select[i]).removeprefix(prefix) for i in range(len(select))]
    ranked = sorted(set(inputs[:most]), key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(ranked) < 2:
        raise DataError(
            f"score.choose is 'best', and the first {min(most, len(inputs)):,} rows of the dev split have "
            f"{len(ranked)} input. Allowed are two different ones at least: half of them choose, the others "
            f"are reported. Give the dev split more rows, or set score.choose to 'last'."
        )
    choosing = set(ranked[: len(ranked) // 2])
    chooses = np.array([text in choosing for text in inputs])
    return np.flatnonzero(chooses[:most]), np.flatnonzero(~chooses)


def overlaps(splits: Mapping[str, Survey]) -> dict[str, dict[str, int]]:
    """For every two splits, how many pairs of the later have a source, or the whole pair, of the earlier."""
    present = [name for name in SPLITS if name in splits]
    return {
        f"{one}-{other}": {
            "sources": int(np.isin(splits[other].source, splits[one].source).sum()),
            "pairs": int(np.isin(splits[other].both, splits[one].both).sum()),
        }
        for one, other in combinations(present, 2)
    }
