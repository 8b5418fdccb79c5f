"""A trial that does nothing: what is left is the orchestration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Reporter


def check(config: Mapping[str, Any]) -> list[str]:
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    return "noop"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    return Outcome("completed", {"loss": float(config["x"])}, {"train_s": 0.0})
