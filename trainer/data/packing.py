"""How do several examples share a row, so that hardly anything is padding? With a segment for each.

An epoch's order, as in `batches`, is cut into windows of so many examples, and each window is packed by
itself: what comes next is known without packing what came before. Rows follow each other across windows
and epochs; each epoch shows each example exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from trainer.data.batches import Batch, padded_lengths, rounded
from trainer.data.contract import DataError
from trainer.data.examples import Examples

WINDOW = 1024  # examples: more would pack a percent better and forget the order
OPEN_ROWS = 32  # that an example may still be put into
LONGEST_EXAMPLES = 2  # a row is as long as two of the longest examples


class Packed:
    """Rows of one shape. A cursor is `{"epoch", "window", "row"}`: the next row that is to be read."""

    def __init__(
        self,
        examples: Examples,
        *,
        seed: int,
        sentences: int = 32,
        tokens: int = 0,
        rows_divide_by: int = 1,
    ) -> None:
        """As many rows as hold about so many sentences, or at most so many tokens, padding included. Rows for
        sentences are the same on any mesh: empty ones fill up to a number that it divides."""
        e = self.examples = examples
        self._seed = seed
        self.first = {"epoch": 0, "window": 0, "row": 0}
        self.source_length = rounded(LONGEST_EXAMPLES * int(e.source_lengths.max()))
        self.target_length = rounded(LONGEST_EXAMPLES * int(e.target_lengths.max()))
        share = self._share = max(
            float(e.source_lengths.mean()) / self.source_length,
            float(e.target_lengths.mean()) / self.target_length,
        )
        row_tokens = self.source_length + self.target_length
        if tokens:
            self.filled = tokens // row_tokens // rows_divide_by * rows_divide_by
        else:
            self.filled = max(1, round(sentences * share))
        self.rows = math.ceil(self.filled / rows_divide_by) * rows_divide_by
        if self.rows < 1:
            least = rows_divide_by * row_tokens
            raise DataError(
                f"batch.tokens is {tokens:,}, and {rows_divide_by} packed rows of {self.source_length} + "
                f"{self.target_length} tokens are needed at least. Raise it to {least:,} or more."
            )
        self._packed: dict[tuple[int, int], list[list[int]]] = {}
        self._order: tuple[int, np.ndarray] | None = None

    longest_piece = None  # one piece is the whole chunk

    def chunk(self, cursor: Mapping[str, int], steps: int) -> tuple[list[Batch], dict[str, int], int]:
        epoch, window, row = cursor["epoch"], cursor["window"], cursor["row"]
        taken: list[list[int]] = []
        while len(taken) < steps * self.filled:
            rows = self._window(epoch, window)
            more = rows[row : row + steps * self.filled - len(taken)]
            taken += more
            row += len(more)
            if row == len(rows):
                window, row = window + 1, 0
                if window * WINDOW >= len(self.examples):
                    epoch, window = epoch + 1, 0
        batch = packed(self.examples, taken, self.source_length, self.target_length)
        real = int(np.count_nonzero(batch["source"]) + np.count_nonzero(batch["target_out"]))
        piece = {
            name: self._with_empty(array.reshape(steps, self.filled, -1)) for name, array in batch.items()
        }
        return [piece], {"epoch": epoch, "window": window, "row": row}, real

    def held_out(self, examples: Examples) -> Batch:
        """One batch for guidance, of the shape of a training batch: always the same, whatever the seed."""
        fits = (examples.source_lengths <= self.source_length) & (
            examples.target_lengths <= self.target_length
        )
        enough = math.ceil((self.filled + OPEN_ROWS) / self._share)  # so that the first rows are full
        chosen = np.random.default_rng([0]).permutation(np.flatnonzero(fits))[:enough]
        rows = fitted(examples, chosen, self.source_length, self.target_length)
        if len(rows) < self.filled:
            raise DataError(
                f"The guidance batch is to have {self.filled:,} packed rows and the guide split fills "
                f"{len(rows):,}. Raise data.guide_share, or lower the batch."
            )
        batch = packed(examples, rows[: self.filled], self.source_length, self.target_length)
        return {name: self._with_empty(array) for name, array in batch.items()}

    def _with_empty(self, array: np.ndarray) -> np.ndarray:
        """With the rows, the axis before the last, that the mesh needs beyond those that are filled."""
        more = self.rows - self.filled
        return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, more), (0, 0)]) if more else array

    def _window(self, epoch: int, window: int) -> list[list[int]]:
        """The rows of a window; the last few are kept, since chunks end in the middle of one."""
        key = (epoch, window)
        if key not in self._packed:
            if self._order is None or self._order[0] != epoch:
                order = np.random.default_rng([self._seed, epoch]).permutation(len(self.examples))
                self._order = epoch, order
            some = self._order[1][window * WINDOW : (window + 1) * WINDOW]
            while len(self._packed) > 1:
                del self._packed[next(iter(self._packed))]
            self._packed[key] = fitted(self.examples, some, self.source_length, self.target_length)
        return self._packed[key]


def fitted(examples: Examples, chosen: np.ndarray, source_length: int, target_length: int) -> list[list[int]]:
    """Each example in the first of the open rows that has room for it; the oldest row is closed."""
    rows: list[list[int]] = []
    left: list[list[int]] = []  # (row, source tokens, target tokens) of the open ones
    sizes = zip(
        chosen.tolist(),
        examples.source_lengths[chosen].tolist(),
        examples.target_lengths[chosen].tolist(),
        strict=True,
    )
    for example, source, target in sizes:
        for open_row in left:
            if open_row[1] >= source and open_row[2] >= target:
                rows[open_row[0]].append(example)
                open_row[1] -= source
                open_row[2] -= target
                break
        else:
            left.append([len(rows), source_length - source, target_length - target])
            rows.append([example])
            if len(left) > OPEN_ROWS:
                del left[0]
    return rows


def packed(examples: Examples, rows: list[list[int]], source_length: int, target_length: int) -> Batch:
    """These examples in these rows, with segments and positions."""
    chosen = np.array([i for row in rows for i in row], np.int64)
    sizes = [len(row) for row in rows]
    row_of = np.repeat(np.arange(len(rows)), sizes)
    segment_of = np.concatenate([np.arange(1, size + 1) for size in sizes])
    batch: Batch = {}
    for side, length in (("source", source_length), ("target", target_length)):
        flat, starts = getattr(examples, side), getattr(examples, f"{side}_starts")
        lengths = starts[chosen + 1] - starts[chosen]
        before = np.cumsum(lengths) - lengths  # tokens before each example, all rows together
        first_of_row = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        place = before - before[first_of_row][row_of]  # where an example begins in its row
        within = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
        at = (np.repeat(row_of, lengths), np.repeat(place, lengths) + within)

        def filled(
            values: np.ndarray, at: tuple[np.ndarray, np.ndarray] = at, length: int = length
        ) -> np.ndarray:
            array = np.zeros((len(rows), length), np.int32)
            array[at] = values
            return array

        tokens = flat[np.repeat(starts[chosen], lengths) + within]
        batch["source" if side == "source" else "target_out"] = filled(tokens)
        batch[f"{side}_segments"] = filled(np.repeat(segment_of, lengths))
        batch[f"{side}_positions"] = filled(within)
    shifted = np.zeros_like(batch["target_out"])
    shifted[:, 1:] = batch["target_out"][:, :-1]
    shifted[batch["target_positions"] == 0] = 0  # each example begins with id 0, and so does padding
    batch["target_in"] = shifted
    return batch


def whole_split(
    examples: Examples,
    *,
    at_a_time: int,
    rows_divide_by: int = 1,
    lengths: tuple[int, int] | None = None,
    only: np.ndarray | None = None,
) -> Batch:
    """All examples, or `only` these, in batches of one shape along a first axis, each of about `at_a_time`.
    A row is as long as the longest example, unless its `lengths` are given: longer ones pack no better. Rows
    of zeros fill up the last batch."""
    every = np.arange(len(examples)) if only is None else only
    source_length, target_length = padded_lengths(examples, every, lengths)
    rows = fitted(examples, every, source_length, target_length)
    batch = packed(examples, rows, source_length, target_length)
    return of_one_shape(batch, math.ceil(len(every) / at_a_time), rows_divide_by=rows_divide_by)


def of_one_shape(rows: Batch, count: int, *, rows_divide_by: int) -> Batch:
    """So many batches along a first axis; rows of zeros fill up the last one."""
    there = len(rows["target_out"])
    size = math.ceil(there / count / rows_divide_by) * rows_divide_by
    blank = ((0, count * size - there), (0, 0))
    return {name: np.pad(array, blank).reshape(count, size, array.shape[-1]) for name, array in rows.items()}
