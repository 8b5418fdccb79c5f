"""What is a training run, as frozen values that can be checked, hashed and changed by path?

`TrainConfig.from_dict` takes nothing on trust: an unknown key, a wrong type, a number outside its bounds
or two settings that disagree raise ConfigError, with one sentence for each. Standard library only, so
that a host can ask `check` without loading an accelerator stack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainer.config import paths
from trainer.config.choices import AS_SIZE, FORMER_T5_SMALL, SCHEDULES, SENTINELS, TASKS
from trainer.config.conflicts import disagreements
from trainer.config.reading import ConfigError, section
from trainer.config.sections import Sections


@dataclass(frozen=True)
class TrainConfig(Sections):
    """One training run."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """The config that `data` states, defaults filled in. ConfigError holds all that is wrong."""
        if _names_former_size(data):
            raise ConfigError([_FORMER_SIZE])
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


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(config: TrainConfig) -> str:
    """What a checkpoint must have been written under. Runs of before a setting was there can go on: it is
    left out where it says what all runs did then."""
    data = config.to_dict()
    for path, before in _LATER.items():
        *sections, key = path.split(".")
        place = paths.value_at(data, ".".join(sections)) if sections else data
        if place[key] == before:
            del place[key]
    # It was 1 where it was not stated, until `lagged` had its own.
    if config.guidance.every_steps is None and config.guidance.estimator != "lagged":
        data["guidance"]["every_steps"] = 1
    if config.model.dimensions().norm == "rms":
        data["model"]["drops_what_leaves_a_stack"] = True  # as T5 does; before, none did
    return hashlib.sha256(_text(data).encode()).hexdigest()


_LATER: Mapping[str, Any] = {
    "init": "",
    "data.task": "",
    "data.prefix": "",
    "data.source_tokens": 0,
    "data.target_tokens": 0,
    "data.vocabulary_path": "",
    "score.metrics": [],
    "score.choose": "last",
    "data.tokens": 0,
    "data.sentinels": SENTINELS,
    "data.key": "text",
    "data.records_share": 0.5,
    "objective": {"name": "", "rate": 0.15, "span": 3.0},
    "score.protocol": "",
    "model.decoder_layers": 0,
    "model.output": AS_SIZE,
    "model.stacks": "encoder-decoder",
}


def _names_former_size(data: Any) -> bool:
    """Was this config stored, its defaults written out, when `t5-small` was another model? Ledgers of that
    time are marked as they are upgraded."""
    model = data.get("model") if isinstance(data, Mapping) else None
    if not isinstance(model, Mapping):
        return False
    written_out = set(model) == _MODEL_THEN
    return model.get("size") == FORMER_T5_SMALL or (model.get("size") == "t5-small" and written_out)


_MODEL_THEN = {
    *("size", "d_model", "d_attention", "d_ff", "heads", "layers", "positions", "norm", "activation"),
    *("dropout", "attention_dropout", "dtype", "remat", "scan_layers"),
}


_FORMER_SIZE = (
    "model.size is 't5-small' in a config of orch 0.1, where that was a model of 8 layers and 6 heads. It is "
    "called 'paper-t5' now, and 't5-small' is T5's own, of 6 layers and 8 heads. Write 'paper-t5' to train "
    "the model that was meant."
)


def named_files(config: Mapping[str, Any]) -> dict[str, str]:
    """The files and folders that a config names, by key: all that a check of it looks for on this machine."""
    named = {key: paths.value_at(config, key) for key in NAMED_FILES}
    return {
        key: name for key, name in named.items() if isinstance(name, str) and name not in NAMED_FILES[key]
    }


# Where a config names a file, and what may stand there that is none.
NAMED_FILES: Mapping[str, Collection[str]] = {
    "init": ("",),
    "data.path": ("",),
    "data.task": ("", *TASKS),
    "data.vocabulary_path": ("",),
    "schedule.name": SCHEDULES,
}
