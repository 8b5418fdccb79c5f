"""How good are translations, and is one system better than another? By sacrebleu, offline.

Every number comes with sacrebleu's signature, since scores of different signatures cannot be compared. The
two tests draw as sacrebleu's own do (`sacrebleu.significance`, after Koehn 2004 and Riezler and Maxwell
2005), so that the same seed gives the same p-value. What differs: the seed is an argument and not read from
the environment, memory is bounded (theirs takes 4 GB for 1,000 samples of 100,000 sentences), and a
difference that chance equals counts as chance's, or two equal systems would be told apart with p = 0.001.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ("bleu", "chrf")
_DRAWN_AT_ONCE = 2**22  # numbers: 32 MB
_COUNTED = 2**13  # sentences: some 5 MB

Sentences = Sequence[str]


@dataclass(frozen=True)
class Score:
    name: str  # as sacrebleu calls it: "BLEU", "chrF2"
    value: float  # 0 to 100
    signature: str
    text: str  # for people, with BLEU's parts


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same sentences. `p_value`: how often a difference like this comes by chance."""

    test: str
    a: float
    b: float
    difference: float  # b - a
    p_value: float  # two-sided
    interval: tuple[float, float] | None  # of the difference, 95 %; only resampling gives one
    signature: str  # of the scores, with the test's samples and seed


def bleu(hypotheses: Sentences, references: Sentences) -> Score:
    """Corpus BLEU with sacrebleu's defaults (13a tokens, mixed case)."""
    return _score("bleu", hypotheses, references)


def chrf(hypotheses: Sentences, references: Sentences) -> Score:
    """Corpus chrF2 with sacrebleu's defaults (characters up to 6, no words)."""
    return _score("chrf", hypotheses, references)


def paired_bootstrap(
    a: Sentences,
    b: Sentences,
    references: Sentences,
    *,
    samples: int = 1000,
    seed: int,
    metric: str = "bleu",
) -> Comparison:
    """Are the systems still apart on test sets drawn from this one, sentences with replacement?"""
    pair = _Pair.of(metric, a, b, references, samples)
    rng = np.random.default_rng(seed)
    n = len(references)
    differences = np.empty(samples)
    for part in _parts(samples, n):
        drawn = rng.choice(n, size=(part.stop - part.start, n), replace=True)
        times = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)
        differences[part] = pair.score(times @ pair.stats_b) - pair.score(times @ pair.stats_a)
    apart = np.abs(differences)  # by more than they are on average: the null hypothesis by shifting
    low, high = np.quantile(differences, [0.025, 0.975])
    interval = float(low), float(high)
    return pair.compared("paired bootstrap", "bs", apart - apart.mean(), seed=seed, interval=interval)


def approximate_randomisation(
    a: Sentences,
    b: Sentences,
    references: Sentences,
    *,
    samples: int = 10_000,
    seed: int,
    metric: str = "bleu",
) -> Comparison:
    """Are the systems still apart when sentences are swapped between them at random?"""
    pair = _Pair.of(metric, a, b, references, samples)
    rng = np.random.default_rng(seed)
    both = (pair.stats_a + pair.stats_b).sum(axis=0)
    apart = np.empty(samples)
    for part in _parts(samples, len(references)):
        kept = rng.integers(2, size=(part.stop - part.start, len(references)), dtype=bool)
        first = kept.astype(float) @ pair.stats_a + (~kept).astype(float) @ pair.stats_b
        apart[part] = np.abs(pair.score(first) - pair.score(both - first))
    return pair.compared("approximate randomisation", "ar", apart, seed=seed, interval=None)


# -- what both tests do ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Two systems' counts, a row for each sentence: the score of a set is that of the rows' sum."""

    metric: Any
    stats_a: np.ndarray
    stats_b: np.ndarray

    @classmethod
    def of(cls, name: str, a: Sentences, b: Sentences, references: Sentences, samples: int) -> _Pair:
        if samples < 1:
            raise ValueError(f"samples is {samples}. Allowed is a whole number from 1; 1,000 is usual.")
        _check_lengths(a=a, b=b, references=references)
        metric = _metric(name)
        counts = [
            # Not public, but what sacrebleu's own tests are made of, since 2.0.
            np.array(metric._extract_corpus_statistics(list(system), [list(references)]), float)
            for system in (a, b)
        ]
        return cls(metric, *counts)

    def score(self, sums: np.ndarray) -> np.ndarray:
        return np.array([self.metric._compute_score_from_stats(row.tolist()).score for row in sums])

    def compared(
        self, test: str, short: str, apart: np.ndarray, *, seed: int, interval: tuple[float, float] | None
    ) -> Comparison:
        a, b = (float(self.score(stats.sum(axis=0)[None])[0]) for stats in (self.stats_a, self.stats_b))
        signature = self.metric.get_signature()
        signature.update("seed", str(seed))
        signature.update(short, len(apart))
        # One more on both sides, so that no p-value is 0 (Riezler and Maxwell 2005, figure 1).
        p_value = (int(np.sum(apart >= abs(b - a))) + 1) / (len(apart) + 1)
        return Comparison(test, a, b, b - a, p_value, interval, signature.format())


def _score(name: str, hypotheses: Sentences, references: Sentences) -> Score:
    _check_lengths(hypotheses=hypotheses, references=references)
    metric = _metric(name)
    counts = [_counts(name, *pair) for pair in zip(hypotheses, references, strict=True)]
    score = metric._aggregate_and_compute(counts)
    return Score(score.name, float(score.score), metric.get_signature().format(), str(score))


@functools.lru_cache(maxsize=_COUNTED)
def _counts(name: str, hypothesis: str, reference: str) -> tuple[int, ...]:
    """One sentence's. The runs of a process translate the same split, and most sentences alike."""
    (counts,) = _metric(name)._extract_corpus_statistics([hypothesis], [[reference]])
    return tuple(counts)


@functools.cache
def _metric(name: str) -> Any:
    # Here, since it takes 90 ms to import and many who import this module score nothing.
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    makers: dict[str, Callable[[], Any]] = {"bleu": BLEU, "chrf": CHRF}
    if name not in makers:
        raise ValueError(f"The metric is {name!r}. Allowed: {', '.join(METRICS)}.")
    return makers[name]()


def _check_lengths(**texts: Sentences) -> None:
    for name, text in texts.items():
        if isinstance(text, str):
            raise ValueError(f"{name} is one string, {text[:40]!r}. Give a list of sentences.")
    counts = {name: len(text) for name, text in texts.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"There are {told}. Give the same number of each, at least one.")


def _parts(samples: int, sentences: int) -> Iterator[slice]:
    """A few samples at a time. In multiples of 32: random bits are drawn by the word."""
    step = max(_DRAWN_AT_ONCE // sentences // 32, 1) * 32
    for begin in range(0, samples, step):
        yield slice(begin, min(begin + step, samples))
