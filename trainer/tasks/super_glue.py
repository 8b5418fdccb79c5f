"""How do the sets of SuperGLUE become inputs and targets, pronouns apart (`trainer.tasks.pronouns`)?

copa choice1: … choice2: … premise: … question: effect                       True
record query: … entities: Alfred, Bea passage: …                             Bea
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trainer.data.contract import Row
from trainer.tasks.glue import ENTAILMENT
from trainer.tasks.task import Record, Task, joined, label_of, labelled, scores

TRUE = ("False", "True")
_BREAK = re.compile(r"<br\s*/?>")
_TAG = re.compile(r"</?b>")
# Before each highlight of a passage; a sentence that has ended needs no full stop.
_HIGHLIGHT = re.compile(r"""(?P<end>[.?!"'])?\s*\n@highlight\s*\n""")


def _multirc(record: Record, training: bool) -> Sequence[Row]:
    """A paragraph in some releases has marks for HTML, and a question's answers are a row each."""
    text = {name: unmarked(record[name]) for name in ("question", "answer", "paragraph")}
    label, numbers = label_of("super_glue/multirc", TRUE, record["label"]), record["idx"]
    told = {"paragraph": numbers["paragraph"], "question": numbers["question"], "label": label}
    return [Row.of(joined("multirc", text, tuple(text)), label, told, text["paragraph"])]


def unmarked(text: str) -> str:
    """Without the tags for breaks and bold letters."""
    return _TAG.sub("", _BREAK.sub(" ", text)).strip()


def _record(record: Record, training: bool) -> Sequence[Row]:
    """A row to train on for each answer; one to be judged by for each query, with the first as its target."""
    passage = one_paragraph(record["passage"])
    entities, answers = list(record["entities"]), list(record["answers"])
    text = {"query": record["query"], "entities": ", ".join(entities), "passage": passage}
    told = {"query": record["idx"]["query"], "answers": answers, "entities": entities}
    targets = answers if training else answers[:1] or [""]
    return [Row.of(joined("record", text, tuple(text)), target, told, passage) for target in targets]


def one_paragraph(passage: str) -> str:
    """A passage with its highlights as sentences of it."""
    return _HIGHLIGHT.sub(lambda found: f"{found['end']} " if found["end"] else ". ", passage).strip()


TASKS = (
    labelled("super_glue/boolq", labels=TRUE, fields=("passage", "question"), group="passage"),
    labelled(
        "super_glue/cb",
        labels=("entailment", "contradiction", "neutral"),
        fields=("hypothesis", "premise"),
        group="premise",
        score="cb",
    ),
    labelled("super_glue/copa", labels=TRUE, fields=("choice1", "choice2", "premise", "question")),
    Task("super_glue/multirc", _multirc, scores("multirc"), labels=TRUE),
    Task("super_glue/record", _record, scores("record"), several=True),
    labelled("super_glue/rte", labels=ENTAILMENT, fields=("hypothesis", "premise"), group="premise"),
    labelled("super_glue/wic", labels=TRUE, fields=("pos", "sentence1", "sentence2", "word"), group="word"),
)
