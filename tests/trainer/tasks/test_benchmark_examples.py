"""Does every task write the inputs and targets of T5's Appendix D, others those of its released code?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from trainer.config.benchmarks import BENCHMARKS
from trainer.config.registry import code
from trainer.data.contract import DataError, Row
from trainer.tasks.benchmarks import TASKS
from trainer.tasks.glue import nearest_fifth
from trainer.tasks.pronouns import mark, pronoun_and_candidate, word_at
from trainer.tasks.super_glue import one_paragraph, unmarked

STABLE = (
    "The stable was very roomy, with four good stalls; a large swinging window opened into the yard , which "
    "made it pleasant and airy."
)
COUNCILMEN = "The city councilmen refused the demonstrators a permit because they feared violence."
MARKED = COUNCILMEN.replace("they", "*they*")
MRPC = (
    "We acted because we saw the existing evidence in a new light , through the prism of our "
    "experience on 11 "
    'September , " Rumsfeld said .',
    'Rather , the US acted because the administration saw " existing evidence in a new light , through the '
    'prism of our experience on September 11 " .',
)
RTE = (
    "A smaller proportion of Yugoslavia’s Italians were settled in Slovenia (at the 1991 national "
    "census, some "
    "3000 inhabitants of Slovenia declared themselves as ethnic Italians).",
    "Slovenia has 3,000 inhabitants.",
)
MNLI = (
    "The St. Louis Cardinals have always won.",
    "yeah well losing is i mean i’m i’m originally from Saint Louis and Saint Louis Cardinals when they were "
    "there were uh a mostly a losing team but",
)
QNLI = (
    "Where did Jebe die?",
    "Genghis Khan recalled Subutai back to Mongolia soon afterwards, and Jebe died on the road back to "
    "Samarkand.",
)
QQP = (
    "What attributes would have made you highly desirable in ancient Rome?",
    "How I GET OPPERTINUTY TO JOIN IT COMPANY AS A FRESHER?",
)
SST2 = (
    "it confirms fincher 's status as a film maker who artfully bends technical know-how to the service of "
    "psychological insight ."
)
STSB = (
    "Representatives for Puretunes could not immediately be reached for comment Wednesday.",
    "Puretunes representatives could not be located Thursday to comment on the suit.",
)
CB = (
    "Valence was helping",
    "Valence the void-brain, Valence the virtuous valet. Why couldn't the figger choose his own portion of "
    "titanic anatomy to shaft? Did he think he was helping?",
)
COPA = (
    "Many citizens relocated to the capitol.",
    "Many citizens took refuge in other territories.",
    "Political violence broke out in the nation.",
)
WIC = ("It was the deliberation of his act that was insulting .", "The deliberations of the jury .")
JOEY = (
    "Why was Joey surprised the morning he woke up for breakfast?",
    "There was only pie to eat, rather than traditional breakfast foods",
)
SQUAD = (
    "What does increased oxygen concentrations in the patient's lungs displace?",
    "Hyperbaric (high-pressure) medicine uses special oxygen chambers to increase the partial pressure of O₂ "
    "around the patient and, when needed, the medical staff. Carbon monoxide poisoning, gas gangrene, and "
    "decompression sickness (the 'bends') are sometimes treated using these devices.",
)
# A task, a record as TensorFlow Datasets has it, the input, the target.
APPENDIX_D: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "glue/cola",
        {"sentence": "John made Bill master of himself.", "label": 1},
        "cola sentence: John made Bill master of himself.",
        "acceptable",
    ),
    (
        "glue/rte",
        {"sentence1": RTE[0], "sentence2": RTE[1], "label": 1},
        f"rte sentence1: {RTE[0]} sentence2: {RTE[1]}",
        "not_entailment",
    ),
    (
        "glue/mnli",
        {"premise": MNLI[1], "hypothesis": MNLI[0], "label": 2},
        f"mnli hypothesis: {MNLI[0]} premise: {MNLI[1]}",
        "contradiction",
    ),
    (
        "glue/mrpc",
        {"sentence1": MRPC[0], "sentence2": MRPC[1], "label": 1},
        f"mrpc sentence1: {MRPC[0]} sentence2: {MRPC[1]}",
        "equivalent",
    ),
    (
        "glue/qnli",
        {"question": QNLI[0], "sentence": QNLI[1], "label": 0},
        f"qnli question: {QNLI[0]} sentence: {QNLI[1]}",
        "entailment",
    ),
    (
        "glue/qqp",
        {"question1": QQP[0], "question2": QQP[1], "label": 0},
        f"qqp question1: {QQP[0]} question2: {QQP[1]}",
        "not_duplicate",
    ),
    ("glue/sst2", {"sentence": SST2, "label": 1}, f"sst2 sentence: {SST2}", "positive"),
    (
        "glue/stsb",
        {"sentence1": STSB[0], "sentence2": STSB[1], "label": 3.25},
        f"stsb sentence1: {STSB[0]} sentence2: {STSB[1]}",
        "3.2",
    ),
    (
        "super_glue/cb",
        {"hypothesis": CB[0], "premise": CB[1], "label": 1},
        f"cb hypothesis: {CB[0]} premise: {CB[1]}",
        "contradiction",
    ),
    (
        "super_glue/copa",
        {"question": "effect", "premise": COPA[2], "choice1": COPA[0], "choice2": COPA[1], "label": 1},
        f"copa choice1: {COPA[0]} choice2: {COPA[1]} premise: {COPA[2]} question: effect",
        "True",
    ),
    (
        "super_glue/multirc",
        {
            "answer": JOEY[1],
            "paragraph": "<b>Sent 1: </b>Once upon a time, there was a squirrel named "
            "Joey.<br><b>Sent 2: </b>"
            "Joey loved to go outside and play with his cousin Jimmy.<br>",
            "question": JOEY[0],
            "idx": {"paragraph": 3, "question": 7, "answer": 1},
            "label": 1,
        },
        f"multirc question: {JOEY[0]} answer: {JOEY[1]} paragraph: Sent 1: Once upon a time, there "
        f"was a squirrel "
        f"named Joey. Sent 2: Joey loved to go outside and play with his cousin Jimmy.",
        "True",
    ),
    (
        "super_glue/wic",
        {"pos": "N", "sentence1": WIC[0], "sentence2": WIC[1], "word": "deliberation", "label": 0},
        f"wic pos: N sentence1: {WIC[0]} sentence2: {WIC[1]} word: deliberation",
        "False",
    ),
    (
        "super_glue/wsc",
        {
            "text": STABLE,
            "span1_text": "stable",
            "span1_index": 1,
            "span2_text": "it",
            "span2_index": 20,
            "label": 1,
        },
        f"wsc: {STABLE.replace('made it', 'made *it*')}",
        "stable",
    ),
    (
        "cnn_dailymail",
        {
            "article": "marouane fellaini and adnan januzaj continue to show the world they are not just "
            "teammates but also best mates.",
            "highlights": "the belgian duo took to the dance floor on monday night with some friends .\n"
            "manchester united face newcastle in the premier league on wednesday .",
        },
        "summarize: marouane fellaini and adnan januzaj continue to show the world they are not "
        "just teammates "
        "but also best mates.",
        "the belgian duo took to the dance floor on monday night with some friends . manchester united face "
        "newcastle in the premier league on wednesday .",
    ),
    (
        "squad",
        {
            "question": SQUAD[0],
            "context": SQUAD[1],
            "id": "1",
            "answers": {"text": ["carbon monoxide", "monoxide"], "answer_start": [0, 7]},
        },
        f"question: {SQUAD[0]} context: {SQUAD[1]}",
        "carbon monoxide",
    ),
    (
        "wmt/de",
        {
            "en": '"Luigi often said to me that he never wanted the brothers to end up in court," she wrote.',
            "de": '"Luigi sagte oft zu mir, dass er nie wollte, dass die Brüder vor Gericht '
            'landen", schrieb sie.',
        },
        "translate English to German: "
        '"Luigi often said to me that he never wanted the brothers to end up in court," she wrote.',
        '"Luigi sagte oft zu mir, dass er nie wollte, dass die Brüder vor Gericht landen", schrieb sie.',
    ),
    (
        "wmt/fr",
        {
            "en": 'This image section shows a "family portrait" of countless generations of stars.',
            "fr": "Ce détail montre un portrait de famille des innombrables générations d'étoiles.",
        },
        'translate English to French: This image section shows a "family portrait" of countless '
        "generations of "
        "stars.",
        "Ce détail montre un portrait de famille des innombrables générations d'étoiles.",
    ),
    (
        "wmt/ro",
        {
            "en": "Taco Bell said it plans to add 2,000 locations in the US by 2022.",
            "ro": "Taco Bell a afirmat că, până în 2022, intenționează să deschidă 2000 de "
            "restaurante în SUA.",
        },
        "translate English to Romanian: Taco Bell said it plans to add 2,000 locations in the US by 2022.",
        "Taco Bell a afirmat că, până în 2022, intenționează să deschidă 2000 de restaurante în SUA.",
    ),
]
RELEASED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "super_glue/boolq",
        {"question": "is a stable a house", "passage": "A stable is a building.", "label": 0},
        "boolq passage: A stable is a building. question: is a stable a house",
        "False",
    ),
    (
        "super_glue/rte",
        {"premise": RTE[0], "hypothesis": RTE[1], "label": 1},
        f"rte hypothesis: {RTE[1]} premise: {RTE[0]}",
        "not_entailment",
    ),
    (
        "super_glue/wic",
        {"sentence1": WIC[0], "sentence2": WIC[1], "word": "deliberation", "label": 1},
        f"wic sentence1: {WIC[0]} sentence2: {WIC[1]} word: deliberation",
        "True",
    ),
    (
        "glue/wnli",
        {"sentence1": COUNCILMEN, "sentence2": "The demonstrators feared violence.", "label": 0},
        f"wnli sentence1: {COUNCILMEN} sentence2: The demonstrators feared violence.",
        "not_entailment",
    ),
    (
        "glue/wnli_referent",
        {"sentence1": COUNCILMEN, "sentence2": "The demonstrators feared violence.", "label": 0},
        f"wsc: {MARKED}",
        "The demonstrators",
    ),
    (
        "super_glue/wsc_dpr",
        {
            "text": COUNCILMEN,
            "span1_text": "The city councilmen",
            "span1_index": 0,
            "span2_text": "they",
            "span2_index": 9,
            "label": 1,
        },
        f"wsc: {MARKED}",
        "The city councilmen",
    ),
    (
        "dpr",
        {
            "sentence": "Bob asked Tom if he can lend some money, and he could.",
            "pronoun": "he",
            "candidates": ["Bob", "Tom"],
            "label": 1,
        },
        "wsc: Bob asked Tom if *he* can lend some money, and he could.",
        "Tom",
    ),
    (
        "super_glue/record",
        {
            "query": "A @placeholder is a bird.",
            "entities": ["penguin", "pigeon", "potato"],
            "answers": ["penguin", "pigeon"],
            "passage": "Birds are here.\n@highlight\nPenguins swim\n@highlight\nPotatoes do not",
            "idx": {"passage": 4, "query": 9},
        },
        "record query: A @placeholder is a bird. entities: penguin, pigeon, potato passage: Birds are here. "
        "Penguins swim. Potatoes do not",
        "penguin",
    ),
]


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
    assert told("cnn_dailymail")[0]["reference"].count("\n") == 1


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
