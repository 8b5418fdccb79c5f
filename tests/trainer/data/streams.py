"""Small streams of token ids in memory, and denoisers of them, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.config.noise_lengths import lengths
from trainer.data.denoising import Denoiser
from trainer.data.objectives import Noise

PIECES = 1_000  # ids below; the sentinels are above
SENTINELS = np.arange(PIECES + 99, PIECES - 1, -1, dtype=np.int32)  # the first is the highest


class Parts:
    """A stream in memory. `known`: does it say from the beginning how many parts it has?"""

    def __init__(self, *parts: Sequence[int] | np.ndarray, known: bool = True) -> None:
        self._parts = [np.asarray(part, np.int32) for part in parts]
        self._known = known
        self.asked: list[int] = []

    def part(self, number: int) -> np.ndarray:
        self.asked.append(number)
        return self._parts[number]

    def parts(self) -> int | None:
        return len(self._parts) if self._known else None


def noise(*, rate: float = 0.15, span: float = 3.0, sentinels: int = 100) -> Noise:
    return Noise(rate, span, SENTINELS[-sentinels:], np.arange(3, PIECES, dtype=np.int32))


def denoiser(
    name: str, source_tokens: int, *, rate: float = 0.15, span: float = 3.0, sentinels: int = 100
) -> Denoiser:
    long = lengths(name, source_tokens, rate=rate, span=span, sentinels=sentinels)
    return Denoiser(name, long, noise(rate=rate, span=span, sentinels=sentinels))


def words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, PIECES, count).astype(np.int32)
