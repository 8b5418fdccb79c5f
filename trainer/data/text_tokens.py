"""What does a run on unlabelled text read? Its text under an objective: batches to train on, one to guide by,
those to evaluate on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import DataConfig, TrainConfig
from trainer.config.choices import SOURCE_TOKENS
from trainer.config.noise_lengths import WITH_MASK, WITH_SENTINELS, Lengths, lengths
from trainer.config.sections import ObjectiveConfig
from trainer.data import denoising
from trainer.data.batches import Batch
from trainer.data.contract import DataError
from trainer.data.denoising import Denoised, Denoiser
from trainer.data.objectives import Noise
from trainer.data.streams import Text
from trainer.data.text import open_text
from trainer.data.tokens import EVALUATED_AT_A_TIME, written
from trainer.data.vocabulary import UNKNOWN, Given, Vocabulary


@dataclass(frozen=True, eq=False)  # told apart by identity, so that it can be a key
class TextTokens:
    """A text under an objective."""

    text: Text
    denoiser: Denoiser

    @property
    def vocabulary(self) -> Vocabulary:
        return self.text.vocabulary

    @property
    def fingerprint(self) -> str:
        return f"{self.text.fingerprint} {self.vocabulary.fingerprint}"

    def batches(self, config: TrainConfig) -> Denoised:
        """The training batches of a run, by its seed."""
        return Denoised(self.text.train, self.denoiser, seed=config.seed, **_sizes(config))

    def guidance_batch(self, config: TrainConfig) -> Batch:
        """As large as a training batch, always the same, of the guide split."""
        rows = denoising.rows_of(self.denoiser.lengths, **_sizes(config))
        return denoising.held_out(self.text.guide, self.denoiser, rows=rows)

    def halves(self, config: TrainConfig) -> tuple[np.ndarray, np.ndarray] | None:
        """No piece of the select split chooses, and the first so many are reported; None: all are."""
        most = config.score.dev_sentences
        return (np.arange(0), np.arange(most)) if most else None

    def dev_batches(self, *, rows_divide_by: int = 1, only: np.ndarray | None = None) -> Batch:
        """The select split, or its first so many pieces, always with the same noise."""
        return self._whole(self.text.select, rows_divide_by, most=None if only is None else len(only))

    def test_batches(self, why: str | None, *, rows_divide_by: int = 1) -> Batch:
        """Likewise the test split, which is opened."""
        return self._whole(self.text.test(why), rows_divide_by)

    def _whole(self, stream: Any, rows_divide_by: int, *, most: int | None = None) -> Batch:
        shape = {"at_a_time": EVALUATED_AT_A_TIME, "rows_divide_by": rows_divide_by}
        return denoising.whole(stream, self.denoiser, most=most, **shape)


def _sizes(config: TrainConfig) -> dict[str, int]:
    batch, shards = config.batch, config.mesh.data * config.mesh.fsdp
    return {"sentences": batch.sentences, "tokens": batch.tokens, "rows_divide_by": shards}


def open_text_tokens(config: TrainConfig, *, home: Path, given: Given | None = None) -> TextTokens:
    """The text of a config under its objective; from memory, from disk, or made now. `given`: a vocabulary
    that is not to be learned from it."""
    name, objective, data = config.objective_name(), config.objective, config.data
    long = lengths(
        name,
        data.source_tokens or SOURCE_TOKENS,
        rate=objective.rate,
        span=objective.span,
        sentinels=data.sentinels,
    )
    guide_tokens = denoising.rows_of(long, **_sizes(config)) * long.pieces * long.raw
    return _opened(
        data,
        name,
        objective,
        long,
        home,
        guide_tokens,
        given,
        written(data, given),
    )


@functools.lru_cache(maxsize=2)  # the next run of a warm process is nearly always on the same text
def _opened(
    data: DataConfig,
    name: str,
    objective: ObjectiveConfig,
    long: Lengths,
    home: Path,
    guide_tokens: int,
    given: Given | None,
    written: tuple[Any, ...],
) -> TextTokens:
    text = open_text(data, home=home, guide_tokens=guide_tokens, given=given)
    words = text.vocabulary
    needed = data.sentinels if name in WITH_SENTINELS else 1 if name in WITH_MASK else 0
    if len(words.sentinels) < needed:
        raise DataError(
            f"objective.name is {name!r}, which needs {needed:,} sentinels (data.sentinels), and the "
            f"vocabulary has {len(words.sentinels):,}. Allowed is one with ids for them, or an objective "
            f"without."
        )
    ordinary = np.setdiff1d(np.arange(UNKNOWN + 1, words.pieces), words.sentinels)
    noise = Noise(
        objective.rate, objective.span, np.array(words.sentinels, np.int32), ordinary.astype(np.int32)
    )
    return TextTokens(text, Denoiser(name, long, noise))
