"""What is parallel text to the trainer? Pairs by number in four named splits, and how they came to be.

Every source gives a `Corpus`; nothing after it knows where text came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

SPLITS = ("train", "guide", "select", "test")


class DataError(ValueError):
    """Text that cannot be used, in a sentence."""


class Row(tuple[str, str]):
    """A task's input and target, a pair like any other, with the record that they were made of. Rows of one
    `group`, such as those about one paragraph, are never on two sides of a cut; empty: those of one input."""

    record: Any
    group: str

    @classmethod
    def of(cls, source: str, target: str, record: Any = None, group: str = "") -> Row:
        row = cls((source, target))
        row.record, row.group = record, group
        return row


def group_of(row: tuple[str, str]) -> str:
    """What keeps this pair and others together where a text is cut: its group, or its source."""
    return getattr(row, "group", "") or row[0]


# A task's own measure: outputs and their records -> percent by name.
Measure = Callable[[Sequence[str], Sequence[Any]], Mapping[str, float]]


Found = TypeVar("Found", covariant=True)


class Numbered(Protocol[Found]):
    """Rows by number: a list will do, and so will a file, which may give `many` at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Found: ...


class Pairs(Numbered[tuple[str, str]], Protocol):
    """Sentences with their translations."""


@dataclass(frozen=True)
class Corpus:
    """`test` hands out the test split and writes down who opened it, and why; without a why nothing: another
    process of the run's gang does so."""

    name: str  # such as "cldr phrases de-en"
    pair: str  # "de-en": from German to English; "input-target" of a task
    fingerprint: str  # of the text: equal fingerprints are equal text
    train: Pairs
    guide: Pairs  # held out from train, for the guidance loss
    select: Pairs  # "dev": what searches minimise
    test: Callable[[str | None], Pairs]  # why -> pairs
    record: Mapping[
        str, Any
    ]  # JSON: counts before and after each filter, overlap, lengths, versions, seconds
    measure: Measure | None = None  # a task's own
    beams: bool = False  # a task's outputs are looked for by a beam
