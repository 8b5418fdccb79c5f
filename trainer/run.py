"""The only way in: how is a training run checked, told from others by its shape, and run?

    python -m trainer.run config.json --out runs/first
    python -m trainer.run --pair en-de --size tiny --steps 1200

A host calls `check`, `shape_key` and `run` (trainer/protocol.py). Until `run` is called nothing but the
standard library is loaded.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer import config as configs
from trainer.config import TrainConfig
from trainer.protocol import Outcome, Place, Reporter

# All that shapes a program; other numbers are traced. The text decides the vocabulary and the lengths.
_SHAPES = (
    "data",
    "model",
    "batch",
    "mesh",
    "optimizer.name",
    "schedule.name",
    "guidance.estimator",
    "guidance.learn",
    "guidance.batch_fraction",
    "guidance.groups",
)


def check(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run."""
    return configs.check(config)


def shape_key(config: Mapping[str, Any]) -> str:
    """Equal keys compile to the same programs."""
    whole = TrainConfig.from_dict(config)
    data = whole.to_dict()
    shaping = {path: _at(data, path) for path in _SHAPES}
    shaping["smooths"] = bool(whole.loss.label_smoothing) or "label_smoothing" in whole.guidance.learn
    shaping["per group"] = sorted(n for n, own in whole.guidance.hypers.items() if own.get("per_group"))
    text = json.dumps(shaping, sort_keys=True)
    return f"{whole.model.size}-{whole.guidance.estimator}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """Train as the config says, in this process. Goes on from `workdir/resume.json` where it is."""
    from trainer import training

    return training.run(TrainConfig.from_dict(config), reporter=reporter, workdir=workdir, place=place)


def _at(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data[name]
    return data


if __name__ == "__main__":
    from trainer import console

    sys.exit(console.main())
