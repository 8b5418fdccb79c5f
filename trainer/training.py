"""How is a run put together from its config? Text, model, recipe and mesh, handed to the loop.

What one process has made for one run serves the next ones of the same text and shape: tokens, the batches
of the dev split on the devices, compiled programs. Programs are also kept on disk for other processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer import flops, home, mesh, scores
from trainer.config import TrainConfig, canonical, fingerprint
from trainer.data import batches as batching
from trainer.data.text import Text, open_text
from trainer.loop import Cadence, Host, Job, train
from trainer.losses import token_cross_entropy
from trainer.models import Settings, forward, init_params, model_settings
from trainer.protocol import Outcome, Place, Reporter
from trainer.recipes import guided_over_plain, loss_of, recipe_of
from trainer.state import Recipe, begin
from trainer.step import compiled_scan
from trainer.strict import ConfigError

CONFIG, VOCABULARY = "config.json", "vocabulary.model"  # beside the checkpoints, to translate with
TRANSLATIONS = "translations-{}.jsonl"


def run(config: TrainConfig, *, reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """The whole run, from text to scores."""
    mesh.start_distributed(place)
    keep_programs(home.programs())
    with contextlib.ExitStack() as stack:
        devices = mesh.make_mesh(config.mesh)
        if devices.size > 1:
            stack.enter_context(jax.set_mesh(devices))
        job, scorer = prepare(config, devices)
        if place.process_index == 0:
            (workdir / CONFIG).write_text(canonical(config))
            job_text = scorer.text
            job_text.vocabulary.save(workdir / VOCABULARY)
        outcome = train(dataclasses.replace(job, score=functools.partial(scorer.score, workdir)), Host(reporter, workdir, place))
    return dataclasses.replace(outcome, files=(*outcome.files, *scorer.files))
