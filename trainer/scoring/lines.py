"""What do lines of text become in the other language, whatever stands beside them?

An empty line stays empty. A line of more tokens than the model takes is split at its sentences, or cut; what
is left out is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax

from trainer.config import DataConfig
from trainer.data.tokens import longest_tokens, task_tokens
from trainer.data.vocabulary import END, Vocabulary
from trainer.models import Settings
from trainer.scoring.decode import translate_all

Long = Literal["split", "cut"]
LONG: tuple[Long, ...] = ("split", "cut")
TIMES_TRAINED = (
    4  # as long as the longest sentence it was trained on: what it writes beyond is no translation
)
MOST = 1024  # tokens by that rule: the memory of attention grows with their square
_ENDS = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”“’»)\]]))\s+")  # of a sentence, with its quotation mark


class Cut(NamedTuple):
    """What was left out of a line, or of a sentence of it."""

    line: int  # which, from 0
    tokens: int  # that it has, its end among them
    words: int
    kept: int  # of the words


class Translated(NamedTuple):
    lines: list[str]
    cuts: list[Cut]


def most_tokens(data: DataConfig) -> int:
    """The most tokens, the end among them, that a model of this text takes at a time."""
    of_task = task_tokens(data)
    if of_task is not None:
        return of_task[0]
    trained = longest_tokens(data)
    return max(trained, min(TIMES_TRAINED * trained, MOST))


def translated(
    lines: Sequence[str],
    *,
    vocabulary: Vocabulary,
    settings: Settings,
    params: Any,
    devices: jax.sharding.Mesh | None,
    beam: int,
    length_penalty: float,
    most: int,
    long: Long = "split",
) -> Translated:
    """A line for a line. `most`: tokens that are translated at a time; `long`: what becomes of more."""
    parts: list[list[int]] = []  # without their ends
    of: list[int] = []  # which line each is part of
    cuts: list[Cut] = []
    for number, (line, ids) in enumerate(zip(lines, vocabulary.encode(lines), strict=True)):
        if not line.strip():
            continue
        texts, pieces = [line], [ids]
        if len(ids) >= most and long == "split":
            texts = [text for text in _ENDS.split(line) if text]
            pieces = vocabulary.encode(texts)
        for text, each in zip(texts, pieces, strict=True):
            if len(each) >= most:
                whole, each = each, each[: vocabulary.whole_words(each, most - 1)]
                kept = len(vocabulary.decode([each])[0].split())
                cuts.append(Cut(number, len(whole) + 1, len(text.split()), kept))
            parts.append(each)
            of.append(number)
    mesh = devices if devices is not None and devices.size > 1 else None
    ended = [[*ids, END] for ids in parts]
    never = vocabulary.never_written
    written = translate_all(
        settings, params, ended, beam=beam, length_penalty=length_penalty, never=never, mesh=mesh
    )
    found: list[list[str]] = [[] for _ in lines]
    for number, text in zip(of, vocabulary.decode(written), strict=True):
        found[number].append(text)
    return Translated([" ".join(texts) for texts in found], cuts)
