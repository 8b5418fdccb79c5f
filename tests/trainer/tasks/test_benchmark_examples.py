"""Does every task write the inputs and targets of T5's Appendix D, others those of its released code?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.trainer.tasks.appendix_d import APPENDIX_D, COUNCILMEN, MARKED, MNLI, RELEASED, SQUAD
from trainer.config.benchmarks import BENCHMARKS
from trainer.config.registry import code
from trainer.data.contract import DataError, Row
from trainer.tasks.benchmarks import TASKS
from trainer.tasks.glue import nearest_fifth
from trainer.tasks.pronouns import mark, pronoun_and_candidate, word_at
from trainer.tasks.super_glue import one_paragraph, unmarked


def rows(task: str, record: dict[str, Any], *, training: bool = True) -> Sequence[Row]:
    return TASKS[task].examples(record, training)


@pytest.mark.parametrize(("task", "record", "source", "target"), APPENDIX_D + RELEASED)
@pytest.mark.parametrize("training", [True, False])
def test_a_record_becomes_the_paper_s_input_and_target(
    task: str, record: dict[str, Any], source: str, target: str, training: bool
) -> None:
    assert tuple(rows(task, record, training=training)[0]) == (source, target)


def test_every_task_of_a_config_is_there_and_its_score_too() -> None:
    assert set(TASKS) == set(BENCHMARKS)
    assert {task for task, *_ in APPENDIX_D + RELEASED} == set(TASKS) - {
        "glue/mnli_matched",
        "glue/mnli_mismatched",
    }
    assert all(callable(code(task.measure)) for task in TASKS.values())
    assert [name for name, task in TASKS.items() if task.beams] == [
        "cnn_dailymail",
        "wmt/de",
        "wmt/fr",
        "wmt/ro",
    ]


def test_records_to_judge_by_hold_what_a_score_asks_for() -> None:
    def told(task: str, **changes: Any) -> Any:
        record = next(record for name, record, *_ in APPENDIX_D + RELEASED if name == task)
        return [row.record for row in rows(task, {**record, **changes}, training=False)]

    assert told("glue/cola") == [{"label": "acceptable", "labels": ["unacceptable", "acceptable"]}]
    assert told("glue/stsb") == [{"score": 3.25}]
    assert told("super_glue/multirc") == [{"paragraph": 3, "question": 7, "label": "True"}]
    assert told("squad") == [{"id": "1", "answers": ["carbon monoxide", "monoxide"]}]
    assert told("super_glue/wsc", label=0) == [{"candidate": "stable", "label": False}]
    assert told("dpr") == [{"candidate": "Bob", "label": False}, {"candidate": "Tom", "label": True}]
    assert told("glue/wnli_referent") == [{"candidate": "The demonstrators", "label": False}]
    (record,) = told("super_glue/record")
    assert record == {
        "query": 9,
        "answers": ["penguin", "pigeon"],
        "entities": ["penguin", "pigeon", "potato"],
    }
    assert told("wmt/ro")[0]["reference"].startswith("Taco Bell a afirmat")
    assert told("cnn_dailymail")[0]["reference"].count("\n") == 3


def test_record_is_trained_on_once_for_each_answer_and_judged_once_for_each_query() -> None:
    record = next(record for name, record, *_ in RELEASED if name == "super_glue/record")
    trained = rows("super_glue/record", record)
    assert [row[1] for row in trained] == ["penguin", "pigeon"]
    assert len({row[0] for row in trained}) == 1
    assert len(rows("super_glue/record", record, training=False)) == 1
    assert not rows("super_glue/record", {**record, "answers": []})
    assert rows("super_glue/record", {**record, "answers": []}, training=False)[0][1] == ""


def test_only_true_referents_are_trained_on() -> None:
    record = next(record for name, record, *_ in APPENDIX_D if name == "super_glue/wsc")
    assert rows("super_glue/wsc", {**record, "label": 0}) == []
    dpr = next(record for name, record, *_ in RELEASED if name == "dpr")
    assert [tuple(row) for row in rows("dpr", {**dpr, "label": 0})] == [
        ("wsc: Bob asked Tom if *he* can lend some money, and he could.", "Bob")
    ]


@pytest.mark.parametrize(
    ("score", "word"),
    [(2.57, "2.6"), (3.25, "3.2"), (0.0, "0.0"), (5.0, "5.0"), (4.91, "5.0"), (0.09, "0.0"), (2.5, "2.4")],
)
def test_similarity_is_told_to_the_nearest_fifth(score: float, word: str) -> None:
    assert nearest_fifth(score) == word


def test_similarity_has_26_classes() -> None:
    assert len({nearest_fifth(n / 1000) for n in range(5001)}) == 26


def test_hidden_labels_are_refused_in_a_sentence() -> None:
    with pytest.raises(DataError) as refused:
        rows("glue/cola", {"sentence": "x", "label": -1})
    assert str(refused.value) == (
        "A row of glue/cola has the label -1. Allowed are 0 to 1 (unacceptable, acceptable): the "
        "labels of this "
        "split are hidden. Take another split, or another set."
    )
    with pytest.raises(DataError, match=r"glue/stsb has the score -1\. Allowed is 0 to 5"):
        rows("glue/stsb", {"sentence1": "x", "sentence2": "y", "label": -1.0})
    with pytest.raises(DataError, match="the labels of this split are hidden"):
        rows("super_glue/wsc", {"label": -1})


# -- pronouns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index", "pronoun", "marked"),
    [
        (COUNCILMEN, 9, "they", MARKED),
        ("laughed. Good for him, he said.", 3, "him,", "laughed. Good for *him*, he said."),  # punctuation
        ('He said: "It is his."', 2, "it", 'He said: "*It* is his."'),
        ("it might use it , but it is", 2, "it", "it might use *it* , but it is"),  # beside: the nearest
        ("she left", 40, "she", "*she* left"),  # beyond the text
        ("nobody is here", 1, "they", "nobody *is* here"),  # nowhere: where the index is
        ("two  spaces,\tit stays", 2, "it", "two  spaces,\t*it* stays"),
        ("...", 0, "it", "*...*"),
        ("", 0, "it", ""),
    ],
)
def test_the_pronoun_is_marked_where_its_index_is_and_the_text_stays(
    text: str, index: int, pronoun: str, marked: str
) -> None:
    assert mark(text, word_at(text, index, pronoun)) == marked


@pytest.mark.parametrize(
    ("premise", "hypothesis", "marked", "candidate"),
    [
        (COUNCILMEN, "The demonstrators feared violence.", MARKED, "The demonstrators"),
        (COUNCILMEN, "The city councilmen feared violence.", MARKED, "The city councilmen"),
        (
            "Steve follows Fred's example in everything. He influences him hugely.",
            "Steve influences him hugely.",
            "Steve follows Fred's example in everything. *He* influences him hugely.",
            "Steve",
        ),
        (
            "Steve follows Fred's example in everything. He influences him hugely.",
            "He influences Fred hugely.",
            "Steve follows Fred's example in everything. He influences *him* hugely.",
            "Fred",
        ),
        (
            "Fred is the only man alive who still remembers my father as an infant. When Fred first "
            "saw my father, "
            "he was twelve months old.",
            "When Fred first saw my father, My father was twelve months old.",
            "Fred is the only man alive who still remembers my father as an infant. When Fred first "
            "saw my father, "
            "*he* was twelve months old.",
            "My father",
        ),
        (
            "The sack of potatoes had been placed above the bag of flour, so it had to be moved first.",
            "The sack of potatoes had to be moved first.",
            "The sack of potatoes had been placed above the bag of flour, so *it* had to be moved first.",
            "The sack of potatoes",
        ),
        (
            "Ann asked Mary what time the library closes, but she had forgotten her glasses.",
            "Ann asked Mary what time the library closes, but she had forgotten Mary's glasses.",
            "Ann asked Mary what time the library closes, but she had forgotten *her* glasses.",
            "Mary",
        ),
    ],
)
def test_wnli_s_pronoun_is_the_one_with_most_words_in_common_around_it(
    premise: str, hypothesis: str, marked: str, candidate: str
) -> None:
    at, found = pronoun_and_candidate(premise, hypothesis)
    assert (mark(premise, at), found) == (marked, candidate)


def test_a_premise_without_a_pronoun_stays_and_the_hypothesis_is_the_candidate() -> None:
    assert pronoun_and_candidate("Nobody came.", "Bob came.") == (None, "Bob came.")


# -- text ------------------------------------------------------------------------------------------------


def test_markup_and_highlights_become_plain_text() -> None:
    assert unmarked("<b>Sent 1: </b>One.<br/>Two<br>") == "Sent 1: One. Two"
    assert one_paragraph('He said "no"\n@highlight\nShe left\n@highlight\nWhy?\n@highlight\nSo') == (
        'He said "no" She left. Why? So'
    )


def test_rows_about_one_paragraph_are_of_one_group() -> None:
    by_task = {
        name: rows(name, record)[0].group for name, record, *_ in APPENDIX_D + RELEASED if name != "wic"
    }
    assert by_task["squad"] == SQUAD[1]
    assert by_task["super_glue/boolq"] == "A stable is a building."
    assert by_task["super_glue/multirc"].startswith("Sent 1: Once")
    assert by_task["super_glue/record"].startswith("Birds are here. Penguins")
    assert by_task["glue/mnli"] == MNLI[1]
    assert by_task["dpr"] == "Bob Tom"
    assert by_task["glue/cola"] == by_task["wmt/de"] == ""
