"""How is an audit checked, told from others by its shape, and run? Without JAX until it is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.audit.config import observed, read
from trainer.config import ConfigError, TrainConfig
from trainer.protocol import Outcome, Place, Reporter
from trainer.training import entrypoint as training_run


def check(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run here."""
    try:
        read(config)
    except ConfigError as error:
        return error.problems
    return []


def fits(config: Mapping[str, Any], resources: Mapping[str, Any]) -> list[str]:
    """Whether a trial has the devices that its mesh takes."""
    return training_run.fits(read(config)[1], resources)


def shape_key(config: Mapping[str, Any]) -> str:
    """Equal keys compile to the same programs."""
    audit, rest = read(config)
    return f"audit-{training_run.shape_key(observed(audit, rest))}"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """Train and fork as the config says, in this process. Goes on from `workdir/resume.json` where it is."""
    audit, rest = read(config)
    from trainer.audit import forked

    return forked.run(audit, TrainConfig.from_dict(rest), reporter=reporter, workdir=workdir, place=place)
