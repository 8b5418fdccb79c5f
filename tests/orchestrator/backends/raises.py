"""An entrypoint that fails at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Reporter


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    raise ArithmeticError("It does not add up.")
