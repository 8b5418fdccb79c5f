"""What is read and what is written for a piece of unlabelled text? The objectives of T5 (3.1.4, 3.3).

Pure functions of tokens and a mask, over many pieces of one length at a time: `tokens` and `mask` have a
row for each. Every side ends with the end of a text, which stands for the end of the piece; only the input
of a language model holds nothing. Masks with the stated numbers of tokens and spans are equally likely,
other than in T5's released code, which always corrupts the last token, never the first, and knows one mask
only for up to 30 tokens at 15 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trainer.config.noise_lengths import corrupted, spans
from trainer.data.examples import Examples
from trainer.data.vocabulary import END

RANDOM_SHARE = 0.1  # of the tokens that `bert` corrupts: a random token in place of the mask


# -- masks -----------------------------------------------------------------------------------------------


def token_masks(rng: np.random.Generator, pieces: int, tokens: int, m: int) -> np.ndarray:
    """Which m of the tokens are corrupted, for each piece: all sets are equally likely."""
    mask = np.zeros((pieces, tokens), np.bool_)
    np.put_along_axis(mask, _chosen(rng, pieces, tokens, m), True, axis=1)
    return mask


def span_masks(rng: np.random.Generator, pieces: int, tokens: int, m: int, k: int) -> np.ndarray:
    """m tokens in k spans that do not touch: all masks are equally likely. A mask is how m is cut into k
    parts, and before which k of the tokens that stay, or after the last of them, the spans stand."""
    ends = np.full((pieces, k), m)
    ends[:, :-1] = 1 + np.sort(_chosen(rng, pieces, m - 1, k - 1), axis=1)  # in the corrupted tokens alone
    sizes = np.diff(ends, axis=1, prepend=0)
    before = np.sort(_chosen(rng, pieces, tokens - m + 1, k), axis=1)  # tokens that stay before a span
    starts = before + ends - sizes
    edges = np.zeros((pieces, tokens + 1), np.int8)
    np.put_along_axis(edges, starts, 1, axis=1)
    np.put_along_axis(edges, starts + sizes, -1, axis=1)
    return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).astype(np.bool_)


def _chosen(rng: np.random.Generator, pieces: int, among: int, count: int) -> np.ndarray:
    """So many of the numbers below `among`, in no order; all sets are equally likely."""
    if count == 0:
        return np.empty((pieces, 0), np.int64)
    return np.argpartition(rng.random((pieces, among)), count - 1, axis=1)[:, :count]


def first_spans(mask: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The mask without the spans after the first `most` of each piece, and how many these were."""
    number = np.cumsum(_begins(mask), axis=1, dtype=np.int32)
    return mask & (number <= most), np.maximum(number[:, -1] - most, 0)


def _begins(mask: np.ndarray) -> np.ndarray:
    """Where the spans begin."""
    begins = mask.copy()
    begins[:, 1:] &= ~mask[:, :-1]
    return begins


# -- objectives ------------------------------------------------------------------------------------------


def prefix_lm(tokens: np.ndarray, read: np.ndarray) -> Examples:
    """The first `read[i]` tokens of piece i are read, the rest is written."""
    first = np.arange(tokens.shape[1]) < read[:, None]
    return _sides((tokens, first), (tokens, ~first))


def lm(tokens: np.ndarray) -> Examples:
    """Nothing is read, all is written."""
    everything = np.ones_like(tokens, np.bool_)
    nothing = np.empty(0, np.int32), np.zeros(len(tokens) + 1, np.int64)
    return Examples(*nothing, *_ended(tokens, everything))


def masked(tokens: np.ndarray, mask: np.ndarray, sign: int, others: np.ndarray | None = None) -> Examples:
    """BERT-style: a corrupted token is read as `sign`, or as the one of `others` where that is not 0; the
    whole piece is written. Without `others` it is the MASS-style objective."""
    signs = np.full_like(tokens, sign) if others is None else np.where(others > 0, others, sign)
    everything = np.ones_like(mask)
    return _sides((np.where(mask, signs, tokens), everything), (tokens, everything))


def deshuffling(tokens: np.ndarray, order: np.ndarray) -> Examples:
    """The tokens are read in another order."""
    everything = np.ones_like(tokens, np.bool_)
    return _sides((np.take_along_axis(tokens, order, axis=1), everything), (tokens, everything))


def replaced_spans(tokens: np.ndarray, mask: np.ndarray, sentinels: np.ndarray) -> Examples:
    """In place of each span a sentinel is read. Written is each sentinel with what it stands for, then the
    next one, which closes the last span."""
    begins = _begins(mask)
    number = np.cumsum(begins, axis=1, dtype=np.int32)
    signs = sentinels[np.maximum(number - 1, 0)]
    inputs = np.where(mask, signs, tokens), ~mask | begins
    pieces, size = tokens.shape
    # A place for a sentinel before each token, and one after all.
    written = np.empty((pieces, 2 * size + 1), tokens.dtype)
    kept = np.empty(written.shape, np.bool_)
    written[:, 0:-1:2], written[:, 1:-1:2], written[:, -1] = signs, tokens, sentinels[number[:, -1]]
    kept[:, 0:-1:2], kept[:, 1:-1:2], kept[:, -1] = begins, mask, True
    return _sides(inputs, (written, kept))


def dropped(tokens: np.ndarray, mask: np.ndarray) -> Examples:
    """Corrupted tokens are left out, and written."""
    return _sides((tokens, ~mask), (tokens, mask))


def _sides(inputs: tuple[np.ndarray, np.ndarray], targets: tuple[np.ndarray, np.ndarray]) -> Examples:
    return Examples(*_ended(*inputs), *_ended(*targets))


def _ended(tokens: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those that are kept, each row with its end, one row after the other, and where the rows start."""
    ends = ((0, 0), (0, 1))
    kept = np.pad(kept, ends, constant_values=True)
    flat = np.pad(tokens, ends, constant_values=END)[kept].astype(np.int32)
    return flat, np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)


# -- with their noise ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Noise:
    """How text is corrupted, and by which ids."""

    rate: float
    span: float
    sentinels: np.ndarray  # the first one is also the mask
    ordinary: np.ndarray  # what a random token can be


Made = tuple[Examples, np.ndarray]  # and how many spans of each piece no sentinel was left for


def made(name: str, tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    """These pieces under an objective."""
    return OBJECTIVES[name](tokens, rng, noise)


def _prefix_lm(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    """Split at a random point, all equally likely. The second of two pieces is split as far from its end as
    the first from its beginning: together they fill a row, whatever the point is."""
    pieces, size = tokens.shape
    if size == 1:  # it is written
        return _whole(prefix_lm(tokens, np.zeros(pieces, np.int64)))
    read = np.asarray(rng.integers(1, size, size=pieces))
    read[1::2] = size - read[0 : len(read) - 1 : 2]
    return _whole(prefix_lm(tokens, read))


def _lm(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    return _whole(lm(tokens))


def _bert(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    mask = _token_mask(tokens, rng, noise)
    others = np.where(rng.random(mask.shape) < RANDOM_SHARE, rng.choice(noise.ordinary, mask.shape), 0)
    return _whole(masked(tokens, mask, int(noise.sentinels[0]), others))


def _mass(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    return _whole(masked(tokens, _token_mask(tokens, rng, noise), int(noise.sentinels[0])))


def _deshuffling(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    return _whole(deshuffling(tokens, np.argsort(rng.random(tokens.shape), axis=1)))


def _iid_spans(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    mask, beyond = first_spans(_token_mask(tokens, rng, noise), len(noise.sentinels) - 1)
    return replaced_spans(tokens, mask, noise.sentinels), beyond


def _iid_drop(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    return _whole(dropped(tokens, _token_mask(tokens, rng, noise)))


def _random_spans(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> Made:
    pieces, size = tokens.shape
    m, k = corrupted(size, rate=noise.rate), spans(size, rate=noise.rate, span=noise.span)
    return _whole(replaced_spans(tokens, span_masks(rng, pieces, size, m, k), noise.sentinels))


def _token_mask(tokens: np.ndarray, rng: np.random.Generator, noise: Noise) -> np.ndarray:
    pieces, size = tokens.shape
    return token_masks(rng, pieces, size, corrupted(size, rate=noise.rate))


def _whole(examples: Examples) -> Made:
    return examples, np.zeros(len(examples), np.int64)


OBJECTIVES: Mapping[str, Callable[[np.ndarray, np.random.Generator, Noise], Made]] = {
    "prefix-lm": _prefix_lm,
    "lm": _lm,
    "bert": _bert,
    "deshuffling": _deshuffling,
    "mass": _mass,
    "iid-spans": _iid_spans,
    "iid-drop": _iid_drop,
    "random-spans": _random_spans,
}
