"""What is the score of always saying the commonest target of a task? Whoever learns anything is above it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.data.contract import Corpus, Pairs
from trainer.data.filters import in_order

MOST_ROWS = 10_000  # of the dev split: more take minutes where summaries are compared


@dataclass(frozen=True)
class Commonest:
    target: str
    rows: int  # of the dev split
    scores: Mapping[str, float]  # percent by metric: the task's own, else accuracy


def counted_targets(pairs: Pairs) -> Counter[str]:
    return Counter(target for _, target in in_order(pairs))


def commonest_of(targets: Counter[str]) -> str:
    """The one that comes first where several are as common."""
    [(target, _)] = targets.most_common(1)
    return target


def commonest(corpus: Corpus, targets: Counter[str] | None = None) -> Commonest:
    """Of a task; the first rows of its dev split are judged. `targets`: of train, where counted."""
    target = commonest_of(counted_targets(corpus.train) if targets is None else targets)
    select = corpus.select
    rows = [select[i] for i in range(min(len(select), MOST_ROWS))]
    if corpus.measure is None:
        right = sum(true.strip() == target.strip() for _, true in rows)
        return Commonest(target, len(rows), {"accuracy": 100 * right / len(rows)})
    found = corpus.measure([target] * len(rows), [getattr(row, "record", None) for row in rows])
    scores = {name: float(value) if math.isfinite(value) else 0.0 for name, value in found.items()}
    return Commonest(target, len(rows), scores)
