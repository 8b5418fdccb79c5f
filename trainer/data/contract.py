"""What is parallel text to the trainer? Pairs by number in four named splits, and how they came to be.

Every source gives a `Corpus`; nothing after it knows where text came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SPLITS = ("train", "guide", "select", "test")


class DataError(ValueError):
    """Text that cannot be used, in a sentence."""


class Row(tuple[str, str]):
    """A task's input and target, a pair like any other, with the record that they were made of."""

    record: Any

    @classmethod
    def of(cls, source: str, target: str, record: Any = None) -> Row:
        row = cls((source, target))
        row.record = record
        return row


# A task's own measure: outputs and their records -> percent by name.
Measure = Callable[[Sequence[str], Sequence[Any]], Mapping[str, float]]


class Pairs(Protocol):
    """Sentences with their translations, by number: a list of tuples will do, and so will a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[str, str]: ...


@dataclass(frozen=True)
class Corpus:
    """`test` hands out the test split and writes down who opened it, and why."""

    name: str  # such as "cldr phrases de-en"
    pair: str  # "de-en": from German to English; "input-target" of a task
    fingerprint: str  # of the text: equal fingerprints are equal text
    train: Pairs
    guide: Pairs  # held out from train, for the guidance loss
    select: Pairs  # "dev": what searches minimise
    test: Callable[[str], Pairs]  # why -> pairs
    record: Mapping[
        str, Any
    ]  # JSON: counts before and after each filter, overlap, lengths, versions, seconds
    measure: Measure | None = None  # a task's own
