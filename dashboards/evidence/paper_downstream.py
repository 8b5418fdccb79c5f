"""What does the guided paper print of fine-tuning, cell by cell, and what of it is wrong?

"Simple and Effective Gradient-Based Tuning of Sequence-to-Sequence Models" (Lichtarge, Alberti, Kumar):
Tables 3, 6 and 7, a T5 of 60M parameters pretrained with and without guidance (base, and α + β1 learned),
then fine-tuned on GLUE, SuperGLUE and SQuAD. Values stand under the heads that the paper prints them under,
also where they are the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Row = Literal["base", "alpha+beta1"]
ROWS: tuple[Row, ...] = ("base", "alpha+beta1")
Values = Mapping[str, Mapping[str, float]]  # by task, by metric

# Tasks in the paper's order, with the metrics of each as Tables 6 and 7 head their columns.
GLUE: Mapping[str, tuple[str, ...]] = {
    "CoLA": ("matthews",),
    "SST": ("accuracy",),
    "MRPC": ("f1", "accuracy"),
    "STS": ("pearson", "spearman"),
    "QQP": ("f1", "accuracy"),
    "MNLI": ("matched", "mismatched"),
    "QNLI": ("accuracy",),
    "RTE": ("accuracy",),
    "WNLI": ("accuracy",),
}
SQUAD: Mapping[str, tuple[str, ...]] = {"SQuAD": ("exact-match", "f1")}
SUPER_GLUE: Mapping[str, tuple[str, ...]] = {
    "BoolQ": ("accuracy",),
    "CB": ("macro-f1", "accuracy"),
    "COPA": ("accuracy",),
    "MultiRC": ("f1a", "exact-match"),
    "ReCoRD": ("f1", "accuracy"),
    "RTE": ("accuracy",),
    "WiC": ("accuracy",),
    "WSC": ("accuracy",),
}


@dataclass(frozen=True)
class Printed:
    """One row of a table. `glue_average` and `super_glue_average` are printed, not computed."""

    glue_average: float
    super_glue_average: float
    glue: Values
    super_glue: Values
    squad: Mapping[str, float]


def _cells(heads: Mapping[str, tuple[str, ...]], *values: float) -> Values:
    columns = [(task, metric) for task, metrics in heads.items() for metric in metrics]
    found: dict[str, dict[str, float]] = {task: {} for task in heads}
    for (task, metric), value in zip(columns, values, strict=True):
        found[task][metric] = value
    return found


# The larger of 5 runs, in each cell.
TABLE_6: Mapping[Row, Printed] = {
    "base": Printed(
        77.8,
        67.1,
        _cells(GLUE, 47.9, 92.3, 90.3, 86.7, 84.0, 84.3, 85.6, 89.2, 83.8, 84.5, 90.2, 67.9, 57.7),
        _cells(SUPER_GLUE, 73.6, 98.1, 98.7, 58.0, 18.9, 68.5, 63.3, 64.3, 64.6, 67.1, 67.3),
        _cells(SQUAD, 88.2, 80.1)["SQuAD"],
    ),
    "alpha+beta1": Printed(
        78.2,
        68.5,
        _cells(GLUE, 44.5, 92.5, 91.7, 88.2, 84.9, 85.3, 86.0, 89.5, 84.6, 85.2, 90.5, 69.0, 59.2),
        _cells(SUPER_GLUE, 73.6, 94.6, 96.0, 61.0, 22.6, 69.7, 63.6, 64.5, 66.4, 67.6, 74.0),
        _cells(SQUAD, 88.3, 80.6)["SQuAD"],
    ),
}
# The mean of 5 runs, in each cell.
TABLE_7: Mapping[Row, Printed] = {
    "base": Printed(
        79.8,
        64.8,
        _cells(GLUE, 47.3, 92.2, 89.9, 86.0, 83.6, 84.0, 87.2, 90.5, 83.8, 84.4, 89.1, 64.8, 57.5),
        _cells(SUPER_GLUE, 73.1, 97.9, 98.4, 56.4, 6.4, 62.1, 63.1, 64.1, 63.8, 66.1, 63.5),
        _cells(SQUAD, 88.1, 80.0)["SQuAD"],
    ),
    "alpha+beta1": Printed(
        80.1,
        67.3,
        _cells(GLUE, 43.6, 92.5, 90.8, 87.0, 84.6, 85.0, 87.2, 90.5, 84.5, 85.1, 90.3, 66.0, 57.2),
        _cells(SUPER_GLUE, 72.7, 93.2, 93.1, 57.2, 21.0, 69.4, 63.3, 64.3, 65.9, 66.7, 73.5),
        _cells(SQUAD, 88.2, 80.5)["SQuAD"],
    ),
}


@dataclass(frozen=True)
class Summed:
    """One row of Table 3: the mean of a task's metrics, and the averages over tasks."""

    glue_average: float
    super_glue_average: float
    glue: Mapping[str, float]
    super_glue: Mapping[str, float]


def _mets(heads: Mapping[str, tuple[str, ...]], *values: float) -> Mapping[str, float]:
    return dict(zip(heads, values, strict=True))


TABLE_3: Mapping[Row, Summed] = {
    "base": Summed(
        77.8,
        67.1,
        _mets(GLUE, 47.9, 92.3, 88.5, 84.1, 87.4, 84.1, 90.2, 67.9, 57.7),
        _mets(SUPER_GLUE, 73.6, 98.4, 58.0, 43.7, 63.8, 64.6, 67.2, 67.3),
    ),
    "alpha+beta1": Summed(
        78.2,
        68.5,
        _mets(GLUE, 44.5, 92.6, 90.0, 85.1, 87.7, 84.9, 90.5, 69.0, 59.2),
        _mets(SUPER_GLUE, 73.6, 95.3, 61.0, 46.0, 64.0, 66.4, 67.6, 74.0),
    ),
}


def met(metrics: Mapping[str, float]) -> float:
    """Of one task: the mean of its metrics (C.3.3)."""
    return math.fsum(metrics.values()) / len(metrics)


def average(tasks: Values, *, without: Iterable[str] = ()) -> float:
    """Of several: the mean of their mets (C.3.3)."""
    left_out = set(without)
    mets = [met(metrics) for task, metrics in tasks.items() if task not in left_out]
    return math.fsum(mets) / len(mets)


# Tasks whose two values stand under each other's heads in Tables 6 and 7. Their mets are not touched by it.
THE_OTHER_WAY_ROUND = {"SQuAD", "CB", "MultiRC", "ReCoRD"}
CB_ROWS = 56  # of its validation split


def turned(task: str, metrics: Mapping[str, float]) -> Mapping[str, float]:
    """A task's values under the heads that they belong to."""
    if task not in THE_OTHER_WAY_ROUND:
        return metrics
    return dict(zip(metrics, reversed([*metrics.values()]), strict=True))


WRONG = (
    "In Tables 6 and 7 the two values of SQuAD, CB, MultiRC and ReCoRD stand the other way round: an exact "
    "match above its F1 cannot be (SQuAD, ReCoRD), and no accuracy of CB's 56 examples is 98.7%. The mean "
    "of the two, which Table 3 has, is not touched by it.",
    "The GLUE average of Table 6 holds WNLI (77.8 is the mean of nine tasks), that of Table 7 does not (79.8 "
    "is the mean of eight), so the two cannot be compared: without WNLI Table 6 has 80.3 and 80.5, with it "
    "Table 7 has 77.3 and 77.4.",
    "The mean of five runs on QQP in Table 7 (F1 87.2, accuracy 90.5) is above the largest of five in Table "
    "6 (85.6 and 89.2; with α and β1 learned 86.0 and 89.5).",
    "Table 3 has 92.6 for SST and 46.0 for MultiRC with α and β1 learned, and 67.2 for WiC without; of the "
    "cells of Table 6 come 92.5, 46.15 and 67.1.",
)
