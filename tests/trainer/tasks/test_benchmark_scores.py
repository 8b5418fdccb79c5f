"""Are the benchmarks' metrics those of scikit-learn, scipy and slow counting, whatever the outputs are?

scikit-learn knows no output that is no label: it is told one more label, or the wrong one in its place.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as theirs

from trainer.tasks import benchmark_scores as scores
from trainer.tasks import measures
from trainer.tasks.measures import Measured

UNHURRIED = settings(deadline=None)  # on a busy machine any of them takes longer now and then
PAIR = ("not_equivalent", "equivalent")
THREE = ("entailment", "contradiction", "neutral")
NO_LABELS = ("", " ", "equivalent equivalent", "Equivalent", "0", "True.", "\x00", "nan")
ANSWERS = ("The cat", "a dog", "cat dog cat", "42", "U.S.", "the", "", "dog, cat")


def near(value: float) -> Any:
    return pytest.approx(value, abs=1e-9)


def judged(labels: Sequence[str], strange: Sequence[str] = NO_LABELS, most: int = 20) -> Any:
    """Outputs with targets, one row at least."""
    return st.lists(
        st.tuples(st.sampled_from((*labels, *strange)), st.sampled_from(labels)), min_size=1, max_size=most
    )


def labelled(targets: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    return [{"label": target, "labels": list(labels)} for target in targets]


def sides(rows: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [output for output, _ in rows], [target for _, target in rows]


# -- labels ----------------------------------------------------------------------------------------------


@UNHURRIED
@given(judged(PAIR))
def test_f1_and_accuracy_of_two_labels_are_scikit_learn_s_with_the_wrong_one_for_what_is_none(
    rows: list[tuple[str, str]],
) -> None:
    outputs, targets = sides(rows)
    other = dict(zip(PAIR, reversed(PAIR), strict=True))
    said = [output if output in PAIR else other[target] for output, target in rows]
    found = scores.accuracy_and_f1(outputs, labelled(targets, PAIR))
    assert found == {
        "f1": near(100 * theirs.f1_score(targets, said, pos_label=PAIR[1], zero_division=0)),
        "accuracy": near(100 * theirs.accuracy_score(targets, said)),
    }
    assert scores.accuracy(outputs, labelled(targets, PAIR))["accuracy"] == found["accuracy"]


@UNHURRIED
@given(judged(THREE))
def test_cb_is_the_mean_f1_of_three_classes_also_where_one_has_no_row(rows: list[tuple[str, str]]) -> None:
    outputs, targets = sides(rows)
    said = [output if output in THREE else "none" for output in outputs]
    macro = theirs.f1_score(targets, said, labels=list(THREE), average="macro", zero_division=0)
    found = scores.cb(outputs, labelled(targets, THREE))
    assert found == {
        "macro-f1": near(100 * macro),
        "accuracy": near(100 * theirs.accuracy_score(targets, said)),
    }
    unseen = {*THREE} - {*targets, *said}
    assert bool(found["macro-f1"].note) == bool(unseen)


@UNHURRIED
@given(judged(("unacceptable", "acceptable")))
def test_matthews_is_scikit_learn_s_with_one_more_label_for_all_that_are_none(
    rows: list[tuple[str, str]],
) -> None:
    outputs, targets = sides(rows)
    labels = ("unacceptable", "acceptable")
    said = [output if output in labels else "none" for output in outputs]
    found = scores.matthews(outputs, labelled(targets, labels))["matthews"]
    alike = {*targets} == {*said} and len({*said}) == 1  # of which scikit-learn warns
    assert found == near(0.0 if alike else 100 * theirs.matthews_corrcoef(targets, said))


# -- numbers ---------------------------------------------------------------------------------------------

TENTHS = st.integers(0, 50).map(lambda tenth: tenth / 10)


@UNHURRIED
@given(st.lists(st.tuples(st.one_of(TENTHS, st.sampled_from(NO_LABELS)), TENTHS), min_size=2, max_size=20))
def test_correlations_are_scipy_s_with_the_worst_of_the_scale_for_what_is_no_number(
    rows: list[tuple[float | str, float]],
) -> None:
    outputs = [str(output) for output, _ in rows]
    true = [target for _, target in rows]
    said = []
    for output, target in zip(outputs, true, strict=True):
        try:
            value = float(output)
        except ValueError:
            value = math.nan
        said.append(value if math.isfinite(value) else 0.0 if target > 2.5 else 5.0)
    found = scores.correlations(outputs, [{"score": target} for target in true])
    if len({*said}) == 1 or len({*true}) == 1:
        assert found == {"pearson": 0.0, "spearman": 0.0}
        assert all("is undefined where all" in value.note for value in found.values())
    else:
        assert found["pearson"] == pytest.approx(100 * stats.pearsonr(said, true).statistic, abs=1e-6)
        assert found["spearman"] == pytest.approx(100 * stats.spearmanr(said, true).statistic, abs=1e-6)


@UNHURRIED
@given(st.lists(st.integers(-3, 3), min_size=1))
def test_equal_numbers_share_the_mean_of_their_ranks(values: list[int]) -> None:
    assert measures.ranks(values) == stats.rankdata(values).tolist()


# -- answers ---------------------------------------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    bare = re.sub(f"[{re.escape(string.punctuation)}]", "", text.lower())
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def slow_f1(output: str, answer: str) -> float:
    said, left = slow_words(output), slow_words(answer)
    if not said or not left:
        return float(said == left)
    size, hits = len(left), 0
    for word in said:
        if word in left:
            left.remove(word)
            hits += 1
    precision, recall = hits / len(said), hits / size
    return 2 * precision * recall / (precision + recall) if hits else 0.0


ASKED = st.lists(
    st.tuples(st.sampled_from(ANSWERS), st.lists(st.sampled_from(ANSWERS), max_size=3), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@UNHURRIED
@given(ASKED)
def test_squad_takes_the_best_of_all_answers_for_each_metric(rows: list[tuple[str, list[str], int]]) -> None:
    records = [{"id": str(at), "answers": answers} for at, (_, answers, _) in enumerate(rows)]
    found = scores.squad([output for output, _, _ in rows], records)
    exact = [any(slow_words(o) == slow_words(a) for a in answers) for o, answers, _ in rows]
    best = [max([slow_f1(o, a) for a in answers] or [0.0]) for o, answers, _ in rows]
    assert found == {
        "exact-match": near(100 * sum(exact) / len(rows)),
        "f1": near(100 * sum(best) / len(rows)),
    }
    assert found["exact-match"] <= found["f1"] + 1e-9


@UNHURRIED
@given(ASKED)
def test_record_counts_a_query_once_by_its_first_row(rows: list[tuple[str, list[str], int]]) -> None:
    records = [{"query": (7, n), "answers": answers, "entities": list(ANSWERS)} for _, answers, n in rows]
    outputs = [output for output, _, _ in rows]
    once = [at for at, (_, _, n) in enumerate(rows) if n not in [m for _, _, m in rows[:at]]]
    assert scores.record(outputs, records) == scores.squad(
        [outputs[at] for at in once], [records[at] for at in once]
    )


@UNHURRIED
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("True", "False", "", "true", "yes")),
            st.sampled_from(("True", "False")),
            st.integers(0, 1),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_multirc_has_f1_over_all_answers_and_the_questions_that_are_all_right(
    rows: list[tuple[str, str, int, int]],
) -> None:
    records = [{"paragraph": p, "question": q, "label": target} for _, target, p, q in rows]
    found = scores.multirc([output for output, *_ in rows], records)
    wrong = {"True": "False", "False": "True"}
    said = [output if output in wrong else wrong[target] for output, target, *_ in rows]
    targets = [target for _, target, *_ in rows]
    right = [
        all(output == target for output, target, *of in rows if of == [p, q])
        for p, q in sorted({(p, q) for _, _, p, q in rows})
    ]
    assert found == {
        "f1a": near(100 * theirs.f1_score(targets, said, pos_label="True", zero_division=0)),
        "exact-match": near(100 * sum(right) / len(right)),
    }


# -- pronouns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "candidate", "refers"),
    [
        ("The city councilmen", "city councilmen", True),
        ("councilmen", "The city councilmen", True),
        ("the old city Councilmen", "city councilmen", True),
        ("the demonstrators", "The city councilmen", False),
        ("city demonstrators", "city councilmen", False),  # they share a word, and neither holds the other
        ("", "city councilmen", False),
        (" ", "city councilmen", False),
        ("the", "the city councilmen", False),  # an article alone is as empty
        ("", "", False),
    ],
)
def test_an_output_refers_to_a_candidate_where_the_words_of_one_hold_the_other_s(
    output: str, candidate: str, refers: bool
) -> None:
    assert scores.refers(output, candidate) is refers
    for label in (True, False):
        found = scores.pronouns([output], [{"candidate": candidate, "label": label}])
        assert found == {"accuracy": 100.0 * (refers is label)}


WORDS = st.lists(st.sampled_from(("The", "the", "An", "cat", "Dog", "dog's")), max_size=4)


@UNHURRIED
@given(WORDS, WORDS)
def test_case_articles_and_order_change_nothing(said: list[str], meant: list[str]) -> None:
    plain = [[w.lower() for w in of if w.lower() not in ("the", "an")] for of in (said, meant)]
    held = [all(word in plain[1 - side] for word in plain[side]) for side in (0, 1)]
    expected = any(held) and all(plain)
    assert scores.refers(" ".join(said), " ".join(reversed(meant))) is expected


# -- texts -----------------------------------------------------------------------------------------------


def test_bleu_has_intl_tokens_and_shows_its_signature() -> None:
    outputs, references = (
        ["“Yes”, he said to 3 of us", "it is late"],
        ["“Yes” he said to 3 of us", "it is late now"],
    )
    found = scores.translation(outputs, [{"reference": reference} for reference in references])["bleu"]
    assert isinstance(found, Measured)
    assert "nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp|version:" in found.note

    # By hand: intl sets every mark of punctuation apart.
    said, true = ([re.findall(r"\w+|[^\w\s]", text) for text in of] for of in (outputs, references))
    logs = []
    for n in range(1, 5):
        pairs = [
            [[tuple(of[i : i + n]) for i in range(len(of) - n + 1)] for of in pair]
            for pair in zip(said, true, strict=True)
        ]
        hits = sum(min(mine.count(g), other.count(g)) for mine, other in pairs for g in {*mine})
        logs.append(math.log(hits / sum(len(mine) for mine, _ in pairs)))
    length, reference = (sum(map(len, of)) for of in (said, true))
    brevity = min(0.0, 1 - reference / length)
    assert found == pytest.approx(100 * math.exp(math.fsum(logs) / 4 + brevity))


def test_rouge_is_the_mean_over_rows() -> None:
    references = [{"reference": "police killed the gunman"}, {"reference": "it rains"}]
    found = scores.summary(["police kill the gunman", ""], references)
    assert found == {"rouge-1": near(37.5), "rouge-2": near(100 / 6), "rouge-lsum": near(37.5)}


# -- what is strange -------------------------------------------------------------------------------------

SOUND: Mapping[scores.Kind, tuple[list[str], list[dict[str, Any]]]] = {
    scores.accuracy: (list(PAIR), labelled(PAIR, PAIR)),
    scores.accuracy_and_f1: (list(PAIR), labelled(PAIR, PAIR)),
    scores.matthews: (list(PAIR), labelled(PAIR, PAIR)),
    scores.cb: (list(THREE), labelled(THREE, THREE)),
    scores.correlations: (["0.2", "4", "3.0"], [{"score": 0.2}, {"score": 4.0}, {"score": 3.0}]),
    scores.squad: (["the cat", "1"], [{"id": "1", "answers": ["x", "cat"]}, {"id": "2", "answers": ["1"]}]),
    scores.record: (["cat", "dog"], [{"query": n, "answers": [n], "entities": []} for n in ("cat", "dog")]),
    scores.multirc: (
        ["True", "False"],
        [{"paragraph": 0, "question": n, "label": label} for n, label in enumerate(("True", "False"))],
    ),
    scores.pronouns: (
        ["the cat", "a dog"],
        [{"candidate": "cat", "label": 1}, {"candidate": "cat", "label": 0}],
    ),
    scores.summary: (["a b c", "d e"], [{"reference": "a b c"}, {"reference": "d e"}]),
    scores.translation: (["a b c d e", "f g h i"], [{"reference": "a b c d e"}, {"reference": "f g h i"}]),
}
KINDS = pytest.mark.parametrize("kind", SOUND, ids=lambda kind: kind.__name__)


@KINDS
def test_what_is_all_right_is_100(kind: scores.Kind) -> None:
    outputs, records = SOUND[kind]
    found = kind(outputs, records)
    assert found == dict.fromkeys(found, near(100))


@KINDS
@pytest.mark.parametrize(
    "output", ["", "\n", "nan", "1e999", "True", "entailment", "equivalent", "the", "\x00"]
)
def test_a_constant_output_is_a_percentage_of_every_metric(kind: scores.Kind, output: str) -> None:
    outputs, records = SOUND[kind]
    for rows in (len(records), 1):
        found = kind([output] * rows, records[:rows])
        assert found.keys() == kind(outputs, records).keys()
        assert all(math.isfinite(value) and -100 <= value <= 100 for value in found.values())


@KINDS
def test_one_row_is_scored_and_none_is_0_with_a_note(kind: scores.Kind) -> None:
    outputs, records = SOUND[kind]
    one = kind(outputs[:1], records[:1])
    expected = {"matthews": 0, "pearson": 0, "spearman": 0}  # of one row there is no correlation
    if kind is scores.cb:
        expected["macro-f1"] = near(100 / 3)
    if kind is scores.accuracy_and_f1:
        expected["f1"] = 0  # no row has the label that it is of, and no output says it
    if kind is scores.summary or kind is scores.translation:
        assert one == dict.fromkeys(one, near(100))
    assert one == {name: expected.get(name, near(100)) for name in one}
    for name, value in kind([], []).items():
        assert isinstance(value, Measured)
        assert (value, value.note) == (0.0, f"{name} is undefined without rows, and counts as 0.")
    with pytest.raises(ValueError, match="There are 1 outputs and 0 records"):
        kind(["a"], [])


def test_the_docs_have_each_function_with_the_keys_and_the_metrics_of_its_records() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    section = page.split("## Metrics of benchmarks\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    named = {
        cells[0].strip().strip("`"): [set(re.findall(r"`([\w-]+)`", c)) for c in cells[2:]] for cells in rows
    }
    assert list(named) == [kind.__name__ for kind in SOUND]
    for kind, (outputs, records) in SOUND.items():
        keys, metrics = named[kind.__name__]
        assert kind(outputs, [{key: one[key] for key in keys} for one in records]).keys() == metrics - {
            "intl"
        }


@UNHURRIED
@given(st.lists(st.text(max_size=8), min_size=2, max_size=2))
def test_no_text_whatever_is_left_out_or_fails(outputs: list[str]) -> None:
    assume(not any("\ud800" <= letter <= "\udfff" for text in outputs for letter in text))
    for kind, (_, records) in SOUND.items():
        some = (outputs * 2)[: len(records)]
        assert all(0 <= abs(value) <= 100 + 1e-9 for value in kind(some, records).values())
