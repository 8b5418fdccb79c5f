"""What is unlabelled text to the trainer? Streams of token ids, a split each, and how they came to be.

Every source of documents gives a `Text`; nothing after it knows where text came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainer.data.vocabulary import Vocabulary


class Stream(Protocol):
    """A split as token ids: its documents one after the other, each with its end. In parts, of which the
    later ones may still be being made."""

    def part(self, number: int) -> np.ndarray:
        """One of them, from 0; waits until it is there. IndexError: there are no more."""
        ...

    def parts(self) -> int | None:
        """How many there are; None while that is not known."""
        ...


@dataclass(frozen=True)
class Text:
    """Unlabelled text in a vocabulary. A document is in one split, by a hash of it."""

    name: str  # such as "prose", "text notes.txt" or "tfds:c4/en"
    fingerprint: str  # equal fingerprints are equal text
    vocabulary: Vocabulary  # with as many sentinels as the config asks for
    train: Stream
    guide: Stream  # held out from train, for the guidance loss; one part
    select: Stream  # "dev"; one part
    test: Callable[[str | None], Stream]  # why -> stream
    record: Mapping[str, Any]  # JSON: counts of documents and tokens, as far as they are known
