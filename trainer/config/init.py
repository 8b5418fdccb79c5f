"""What does a run begin with, where its config names something? A folder of a T5, or a run of ours.

The model's dimensions come from there, so a config states none, or the same. Standard library only: the
numbers are read by `trainer.training.beginning`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from trainer.config import t5_folder
from trainer.config.choices import AS_SIZE, MODELS, Dimensions
from trainer.config.config import TrainConfig
from trainer.config.reading import ConfigError
from trainer.config.sections import ModelConfig
from trainer.config.t5_folder import FolderError, T5Folder
from trainer.protocol import PARAMS

CONFIG, VOCABULARY = "config.json", "vocabulary.model"  # of a run of ours, beside its parameters
TO_COME = "the run that it follows"  # stands for its folder until it has run, with its dimensions
_ADVICE = "Allowed are a folder of a T5 that transformers wrote, and the folder of a finished run."


@dataclass(frozen=True)
class Init:
    """A folder to begin with. `folder` is what a T5 folder holds, None for a run of ours."""

    kind: Literal["folder", "run"]
    path: Path
    dimensions: Dimensions
    files: tuple[Path, ...]  # of which the parameters are made: their content belongs to a run's fingerprint
    vocabulary: Path | None  # its vocabulary's file, where it has one
    folder: T5Folder | None = None


def read(path: str) -> Init:
    """FolderError names what was found and what is allowed."""
    if (dimensions := _to_come(path)) is not None:
        return Init("run", Path(TO_COME), dimensions, (), None)
    place = Path(path).expanduser()
    config = _json(place / CONFIG)
    if config is None or "model_type" in config or "model" not in config:
        return _of_folder(place)
    missing = [name for name in (PARAMS, VOCABULARY) if not (place / name).is_file()]
    if missing:
        raise FolderError(
            f"{place} is a run's folder and has no {' and no '.join(missing)}. Allowed is a run that was "
            f"trained to its end and whose parameters were kept (an arm's best, and confirmations)."
        )
    try:
        model = TrainConfig.from_dict(config).model
    except ConfigError as problem:
        raise FolderError(f"{place / CONFIG} is no config of today: {problem.problems[0]}") from None
    files = (place / CONFIG, place / PARAMS)
    return Init("run", place, model.dimensions(), files, place / VOCABULARY)


def to_come(config: Mapping[str, Any]) -> str:
    """What stands for the folder of a run with this config in a plan, before it has run. FolderError and
    ConfigError say what is wrong with its model."""
    told = {key: config[key] for key in ("init", "model") if key in config}
    its = TrainConfig.from_dict(told)
    model = with_dimensions(its, read(its.init)).model if its.init else its.model
    return f"{TO_COME} {json.dumps(asdict(model.dimensions()))}"


def is_to_come(path: str) -> bool:
    return _to_come(path) is not None


def _to_come(path: str) -> Dimensions | None:
    if not path.startswith(f"{TO_COME} "):
        return None
    try:
        return Dimensions(**json.loads(path.removeprefix(TO_COME)))
    except (ValueError, TypeError):
        return None


def _of_folder(place: Path) -> Init:
    if not (place / CONFIG).is_file():
        there = f"it has no {CONFIG}" if place.is_dir() else "there is no such folder"
        raise FolderError(f"{place} is to hold a model, and {there}. {_ADVICE}")
    found = t5_folder.read(place)
    words = place / t5_folder.SPIECE
    files = (place / t5_folder.CONFIG, *found.files)
    return Init("folder", place, found.dimensions, files, words if words.is_file() else None, found)


def _json(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def with_dimensions(config: TrainConfig, init: Init) -> TrainConfig:
    """The config with the model of `init` written out. ConfigError where it states another."""
    problems = contradictions(config, init)
    if problems:
        raise ConfigError(problems)
    theirs = init.dimensions
    usual = replace(theirs, stacks=_default("stacks"))  # as all sizes are
    size = next((name for name, known in MODELS.items() if known == usual), None)
    if size is None:
        model = _written_out(theirs)
    else:
        defaults = {f.name: _default(f.name) for f in fields(Dimensions)}
        model = {"size": size, **defaults, "stacks": theirs.stacks}
    data = config.to_dict()
    return TrainConfig.from_dict({**data, "model": {**data["model"], **model}})


def contradictions(config: TrainConfig, init: Init) -> list[str]:
    """A sentence for each dimension that the config states otherwise than what it begins with."""
    model, theirs = config.model, _written_out(init.dimensions)
    if model.stacks == _default("stacks"):  # not stated
        model = replace(model, stacks=init.dimensions.stacks)
    if model.stacks != init.dimensions.stacks:  # then no depth can be compared
        whence, stated = "the config", {"stacks": model.stacks}
    elif model.size != _default("size"):  # a size states all the others
        whence, stated = f"model.size {model.size}", _written_out(model.dimensions())
    else:
        ours = {f.name: getattr(model, f.name) for f in fields(Dimensions)}
        whence, stated = "the config", {k: v for k, v in ours.items() if v not in (0, AS_SIZE)}
        if "layers" in stated and not model.dimensions().one_stack:
            stated.setdefault("decoder_layers", stated["layers"])
    return [
        f"model.{name} is {value!r} by {whence}, and the model of init ({init.path}) has {theirs[name]!r}. "
        f"Leave it out, or begin with another."
        for name, value in stated.items()
        if value != theirs[name]
    ]


def _written_out(dimensions: Dimensions) -> dict[str, Any]:
    """All of them, the decoder's depth by its number where there is an encoder beside it."""
    depth = 0 if dimensions.one_stack else dimensions.of_decoder
    return {**asdict(dimensions), "decoder_layers": depth}


def _default(name: str) -> Any:
    return ModelConfig.__dataclass_fields__[name].default
