"""What is parallel text to the trainer? Pairs by number in four named splits, and how they came to be.

Every source gives a `Corpus`; nothing after it knows where text came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

SPLITS = ("train", "guide", "select", "test")


class DataError(ValueError):
    """Text that cannot be used, in a sentence."""


class Pairs(Protocol):
    """Sentences with their translations, by number: a list of tuples will do, and so will a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[str, str]: ...


@dataclass(frozen=True)
class Corpus:
    """`test` hands out the test split and writes down who opened it, and why."""

    name: str  # such as "cldr phrases de-en"
    pair: str  # "de-en": from German to English
    fingerprint: str  # of the text: equal fingerprints are equal text
    train: Pairs
    guide: Pairs  # held out from train, for the guidance loss
    select: Pairs  # "dev": what searches minimise
    test: Callable[[str], Pairs]  # why -> pairs
    record: Mapping[
        str, Any
    ]  # JSON: counts before and after each filter, overlap, lengths, versions, seconds
