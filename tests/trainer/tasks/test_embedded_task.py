"""Are the rows of the embedded task right, always the same, and fairly cut?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from trainer.config import DataConfig
from trainer.data.corpus import open_corpus
from trainer.data.number_words import LANGUAGES, cardinal
from trainer.tasks import embedded

NUMBERS = {cardinal(number, language): number for language in LANGUAGES for number in range(embedded.BELOW)}


def test_every_answer_is_right_by_the_words_of_the_four_languages() -> None:
    for source, target in embedded.rows(3_000):
        words, _, digits = source.partition(" > ")
        assert target == ("yes" if NUMBERS[words] > int(digits) else "no")


def test_no_input_comes_twice_and_fewer_rows_are_the_beginning_of_more() -> None:
    rows = embedded.rows(embedded.ROWS)
    assert len({source for source, _ in rows}) == len(rows)
    assert embedded.rows(500) == rows[:500]


def test_splits_share_no_input_and_both_answers_are_about_half_of_each(tmp_path: Path) -> None:
    corpus = open_corpus(DataConfig(task="numbers"), home=tmp_path)
    splits = [corpus.train, corpus.guide, corpus.select, corpus.test("A test.")]
    rows = [[split[i] for i in range(len(split))] for split in splits]
    inputs = [source for of in rows for source, _ in of]
    assert len(set(inputs)) == len(inputs) == embedded.ROWS
    for of in (rows[0], *rows[2:]):
        counts = Counter(target for _, target in of)
        assert counts.keys() == {"yes", "no"}
        assert max(counts.values()) / len(of) < 0.55
    assert len(rows[2]) >= 500


def test_the_rows_do_not_depend_on_what_else_is_asked_for(tmp_path: Path) -> None:
    few = open_corpus(DataConfig(task="numbers", pairs=400), home=tmp_path)
    prefixed = open_corpus(DataConfig(task="numbers", pairs=400, prefix="more: "), home=tmp_path)
    assert [prefixed.train[i][0] for i in range(9)] == [f"more: {few.train[i][0]}" for i in range(9)]
    assert sum(few.record["splits"].values()) == 400
