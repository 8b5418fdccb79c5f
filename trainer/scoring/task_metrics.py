"""How good are a task's outputs, by the names of metrics that a config may hold? In percent, no JAX.

    accuracy      outputs that equal their target; white space around them is left out, and case matters
    macro-f1      the mean F1 of the labels that stand among targets or outputs
    matthews      Matthews' correlation times 100, of any number of labels (Gorodkin 2004)
    exact-match   outputs that equal their target as SQuAD compares: lower case, without punctuation, the
                  articles a, an and the, and more than one space
    token-f1      the mean F1 of an output's words with its target's, compared likewise; two that are empty
                  are equal
    pearson       Pearson's correlation of the numbers times 100
    bleu, chrf    of trainer.scoring.metrics

Labels are the different targets of train. An output that is none of them is wrong: it hits no label, and in
matthews all such outputs are one label that no target has. Where pearson finds no number in an output, the
end of the labels' range that is farther from its target stands in: the worst that could have been said. No
output is ever left out, and nothing is NaN: what is undefined is 0, with a note.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.scoring import metrics

Texts = Sequence[str]
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)
_NO_LABEL = None  # in place of an output that is none


@dataclass(frozen=True)
class Measured:
    value: float  # percent
    note: str = ""  # why it is 0 where it is undefined


def measured(name: str, outputs: Texts, targets: Texts, *, labels: Collection[str]) -> Measured:
    """One metric of the outputs. `labels`: the different targets of train."""
    if len(outputs) != len(targets):
        raise ValueError(f"There are {len(outputs)} outputs and {len(targets)} targets. Give one for each.")
    if not outputs:
        return Measured(0.0, f"{name} is undefined without rows, and counts as 0.")
    found = BY_NAME[name](outputs, targets, labels)
    if math.isfinite(found.value):
        return found
    return Measured(0.0, f"{name} is undefined for these outputs, and counts as 0.")


def accuracy(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(_mean([o.strip() == t.strip() for o, t in zip(outputs, targets, strict=True)]))


def macro_f1(outputs: Texts, targets: Texts, labels: Collection[str]) -> Measured:
    said, true = _as_labels(outputs, targets, labels)
    each = []
    for label in sorted({*true, *(s for s in said if s is not _NO_LABEL)}):
        hits = sum(s == t == label for s, t in zip(said, true, strict=True))
        each.append(2 * hits / (said.count(label) + true.count(label)))
    return Measured(_mean(each))


def matthews(outputs: Texts, targets: Texts, labels: Collection[str]) -> Measured:
    said, true = _as_labels(outputs, targets, labels)
    rows = len(true)
    right = sum(s == t for s, t in zip(said, true, strict=True))
    said_count, true_count = Counter(said), Counter(true)
    both = sum(count * true_count[label] for label, count in said_count.items() if label is not None)
    spread = [rows**2 - sum(count**2 for count in counted.values()) for counted in (said_count, true_count)]
    if not all(spread):
        what = "outputs" if not spread[0] else "targets"
        return Measured(0.0, f"matthews is undefined where all {what} are alike, and counts as 0.")
    return Measured(100 * (right * rows - both) / math.sqrt(spread[0] * spread[1]))


def exact_match(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(_mean([_words(o) == _words(t) for o, t in zip(outputs, targets, strict=True)]))


def token_f1(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(_mean([_overlap(_words(o), _words(t)) for o, t in zip(outputs, targets, strict=True)]))


def pearson(outputs: Texts, targets: Texts, labels: Collection[str]) -> Measured:
    true = [_number(target) for target in targets]
    wrong = next((target for target, value in zip(targets, true, strict=True) if value is None), None)
    if wrong is not None:
        return Measured(0.0, f"pearson is undefined where the target {wrong!r:.40} is no number: it is 0.")
    y = [value for value in true if value is not None]
    known = [*y, *(value for value in map(_number, labels) if value is not None)]
    low, high = min(known), max(known)
    x = [
        value if (value := _number(output)) is not None else low if t - low > high - t else high
        for output, t in zip(outputs, y, strict=True)
    ]
    sides = [_centred(x), _centred(y)]
    if sides[0] is None or sides[1] is None:
        what = "outputs" if sides[0] is None else "targets"
        return Measured(0.0, f"pearson is undefined where all {what} are alike, and counts as 0.")
    together = float(sides[0] @ sides[1])
    return Measured(100 * min(1.0, max(-1.0, together)))


def bleu(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(metrics.bleu(outputs, targets).value)


def chrf(outputs: Texts, targets: Texts, labels: Collection[str] = ()) -> Measured:
    return Measured(metrics.chrf(outputs, targets).value)


BY_NAME: Mapping[str, Callable[[Texts, Texts, Collection[str]], Measured]] = {
    "accuracy": accuracy,
    "macro-f1": macro_f1,
    "matthews": matthews,
    "exact-match": exact_match,
    "token-f1": token_f1,
    "pearson": pearson,
    "bleu": bleu,
    "chrf": chrf,
}


def _mean(values: Sequence[float]) -> float:
    return 100 * math.fsum(values) / len(values)


def _as_labels(outputs: Texts, targets: Texts, labels: Collection[str]) -> tuple[list[str | None], list[str]]:
    """What was said, None where that is no label, and what is true."""
    true = [target.strip() for target in targets]
    known = {*true, *(label.strip() for label in labels)}
    return [word if (word := output.strip()) in known else _NO_LABEL for output in outputs], true


def _words(text: str) -> list[str]:
    """As SQuAD's own script compares answers (Rajpurkar et al. 2016)."""
    bare = "".join(letter for letter in text.lower() if letter not in _PUNCTUATION)
    return _ARTICLES.sub(" ", bare).split()


def _overlap(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    return 2 * shared / (len(said) + len(true))


def _number(text: str) -> float | None:
    """A finite number; None for any other text."""
    try:
        value = float(text.strip()) if "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _centred(values: Sequence[float]) -> np.ndarray | None:
    """Around 0 and of length 1; None where all are alike. Scaled first, so that no square overflows."""
    x = np.asarray(values, float)
    if x.min() == x.max():
        return None
    x = x / np.abs(x).max()
    x = x - x.mean()
    length = float(np.linalg.norm(x))
    return x / length if length > 0 else None
