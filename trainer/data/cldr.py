"""What is there to translate without a download? A corpus made from CLDR, in four languages at once.

One record holds English, German, Finnish and Lithuanian side by side, so any two of them are a direction.
`phrases` is small enough for a small model to learn in minutes; `sentences` has everything. A corpus is a
function of (level, count, seed) and the versions, and a shorter one is the beginning of a longer one.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from random import Random

from trainer.config.choices import LEVELS
from trainer.data.contract import DataError
from trainer.data.kept import Kept, kept
from trainer.data.number_words import LANGUAGES

VERSION = 2  # raised whenever other text comes out
MOST_REPEATS = 1_000  # in a row; over 100,000 records 1 draw in 10 is a repeat

Record = dict[str, str]  # language -> text


def generate(*, level: str, count: int, seed: int) -> list[Record]:
    """`count` records. In no language does a text come twice, so no split can repeat another's."""
    if level not in LEVELS:
        raise DataError(f"There is no level {level!r} of cldr. Take {' or '.join(LEVELS)}.")
    if count < 1:
        raise DataError(f"{count} records of cldr were asked for. Ask for at least 1.")
    if seed < 0:
        raise DataError(f"The seed of cldr is {seed}. Take 0 or more.")
    # Imported here, since a corpus that is kept needs no Babel.
    from trainer.data.cldr_frames import phrase, sentence
    from trainer.data.cldr_terms import terms

    draw, known = {"phrases": phrase, "sentences": sentence}[level], terms()
    random = Random(f"{level} {seed}")
    seen: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    made: list[Record] = []
    repeats = 0  # since the last new one
    while len(made) < count:
        record = draw(random, known)
        folded = {language: text.casefold() for language, text in record.items()}
        if any(text in seen[language] for language, text in folded.items()):
            repeats += 1
            if repeats == MOST_REPEATS:
                raise DataError(
                    f"The {level} of cldr ran out after {len(made)} records, of {count} asked for: {repeats} "
                    "draws in a row were repeats. Ask for fewer, or for another level."
                )
            continue
        for language, text in folded.items():
            seen[language].add(text)
        made.append(record)
        repeats = 0
    return made


def records(*, level: str, count: int, seed: int, home: Path) -> Kept[Record]:
    """The same, made once and kept under `home`."""
    return kept(
        home / "cldr",
        f"{level}-{count}-seed-{seed}",
        made_with=f"cldr {VERSION}, babel {version('babel')}, num2words {version('num2words')}",
        make=lambda: generate(level=level, count=count, seed=seed),
    )
