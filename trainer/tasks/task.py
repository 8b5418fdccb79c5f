"""What is one task of a benchmark? How a record of a prepared set becomes an input, a target and what its
score needs to know.

Words before inputs, the order of fields and the words of labels stand here, as T5's paper has them (Appendix
D); a set's own file of labels is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.benchmarks import BENCHMARKS, Benchmark
from trainer.data.contract import DataError, Row

Record = Mapping[str, Any]  # of a prepared set
Examples = Callable[[Record, bool], Sequence[Row]]  # the record, to train on it?


@dataclass(frozen=True)
class Task:
    """`examples(record, training)`: one row of most; of some none or several (`several`). `measure` is where
    the function stands that judges outputs, as `module:name`. Tasks named in `trained_on` bring the rows to
    train on."""

    name: str
    examples: Examples
    measure: str
    several: bool = False
    labels: tuple[str, ...] = ()
    validation: tuple[str, ...] = ("validation",)  # splits of the set
    trained_on: tuple[str, ...] = ()
    beams: bool = False  # outputs are looked for by a beam

    @property
    def known(self) -> Benchmark:
        """What a config knows of it."""
        return BENCHMARKS[self.name]

    @property
    def set(self) -> str:
        """The set that it is judged by, as TensorFlow Datasets calls it."""
        return self.known.sets[0]


def scores(name: str) -> str:
    """Where a benchmark's score stands."""
    return f"trainer.tasks.benchmark_scores:{name}"


def labelled(
    name: str,
    *,
    labels: tuple[str, ...],
    fields: tuple[str, ...],
    group: str = "",
    word: str = "",
    score: str = "accuracy",
    **more: Any,
) -> Task:
    """A task whose target is the word of a label, `labels` in the order of the set's numbers. The input names
    the task by `word`, and then each of the `fields` before its text; `group` is one of them."""
    before = word or name.split("/")[-1]

    def examples(record: Record, training: bool) -> Sequence[Row]:
        number = record["label"]
        target = label_of(name, labels, number)
        told = {"label": target, "labels": list(labels)}
        return [Row.of(joined(before, record, fields), target, told, str(record[group]) if group else "")]

    return Task(name, examples, scores(score), labels=labels, **more)


def joined(word: str, record: Record, fields: Sequence[str]) -> str:
    """`word` and the fields that the record has, each after its name."""
    return " ".join(
        [word, *(f"{field}: {str(record[field]).strip()}" for field in fields if field in record)]
    )


def label_of(name: str, labels: Sequence[str], number: Any) -> str:
    """DataError where the number is that of a hidden label."""
    if not 0 <= int(number) < len(labels):
        raise DataError(
            f"A row of {name} has the label {number}. Allowed are 0 to {len(labels) - 1} "
            f"({', '.join(labels)}): the labels of this split are hidden. Take another split, or another set."
        )
    return labels[int(number)]
