"""Are a task's metrics what a slow computation says, and is a strange output wrong but never left out?

The slow computations share nothing with the code: counts over all labels, sums over all pairs of rows.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest

from trainer.config.choices import METRICS
from trainer.scoring import metrics
from trainer.scoring.task_metrics import BY_NAME, measured

LABELS = ("negative", "neutral", "positive")


def value(name: str, outputs: Sequence[str], targets: Sequence[str], labels: Sequence[str] = LABELS) -> float:
    return measured(name, outputs, targets, labels=labels)


def drawn(seed: int, rows: int = 60) -> tuple[list[str], list[str]]:
    """Targets of three labels; outputs are right, another label or no label at all."""
    draw = random.Random(seed)
    targets = [draw.choice(LABELS) for _ in range(rows)]
    return [draw.choice((target, *LABELS, "none of them", "")) for target in targets], targets


def test_every_name_that_a_config_may_hold_is_a_metric() -> None:
    assert tuple(BY_NAME) == METRICS


@pytest.mark.parametrize("name", METRICS)
def test_what_is_all_right_is_100_and_what_is_empty_is_finite(name: str) -> None:
    targets = ["1", "2", "4", "8"] if name == "pearson" else ["yes it is", "no it is not", "yes it is"]
    assert value(name, targets, targets, targets) == pytest.approx(100)
    for outputs in ([""] * len(targets), ["nan"] * len(targets), ["\x00"] * len(targets)):
        assert math.isfinite(value(name, outputs, targets, targets))
    none = measured(name, [], [], labels=LABELS)
    assert (none, none.note) == (0.0, f"{name} is undefined without rows, and counts as 0.")


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_macro_f1_are_those_of_counting_by_label(seed: int) -> None:
    outputs, targets = drawn(seed)
    assert value("accuracy", outputs, targets) == pytest.approx(
        100 * sum(o == t for o, t in zip(outputs, targets, strict=True)) / len(targets)
    )
    each = []
    for label in LABELS:
        hit = sum(o == label and t == label for o, t in zip(outputs, targets, strict=True))
        precision = hit / max(1, sum(o == label for o in outputs))
        recall = hit / max(1, sum(t == label for t in targets))
        each.append(2 * precision * recall / (precision + recall) if hit else 0.0)
    assert value("macro-f1", outputs, targets) == pytest.approx(100 * sum(each) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_matthews_is_the_correlation_of_the_indicators_of_all_labels(seed: int) -> None:
    """Gorodkin's covariance over rows and labels; all outputs that are none are one more."""
    outputs, targets = drawn(seed)
    every = (*LABELS, None)
    said = [[float((o if o in LABELS else None) == label) for label in every] for o in outputs]
    true = [[float(t == label) for label in every] for t in targets]

    def covariance(a: list[list[float]], b: list[list[float]]) -> float:
        total = 0.0
        for k in range(len(every)):
            mean_a = sum(row[k] for row in a) / len(a)
            mean_b = sum(row[k] for row in b) / len(b)
            total += sum((x[k] - mean_a) * (y[k] - mean_b) for x, y in zip(a, b, strict=True))
        return total

    expected = covariance(said, true) / math.sqrt(covariance(said, said) * covariance(true, true))
    assert value("matthews", outputs, targets) == pytest.approx(100 * expected)


def test_matthews_of_two_labels_is_the_formula_of_the_four_counts() -> None:
    outputs, targets = ["a"] * 7 + ["b"] * 5, ["a"] * 4 + ["b"] * 7 + ["a"]
    tp, fp, tn, fn = 4, 3, 4, 1
    root = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert value("matthews", outputs, targets, ("a", "b")) == pytest.approx(100 * (tp * tn - fp * fn) / root)


def test_what_is_undefined_is_0_and_said() -> None:
    alike = measured("matthews", ["a", "a"], ["a", "b"], labels=("a", "b"))
    assert alike.note == "matthews is undefined where all outputs are alike, and counts as 0."
    assert measured("matthews", ["a", "b"], ["a", "a"], labels=("a", "b")).note.startswith(
        "matthews is undefined where all targets are alike"
    )
    assert measured("pearson", ["0.1"] * 9, [str(n) for n in range(9)], labels=()).note.startswith(
        "pearson is undefined where all outputs are alike"
    )
    words = measured("pearson", ["1", "2"], ["1", "good"], labels=())
    assert words.note == "pearson is undefined where the target 'good' is no number: it is 0."
    assert alike == words == 0.0


def test_macro_f1_counts_labels_that_stand_somewhere_and_an_output_that_is_none_makes_no_label() -> None:
    assert value("macro-f1", ["positive", "negative"], ["positive", "negative"]) == 100
    assert value("macro-f1", ["positive", "rubbish"], ["positive", "negative"]) == 50
    assert value("macro-f1", ["positive", "neutral"], ["positive", "negative"]) == pytest.approx(100 / 3)


@pytest.mark.parametrize(
    ("output", "accuracy", "exact"),
    [
        ("positive", 100, 100),
        ("positive ", 100, 100),  # white space around it
        (" positive\n", 100, 100),
        ("Positive", 0, 100),  # case matters to accuracy, not to SQuAD
        ("the positive.", 0, 100),
        ("", 0, 0),
        ("1", 0, 0),  # a number where a label belongs
        ("positive positive", 0, 0),
    ],
)
def test_strange_outputs_are_judged_as_documented(output: str, accuracy: float, exact: float) -> None:
    assert value("accuracy", [output], ["positive"]) == accuracy
    assert value("macro-f1", [output], ["positive"]) == accuracy
    assert value("exact-match", [output], ["positive"]) == exact


SQUAD = [
    ("The Eiffel Tower!", "eiffel tower", 1.0),
    ("an apple", "the apple", 1.0),
    ("tower of Paris", "the Eiffel tower", 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)),
    ("red red red", "red", 2 * (1 / 3) * 1 / (1 / 3 + 1)),
    ("", "red", 0.0),
    ("The", "an", 1.0),  # both are empty then
    ("blue", "a", 0.0),
    ("U.S.", "us", 1.0),
]


@pytest.mark.parametrize(("output", "target", "expected"), SQUAD)
def test_token_f1_is_that_of_shared_words_as_squad_counts_them(
    output: str, target: str, expected: float
) -> None:
    assert value("token-f1", [output], [target]) == pytest.approx(100 * expected)
    assert value("exact-match", [output], [target]) == (100 if expected == 1 else 0)


@pytest.mark.parametrize("seed", range(5))
def test_pearson_is_that_of_the_differences_of_all_pairs_of_rows(seed: int) -> None:
    draw = random.Random(seed)
    y = [round(draw.uniform(0, 5), 1) for _ in range(30)]
    x = [round(0.5 * of + draw.gauss(0, 1), 2) for of in y]
    pairs = list(itertools.combinations(range(30), 2))
    top = math.fsum((x[i] - x[j]) * (y[i] - y[j]) for i, j in pairs)
    bottom = math.sqrt(
        math.fsum((x[i] - x[j]) ** 2 for i, j in pairs) * math.fsum((y[i] - y[j]) ** 2 for i, j in pairs)
    )
    outputs, targets = list(map(str, x)), list(map(str, y))
    assert value("pearson", outputs, targets, targets) == pytest.approx(100 * top / bottom)


@pytest.mark.parametrize("nothing", ["", "good", "nan", "inf", "1e999", "1_0", "3 of 5"])
def test_where_pearson_finds_no_number_the_worst_of_the_labels_stands_in(nothing: str) -> None:
    labels, targets = ["0", "5"], ["1", "4", "2", "3"]
    spoilt = value("pearson", ["1", nothing, nothing, "3"], targets, labels)
    assert spoilt == value("pearson", ["1", "0", "5", "3"], targets, labels)
    assert spoilt < value("pearson", ["1", "4", "2", "3"], targets, labels)


def test_huge_numbers_overflow_nothing() -> None:
    assert value("pearson", ["1e308", "-1e308", "0"], ["1", "0", "0.5"], ()) == pytest.approx(100)


def test_bleu_and_chrf_are_those_of_translations() -> None:
    outputs, targets = ["the cat sat on the mat", ""], ["the cat sat on a mat", "it is late"]
    assert value("bleu", outputs, targets) == metrics.bleu(outputs, targets).value > 0
    assert value("chrf", outputs, targets) == metrics.chrf(outputs, targets).value > 0


def test_a_row_without_an_output_is_refused() -> None:
    with pytest.raises(ValueError, match="There are 1 outputs and 2 targets"):
        measured("accuracy", ["a"], ["a", "b"], labels=LABELS)
