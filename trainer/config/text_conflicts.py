"""Which settings go with unlabelled text alone, which never do, and which noise has no room in a piece?"""

from __future__ import annotations

import math
from typing import Any

from trainer.config import noise_lengths
from trainer.config.choices import SOURCE_TOKENS, SOURCES
from trainer.config.noise_lengths import CORRUPTING, FEWEST_SOURCE_TOKENS, WITH_SENTINELS
from trainer.config.reading import problems_among
from trainer.config.sections import Sections

_OF_TEXT = (
    *("objective.name", "objective.rate", "objective.span"),
    *("data.tokens", "data.sentinels", "data.key", "data.records_share"),
)
_OF_TRANSLATIONS = ("data.pair", "data.pairs", "data.longest_tokens")
_OF_TASKS = ("data.prefix", "data.target_tokens", "score.metrics", "score.choose")


def of_text(config: Sections) -> list[str]:
    """What is stated of unlabelled text where there is none, or of other text where it is unlabelled."""
    if not config.reads_text():
        return _without_text(config)
    return [*_stated_of_others(config), *(_noise(config) or _room(config))]


def _without_text(config: Sections) -> list[str]:
    data = config.data
    if data.task:
        has, advice = f"data.task is {data.task!r:.60}, whose rows have their targets", "Leave it out."
    else:
        sources = [name for name, choice in SOURCES.sound().items() if choice.documents]
        allowed = ", ".join([*sources, "tfds:NAME with objective.name"])
        has = f"data.source is {data.source!r:.60}, whose text is translated"
        advice = f"Leave it out, or choose such text ({allowed})."
    return [
        f"{name} is {value!r:.60} and {has}. It is a setting of unlabelled text. {advice}"
        for name, value in _stated(config, _OF_TEXT)
    ]


def _stated_of_others(config: Sections) -> list[str]:
    source = f"data.source is {config.data.source!r:.60}, which is unlabelled text"
    return [
        f"{name} is {value!r:.60} and {source}. It is a setting of {whose}. Leave it out."
        for whose, names in (("translations", _OF_TRANSLATIONS), ("tasks", _OF_TASKS))
        for name, value in _stated(config, names)
    ]


def _stated(config: Sections, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Those that have not their default."""
    found = []
    for name in names:
        section, _, key = name.partition(".")
        value = getattr(getattr(config, section), key)
        if value != getattr(getattr(Sections(), section), key):
            found.append((name, list(value) if isinstance(value, tuple) else value))
    return found


def unread(config: Sections) -> list[str]:
    """An encoder with nothing to read."""
    lm = config.reads_text() and config.objective_name() == "lm"
    if not lm or config.model.dimensions().one_stack:
        return []
    return [
        "objective.name is 'lm', which reads nothing, and the model has an encoder. Choose prefix-lm, which "
        "reads the first part of a piece and writes the rest, or a model of one stack (model.stacks "
        "language-model)."
    ]


def _noise(config: Sections) -> list[str]:
    """What an objective cannot do, or has no use for."""
    name, objective, source_tokens = config.objective_name(), config.objective, config.data.source_tokens
    unlike = dict(_stated(config, _OF_TEXT))
    return problems_among(
        (
            "objective.rate" in unlike and name not in CORRUPTING,
            f"objective.rate is {objective.rate} and objective.name is {name!r}, which corrupts no tokens. "
            f"It is a setting of {', '.join(CORRUPTING)}. Leave it out, or choose one of them.",
        ),
        (
            "objective.span" in unlike and name != "random-spans",
            f"objective.span is {objective.span:g} and objective.name is {name!r}. It is a setting of "
            f"random-spans. Leave it out, or choose that one.",
        ),
        (
            0 < source_tokens < FEWEST_SOURCE_TOKENS,
            f"data.source_tokens is {source_tokens} and data.source is {config.data.source!r:.60}. Allowed "
            f"with unlabelled text are {FEWEST_SOURCE_TOKENS} at least, or 0 for {SOURCE_TOKENS}. Raise it.",
        ),
    )


def _room(config: Sections) -> list[str]:
    """Are there tokens for the spans, and sentinels?"""
    name, rate, span = config.objective_name(), config.objective.rate, config.objective.span
    if name not in WITH_SENTINELS:
        return []
    asked = config.data.source_tokens or SOURCE_TOKENS
    sentinels = config.data.sentinels
    noise: dict[str, Any] = {"rate": rate, "span": span, "sentinels": sentinels}
    raw = noise_lengths.lengths(name, asked, **noise).raw
    m = noise_lengths.corrupted(raw, rate=rate)
    if name == "random-spans" and span > m:
        return [
            f"objective.span is {span:g}, and {m} of {raw} tokens are corrupted (objective.rate {rate:g}, "
            f"data.source_tokens {asked}). Allowed is {m} at most. Lower it, or raise the others."
        ]
    if name == "random-spans" and not noise_lengths.have_room(raw, rate=rate, span=span):
        return [
            f"objective.span is {span:g}, and {m} of {raw} tokens are corrupted (objective.rate {rate:g}): "
            f"so many spans have no token between them. Allowed is {_least_span(asked, noise):g} at least. "
            f"Raise it, or lower the rate."
        ]
    if noise_lengths.fits(name, asked, **noise):
        return []
    count = noise_lengths.spans_expected(name, raw, rate=rate, span=span)
    about = "" if name == "random-spans" else "about "
    largest = noise_lengths.largest_rate(name, asked, **noise)
    advice = (
        "No rate fits. Raise data.sentinels, or lower data.source_tokens."
        if largest is None
        else f"The largest rate that fits is {largest:g}. Lower it to that, or raise data.sentinels."
    )
    return [
        f"objective.rate is {rate:g}, and data.source_tokens {asked} make pieces of {raw} tokens with "
        f"{about}{count:.0f} corrupted spans. Each needs a sentinel, and the end of a target one more; "
        f"data.sentinels is {sentinels}. {advice}"
    ]


def _least_span(source_tokens: int, noise: dict[str, Any]) -> float:
    """In tenths."""
    rate: float = noise["rate"]
    tenths: int = math.ceil(10 * max(1, noise["span"], rate / (1 - rate) - 1))
    while True:
        tried = {**noise, "span": tenths / 10}
        raw = noise_lengths.lengths("random-spans", source_tokens, **tried).raw
        if noise_lengths.have_room(raw, rate=rate, span=tenths / 10):
            return tenths / 10
        tenths += 1
