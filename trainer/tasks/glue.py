"""How do the sets of GLUE become inputs and targets?

    cola sentence: John made Bill master of himself.                             acceptable
    stsb sentence1: … sentence2: …                                                3.2

WNLI stands here as the paper on guided tuning trains on it; as T5 judges by it, it is in
`trainer.tasks.pronouns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainer.data.contract import DataError, Row
from trainer.tasks.task import Record, Task, joined, labelled, scores

ENTAILMENT = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")
HIGHEST = 5.0  # of STS-B's scale, which begins at 0
_PAIR = ("sentence1", "sentence2")
_MNLI: Mapping[str, Any] = {
    "labels": NLI,
    "fields": ("hypothesis", "premise"),
    "group": "premise",
    "word": "mnli",
}
# Its validation splits, and what accuracy on each is called.
MNLI_PARTS = {"validation_matched": "matched", "validation_mismatched": "mismatched"}


def _similarity(record: Record, training: bool) -> Sequence[Row]:
    score = float(record["label"])
    if not 0 <= score <= HIGHEST:
        raise DataError(
            f"A row of glue/stsb has the score {score:g}. Allowed is 0 to 5: the scores of this split are "
            f"hidden. Take another split."
        )
    return [Row.of(joined("stsb", record, _PAIR), nearest_fifth(score), {"score": score})]


def nearest_fifth(score: float) -> str:
    """2.57 → "2.6", 3.25 → "3.2": one of 26 classes, 0.0 to 5.0. In the middle, to the even number of
    fifths."""
    return f"{round(score * 5) / 5:.1f}"


def matched_and_mismatched(outputs: Sequence[str], records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy on each of the two validation splits of MNLI; on rows of train, over all of them."""
    from trainer.tasks.benchmark_scores import accuracy

    found: dict[str, float] = {}
    for split, name in MNLI_PARTS.items():
        at = [i for i, record in enumerate(records) if record.get("split") == split]
        if at:
            found[name] = accuracy([outputs[i] for i in at], [records[i] for i in at])["accuracy"]
    return found or dict(accuracy(outputs, records))


TASKS = (
    labelled("glue/cola", labels=("unacceptable", "acceptable"), fields=("sentence",), score="matthews"),
    labelled("glue/sst2", labels=("negative", "positive"), fields=("sentence",)),
    labelled("glue/mrpc", labels=("not_equivalent", "equivalent"), fields=_PAIR, score="accuracy_and_f1"),
    Task("glue/stsb", _similarity, scores("correlations")),
    labelled(
        "glue/qqp",
        labels=("not_duplicate", "duplicate"),
        fields=("question1", "question2"),
        score="accuracy_and_f1",
    ),
    replace(
        labelled("glue/mnli", validation=tuple(MNLI_PARTS), **_MNLI),
        measure=f"{__name__}:matched_and_mismatched",
    ),
    labelled("glue/mnli_matched", validation=("validation_matched",), **_MNLI),
    labelled("glue/mnli_mismatched", validation=("validation_mismatched",), **_MNLI),
    labelled("glue/qnli", labels=ENTAILMENT, fields=("question", "sentence"), group="question"),
    labelled("glue/rte", labels=ENTAILMENT, fields=_PAIR, group="sentence1"),
    labelled("glue/wnli", labels=("not_entailment", "entailment"), fields=_PAIR, group="sentence1"),
)
