"""What does `orch data describe` tell of a task? Its labels, examples as a model sees them, how much is cut,
and which targets its vocabulary cannot write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from trainer.config import TrainConfig
from trainer.data.commonest import commonest, counted_targets
from trainer.data.contract import Pairs
from trainer.data.corpus import told_lengths
from trainer.data.examples import Examples
from trainer.data.filters import in_order
from trainer.data.tokens import Tokens, task_tokens
from trainer.data.vocabulary import Vocabulary

EXAMPLES = 3
MOST_LABELS = 30  # different targets: more are no labels
_LOST_SHOWN = 3
_AT_A_TIME = 10_000  # texts


def figures(config: TrainConfig, tokens: Tokens) -> dict[str, Any]:
    """JSON, to be laid over that of any text."""
    most = task_tokens(config.data)
    assert most is not None
    by_split = {name: counted_targets(getattr(tokens.corpus, name)) for name in ("train", "guide", "select")}
    found = {
        "most_tokens": dict(zip(("input", "target"), most, strict=True)),
        "cut": tokens.cut(),
        "tokens": lengths(tokens.train),
        "lost": _lost(sum(by_split.values(), Counter()), tokens.vocabulary),
        "commonest": asdict(commonest(tokens.corpus, by_split["train"])),
        "samples": seen(tokens.corpus.train, tokens.vocabulary, most),
    }
    if len(set().union(*by_split.values())) <= MOST_LABELS:
        found["labels"] = {name: dict(sorted(count.items())) for name, count in by_split.items()}
    return found


def lengths(examples: Examples) -> dict[str, dict[str, float]]:
    """In tokens, ends among them, after they were cut."""
    return {
        "input": told_lengths(examples.source_lengths),
        "target": told_lengths(examples.target_lengths),
    }


def seen(pairs: Pairs, vocabulary: Vocabulary, most: Sequence[int]) -> list[list[str]]:
    """The first inputs and targets, cut and written out of their tokens again."""
    sides = zip(*islice(in_order(pairs), EXAMPLES), strict=True)
    written = [
        vocabulary.decode([ids[: longest - 1] for ids in vocabulary.encode(list(side))])
        for side, longest in zip(sides, most, strict=True)
    ]
    return [list(pair) for pair in zip(*written, strict=True)]


def _lost(counted: Counter[str], vocabulary: Vocabulary) -> dict[str, Any]:
    """The targets that the vocabulary does not give back letter for letter: no model can write them."""
    changed: dict[str, str] = {}
    written = list(counted)
    for first in range(0, len(written), _AT_A_TIME):
        some = written[first : first + _AT_A_TIME]
        back = vocabulary.decode(vocabulary.encode(some))
        changed |= {one: other for one, other in zip(some, back, strict=True) if one != other}
    samples = [list(pair) for pair in islice(changed.items(), _LOST_SHOWN)]
    return {"targets": sum(counted[each] for each in changed), "of": counted.total(), "samples": samples}
