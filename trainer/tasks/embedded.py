"""Which task is there without a file and without a download? `numbers`: is a number in words more than one in
digits, yes or no?

The numbers in words are the corpus's own, English, German, Finnish and Lithuanian. Half of the other numbers
are near the first ones, so the tens alone do not tell. Rows depend on the pinned versions alone.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from random import Random

from trainer.config import DataConfig
from trainer.data.contract import Row
from trainer.data.number_words import LANGUAGES, cardinal
from trainer.data.sources import Source
from trainer.tasks.contract import task

ROWS = 12_000
VERSION = 1  # raised whenever other rows come out
BELOW, NEAR = 100, 9
_SEED = 0  # of the rows, never a run's


def numbers(config: DataConfig, home: Path) -> Source:
    """Its dev and test splits are cut from these rows by a hash of the input."""
    given = {"train": rows(ROWS)}
    made = task("task numbers", given, most=config.pairs, code=f"numbers {VERSION}")
    return replace(made, versions={"num2words": version("num2words")})


def rows(count: int) -> list[Row]:
    """The first so many; no input twice. Both answers are equally likely."""
    random, seen, made = Random(_SEED), set[str](), list[Row]()
    while len(made) < count:
        language, first = random.choice(LANGUAGES), random.randrange(BELOW)
        near = random.random() < 0.5
        second = first + random.randint(-NEAR, NEAR) if near else random.randrange(BELOW)
        source = f"{cardinal(first, language)} > {second}"
        if first == second or not 0 <= second < BELOW or source in seen:
            continue
        seen.add(source)
        made.append(Row.of(source, "yes" if first > second else "no"))
    return made
