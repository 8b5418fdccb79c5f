"""Which pieces of unlabelled text make up a step's batch, and with which noise? A function of (seed, cursor).

A part of the text is cut into pieces of one length; a tail that is shorter is dropped, unless it is all that
there is. The text is read in epochs: in the first one part after the other as they come, since later parts
may still be being made, in every other one the parts in an order of their own by (seed, epoch). Within a
part the pieces are in an order by (seed, epoch, part), cut into windows of so many, and a window has its
noise by (seed, epoch, part, window): a second visit of a piece has other noise, and what comes next is known
without what came before. Pieces of one objective are as long as each other, so that a row is a piece and
little of it is padding; those of `prefix-lm` share a row by two, as segments. Those of `iid-spans` differ a
little, but no two of them have room in a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.config.noise_lengths import Lengths
from trainer.data.batches import Batch, padded, rounded
from trainer.data.contract import DataError
from trainer.data.objectives import Noise, made
from trainer.data.packing import of_one_shape, packed
from trainer.data.streams import Stream

WINDOW = 256  # pieces: resuming makes one anew
_PARTS, _PIECES, _NOISE, _FIXED = range(1, 5)  # what a random generator is for


@dataclass(frozen=True, eq=False)
class Denoiser:
    """An objective with its lengths and its noise: rows of pieces."""

    name: str
    lengths: Lengths
    noise: Noise

    def rows(self, pieces: np.ndarray, rng: np.random.Generator) -> tuple[Batch, np.ndarray]:
        """These pieces, and how many spans of each row no sentinel was left for."""
        examples, beyond = made(self.name, pieces.astype(np.int32), rng, self.noise)
        together = self.lengths.pieces
        if together == 1:
            return padded(examples, np.arange(len(pieces)), *row_tokens(self.lengths)), beyond
        firsts = range(0, len(pieces), together)
        rows = [list(range(first, min(first + together, len(pieces)))) for first in firsts]
        return packed(examples, rows, *row_tokens(self.lengths)), np.add.reduceat(beyond, [*firsts])


class Denoised:
    """Rows of one shape. A cursor is `{"epoch", "part", "window", "row"}`: the next row that is to be read,
    the part by its place in the epoch; and `"uncorrupted"`: for how many spans no sentinel was left."""

    longest_piece = None  # one piece is the whole chunk

    def __init__(
        self,
        stream: Stream,
        denoiser: Denoiser,
        *,
        seed: int,
        sentences: int = 32,
        tokens: int = 0,
        rows_divide_by: int = 1,
    ) -> None:
        """So many rows a batch, or at most so many tokens, padding included."""
        self._stream, self._denoiser, self._seed = stream, denoiser, seed
        self.first = {"epoch": 0, "part": 0, "window": 0, "row": 0, "uncorrupted": 0}
        self.rows = rows_of(
            denoiser.lengths, sentences=sentences, tokens=tokens, rows_divide_by=rows_divide_by
        )
        # The last of each: chunks follow each other.
        self._window = functools.lru_cache(maxsize=1)(self._made_window)
        self._pieces = functools.lru_cache(maxsize=1)(self._cut_part)
        self._parts = functools.lru_cache(maxsize=1)(self._order_of_parts)
        self._order = functools.lru_cache(maxsize=1)(self._order_of_pieces)

    def chunk(self, cursor: Mapping[str, int], steps: int) -> tuple[list[Batch], dict[str, int], int]:
        """One piece, with the steps as its first axis."""
        wanted, row, uncorrupted = steps * self.rows, cursor["row"], cursor["uncorrupted"]
        taken: list[Batch] = []
        for epoch, place, window in self._windows(cursor):
            rows, beyond = self._window(epoch, place, window)
            some = slice(row, row + wanted)
            taken.append({name: array[some] for name, array in rows.items()})
            count = len(beyond[some])
            uncorrupted += int(beyond[some].sum())
            wanted -= count
            row += count
            if not wanted:
                after = {"epoch": epoch, "part": place, "window": window, "row": row}
                break
            row = 0
        joined = {name: np.concatenate([each[name] for each in taken]) for name in taken[0]}
        real = int(np.count_nonzero(joined["source"]) + np.count_nonzero(joined["target_out"]))
        piece = {name: array.reshape(steps, self.rows, array.shape[-1]) for name, array in joined.items()}
        return [piece], {**after, "uncorrupted": uncorrupted}, real

    def told(self, cursor: Mapping[str, int]) -> dict[str, float]:
        """How often the text was read, once the number of its parts is known; whole times before that, which
        is never. And for how many spans no sentinel was left."""
        epoch, place, parts = cursor["epoch"], cursor["part"], self._stream.parts()
        share = 0.0
        if parts is not None:
            pieces = [len(self._pieces(part)) for part in range(parts)]
            order = [*range(parts)] if epoch == 0 else self._parts(epoch).tolist()
            read = cursor["window"] * WINDOW + cursor["row"] * self._denoiser.lengths.pieces
            read = sum(pieces[part] for part in order[:place]) + (min(read, pieces[order[place]]))
            share = read / sum(pieces)
        return {"repeats": epoch + share, "uncorrupted_spans": float(cursor["uncorrupted"])}

    def _windows(self, cursor: Mapping[str, int]) -> Iterator[tuple[int, int, int]]:
        """From the cursor's on: the epoch, the place of the part in it, the window."""
        epoch, place, first = cursor["epoch"], cursor["part"], cursor["window"]
        while True:
            whole, found = (place, first) == (0, 0), False
            while (part := self._part_at(epoch, place)) is not None:
                for window in range(first, math.ceil(len(self._pieces(part)) / WINDOW)):
                    found = True
                    yield epoch, place, window
                place, first = place + 1, 0
            if whole and not found:
                raise no_piece(self._denoiser)
            epoch, place = epoch + 1, 0

    def _part_at(self, epoch: int, place: int) -> int | None:
        """The part at a place of an epoch; None after its last."""
        if epoch:
            order = self._parts(epoch)
            return int(order[place]) if place < len(order) else None
        try:
            self._pieces(place)
        except IndexError:
            return None
        return place

    def _order_of_parts(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([_PARTS, self._seed, epoch]).permutation(count_parts(self._stream))

    def _cut_part(self, part: int) -> np.ndarray:
        return pieces_of(self._stream, part, self._denoiser.lengths.raw)

    def _order_of_pieces(self, epoch: int, part: int) -> np.ndarray:
        return np.random.default_rng([_PIECES, self._seed, epoch, part]).permutation(len(self._pieces(part)))

    def _made_window(self, epoch: int, place: int, window: int) -> tuple[Batch, np.ndarray]:
        part = self._part_at(epoch, place)
        assert part is not None
        chosen = self._order(epoch, part)[window * WINDOW : (window + 1) * WINDOW]
        rng = np.random.default_rng([_NOISE, self._seed, epoch, part, window])
        return self._denoiser.rows(self._pieces(part)[chosen], rng)


# -- what is always the same -----------------------------------------------------------------------------


def held_out(stream: Stream, denoiser: Denoiser, *, rows: int) -> Batch:
    """One batch for guidance, of so many rows: always the same pieces and the same noise."""
    pieces = pieces_of(stream, 0, denoiser.lengths.raw)
    there = math.ceil(len(pieces) / denoiser.lengths.pieces)
    if there < rows:
        raise DataError(
            f"The guidance batch is to have {rows:,} rows and the guide split fills {there:,}. Raise "
            f"data.guide_share, or lower the batch or data.source_tokens."
        )
    rng = np.random.default_rng([_FIXED, 0])
    chosen = rng.permutation(len(pieces))[: rows * denoiser.lengths.pieces]
    return denoiser.rows(pieces[chosen], rng)[0]


def whole(
    stream: Stream, denoiser: Denoiser, *, at_a_time: int, rows_divide_by: int = 1, most: int | None = None
) -> Batch:
    """A whole split, or its first pieces, always with the same noise, in batches of one shape along a first
    axis. Rows of zeros fill up the last batch."""
    pieces = [pieces_of(stream, part, denoiser.lengths.raw) for part in range(count_parts(stream))]
    if most is not None:
        before = np.cumsum([0, *map(len, pieces)]).tolist()
        pieces = [of[: max(0, most - first)] for of, first in zip(pieces, before, strict=False)]
    made_of = [
        denoiser.rows(some, np.random.default_rng([_FIXED, 1, part]))[0]
        for part, some in enumerate(pieces)
        if len(some)
    ]
    if not made_of:
        raise no_piece(denoiser)
    joined = {name: np.concatenate([each[name] for each in made_of]) for name in made_of[0]}
    count = math.ceil(len(joined["target_out"]) / at_a_time)
    return of_one_shape(joined, count, rows_divide_by=rows_divide_by)


# -- rows and pieces -------------------------------------------------------------------------------------


def row_tokens(lengths: Lengths) -> tuple[int, int]:
    """Of the two sides of a row, padding included."""
    return rounded(lengths.inputs), rounded(lengths.targets)


def rows_of(lengths: Lengths, *, sentences: int, tokens: int, rows_divide_by: int) -> int:
    """Of a batch."""
    if not tokens:
        return sentences
    source, target = row_tokens(lengths)
    least = rows_divide_by * (source + target)
    if tokens < least:
        raise DataError(
            f"batch.tokens is {tokens:,}, and {rows_divide_by} rows of {source} + {target} tokens are needed "
            f"at least. Raise it to {least:,} or more, or lower data.source_tokens."
        )
    return tokens // least * rows_divide_by


def pieces_of(stream: Stream, part: int, raw: int) -> np.ndarray:
    """The pieces of a part as rows; IndexError where there is no such part. One that is shorter than a piece
    is one where it is the whole text."""
    tokens = stream.part(part)
    if part == 0 and 0 < len(tokens) < raw and count_parts(stream) == 1:
        return tokens[None]
    count = len(tokens) // raw
    return tokens[: count * raw].reshape(count, raw)


def count_parts(stream: Stream) -> int:
    """Waits until the last one is there, where that is not known."""
    known, count = stream.parts(), 0
    while known is None:
        try:
            stream.part(count)
        except IndexError:
            known = count
        count += 1
    return known


def no_piece(denoiser: Denoiser) -> DataError:
    return DataError(
        f"The text has no piece of {denoiser.lengths.raw:,} tokens. Give more text, or lower "
        f"data.source_tokens."
    )
