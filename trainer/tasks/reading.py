"""How do SQuAD, CNN/Daily Mail and WMT become inputs and targets?

question: … context: …                                                       carbon monoxide
summarize: …                                                                 …
translate English to German: That is good.                                   Das ist gut.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainer.data.contract import Row
from trainer.tasks.task import Examples, Record, Task, scores

LANGUAGES = {"de": "German", "fr": "French", "ro": "Romanian"}


def _squad(record: Record, training: bool) -> Sequence[Row]:
    """Punctuation stays as it is (D.15); T5's released code puts spaces around it."""
    question, context = record["question"].strip(), record["context"].strip()
    answers = list(record["answers"]["text"])
    told = {"id": record["id"], "answers": answers}
    return [Row.of(f"question: {question} context: {context}", (answers or [""])[0], told, context)]


def _summary(record: Record, training: bool) -> Sequence[Row]:
    """Highlights stand on a line each, and a T5 writes no ends of lines."""
    highlights = record["highlights"].strip()
    target = " ".join(highlights.split("\n"))
    return [Row.of(f"summarize: {record['article'].strip()}", target, {"reference": highlights})]


def _translation(language: str) -> Examples:
    before = f"translate English to {LANGUAGES[language]}"

    def examples(record: Record, training: bool) -> Sequence[Row]:
        reference = record[language].strip()
        return [Row.of(f"{before}: {record['en'].strip()}", reference, {"reference": reference})]

    return examples


TASKS = (
    Task("squad", _squad, scores("squad")),
    Task("cnn_dailymail", _summary, scores("summary"), beams=True),
    *(
        Task(f"wmt/{language}", _translation(language), scores("translation"), beams=True)
        for language in LANGUAGES
    ),
)
