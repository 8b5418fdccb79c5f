"""Are the rows of the generated tasks right, in the published shapes, and none of what is pretrained on?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.config import DataConfig
from trainer.config.choices import TASKS
from trainer.data import cldr, documents
from trainer.data.commonest import commonest
from trainer.data.contract import Corpus
from trainer.data.corpus import open_corpus
from trainer.data.number_words import cardinal
from trainer.tasks import generated

NAMES = ("word-order", "figures", "facts")
TASK = pytest.mark.parametrize("name", NAMES)
THEIR_SPLITS = ("train", "validation", "test")
# Features of glue/cola, glue/rte and squad in TensorFlow Datasets.
FEATURES = {
    "word-order": {"sentence", "label", "idx"},
    "figures": {"sentence1", "sentence2", "label", "idx"},
    "facts": {"id", "title", "context", "question", "answers"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {
        name: {split: list(generated.records(name, split, home=home)) for split in THEIR_SPLITS}
        for name in NAMES
    }


@pytest.fixture(scope="module")
def corpora(home: Path, made: Any) -> dict[str, Corpus]:
    return {name: open_corpus(DataConfig(task=name), home=home) for name in NAMES}


def said(record: dict[str, Any]) -> Iterator[str]:
    """Every sentence of a record; a context is cut at each of its spaces, so that none is missed."""
    yield from (record[name] for name in ("sentence", "sentence1", "sentence2") if name in record)
    words = record.get("context", "").split(" ")
    for at in range(len(words)):
        yield from (" ".join(words[:at]), " ".join(words[at:]))


def test_no_sentence_stands_in_the_text_that_is_pretrained_on(home: Path, made: Any) -> None:
    assert range(generated.PRETRAINED)[-1] == documents.RECORDS[-1]
    assert generated.PRETRAINED_SEED == documents.RECORDS_SEED
    assert generated.SEED != generated.PRETRAINED_SEED
    pretrained = cldr.records(level="sentences", count=55_000, seed=0, home=home)
    known = {record["en"].casefold() for record in pretrained}
    for splits in made.values():
        for records in splits.values():
            assert not {text.casefold() for record in records for text in said(record)} & known
    # There was something to leave out.
    assert {
        record["en"].casefold() for record in cldr.generate(level="sentences", count=3_000, seed=1)
    } & known


@TASK
def test_records_have_the_published_features_and_enough_of_them_in_three_splits(made: Any, name: str) -> None:
    splits = made[name]
    assert all(record.keys() == FEATURES[name] for records in splits.values() for record in records)
    assert len(splits["train"]) > 4_000
    assert min(len(splits["validation"]), len(splits["test"])) > 400
    key = "id" if name == "facts" else "idx"
    for records in splits.values():
        assert len({record[key] for record in records}) == len(records)
        if name != "facts":
            shares = Counter(record["label"] for record in records)
            assert shares.keys() == {0, 1}
            assert max(shares.values()) / len(records) < 0.55


def test_a_sentence_is_acceptable_or_has_two_neighbours_swapped(home: Path, made: Any) -> None:
    everything = cldr.records(level="sentences", count=generated.RECORDS, seed=generated.SEED, home=home)
    sound = {record["en"] for record in everything}
    for records in made["word-order"].values():
        for record in records:
            assert (record["sentence"] in sound) is (record["label"] == 1)
            assert record["label"] == 1 or any(back in sound for back in swapped(record["sentence"]))


def swapped(sentence: str) -> Iterator[str]:
    words = sentence.split()
    for i in range(len(words) - 1):
        back = [*words[:i], words[i + 1], words[i], *words[i + 2 :]]
        yield " ".join(back)
        yield " ".join([back[0].capitalize(), back[1].lower(), *back[2:]])


def test_more_than_digits_is_entailed_by_a_higher_number_in_words_and_by_nothing_else(made: Any) -> None:
    numbers = {cardinal(n, "en"): n for n in range(100)}
    for records in made["figures"].values():
        for record in records:
            found = re.fullmatch(r"(.*) more than (\d+) (.*)", record["sentence2"])
            assert found is not None
            before, digits, after = found.groups()
            words = record["sentence1"].removeprefix(before + " ").removesuffix(" " + after)
            assert record["sentence1"] == f"{before} {words} {after}"
            assert numbers[words] != int(digits)
            assert (numbers[words] > int(digits)) is (record["label"] == 0)


# What a context says where a question has this answer, <A>; <Q> is what the question names.
STATED = {
    r"In which colour is “(.+)” marked\?": r"On map \d+, “<Q>” is marked in <A>\.",
    r"On which weekday is the meeting\?": r"Date of the meeting: <A>, \w+ \d+, \d+\.",
    r"In which month is the meeting\?": r"Date of the meeting: \w+, <A> \d+, \d+\.",
    r"Of which month is the letter\?": r"The date of the letter is <A> \d+, \d+\.",
    r"Of which month is invoice (\d+)\?": r"Invoice <Q>, billing month: <A> \d+\.",
    r"Of which quarter is report (\d+)\?": r"Report <Q>, period: <A> quarter \d+\.",
    r"Which day for visit (\d+) comes first\?": r"Choose a day for visit <Q>: <A>(,| or) ",
    r"What does the parcel weigh\?": r"The parcel weighs <A>\.",
    r"How long is the road\?": r"The road is <A> long\.",
    r"How long does the meeting last\?": r"The meeting lasts <A>\.",
    r"What is the speed of the car\?": r"The speed of the car is <A>\.",
    r"What is the balance\?": r"The balance is <A>\.",
    r"When does train number (\d+) leave\?": r"Train number <Q> leaves <A>\.",
    r"When was order (\d+) delivered\?": r"Order <Q> was delivered <A>\.",
    r"What is the language of book (\d+)\?": r"The language of book <Q> is <A>\.",
}


def test_a_context_says_what_is_asked_once_and_the_answer_stands_where_it_is_said_to(made: Any) -> None:
    asked = set()
    for records in made["facts"].values():
        for record in records:
            (answer,), (start,) = record["answers"]["text"], record["answers"]["answer_start"]
            assert record["context"][start : start + len(answer)] == answer
            [(question, stated)] = [
                (found, stated)
                for q, stated in STATED.items()
                if (found := re.fullmatch(q, record["question"]))
            ]
            asked.add(question.re.pattern)
            named = re.escape("".join(question.groups()))
            fact = stated.replace("<Q>", named).replace("<A>", re.escape(answer))
            assert len(re.findall(fact, record["context"])) == 1, record
    assert asked == STATED.keys()


@TASK
def test_a_task_s_splits_are_those_of_its_records_and_its_measure_that_of_its_kind(
    corpora: dict[str, Corpus], made: Any, name: str
) -> None:
    corpus = corpora[name]
    assert corpus.name == f"task {name}"
    assert len(corpus.select) == len(made[name]["validation"])
    targets = [corpus.select[i][1] for i in range(len(corpus.select))]
    records = [corpus.select[i].record for i in range(len(corpus.select))]  # type: ignore[attr-defined]
    assert corpus.measure is not None
    metrics = {"word-order": {"matthews"}, "figures": {"accuracy"}, "facts": {"exact-match", "f1"}}
    assert corpus.measure(targets, records) == dict.fromkeys(metrics[name], pytest.approx(100))
    assert corpus.measure([""] * len(targets), records) == dict.fromkeys(metrics[name], 0)


def test_inputs_and_targets_are_those_of_appendix_d(corpora: dict[str, Corpus]) -> None:
    starts = {
        "word-order": (r"cola sentence: .+", {"acceptable", "unacceptable"}),
        "figures": (r"rte sentence1: .+ sentence2: .+", {"entailment", "not_entailment"}),
        "facts": (r"question: .+\? context: .+", None),
    }
    for name, (pattern, labels) in starts.items():
        for source, target in (corpora[name].train[i] for i in range(200)):
            assert re.fullmatch(pattern, source)
            assert labels is None or target in labels


@TASK
def test_the_commonest_target_is_told_and_says_little(corpora: dict[str, Corpus], name: str) -> None:
    corpus = corpora[name]
    found = commonest(corpus)
    counts = Counter(corpus.train[i][1] for i in range(len(corpus.train)))
    assert counts[found.target] == max(counts.values())
    right = sum(corpus.select[i][1] == found.target for i in range(len(corpus.select))) / len(corpus.select)
    if name == "word-order":
        assert found.scores == {"matthews": 0.0}
    elif name == "figures":
        assert found.scores == {"accuracy": pytest.approx(100 * right)}
        assert 45 < found.scores["accuracy"] < 55
    else:
        assert found.scores["exact-match"] == pytest.approx(100 * right)
        assert 0 < found.scores["exact-match"] <= found.scores["f1"] < 10


def test_fewer_rows_are_the_beginning_of_more_and_the_dev_split_stays(home: Path, corpora: Any) -> None:
    few = open_corpus(DataConfig(task="word-order", pairs=400), home=home)
    assert len(few.train) + len(few.guide) == 400
    assert list(few.select) == list(corpora["word-order"].select)  # type: ignore[call-overload]


def test_every_embedded_task_is_one_that_a_config_may_name() -> None:
    assert [name for name in TASKS if name in NAMES] == list(NAMES)
