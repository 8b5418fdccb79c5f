"""What does every scorer know of its run, and keep of the parameters that the run ends with?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import jax

from trainer.config import TrainConfig
from trainer.models import Settings, weights
from trainer.protocol import PARAMS, whole

Read = TypeVar("Read")  # the text, as tokens


class Ending(Generic[Read]):
    """The end of one run. `files` are those it has written, in the run's folder."""

    def __init__(
        self,
        config: TrainConfig,
        tokens: Read,
        settings: Settings,
        *,
        devices: jax.sharding.Mesh,
        workdir: Path,
        writes: bool,
    ) -> None:
        self._config, self._tokens, self._settings, self._devices = config, tokens, settings, devices
        self._workdir, self._writes = workdir, writes
        self.files: tuple[str, ...] = ()

    def _why(self, what: str) -> str | None:
        """The test split is opened: for what? Of a gang one process says so."""
        if not self._writes:
            return None
        return f"The final {what} of {self._workdir.parent.name}/{self._workdir.name}."

    def _write(self, name: str, text: str) -> None:
        """The file is there whole or not at all."""
        with whole(self._workdir / name) as file:
            file.write_text(text, encoding="utf-8")
        self.files = (*self.files, name)

    def _keep(self, params: Any) -> None:
        """All processes of a gang call it."""
        weights.save(self._workdir / PARAMS, params, writes=self._writes)
        if self._writes:
            self.files = (*self.files, PARAMS)
