"""An entrypoint that trains the small job of the trainer's tests: its real loop and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.protocol import Outcome, Place, Reporter


def check(config: Mapping[str, Any]) -> list[str]:
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    return "small-job"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    from tests.trainer.training.loop_job import job
    from trainer.training.loop import Host, train

    return train(job(), Host(reporter, workdir, place))
