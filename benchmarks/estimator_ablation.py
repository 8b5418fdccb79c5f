"""Which parts of `lagged` does its gain need? Dev loss with each part left out or changed.

The `tiny` Transformer on the embedded phrases, packed rows, in the cells and on the seeds below, which no
study reports; alpha and beta1 learn. A row's gain is the mean over seeds of the static default's dev loss
minus its own; `least` that of its worst seed. All rows of a cell are one program: the static default is
guidance with η̂ = 0, the same run bit for bit. Some ten minutes.  python -m benchmarks.estimator_ablation
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import functools
import math
import statistics
from collections.abc import Mapping
from typing import Any

import jax

from benchmarks.measuring import Result, result, show
from orchestrator.study.configs import laid_over
from studies.cells import Cell
from studies.parts import sizes
from trainer.config import TrainConfig
from trainer.data import home
from trainer.data.tokens import Tokens, open_tokens
from trainer.models import mesh, model_settings, programs
from trainer.training import assembly

SEEDS = (9100, 9101, 9102)
CELLS = (Cell("inverse-sqrt", 300, "lamb"), Cell("linear", 300, "lamb"), Cell("inverse-sqrt", 300, "adamw"))
CHUNK_STEPS = 50
FREE = {"below": 50.0, "above": 50.0}  # of raw values: no trust region
THRICE = {"below": math.log(3), "above": math.log(3)}
STATIC = {"hypers": {"alpha": {"eta": 0.0}, "beta1": {"eta": 0.0}}}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "static": STATIC,
    "lagged": {},
    "without_beta1": {"hypers": {"beta1": {"eta": 0.0}}},
    "without_alpha": {"hypers": {"alpha": {"eta": 0.0}}},
    "without_end_annealing": {"anneal_steps": 0},
    "without_trust_region": {"hypers": {"alpha": FREE, "beta1": FREE}},
    "at_most_thrice": {"hypers": {"alpha": THRICE}},
    "K_20": {"lag_steps": 20},
    "K_20_at_most_thrice": {"lag_steps": 20, "hypers": {"alpha": THRICE}},
    "anneal_fifth": {"anneal_steps": 60},
}


def config_of(cell: Cell, guidance: Mapping[str, Any], seed: int) -> TrainConfig:
    lagged = {"estimator": "lagged", "learn": ["alpha", "beta1"], "eta": None, **guidance}
    made = laid_over(laid_over(sizes()["quick"].base, cell.config()), {"guidance": lagged, "seed": seed})
    return TrainConfig.from_dict(made)


@functools.cache
def text() -> Tokens:
    return open_tokens(config_of(CELLS[0], {}, 0), home=home.texts())


def reached(cell: Cell, guidance: Mapping[str, Any], seed: int) -> tuple[float, list[dict[str, float]]]:
    """The dev loss of one run, and its hyperparameters at the end of each chunk."""
    config = config_of(cell, guidance, seed)
    tokens = text()
    settings = model_settings(config.model, vocabulary=tokens.vocabulary.size)
    job = assembly.job_of(config, tokens, settings, mesh.make_mesh(config.mesh))
    state, cursor, key, path = job.state, job.cursor, jax.random.key(seed), []
    for _ in range(0, config.steps, CHUNK_STEPS):
        batches, cursor, _ = job.batches.chunk(cursor, CHUNK_STEPS)
        state, metrics = job.scan(state, job.put(batches), key)
        path.append({name: float(curve[-1]) for name, curve in metrics["hyper"].items()})
    return job.evaluate(job.params_of(state))["dev_loss"], path


def gains(cell: Cell) -> dict[str, dict[str, float]]:
    losses = {way: [reached(cell, told, seed)[0] for seed in SEEDS] for way, told in WAYS.items()}
    found = {}
    for way, of in losses.items():
        differences = [s - mine for s, mine in zip(losses["static"], of, strict=True)]
        found[way] = {
            "loss": statistics.fmean(of),
            "gain": statistics.fmean(differences),
            "least": min(differences),
        }
    return found


def measure() -> Result:
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    programs.keep(home.programs())
    figures = {cell.slug: gains(cell) for cell in CELLS}
    least = {way: min(of[way]["gain"] for of in figures.values()) for way in WAYS if way != "static"}
    return result("estimator_ablation", ratios=least, figures=figures, wants={"lagged": "≥ 0"})


if __name__ == "__main__":
    show(measure())
