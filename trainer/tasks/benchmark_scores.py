"""How do GLUE, SuperGLUE, SQuAD, summaries and translations judge outputs? In percent by name, no JAX.

A function takes outputs and their records, and each kind of record has these keys:

    accuracy, accuracy_and_f1, matthews, cb    label, one of labels
    correlations                               score, from 0 to 5
    squad                                      answers
    multirc                                    paragraph, question, label ("True" or "False")
    record                                     query, answers
    pronouns                                   candidate, label
    summary, translation                       reference

What the paper calls a task's "met" is the mean of what one of them gives, the `score` of a run. No row is
left out, however strange its output is, and what is undefined is 0 with a note (`Measured`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainer.tasks import measures, rouge
from trainer.tasks.measures import Measured, Texts

Records = Sequence[Mapping[str, Any]]
Kind = Callable[[Texts, Records], Mapping[str, Measured]]
BINARY = ("False", "True")
SIMILARITY = 0.0, 5.0  # the scale of STS-B
_ARTICLES = frozenset(("a", "an", "the"))


def _kind(*names: str) -> Callable[[Callable[[Texts, Records], Iterable[Measured]]], Kind]:
    """The metrics have these names; without rows each is 0."""

    def named(of: Callable[[Texts, Records], Iterable[Measured]]) -> Kind:
        @functools.wraps(of)
        def kind(outputs: Texts, records: Records) -> Mapping[str, Measured]:
            if len(outputs) != len(records):
                raise ValueError(
                    f"There are {len(outputs)} outputs and {len(records)} records. Give one for each."
                )
            if not outputs:
                return {name: measures.without_rows(name) for name in names}
            return dict(zip(names, of(outputs, records), strict=True))

        return kind

    return named


@_kind("accuracy")
def accuracy(outputs: Texts, records: Records) -> Iterable[Measured]:
    yield measures.accuracy(outputs, _labels(records))


@_kind("f1", "accuracy")
def accuracy_and_f1(outputs: Texts, records: Records) -> Iterable[Measured]:
    """MRPC and QQP. F1 is of the second of the two labels: equivalent, duplicate."""
    targets, labels = _labels(records), records[0]["labels"]
    yield measures.f1(outputs, targets, positive=labels[1], labels=labels)
    yield measures.accuracy(outputs, targets)


@_kind("matthews")
def matthews(outputs: Texts, records: Records) -> Iterable[Measured]:
    """CoLA."""
    yield measures.matthews(outputs, _labels(records), records[0]["labels"])


@_kind("macro-f1", "accuracy")
def cb(outputs: Texts, records: Records) -> Iterable[Measured]:
    """F1 is the mean over all classes, also over those that no row has."""
    targets = _labels(records)
    yield measures.macro_f1(outputs, targets, records[0]["labels"], all_labels=True)
    yield measures.accuracy(outputs, targets)


@_kind("pearson", "spearman")
def correlations(outputs: Texts, records: Records) -> Iterable[Measured]:
    """STS-B. Where an output has no number, the end of the scale that is farther from the target stands."""
    y = [float(record["score"]) for record in records]
    x = measures.numbers_said(outputs, y, low=SIMILARITY[0], high=SIMILARITY[1])
    yield measures.correlation("pearson", x, y)
    yield measures.correlation("spearman", measures.ranks(x), measures.ranks(y))


@_kind("exact-match", "f1")
def squad(outputs: Texts, records: Records) -> Iterable[Measured]:
    """Each metric beside the answer that is best for it. A row without answers is wrong."""
    said = list(map(measures.words, outputs))
    true = [list(map(measures.words, record["answers"])) for record in records]
    yield measures.mean([one in answers for one, answers in zip(said, true, strict=True)])
    yield measures.mean(
        [
            max((measures.overlap(one, answer) for answer in answers), default=0.0)
            for one, answers in zip(said, true, strict=True)
        ]
    )


@_kind("exact-match", "f1")
def record(outputs: Texts, records: Records) -> Iterable[Measured]:
    """ReCoRD, as SQuAD. A query counts once, by the output of its first row: in train it has a row for each
    answer."""
    first: dict[Any, int] = {}
    for at, one in enumerate(records):
        first.setdefault(one["query"], at)
    return squad([outputs[at] for at in first.values()], [records[at] for at in first.values()]).values()


@_kind("f1a", "exact-match")
def multirc(outputs: Texts, records: Records) -> Iterable[Measured]:
    """F1 of "True" over all answers, and the questions all of whose answers are judged right. Questions of
    different paragraphs have the same numbers."""
    targets = _labels(records)
    yield measures.f1(outputs, targets, positive="True", labels=BINARY, name="f1a")
    right: dict[tuple[Any, Any], bool] = {}
    for output, target, one in zip(outputs, targets, records, strict=True):
        question = one["paragraph"], one["question"]
        right[question] = right.get(question, True) and output.strip() == target
    yield measures.mean(list(right.values()))


@_kind("accuracy")
def pronouns(outputs: Texts, records: Records) -> Iterable[Measured]:
    """WSC and DPR: is the label what `refers` says of the output?"""
    yield measures.mean(
        [
            refers(output, one["candidate"]) == bool(one["label"])
            for output, one in zip(outputs, records, strict=True)
        ]
    )


def refers(output: str, candidate: str) -> bool:
    """Do the words of one hold those of the other, articles and case aside? Never of an output without
    words, whose words any candidate would hold."""
    said, meant = (set(text.lower().split()) - _ARTICLES for text in (output, candidate))
    return bool(said and meant) and (said <= meant or meant <= said)


@_kind("rouge-1", "rouge-2", "rouge-lsum")
def summary(outputs: Texts, records: Records) -> Iterable[Measured]:
    pairs = [(output, one["reference"]) for output, one in zip(outputs, records, strict=True)]
    for n in (1, 2):
        yield measures.mean([rouge.of_ngrams(*pair, n) for pair in pairs])
    yield measures.mean([rouge.of_sentences(*pair) for pair in pairs])


@_kind("bleu")
def translation(outputs: Texts, records: Records) -> Iterable[Measured]:
    """Corpus BLEU with `intl` tokens and exponential smoothing (2.4 of T5's paper)."""
    from sacrebleu.metrics.bleu import BLEU  # 90 ms, and most tasks translate nothing

    bleu = BLEU(tokenize="intl", smooth_method="exp", force=True)  # force: no advice on tokens in the log
    found = bleu.corpus_score(list(outputs), [[one["reference"] for one in records]])
    yield Measured(found.score, f"bleu is sacrebleu's with the signature {bleu.get_signature().format()}.")


def _labels(records: Records) -> list[str]:
    return [one["label"].strip() for one in records]
