"""What is left of a run on unlabelled text? Its parameters, and where its config asks the loss of the test
split; nothing is decoded."""

from __future__ import annotations

from typing import Any

from trainer.data.text_tokens import TextTokens
from trainer.scoring.ending import Ending
from trainer.scoring.evaluation import placed, split_loss


class TextScorer(Ending[TextTokens]):
    """The end of one run. `files` are those it has written, in the run's folder."""

    def scores(self, params: Any) -> dict[str, float]:
        """Of the last parameters of a run, which are written down too."""
        self._keep(params)
        if not self._config.score.test:
            return {}
        shards = self._devices.shape["data"] * self._devices.shape["fsdp"]
        batches = placed(self._tokens.test_batches(self._why("loss"), rows_divide_by=shards), self._devices)
        return {"test_loss": split_loss(self._settings, params, batches)}
