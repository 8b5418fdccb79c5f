"""What does a run read? Its corpus as tokens: batches to train on, one to guide by, those to evaluate on.

What is 0 in a config's data is decided here, by the source.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import DataConfig, TrainConfig
from trainer.config.benchmarks import PAPERS
from trainer.config.choices import LAST, SOURCE_TOKENS, TARGET_TOKENS, source_of, task_of
from trainer.data import splits
from trainer.data.batches import Batch, Bucketed, held_out_batch
from trainer.data.contract import Corpus
from trainer.data.corpus import open_corpus
from trainer.data.digests import Stamp, stamp_of, stamps_of
from trainer.data.examples import Examples, examples
from trainer.data.packing import Packed, whole_split
from trainer.data.vocabulary import Beginnings, Given, TooManyPieces, Vocabulary, vocabulary

# Where a source has none of its own.
PIECES = 32_000  # the paper's; fewer where the text does not carry them
LONGEST_TOKENS = 256
EVALUATED_AT_A_TIME = 64  # examples


@dataclass(frozen=True, eq=False)  # told apart by identity, so that it can be a key
class Tokens:
    """A corpus in a vocabulary."""

    corpus: Corpus
    vocabulary: Vocabulary
    train: Examples
    guide: Examples
    select: Examples
    lengths: tuple[int, int] | None = None  # of all batches of a task, whatever its text: one program

    @property
    def fingerprint(self) -> str:
        return f"{self.corpus.fingerprint} {self.vocabulary.fingerprint}"

    def batches(self, config: TrainConfig) -> Bucketed | Packed:
        """The training batches of a run, by its seed."""
        batch, mesh = config.batch, config.mesh
        sizes = {
            "seed": config.seed,
            "sentences": batch.sentences,
            "tokens": batch.tokens,
            "rows_divide_by": mesh.data * mesh.fsdp,
        }
        if batch.buckets == 0:
            return Packed(self.train, **sizes)
        return Bucketed(self.train, buckets=batch.buckets, lengths=self.lengths, **sizes)

    def guidance_batch(self, config: TrainConfig) -> Batch:
        """As large as a training batch, always the same, of the guide split."""
        batches = self.batches(config)
        if isinstance(batches, Packed):
            return batches.held_out(self.guide)
        return held_out_batch(self.guide, rows=guidance_rows(config, self.train), lengths=self.lengths)

    def halves(self, config: TrainConfig) -> tuple[np.ndarray, np.ndarray] | None:
        """The rows of select that choose among a run's evaluations, and those that are reported; None where
        all are, since none chooses."""
        if config.score.choose == LAST:
            return None
        if config.protocol == PAPERS:  # chosen and reported by the same rows
            every = np.arange(len(self.corpus.select))
            return every[: config.score.dev_sentences], every
        return splits.halves(self.corpus.select, most=config.score.dev_sentences, prefix=config.data.prefix)

    def dev_batches(self, *, rows_divide_by: int = 1, only: np.ndarray | None = None) -> Batch:
        """The whole select split, or `only` these rows of a task's, packed however a run trains: half of
        padded rows is padding."""
        return whole_split(
            self.select,
            at_a_time=EVALUATED_AT_A_TIME,
            rows_divide_by=rows_divide_by,
            lengths=self.lengths,
            only=only,
        )

    def cut(self) -> dict[str, dict[str, int]]:
        """How many inputs and targets of a task are there with their beginning alone, by split."""
        each = {"train": self.train, "guide": self.guide, "select": self.select}
        return {name: dict(zip(("input", "target"), of.cut, strict=True)) for name, of in each.items()}


def guidance_rows(config: TrainConfig, train: Examples) -> int:
    """The sentences of a mean training batch, in a number that the mesh divides."""
    batch, shards = config.batch, config.mesh.data * config.mesh.fsdp
    if not batch.tokens:
        return batch.sentences
    real = float(train.source_lengths.mean() + train.target_lengths.mean())
    return max(1, round(batch.tokens / real / shards)) * shards


def open_tokens(config: TrainConfig, *, home: Path, given: Given | None = None) -> Tokens:
    """The text of a config as tokens; from memory, from disk, or made now. `given`: a vocabulary that is not
    to be learned from it."""
    stamps = written(config.data, given)
    return _opened(config.data, home, config.batch.sentences, given, stamps, config.protocol)


def longest_tokens(data: DataConfig) -> int:
    """Of a sentence that is trained on, its end among them."""
    return data.longest_tokens or source_of(data.source).longest_tokens.get(data.level, LONGEST_TOKENS)


def pieces_of(data: DataConfig) -> int:
    """Of a vocabulary, where the config does not say."""
    return PIECES if data.task else source_of(data.source).pieces.get(data.level, PIECES)


def task_tokens(data: DataConfig) -> tuple[int, int] | None:
    """To how many tokens a task's inputs and targets are cut, ends among them; None for a translation."""
    if not data.task:
        return None
    benchmark = task_of(data.task).benchmark
    source, target = benchmark.tokens if benchmark else (SOURCE_TOKENS, TARGET_TOKENS)
    return data.source_tokens or source, data.target_tokens or target


def written(data: DataConfig, given: Given | None) -> tuple[Stamp, ...]:
    """What changes when somebody writes a user's own files anew, or a vocabulary."""
    return (*stamps_of(data), *(stamp_of(given.file) if given else ()))


@functools.lru_cache(maxsize=2)  # the next run of a warm process is nearly always on the same text
def _opened(
    data: DataConfig,
    home: Path,
    guide_pairs: int,
    given: Given | None,
    written: tuple[Any, ...],
    protocol: str,
) -> Tokens:
    corpus = open_corpus(data, home=home, guide_pairs=guide_pairs, protocol=protocol)
    lengths = task_tokens(data)
    longest = longest_tokens(data) if lengths is None else lengths
    words = given.open() if given else _learned(data, corpus, home)

    def split(name: str) -> Examples:
        key = f"{corpus.fingerprint} {name}"
        return examples(getattr(corpus, name), words, longest=longest, key=key, home=home)

    return Tokens(corpus, words, split("train"), split("guide"), split("select"), lengths)


def _learned(data: DataConfig, corpus: Corpus, home: Path) -> Vocabulary:
    pieces = data.vocabulary or pieces_of(data)
    text = Beginnings(corpus.train) if data.task else corpus.train
    try:
        return vocabulary(text, size=pieces, fingerprint=corpus.fingerprint, home=home)
    except TooManyPieces as problem:
        if data.vocabulary:  # asked for
            raise
        return vocabulary(text, size=problem.most, fingerprint=corpus.fingerprint, home=home)
