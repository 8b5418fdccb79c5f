"""What is a training run, as frozen values that can be checked, hashed and changed by path?

`TrainConfig.from_dict` takes nothing on trust: an unknown key, a wrong type, a number outside its bounds
or two settings that disagree raise ConfigError, with one sentence for each. Standard library only, so
that a host can ask `check` without loading an accelerator stack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.config import paths
from trainer.config.choices import SCHEDULES, TASKS
from trainer.config.conflicts import disagreements
from trainer.config.reading import ConfigError, section
from trainer.config.sections import Sections


@dataclass(frozen=True)
class TrainConfig(Sections):
    """One training run."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """The config that `data` states, defaults filled in. ConfigError holds all that is wrong."""
        problems: list[str] = []
        config: TrainConfig = section(cls, data, "", problems)
        if not problems:
            problems = disagreements(config)
        if problems:
            raise ConfigError(problems)
        return config

    def to_dict(self) -> dict[str, Any]:
        """JSON values only, defaults written out; `from_dict` gives the same config back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data


def check(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run."""
    try:
        TrainConfig.from_dict(data)
    except ConfigError as error:
        return error.problems
    return []


def with_values(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The config with the value at each dotted path replaced, checked anew."""
    # A path through something that is no section becomes an unknown key, and is refused.
    return TrainConfig.from_dict(paths.with_values(config.to_dict(), values))


def canonical(config: TrainConfig) -> str:
    """The one JSON text of a config: sorted keys, no spaces, defaults written out."""
    return _text(config.to_dict())


# Keys that came after runs had been stored, with their defaults, which a fingerprint leaves out: all runs of
# before can go on.
_LATER: Mapping[str, Any] = {
    "data.task": "",
    "data.prefix": "",
    "data.source_tokens": 0,
    "data.target_tokens": 0,
    "score.metrics": [],
}


def fingerprint(config: TrainConfig) -> str:
    """`guidance.every_steps` was 1 where it was not stated, until `lagged` had its own. So it stands in here:
    all other runs of that time can go on."""
    if config.guidance.every_steps is None and config.guidance.estimator != "lagged":
        config = replace(config, guidance=replace(config.guidance, every_steps=1))
    data = config.to_dict()
    for path, default in _LATER.items():
        section, _, key = path.rpartition(".")
        place = paths.value_at(data, section) if section else data
        if place[key] == default:
            del place[key]
    return hashlib.sha256(_text(data).encode()).hexdigest()


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def named_files(config: Mapping[str, Any]) -> dict[str, str]:
    """The files and folders that a config names, by key: all that a check of it looks for on this machine."""
    named = {key: paths.value_at(config, key) for key in ("data.path", "data.task", "schedule.name")}
    built_in = {"data.path": ("",), "data.task": ("", *TASKS), "schedule.name": SCHEDULES}
    return {key: name for key, name in named.items() if isinstance(name, str) and name not in built_in[key]}
