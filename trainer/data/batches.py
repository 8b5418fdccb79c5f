"""Which examples make up the batch of a step? A pure function of (seed, cursor), whatever was read before.

Each bucket of lengths has an endless stream: its examples in the order of epoch 0, then in that of epoch 1,
and so on, each epoch an order of its own by (seed, bucket, epoch). A bucket's batches are cut from its
stream one after the other, also across the ends of epochs; so each epoch shows each example exactly once.
Buckets take turns in rounds: after every round, all have come equally far, to less than one batch. A turn
is of TURN steps, or of fewer where a round or a chunk ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.data.contract import DataError
from trainer.data.examples import Examples

Batch = dict[str, np.ndarray]
MULTIPLE = 8  # of lengths: few shapes, and kind to vector units
TURN = 8  # steps: below it the start of a program costs as much as its steps (0.2 ms at `tiny`)
_TURNS = 2**32 - 1  # in place of a bucket: the order in which they take turns


@dataclass(frozen=True)
class Bucket:
    """Examples of similar length, and the shape of their batches."""

    members: np.ndarray
    source_length: int
    target_length: int
    rows: int

    def batches_in(self, rounds: int) -> int:
        """How many of its batches these rounds take."""
        return rounds * len(self.members) // self.rows


@dataclass(frozen=True)
class _Round:
    """The turns of one round, in their order; `ends` are steps of the run."""

    number: int
    first: int
    ends: np.ndarray
    buckets: np.ndarray
    batches: np.ndarray  # of its bucket: the first one of the turn


class Bucketed:
    """Padded batches. A cursor is `{"step": n}`: how many batches were taken."""

    def __init__(
        self,
        examples: Examples,
        *,
        seed: int,
        sentences: int = 32,
        tokens: int = 0,
        buckets: int = 1,
        rows_divide_by: int = 1,
        lengths: tuple[int, int] | None = None,
    ) -> None:
        """`tokens` a batch, padding included, instead of so many sentences. `lengths`: how far the sides of a
        single bucket are padded, whatever is in it."""
        self.examples, self._seed = examples, seed
        self.first = {"step": 0}
        self.buckets = tuple(
            _bucket(
                examples,
                members,
                sentences=sentences,
                tokens=tokens,
                divide_by=rows_divide_by,
                lengths=lengths if buckets == 1 else None,
            )
            for members in _by_length(examples, buckets)
        )
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._round: _Round | None = None

    @property
    def longest_piece(self) -> int | None:
        """The most steps in a piece; None: those of the chunk."""
        return TURN if len(self.buckets) > 1 else None

    def chunk(self, cursor: Mapping[str, int], steps: int) -> tuple[list[Batch], dict[str, int], int]:
        """Pieces of one shape each, with the steps as their first axis; one, where there is one bucket."""
        first = cursor["step"]
        pieces = [self._piece(*part) for part in self._parts(first, first + steps)]
        real = sum(int(np.count_nonzero(p["source"]) + np.count_nonzero(p["target_out"])) for p in pieces)
        return pieces, {"step": first + steps}, real

    def _parts(self, step: int, end: int) -> Iterator[tuple[int, int, int]]:
        """What these steps read: a bucket, its first batch, and how many of its batches."""
        if len(self.buckets) == 1:
            yield 0, step, end - step
            return
        while step < end:
            now = self._round_at(step)
            turn = int(np.searchsorted(now.ends, step, side="right"))
            begun = int(now.ends[turn - 1]) if turn else now.first
            count = min(end, int(now.ends[turn])) - step
            yield int(now.buckets[turn]), int(now.batches[turn]) + step - begun, count
            step += count

    def _round_at(self, step: int) -> _Round:
        if self._round is None or not self._round.first <= step < self._round.ends[-1]:
            number = int(step / sum(len(b.members) / b.rows for b in self.buckets))
            while self._steps_in(number + 1) <= step:
                number += 1
            while self._steps_in(number) > step:
                number -= 1
            self._round = self._made_round(number)
        return self._round

    def _steps_in(self, rounds: int) -> int:
        return sum(b.batches_in(rounds) for b in self.buckets)

    def _made_round(self, number: int) -> _Round:
        before = [b.batches_in(number) for b in self.buckets]
        counts = [b.batches_in(number + 1) - n for b, n in zip(self.buckets, before, strict=True)]
        turns = [[TURN] * (n // TURN) + [n % TURN] * (n % TURN > 0) for n in counts]
        buckets = np.repeat(np.arange(len(turns)), [len(each) for each in turns])
        order = _generator(self._seed, _TURNS, number).permutation(len(buckets))
        buckets, lengths = buckets[order], np.concatenate(turns).astype(np.int64)[order]
        batches = np.empty_like(lengths)
        for bucket, done in enumerate(before):
            mine = buckets == bucket
            batches[mine] = done + np.cumsum(lengths[mine]) - lengths[mine]
        first = sum(before)
        return _Round(number, first, first + np.cumsum(lengths), buckets, batches)

    def _piece(self, bucket: int, first: int, count: int) -> Batch:
        b = self.buckets[bucket]
        places = np.arange(first * b.rows, (first + count) * b.rows)
        chosen = np.empty(len(places), np.int64)
        epochs = places // len(b.members)
        for epoch in np.unique(epochs):
            at = epochs == epoch
            chosen[at] = self._order(bucket, int(epoch))[places[at] % len(b.members)]
        batch = padded(self.examples, chosen, b.source_length, b.target_length)
        return {name: array.reshape(count, b.rows, -1) for name, array in batch.items()}

    def _order(self, bucket: int, epoch: int) -> np.ndarray:
        """Kept for two epochs at a time: a batch may lie across their border."""
        key = (bucket, epoch)
        if key not in self._orders:
            for old in [k for k in self._orders if k[0] == bucket and abs(k[1] - epoch) > 1]:
                del self._orders[old]
            self._orders[key] = _generator(self._seed, *key).permutation(self.buckets[bucket].members)
        return self._orders[key]


def _generator(seed: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, *more])


def _by_length(examples: Examples, buckets: int) -> list[np.ndarray]:
    """The examples in so many parts of about equal numbers, by their longer side."""
    longer = np.maximum(examples.source_lengths, examples.target_lengths)
    edges = np.unique(np.quantile(longer, np.arange(1, buckets) / buckets, method="higher"))
    part_of = np.searchsorted(edges, longer, side="left")
    parts = [np.flatnonzero(part_of == i).astype(np.int32) for i in range(len(edges) + 1)]
    return [part for part in parts if len(part)]


def rounded(length: int) -> int:
    return MULTIPLE * math.ceil(length / MULTIPLE)


def _bucket(
    examples: Examples,
    members: np.ndarray,
    *,
    sentences: int,
    tokens: int,
    divide_by: int,
    lengths: tuple[int, int] | None,
) -> Bucket:
    source, target = padded_lengths(examples, members, lengths)
    if not tokens and sentences % divide_by:
        raise DataError(
            f"batch.sentences is {sentences:,} and the mesh divides rows by {divide_by}. "
            f"Allowed is a number that it divides."
        )
    rows = sentences if not tokens else tokens // (source + target) // divide_by * divide_by
    if rows < 1:
        raise DataError(
            f"batch.tokens is {tokens:,}, and {divide_by} rows of {source} + {target} tokens are needed at "
            f"least. Raise it to {divide_by * (source + target):,} or more, or lower "
            f"{'data.source_tokens and data.target_tokens' if lengths else 'data.longest_tokens'}."
        )
    return Bucket(members, source, target, rows)


def padded_lengths(
    examples: Examples, chosen: np.ndarray, lengths: tuple[int, int] | None
) -> tuple[int, int]:
    """Those that are given, else those of the longest of these examples."""
    sides = (examples.source_lengths, examples.target_lengths)
    source, target = lengths or (int(side[chosen].max()) for side in sides)
    return rounded(source), rounded(target)


def padded(examples: Examples, chosen: np.ndarray, source_length: int, target_length: int) -> Batch:
    """These examples as rows."""
    e = examples
    source = _rows(e.source, e.source_starts, chosen, source_length)
    target = _rows(e.target, e.target_starts, chosen, target_length)
    shifted = np.zeros_like(target)
    shifted[:, 1:] = target[:, :-1]
    shifted[:, 1:][target[:, 1:] == 0] = 0  # the end of a sentence is not read
    return {"source": source, "target_in": shifted, "target_out": target}


def _rows(flat: np.ndarray, starts: np.ndarray, chosen: np.ndarray, length: int) -> np.ndarray:
    begin = starts[chosen]
    within = np.arange(length) < (starts[chosen + 1] - begin)[:, None]
    at = np.minimum(begin[:, None] + np.arange(length), len(flat) - 1)
    return np.where(within, flat[at], 0).astype(np.int32)


def held_out_batch(examples: Examples, *, rows: int, lengths: tuple[int, int] | None = None) -> Batch:
    """One batch for guidance: always the same examples, whatever the seed of a run."""
    if len(examples) < rows:
        raise DataError(
            f"The guidance batch is to have {rows:,} sentences and the guide split has {len(examples):,}. "
            f"Raise data.guide_share, or lower the batch."
        )
    chosen = _generator(0).permutation(len(examples))[:rows]
    return padded(examples, chosen, *padded_lengths(examples, chosen, lengths))
