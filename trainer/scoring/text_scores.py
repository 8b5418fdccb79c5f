"""What is left of a run on unlabelled text? Its parameters, and where its config asks the loss of the test
split; nothing is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from trainer.config import TrainConfig
from trainer.data.text_tokens import TextTokens
from trainer.models import Settings, weights
from trainer.protocol import PARAMS
from trainer.scoring.evaluation import placed, split_loss


class TextScorer:
    """The end of one run. `files` are those it has written, in the run's folder."""

    def __init__(
        self,
        config: TrainConfig,
        tokens: TextTokens,
        settings: Settings,
        *,
        devices: jax.sharding.Mesh,
        workdir: Path,
        writes: bool,
    ) -> None:
        self._config, self._tokens, self._settings, self._devices = config, tokens, settings, devices
        self._workdir, self._writes = workdir, writes
        self.files: tuple[str, ...] = ()

    def scores(self, params: Any) -> dict[str, float]:
        """Of the last parameters of a run, which are written down too."""
        if self._writes:
            weights.save(self._workdir / PARAMS, params)
            self.files = (*self.files, PARAMS)
        if not self._config.score.test:
            return {}
        shards = self._devices.shape["data"] * self._devices.shape["fsdp"]
        why = f"The final loss of {self._workdir.parent.name}/{self._workdir.name}."
        batches = placed(self._tokens.test_batches(why, rows_divide_by=shards), self._devices)
        return {"test_loss": split_loss(self._settings, params, batches)}
