"""Does a config of unlabelled text say, word for word, what cannot be, before anything trains?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trainer.config import TrainConfig, check, noise_lengths
from trainer.config.choices import SOURCES, SourceChoice

TEXT = {"source": "tfds:own", "path": "/sets"}
FROM_TFDS = "data.source is 'tfds:own', which is unlabelled text"


@pytest.fixture
def documents() -> Iterator[str]:
    """A source that is always unlabelled text."""
    SOURCES.ours["notes"] = SourceChoice("nowhere:notes", documents=True)
    yield "notes"
    del SOURCES.ours["notes"]


def on_text(objective: dict[str, Any], **data: Any) -> list[str]:
    return check({"data": {**TEXT, **data}, "objective": objective})


@pytest.mark.parametrize(
    ("objective", "data", "sentence"),
    [
        (
            {"name": "iid-spans", "rate": 0.5},
            {"source_tokens": 512},
            "objective.rate is 0.5, and data.source_tokens 512 make pieces of 511 tokens with about 128 "
            "corrupted spans. Each needs a sentinel, and the end of a target one more; data.sentinels is "
            "100. The largest rate that fits is 0.26. Lower it to that, or raise data.sentinels.",
        ),
        (
            {"name": "random-spans", "rate": 0.5},
            {"source_tokens": 512},
            "objective.rate is 0.5, and data.source_tokens 512 make pieces of 767 tokens with 128 corrupted "
            "spans. Each needs a sentinel, and the end of a target one more; data.sentinels is 100. The "
            "largest rate that fits is 0.42. Lower it to that, or raise data.sentinels.",
        ),
        (
            {"name": "random-spans"},
            {"sentinels": 1},
            "objective.rate is 0.15, and data.source_tokens 128 make pieces of 141 tokens with 7 corrupted "
            "spans. Each needs a sentinel, and the end of a target one more; data.sentinels is 1. No rate "
            "fits. Raise data.sentinels, or lower data.source_tokens.",
        ),
        (
            {"name": "random-spans", "span": 40},
            {},
            "objective.span is 40, and 22 of 148 tokens are corrupted (objective.rate 0.15, "
            "data.source_tokens 128). Allowed is 22 at most. Lower it, or raise the others.",
        ),
        (
            {"name": "random-spans", "rate": 0.9, "span": 1},
            {},
            "objective.span is 1, and 572 of 635 tokens are corrupted (objective.rate 0.9): so many spans "
            "have no token between them. Allowed is 8.9 at least. Raise it, or lower the rate.",
        ),
        (
            {"name": "lm"},
            {},
            "objective.name is 'lm', which reads nothing, and the model has an encoder. Choose prefix-lm, "
            "which reads the first part of a piece and writes the rest, or a model of one stack "
            "(model.stacks language-model).",
        ),
        (
            {"name": "prefix-lm", "rate": 0.3},
            {},
            "objective.rate is 0.3 and objective.name is 'prefix-lm', which corrupts no tokens. It is a "
            "setting of bert, mass, iid-spans, iid-drop, random-spans. Leave it out, or choose one of them.",
        ),
        (
            {"name": "mass", "span": 2},
            {},
            "objective.span is 2 and objective.name is 'mass'. It is a setting of random-spans. Leave it "
            "out, or choose that one.",
        ),
        (
            {"name": "bert"},
            {"source_tokens": 7},
            "data.source_tokens is 7 and data.source is 'tfds:own'. Allowed with unlabelled text are 8 at "
            "least, or 0 for 128. Raise it.",
        ),
        *(
            (
                {"name": "bert"},
                {name: value},
                f"data.{name} is {value!r} and {FROM_TFDS}. It is a setting of {whose}. Leave it out.",
            )
            for whose, name, value in (
                ("translations", "pair", "de-fi"),
                ("translations", "pairs", 9),
                ("translations", "longest_tokens", 9),
                ("tasks", "prefix", "x: "),
                ("tasks", "target_tokens", 9),
            )
        ),
    ],
)
def test_what_cannot_be_gets_a_sentence(
    objective: dict[str, Any], data: dict[str, Any], sentence: str
) -> None:
    assert on_text(objective, **data) == [sentence]


@pytest.mark.parametrize(
    ("objective", "data"),
    [
        ({"name": "iid-spans", "rate": 0.25}, {"source_tokens": 512}),  # a mean of 96
        ({"name": "iid-spans", "rate": 0.26}, {"source_tokens": 512}),
        ({"name": "random-spans", "rate": 0.42}, {"source_tokens": 512}),
        ({"name": "random-spans", "rate": 0.5}, {"source_tokens": 512, "sentinels": 129}),
        ({"name": "random-spans", "rate": 0.9, "span": 8.9}, {}),
        *(({"name": "random-spans", "span": span}, {"source_tokens": 512}) for span in (2, 3, 5, 10)),
        *(({"name": "bert", "rate": rate}, {}) for rate in (0.1, 0.15, 0.25, 0.5)),
        ({"name": "iid-drop", "rate": 0.5}, {"source_tokens": 512, "sentinels": 1, "tokens": 10**9}),
    ],
)
def test_what_fits_is_taken(objective: dict[str, Any], data: dict[str, Any]) -> None:
    assert on_text(objective, **data) == []


def test_the_largest_rate_that_is_named_fits_and_a_hundredth_more_does_not() -> None:
    for name, sentinels in (("iid-spans", 50), ("iid-spans", 100), ("random-spans", 30)):
        settings: dict[str, Any] = {"span": 3.0, "sentinels": sentinels}
        rate = noise_lengths.largest_rate(name, 512, rate=0.5, **settings)
        assert rate is not None
        assert noise_lengths.fits(name, 512, rate=rate, **settings)
        assert not noise_lengths.fits(name, 512, rate=rate + 0.01, **settings)


def test_a_source_of_documents_needs_no_objective_and_has_random_spans(documents: str) -> None:
    config = TrainConfig.from_dict({"data": {"source": documents}})
    assert config.reads_text()
    assert config.objective_name() == "random-spans"
    assert check({"data": {"source": documents}, "objective": {"name": "mass", "rate": 0.5}}) == []


def test_a_source_of_documents_goes_with_no_task(documents: str) -> None:
    assert check({"data": {"source": documents, "task": "numbers"}}) == [
        "data.source is 'notes' and data.task is 'numbers'. Allowed is one of them. Leave data.source out "
        "for a task."
    ]


def test_settings_of_unlabelled_text_go_with_no_other_text(documents: str) -> None:
    allowed = ", ".join(name for name, choice in SOURCES.items() if choice.documents)
    assert documents in allowed
    asked = {"objective": {"name": "bert", "rate": 0.25}, "data": {"tokens": 9}}
    assert check(asked) == [
        f"{name} is {value} and data.source is 'cldr', whose text is translated. It is a setting of "
        f"unlabelled text. Leave it out, or choose such text ({allowed}, tfds:NAME with objective.name)."
        for name, value in (("objective.name", "'bert'"), ("objective.rate", 0.25), ("data.tokens", 9))
    ]
    assert check({"objective": {"name": "bert"}, "data": {"task": "numbers"}}) == [
        "objective.name is 'bert' and data.task is 'numbers', whose rows have their targets. It is a setting "
        "of unlabelled text. Leave it out."
    ]


def test_a_prepared_set_is_of_translations_until_an_objective_is_named() -> None:
    assert not TrainConfig.from_dict({"data": TEXT}).reads_text()
    assert TrainConfig.from_dict({"data": TEXT, "objective": {"name": "bert"}}).reads_text()


def test_one_stack_may_read_nothing() -> None:
    text = {"data": {"source": "prose"}, "objective": {"name": "lm"}}
    assert check({**text, "model": {"stacks": "language-model"}}) == []
