"""How are the records of a prepared set read as the rows of a benchmark's task, by number?

A record may give no row, one or several, so they are counted first; that is kept, and with it which records
belong together. Nothing of a text is held in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from trainer.data import tfds
from trainer.data.contract import DataError, Row, group_of
from trainer.data.filters import hash_of, in_order
from trainer.protocol import whole
from trainer.tasks.task import Record, Task

VERSION = 1  # raised whenever other rows come out of the same records


@dataclass(frozen=True)
class Counted:
    """Of each record: the hash of what keeps it with others, and how many rows it has."""

    group: np.ndarray  # uint64
    training: np.ndarray  # uint16: to train on
    judged: np.ndarray


class Rows:
    """Rows of some records. `split` is told to a score where a task has several of validation."""

    def __init__(
        self,
        task: Task,
        records: tfds.Records,
        numbers: np.ndarray,
        *,
        training: bool,
        counts: np.ndarray | None = None,
        split: str = "",
    ) -> None:
        self._task, self._records, self._training, self._split = task, records, training, split
        many = np.ones(len(numbers), np.int64) if counts is None else counts[numbers].astype(np.int64)
        self._numbers = np.repeat(numbers, many)
        # Which of its record's rows each is.
        self._which = np.arange(len(self._numbers)) - np.repeat(np.cumsum(many) - many, many)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Row:
        return self.many([index])[0]

    def many(self, indices: Sequence[int]) -> list[Row]:
        at = np.asarray(indices, np.int64)
        records = self._records.many(self._numbers[at].tolist())
        return [self._row(record, which) for record, which in zip(records, self._which[at], strict=True)]

    def _row(self, record: Record, which: int) -> Row:
        row = self._task.examples(record, self._training)[which]
        if self._split:
            row.record = {**row.record, "split": self._split}
        return row


class Joined:
    """Several texts as one, in this order."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[str, str]:
        return self.many([index])[0]

    def many(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        at = np.asarray(indices, np.int64)
        which = np.searchsorted(self._ends, at, side="right")
        found: dict[int, tuple[str, str]] = {}
        for number, part in enumerate(self._parts):
            mine = np.flatnonzero(which == number)
            begin = int(self._ends[number]) - len(part)
            found.update(zip(mine.tolist(), part.many((at[mine] - begin).tolist()), strict=True))
        return [found[i] for i in range(len(at))]


def records(task: Task, split: str, *, data_dir: str) -> tfds.Records:
    """DataError where the set lacks them, or they are none."""
    found = tfds.records(task.set, split, data_dir=data_dir)
    if not len(found):
        raise DataError(
            f"{task.set} has an empty split {split!r}. Prepare it again, or name another folder of sets."
        )
    return found


def counted(task: Task, split: str, *, data_dir: str, home: Path) -> Counted:
    """From disk, or made by reading the split once."""
    told = f"{VERSION} {task.name} {tfds.identity(task.set, split, data_dir=data_dir)}"
    file = home / "surveys" / f"groups-{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"
    kept = _kept(file)
    if kept is not None:
        return Counted(**kept)
    found = records(task, split, data_dir=data_dir)
    arrays: dict[str, Any] = {
        "group": np.empty(len(found), np.uint64),
        "training": np.empty(len(found), np.uint16),
        "judged": np.empty(len(found), np.uint16),
    }
    for at, record in enumerate(in_order(found)):
        judged = task.examples(record, False)
        arrays["group"][at] = hash_of(group_of(judged[0]))
        arrays["judged"][at] = len(judged)
        arrays["training"][at] = len(task.examples(record, True)) if task.several else 1
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as unfinished:
        np.savez(unfinished, **arrays)
    return Counted(**arrays)


def _kept(file: Path) -> Mapping[str, Any] | None:
    """None where the file is absent or damaged."""
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            return {field.name: arrays[field.name] for field in fields(Counted)}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile):
        return None
