"""How is a run put together from its config? Text, model, recipe and mesh, handed to the loop.

What a process has made for one run serves the next of the same text and shape: tokens, the batches of the
dev split on the devices, compiled programs. Programs are also kept on disk, for other processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from trainer.config import TrainConfig, canonical, fingerprint
from trainer.config.choices import BEST
from trainer.config.init import CONFIG, VOCABULARY
from trainer.data import home
from trainer.data.batches import Batch
from trainer.data.denoising import Denoised
from trainer.data.text_tokens import TextTokens, open_text_tokens
from trainer.data.tokens import Tokens, open_tokens
from trainer.models import Settings, mesh, model_settings, programs
from trainer.optim import flat
from trainer.protocol import Outcome, Place, Reporter, whole
from trainer.scoring.evaluation import placed, split_loss
from trainer.scoring.scores import Scorer
from trainer.scoring.task_scores import CHOOSING, TaskScorer
from trainer.scoring.text_scores import TextScorer
from trainer.training import beginning, flops
from trainer.training.clocks import Clocks
from trainer.training.loop import CHUNK_STEPS, Cadence, Host, Job, train
from trainer.training.memory import give_back_after_compiling
from trainer.training.recipes import loss_of, recipe_of, vector_if_small
from trainer.training.state import Recipe, TrainState, begin
from trainer.training.step import Metrics, Piece, compiled_scan


def run(config: TrainConfig, *, reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """The whole run, from text to scores. ConfigError and DataError say what cannot be."""
    clocks, config = Clocks(), beginning.resolved(config)
    with opened(config, place, clocks) as (tokens, settings, devices):
        first = place.process_index == 0
        job = job_of(config, tokens, settings, devices)
        scorer: Scorer | TaskScorer | TextScorer
        if isinstance(tokens, TextTokens):
            scorer = TextScorer(config, tokens, settings, devices=devices, workdir=workdir, writes=first)
        elif config.data.task:
            scorer = TaskScorer(config, tokens, settings, devices=devices, workdir=workdir, writes=first)
            both = functools.partial(_evaluate_both, job.evaluate, scorer.evaluated)
            by = CHOOSING if config.score.choose == BEST else ""
            job = dataclasses.replace(job, evaluate=both, choose_by=by)
        else:
            scorer = Scorer(config, tokens, settings, devices=devices, workdir=workdir, writes=first)
        job = dataclasses.replace(job, score=scorer.scores)
        if first:
            with whole(workdir / CONFIG) as file:
                file.write_text(canonical(config))
            tokens.vocabulary.save(workdir / VOCABULARY)
        outcome = train(job, Host(reporter, workdir, place, clocks))
    return dataclasses.replace(outcome, files=(*outcome.files, *scorer.files))


@contextlib.contextmanager
def opened(
    config: TrainConfig, place: Place, clocks: Clocks
) -> Iterator[tuple[Tokens | TextTokens, Settings, jax.sharding.Mesh]]:
    """A run's text, its model's settings and its devices; what JAX compiles meanwhile is on its clock."""
    mesh.start_distributed(place)
    programs.keep(home.programs())
    give_back_after_compiling()
    devices = mesh.make_mesh(config.mesh)
    if place.process_count == 1 and all(each.platform == "cpu" for each in devices.devices.flat):
        clocks.without_waits()
    on_devices = jax.set_mesh(devices) if devices.size > 1 else contextlib.nullcontext()
    with clocks.hearing_compiles(), on_devices:
        open_any = open_text_tokens if config.reads_text() else open_tokens
        tokens = open_any(config, home=home.texts(), given=beginning.given_vocabulary(config))
        yield tokens, model_settings(config.model, vocabulary=tokens.vocabulary.size), devices


def job_of(
    config: TrainConfig, tokens: Tokens | TextTokens, settings: Settings, devices: jax.sharding.Mesh
) -> Job:
    """The whole run but for its scores."""
    recipe, hypers, numbers = recipe_of(config, loss_of(settings))
    estimator = recipe.estimator
    guided_by_text = estimator is not None and estimator.needs_guidance_batch
    over_plain = 1.0 if estimator is None else estimator.over_plain(len(recipe.layout.learned))
    state = begin(
        recipe,
        vector_if_small(settings, recipe, beginning.first_params(config, settings), devices=devices.size),
        hypers,
        settings=numbers,
        guidance_batch=tokens.guidance_batch(config) if guided_by_text else None,
    )
    batches = tokens.batches(config)
    several = devices.size > 1
    return Job(
        scan=functools.partial(scan_pieces, recipe),
        state=mesh.place_state(state, devices) if several else state,
        batches=batches,
        cursor=batches.first,
        evaluate=functools.partial(
            _evaluate, settings, _dev_batches(tokens, devices, _reported(config, tokens))
        ),
        cadence=Cadence(config.steps, config.eval_every_steps, config.checkpoint_every_steps),
        seed=config.seed,
        fingerprint=_fingerprint(config, tokens),
        params_of=functools.partial(_eval_params, recipe),
        put=functools.partial(_placed_pieces, devices=devices, room=batches.longest_piece or CHUNK_STEPS),
        flops_of=functools.partial(_flops, settings, over_plain),
        groups=recipe.layout.group_names if recipe.layout.groups else (),
        told=batches.told if isinstance(batches, Denoised) else lambda cursor: {},
    )


def _fingerprint(config: TrainConfig, tokens: Tokens | TextTokens) -> str:
    """Of the config, the text and what the run begins with, by content."""
    told = (fingerprint(config), tokens.fingerprint, beginning.content(config))
    return hashlib.sha256(" ".join(each for each in told if each).encode()).hexdigest()


def scan_pieces(
    recipe: Recipe, state: TrainState, pieces: Sequence[Piece], key: jax.Array
) -> tuple[TrainState, Metrics]:
    """A chunk of steps, where batches are of several lengths one program after the other."""
    told = []
    for piece in pieces:
        state, metrics = compiled_scan(recipe)(state, piece, key)
        told.append(metrics)

    def joined(*parts: jax.Array) -> np.ndarray:
        return np.concatenate(
            [np.asarray(part)[: piece.steps] for part, piece in zip(parts, pieces, strict=True)]
        )

    return state, jax.tree.map(joined, *told)


def _eval_params(recipe: Recipe, state: TrainState) -> Any:
    return flat.as_trees(recipe.optimizer.eval_params(state.opt_state, state.params))


def _evaluate(settings: Settings, batches: Batch, params: Any) -> Mapping[str, float]:
    return {"dev_loss": split_loss(settings, params, batches)}


def _evaluate_both(
    loss: Callable[[Any], Mapping[str, float]], task: Callable[[Any], Mapping[str, float]], params: Any
) -> Mapping[str, float]:
    """The loss is taken first: a run that has diverged writes nothing that could be judged."""
    found = loss(params)
    return {**found, **(task(params) if all(map(math.isfinite, found.values())) else {})}


def _placed_pieces(pieces: Sequence[Batch], *, devices: jax.sharding.Mesh, room: int) -> list[Piece]:
    """A chunk on the devices."""
    filled = [Piece.of(piece, room=room) for piece in pieces]
    return [Piece(placed(piece.batches, devices), piece.steps) for piece in filled]


def _reported(config: TrainConfig, tokens: Tokens | TextTokens) -> tuple[int, ...] | None:
    """The rows of the dev split that the dev loss is of; None: all."""
    halves = tokens.halves(config)
    return None if halves is None else tuple(halves[1].tolist())


@functools.lru_cache(maxsize=2)
def _dev_batches(
    tokens: Tokens | TextTokens, devices: jax.sharding.Mesh, only: tuple[int, ...] | None
) -> Any:
    shards = devices.shape["data"] * devices.shape["fsdp"]
    rows = None if only is None else np.array(only, np.int64)
    return placed(tokens.dev_batches(rows_divide_by=shards, only=rows), devices)


def _flops(settings: Settings, over_plain: float, pieces: Sequence[Piece]) -> float:
    """Of these steps; `over_plain` is what an estimator makes of a plain step's."""

    def one(piece: Piece) -> float:
        _, rows, source_length = piece.batches["source"].shape
        target_length = piece.batches["target_out"].shape[-1]
        shape = {"rows": rows, "source_length": source_length, "target_length": target_length}
        return int(piece.steps) * flops.train_flops(settings, **shape)

    return over_plain * sum(map(one, pieces))
