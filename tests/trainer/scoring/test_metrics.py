"""Are the scores sacrebleu's, and do the tests between systems tell chance from difference?"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest

from trainer.scoring import metrics
from trainer.scoring.metrics import Comparison, approximate_randomisation, bleu, chrf, paired_bootstrap

TESTS = pytest.mark.parametrize("compare", [paired_bootstrap, approximate_randomisation])
WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "hat", "big", "red", "grün", "schön"]


def texts(sentences: int, *, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(4, 15))) for _ in range(sentences)]


def system(references: list[str], *, wrong: float, seed: int) -> list[str]:
    """The references with a share of the words replaced."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(rng.choice(WORDS) if rng.random() < wrong else word for word in text.split())
        for text in references
    ]


def grams(items: Any, n: int) -> Counter[Any]:
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


# -- scores ----------------------------------------------------------------------------------------------


def test_bleu_is_the_geometric_mean_of_precisions_with_a_brevity_penalty() -> None:
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; then one word too short as well.
    assert bleu(["a b c d e"], ["a b c d f"]).value == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 / 2) ** 0.25
    )
    assert bleu(["a b c d"], ["a b c d e"]).value == pytest.approx(100 * math.exp(1 - 5 / 4))
    assert bleu(["the cat sat on it"], ["the cat sat on it"]).value == pytest.approx(100)


@pytest.mark.parametrize(("score", "theirs"), [(bleu, BLEU()), (chrf, CHRF())])
def test_sentences_that_were_scored_before_are_not_counted_again_and_scores_are_sacrebleus(
    score: Callable[..., metrics.Score], theirs: Any
) -> None:
    references = texts(40, seed=7)
    systems = [system(references, wrong=0.1, seed=seed) for seed in (8, 8, 9)]
    counted = []
    for hypotheses in systems:
        before = metrics._counts.cache_info().misses
        ours = score(hypotheses, references)
        counted.append(metrics._counts.cache_info().misses - before)
        expected = theirs.corpus_score(hypotheses, [references])
        assert (ours.value, ours.text) == (expected.score, str(expected))
        assert ours.signature == theirs.get_signature().format()
    assert counted[0] == 40
    assert counted[1] == 0
    assert 0 < counted[2] < 40


def test_bleu_sums_counts_over_the_corpus() -> None:
    references = texts(30)
    hypotheses = system(references, wrong=0.3, seed=1)
    matches, totals = np.zeros(4), np.zeros(4)
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        for n in range(4):
            ours, theirs = (grams(text.split(), n + 1) for text in (hypothesis, reference))
            matches[n] += (ours & theirs).total()
            totals[n] += ours.total()
    score = bleu(hypotheses, references)
    assert score.value == pytest.approx(100 * math.exp(np.log(matches / totals).mean()))
    assert score.value == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert score.text.startswith(f"BLEU = {score.value:.2f} ")


def test_chrf_is_the_f2_of_mean_precision_and_recall_of_characters() -> None:
    hypothesis, reference = "the cat sat", "the cats sit"
    ours, theirs = (text.replace(" ", "") for text in (hypothesis, reference))
    shared = [(grams(ours, n) & grams(theirs, n)).total() for n in range(1, 7)]
    precision = np.mean([s / (len(ours) - n) for n, s in enumerate(shared)])
    recall = np.mean([s / (len(theirs) - n) for n, s in enumerate(shared)])
    score = chrf([hypothesis], [reference])
    assert score.value == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))
    references = texts(30)
    hypotheses = system(references, wrong=0.3, seed=1)
    assert chrf(hypotheses, references).value == sacrebleu.corpus_chrf(hypotheses, [references]).score


def test_every_score_carries_sacrebleus_signature() -> None:
    version = sacrebleu.__version__
    one = ["a b c d e"]
    assert (bleu(one, one).name, chrf(one, one).name) == ("BLEU", "chrF2")
    assert bleu(one, one).signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert chrf(one, one).signature == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"
    compared = paired_bootstrap(one, one, one, samples=50, seed=8)
    assert compared.signature == (
        f"nrefs:1|bs:50|seed:8|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    )


# -- two systems -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "theirs"), [("bleu", BLEU), ("chrf", CHRF)])
@pytest.mark.parametrize(("compare", "short"), [(paired_bootstrap, "bs"), (approximate_randomisation, "ar")])
def test_a_comparison_agrees_with_sacrebleus(
    compare: Callable[..., Comparison],
    short: str,
    metric: str,
    theirs: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    references = texts(61)
    a, b = system(references, wrong=0.4, seed=1), system(references, wrong=0.4, seed=5)
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    _, told = PairedTest([("a", a), ("b", b)], {metric: theirs()}, [references], short, n_samples=300)()
    (first, second) = next(results for name, results in told.items() if name != "System")
    ours = compare(a, b, references, samples=300, seed=7, metric=metric)
    assert (ours.a, ours.b) == (first.score, second.score)
    assert ours.difference == ours.b - ours.a
    assert ours.p_value == pytest.approx(second.p_value, abs=1e-12)
    assert 0.01 < ours.p_value < 0.99
    monkeypatch.setattr(metrics, "_DRAWN_AT_ONCE", 1)  # 32 samples at a time
    assert compare(a, b, references, samples=300, seed=7, metric=metric) == ours


@TESTS
def test_equal_systems_are_not_told_apart_and_unequal_ones_are(compare: Callable[..., Comparison]) -> None:
    references = texts(100)
    good, bad = (system(references, wrong=w, seed=1) for w in (0.1, 0.5))
    assert compare(good, good, references, samples=200, seed=0).p_value == 1
    apart = compare(bad, good, references, samples=200, seed=0)
    assert apart.p_value == pytest.approx(1 / 201)
    back = compare(good, bad, references, samples=200, seed=0)
    assert (back.difference, back.p_value) == (-apart.difference, apart.p_value)


def test_randomisation_agrees_with_all_swaps_there_are() -> None:
    references = texts(8, seed=3)
    a, b = system(references, wrong=0.4, seed=1), system(references, wrong=0.2, seed=2)
    seen = abs(bleu(a, references).value - bleu(b, references).value)
    swapped = []
    for mask in range(2**8):
        pairs = [(y, x) if mask >> i & 1 else (x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
        first, second = (bleu(side, references).value for side in map(list, zip(*pairs, strict=True)))
        swapped.append(abs(first - second))
    exact = np.mean(np.array(swapped) >= seen - 1e-9)
    told = approximate_randomisation(a, b, references, samples=4000, seed=1)
    assert 0.02 < exact < 0.98
    assert told.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def test_the_bootstraps_interval_is_that_of_resampled_test_sets() -> None:
    references = texts(40)
    a, b = system(references, wrong=0.4, seed=1), system(references, wrong=0.3, seed=2)
    rng, differences = np.random.default_rng(99), []
    for _ in range(300):
        drawn = rng.integers(40, size=40)
        picked = [[text[i] for i in drawn] for text in (a, b, references)]
        differences.append(bleu(picked[1], picked[2]).value - bleu(picked[0], picked[2]).value)
    told = paired_bootstrap(a, b, references, samples=2000, seed=1)
    # The 2.5 % quantile of 300 draws of a normal has a standard error of 0.15 deviations; 4 of them.
    error = 0.6 * np.std(differences)
    assert told.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=error)
    assert approximate_randomisation(a, b, references, samples=10, seed=1).interval is None


@TESTS
def test_the_seed_decides(compare: Callable[..., Comparison]) -> None:
    references = texts(30)
    a, b = system(references, wrong=0.4, seed=1), system(references, wrong=0.35, seed=2)
    told = [compare(a, b, references, samples=200, seed=seed) for seed in (0, 0, 1)]
    assert told[0] == told[1]
    assert told[0].p_value != told[2].p_value


# -- what is refused, and what is not done ---------------------------------------------------------------


def test_what_cannot_be_scored_is_refused_with_a_sentence() -> None:
    def sentence(run: Callable[[], Any]) -> str:
        with pytest.raises(ValueError) as refused:
            run()
        return str(refused.value)

    one = ["a"]
    assert sentence(lambda: bleu(one, ["a", "b"])) == (
        "There are 1 hypotheses, 2 references. Give the same number of each, at least one."
    )
    assert sentence(lambda: chrf([], [])).startswith("There are 0 hypotheses, 0 references.")
    assert sentence(lambda: bleu("a b", one)).startswith("hypotheses is one string, 'a b'.")
    assert sentence(lambda: paired_bootstrap(one, [], one, seed=0)).startswith("There are 1 a, 0 b, 1 ref")
    assert sentence(lambda: paired_bootstrap(one, one, one, seed=0, metric="ter")) == (
        "The metric is 'ter'. Allowed: bleu, chrf."
    )
    assert sentence(lambda: approximate_randomisation(one, one, one, seed=0, samples=0)).startswith(
        "samples is 0. Allowed is a whole number from 1"
    )


def test_scores_need_no_network_and_the_module_no_sacrebleu() -> None:
    program = """
import socket, sys

def refused(*_, **__):
    raise OSError("the network was asked for")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from trainer.scoring.metrics import bleu, chrf, paired_bootstrap
assert "sacrebleu" not in sys.modules
one = ["a b c d e"]
print(bleu(one, one).value, chrf(one, one).value, paired_bootstrap(one, one, one, samples=9, seed=0).p_value)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [float(number) for number in done.stdout.split()] == pytest.approx([100, 100, 1])
