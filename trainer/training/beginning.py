"""Which parameters does a run begin with: drawn by its seed, or those of a folder that its config names?

What lies in a named folder belongs to a run's fingerprint by its content. A file is hashed once for its size
and time, and that is kept, since a model has gigabytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from trainer import huggingface
from trainer.config import TrainConfig
from trainer.config import init as inits
from trainer.config.init import Init
from trainer.config.t5_folder import SPIECE, FolderError
from trainer.data import home
from trainer.data.digests import digest_of
from trainer.data.vocabulary import Given
from trainer.models import Settings, init_params, param_shapes, weights
from trainer.protocol import PARAMS


def resolved(config: TrainConfig) -> TrainConfig:
    """The config with the model that it begins with written out. FolderError and ConfigError say what is
    wrong."""
    return inits.with_dimensions(config, inits.read(config.init)) if config.init else config


def first_params(config: TrainConfig, settings: Settings) -> dict[str, Any]:
    """The parameters in numpy, float32."""
    if not config.init:
        return init_params(settings, config.seed)
    init = inits.read(config.init)
    if init.folder is not None:
        return huggingface.load(init.folder)
    loaded: dict[str, Any] = weights.load(init.path / PARAMS, param_shapes(settings))
    return loaded


def given_vocabulary(config: TrainConfig) -> Given | None:
    """The vocabulary that is taken as it is; None where one is learned from the text."""
    init = inits.read(config.init) if config.init else None
    stated = Path(config.data.vocabulary_path).expanduser() if config.data.vocabulary_path else None
    file = stated or (init.vocabulary if init else None)
    if file is None and init is None:
        return None
    if file is None:
        raise FolderError(f"{config.init} has no {SPIECE}. Name a vocabulary in data.vocabulary_path.")
    return Given(file, 0 if init is None else _rows_of(init), config.data.sentinels)


def _rows_of(init: Init) -> int:
    """How many rows the embedding has."""
    if init.folder is not None:
        return init.folder.vocabulary
    return weights.shape_of(init.path / PARAMS, "embedding")[0]


def content(config: TrainConfig) -> str:
    """A digest of what lies in the folder that a run begins with; empty where its seed decides."""
    return _digest(inits.read(config.init)) if config.init else ""


def _digest(init: Init) -> str:
    files = (*init.files, *((init.vocabulary,) if init.vocabulary else ()))
    told = [(file.name, digest_of(file, home=home.texts())) for file in sorted(files)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
