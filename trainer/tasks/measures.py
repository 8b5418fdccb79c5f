"""How good are outputs beside their targets? In percent, of texts, without JAX: what metrics by name
(trainer.scoring.task_metrics) and those of benchmarks (trainer.tasks.benchmark_scores) share.

No output is ever left out, and nothing is NaN: what is undefined is 0, with a note.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

Texts = Sequence[str]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)
_NO_LABEL = None  # in place of an output that is none


class Measured(float):
    """Percent. `note`: why it is 0 where it is undefined; of BLEU, its signature."""

    note: str

    def __new__(cls, value: float, note: str = "") -> Measured:
        made = super().__new__(cls, value)
        made.note = note
        return made


def without_rows(name: str) -> Measured:
    return Measured(0.0, f"{name} is undefined without rows, and counts as 0.")


def mean(values: Sequence[float]) -> Measured:
    """Of shares of 1, as percent."""
    return Measured(100 * math.fsum(values) / len(values))


# -- labels ----------------------------------------------------------------------------------------------


def accuracy(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return mean([o.strip() == t.strip() for o, t in zip(outputs, targets, strict=True)])


def f1(
    outputs: Texts, targets: Texts, *, positive: str, labels: Collection[str], name: str = "f1"
) -> Measured:
    """Of one label of two. An output that is neither counts as the wrong one of the two."""
    said, true = as_labels(outputs, targets, labels)
    hits = sum(s == t == positive for s, t in zip(said, true, strict=True))
    claimed = sum(
        s == positive or (s is _NO_LABEL and t != positive) for s, t in zip(said, true, strict=True)
    )
    there = true.count(positive)
    if not claimed + there:
        return Measured(0.0, f"{name} is undefined where {positive!r} is neither said nor true: it is 0.")
    return Measured(100 * 2 * hits / (claimed + there))


def macro_f1(
    outputs: Texts, targets: Texts, labels: Collection[str], *, all_labels: bool = False
) -> Measured:
    """The mean F1 of the labels that stand among targets or outputs, or of all. An output that is none hits
    none and is none's."""
    said, true = as_labels(outputs, targets, labels)
    seen = {*true, *(s for s in said if s is not _NO_LABEL)}
    unseen = sorted({*labels} - seen) if all_labels else []
    each = [0.0 for _ in unseen]
    for label in sorted(seen):
        hits = sum(s == t == label for s, t in zip(said, true, strict=True))
        each.append(2 * hits / (said.count(label) + true.count(label)))
    note = (
        f"macro-f1 has an F1 of 0 for what is neither said nor true: {', '.join(unseen)}." if unseen else ""
    )
    return Measured(mean(each), note)


def matthews(outputs: Texts, targets: Texts, labels: Collection[str]) -> Measured:
    """Times 100, of any number of labels (Gorodkin 2004). All outputs that are none are one that no target
    has."""
    said, true = as_labels(outputs, targets, labels)
    rows = len(true)
    right = sum(s == t for s, t in zip(said, true, strict=True))
    said_count, true_count = Counter(said), Counter(true)
    both = sum(count * true_count[label] for label, count in said_count.items() if label is not None)
    spread = [rows**2 - sum(count**2 for count in counted.values()) for counted in (said_count, true_count)]
    if not all(spread):
        what = "outputs" if not spread[0] else "targets"
        return Measured(0.0, f"matthews is undefined where all {what} are alike, and counts as 0.")
    return Measured(100 * (right * rows - both) / math.sqrt(spread[0] * spread[1]))


def as_labels(outputs: Texts, targets: Texts, labels: Collection[str]) -> tuple[list[str | None], list[str]]:
    """What was said, None where that is no label, and what is true."""
    true = [target.strip() for target in targets]
    known = {*true, *(label.strip() for label in labels)}
    return [word if (word := output.strip()) in known else _NO_LABEL for output in outputs], true


# -- words -----------------------------------------------------------------------------------------------


def exact_match(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return mean([words(o) == words(t) for o, t in zip(outputs, targets, strict=True)])


def token_f1(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return mean([overlap(words(o), words(t)) for o, t in zip(outputs, targets, strict=True)])


def words(text: str) -> list[str]:
    """As SQuAD's own script compares answers (Rajpurkar et al. 2016)."""
    return _ARTICLES.sub(" ", "".join(one for one in text.lower() if one not in _PUNCTUATION)).split()


def overlap(said: list[str], true: list[str]) -> float:
    """F1 of words. Two that are empty are equal, so that no exact match is above it."""
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    return 2 * shared / (len(said) + len(true))


# -- numbers ---------------------------------------------------------------------------------------------


def number(text: str) -> float | None:
    """A finite number; None for any other text."""
    try:
        value = float(text.strip()) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers_said(outputs: Texts, true: Sequence[float], *, low: float, high: float) -> list[float]:
    """Where there is none in an output, the end of the range that is farther from what is true: the worst
    that could have been said."""
    return [
        value if (value := number(output)) is not None else low if t - low > high - t else high
        for output, t in zip(outputs, true, strict=True)
    ]


def pearson(outputs: Texts, targets: Texts, labels: Collection[str]) -> Measured:
    true = [number(target) for target in targets]
    wrong = next((target for target, value in zip(targets, true, strict=True) if value is None), None)
    if wrong is not None:
        return Measured(0.0, f"pearson is undefined where the target {wrong!r:.40} is no number: it is 0.")
    y = [value for value in true if value is not None]
    known = [*y, *(value for value in map(number, labels) if value is not None)]
    return correlation("pearson", numbers_said(outputs, y, low=min(known), high=max(known)), y)


def correlation(name: str, x: Sequence[float], y: Sequence[float]) -> Measured:
    """Pearson's times 100: of ranks it is Spearman's."""
    sides = [_centred(x), _centred(y)]
    if sides[0] is None or sides[1] is None:
        what = "outputs" if sides[0] is None else "targets"
        return Measured(0.0, f"{name} is undefined where all {what} are alike, and counts as 0.")
    return Measured(100 * min(1.0, max(-1.0, float(sides[0] @ sides[1]))))


def ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    means = np.cumsum(counts) - (counts - 1) / 2
    return [float(rank) for rank in means[which]]


def _centred(values: Sequence[float]) -> np.ndarray | None:
    """Around 0 and of length 1; None where all are alike. Scaled first, so that no square overflows."""
    x = np.asarray(values, float)
    if x.min() == x.max():
        return None
    x = x / np.abs(x).max()
    x = x - x.mean()
    length = float(np.linalg.norm(x))
    return x / length if length > 0 else None
