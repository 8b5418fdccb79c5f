"""Which tasks in the shape of published ones are there without a download? Three, made of the English side of
the generated records (trainer.data.cldr).

    word-order   as CoLA: a sentence, acceptable, or with two neighbouring words swapped
    figures      as RTE: a sentence with a number in words entails "more than" a lower one in digits
    facts        as SQuAD: what one of two sentences says

`records` gives them as TensorFlow Datasets gives glue/cola, glue/rte and squad. No sentence in them stands in
the text that is pretrained on: they come from another seed, and what the first `PRETRAINED` records of seed 0
say is left out. Each sentence that was generated is in one split alone, the same of all three tasks.

A t5-tiny with random weights (500 steps of 32 rows, Adafactor without momentum at 0.008, one seed) has a
Matthews of 47, an accuracy of 76, and of facts 41 exact matches and an F1 of 56; the commonest target has 0,
48, 2 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from trainer.config import DataConfig
from trainer.config.registry import code
from trainer.data import cldr
from trainer.data.contract import Pairs, Row
from trainer.data.documents import RECORDS as PRETRAINED_RECORDS
from trainer.data.documents import RECORDS_SEED as PRETRAINED_SEED
from trainer.data.kept import kept
from trainer.data.number_words import cardinal
from trainer.data.sources import Source
from trainer.tasks.benchmarks import TASKS
from trainer.tasks.contract import task

VERSION = 1  # raised whenever other rows come out
SEED, RECORDS = 1, 24_000  # of the generated sentences that the tasks are made of
PRETRAINED = PRETRAINED_RECORDS.stop  # records; unlabelled text and translations are a part of them
SPLITS = {"train": "train", "select": "validation", "test": "test"}  # ours, and those of published sets
_ONE_IN = 12  # sentences are for validation, and for test
NUMBERS, NEAR = range(2, 100), 9  # of `figures`; half of those in digits are so near to those in words
DRAWS = 2  # of numbers for each sentence
MOVABLE = {"exactly"}  # may stand on either side of its neighbour
CONTEXT = 2  # sentences of `facts`
_MEASURED = re.compile(r"(.* (?:weighs|is|lasts|holds|covers|costs)) \d[\d,.]* (\D+)")

_CHANGED = ("sentence", "sentence1", "sentence2")  # what tasks say otherwise than it was generated

Record = dict[str, Any]


def word_order(config: DataConfig, home: Path) -> Source:
    return _source("word-order", config, home)


def figures(config: DataConfig, home: Path) -> Source:
    return _source("figures", config, home)


def facts(config: DataConfig, home: Path) -> Source:
    return _source("facts", config, home)


def records(name: str, split: str, *, home: Path) -> Sequence[Record]:
    """Of the task and of "train", "validation" or "test"; made once and kept under `home`."""

    def make() -> Iterator[Record]:
        random, known = Random(f"{name} {split} {SEED}"), pretrained(home)
        for record in _MAKERS[name](random, sentences(split, known, home=home)):
            if not any(str(record.get(text, "")).casefold() in known for text in _CHANGED):
                yield record

    return kept(
        home / "tasks",
        f"{name}-{split}",
        made_with=f"rows {VERSION}, cldr {cldr.VERSION}, babel {version('babel')}, "
        f"num2words {version('num2words')}",
        make=make,
    )


def sentences(split: str, known: frozenset[str], *, home: Path) -> list[str]:
    """The generated sentences of one split, without those that are known."""
    made = cldr.records(level="sentences", count=RECORDS, seed=SEED, home=home)
    of = {0: "validation", 1: "test"}
    return [
        record["en"]
        for at, record in enumerate(made)
        if of.get(at % _ONE_IN, "train") == split and record["en"].casefold() not in known
    ]


def pretrained(home: Path) -> frozenset[str]:
    """Every sentence that text to pretrain on may hold, in lower case."""
    made = cldr.records(level="sentences", count=PRETRAINED, seed=PRETRAINED_SEED, home=home)
    return frozenset(record["en"].casefold() for record in made)


# -- rows ------------------------------------------------------------------------------------------------

# Whose words, targets and score each has.
_AS = {"word-order": "glue/cola", "figures": "glue/rte", "facts": "squad"}


def _source(name: str, config: DataConfig, home: Path) -> Source:
    like = TASKS[_AS[name]]
    given: dict[str, Pairs] = {}
    for split, theirs in SPLITS.items():
        rows = (like.examples(record, False)[0] for record in records(name, theirs, home=home))
        given[split] = [Row.of(*row, row.record) for row in rows]  # cut by inputs, not by groups
    measure = code(like.measure)
    made = task(f"task {name}", given, most=config.pairs, code=f"{name} {VERSION}", measure=measure)
    return replace(made, versions={package: version(package) for package in ("babel", "num2words")})


# -- what is asked ---------------------------------------------------------------------------------------

# The pattern of a sentence, a question, and which group of the pattern is the answer. A sentence may answer
# several.
ASKED: tuple[tuple[str, str, int], ...] = (
    (r"On map (\d+), “(.+)” is marked in (.+)\.", "In which colour is “{1}” marked?", 3),
    (r"Date of the meeting: (\w+), (\w+) (.+)\.", "On which weekday is the meeting?", 1),
    (r"Date of the meeting: (\w+), (\w+) (.+)\.", "In which month is the meeting?", 2),
    (r"The date of the letter is (\w+) (.+)\.", "Of which month is the letter?", 1),
    (r"Invoice (\d+), billing month: (\w+) (.+)\.", "Of which month is invoice {0}?", 2),
    (r"Report (\d+), period: (\w+) quarter (.+)\.", "Of which quarter is report {0}?", 2),
    (r"Choose a day for visit (\d+): (\w+)\W.+", "Which day for visit {0} comes first?", 2),
    (r"The parcel weighs (.+)\.", "What does the parcel weigh?", 1),
    (r"The road is (.+) long\.", "How long is the road?", 1),
    (r"The meeting lasts (.+)\.", "How long does the meeting last?", 1),
    (r"The speed of the car is (.+)\.", "What is the speed of the car?", 1),
    (r"The balance is (.+)\.", "What is the balance?", 1),
    (r"Train number (\d+) leaves (.+)\.", "When does train number {0} leave?", 2),
    (r"Order (\d+) was delivered (.+)\.", "When was order {0} delivered?", 2),
    (r"The language of book (\d+) is (.+)\.", "What is the language of book {0}?", 2),
)


def _facts(random: Random, texts: Sequence[str]) -> Iterator[Record]:
    shuffled = random.sample(texts, len(texts))
    for at in range(0, len(shuffled) - CONTEXT + 1, CONTEXT):
        some = shuffled[at : at + CONTEXT]
        asked = [(found, question, group) for text in some for found, question, group in _asked(text)]
        once = [one for one in asked if sum(one[1] == other[1] for other in asked) == 1]
        if not once:
            continue
        found, question, group = random.choice(once)
        context, answer = " ".join(some), found[group]
        start = context.index(found.string) + found.start(group)
        yield {
            "id": f"{at // CONTEXT:06d}",
            "title": "generated",
            "context": context,
            "question": question.format(*found.groups()),
            "answers": {"text": [answer], "answer_start": [start]},
        }


def _asked(text: str) -> Iterator[tuple[re.Match[str], str, int]]:
    for pattern, question, group in ASKED:
        if found := re.fullmatch(pattern, text):
            yield found, question, group


def _word_order(random: Random, texts: Sequence[str]) -> Iterator[Record]:
    from trainer.data.cldr_frames import FRAMES  # takes Babel, which rows that are kept need not

    frames = {word.lower() for frame in FRAMES for word in frame[0].split() if word.isalpha()} - MOVABLE
    for at, text in enumerate(texts):
        words = text.split()
        ours = [word.isalpha() and word.lower() in frames for word in words]
        places = [i for i in range(len(words) - 1) if ours[i] and ours[i + 1]]
        if not places:  # nor is such a sentence one of the acceptable: its frame would tell
            continue
        label = random.randrange(2)
        if not label:
            i = random.choice(places)
            words[i : i + 2] = words[i + 1], words[i]
            if i == 0:
                words[:2] = words[0].capitalize(), words[1].lower()
        yield {"sentence": " ".join(words), "label": label, "idx": at}


def _figures(random: Random, texts: Sequence[str]) -> Iterator[Record]:
    measured = [found for text in texts if (found := _MEASURED.fullmatch(text))]
    for at in range(len(measured) * DRAWS):
        before, after = measured[at // DRAWS].groups()
        true = other = random.choice(NUMBERS)
        while other == true or other not in NUMBERS:
            near = random.random() < 0.5
            other = true + random.randint(-NEAR, NEAR) if near else random.choice(NUMBERS)
        yield {
            "sentence1": f"{before} {cardinal(true, 'en')} {after}",
            "sentence2": f"{before} more than {other} {after}",
            "label": int(true < other),
            "idx": at,
        }


_MAKERS = {"word-order": _word_order, "figures": _figures, "facts": _facts}
