"""Which parts of `lagged` does its gain need? Dev loss with each part left out or changed.

The `tiny` Transformer on the embedded phrases, packed rows, in the cells and on the seeds below, which no
study reports; alpha and beta1 learn. A row's gain is the mean over seeds of the static default's dev loss
minus its own; `least` that of its worst seed. All rows of a cell are one program: the static default is
guidance with η̂ = 0, the same run bit for bit. Some ten minutes.  python -m benchmarks.estimator_ablation

Is reading seldom as good as reading at each step? In the cells of `estimators --size laptop`: `lagged`, the
same with `every_steps: 1`, and plain runs of three lengths. `more_time_percent` is by how much a plain run
would have to be longer to win what reading seldom lost: the difference of the log of the dev loss over its
slope by the log of the steps. Some 40 minutes.  python -m benchmarks.estimator_ablation --readings
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import argparse
import functools
import math
import statistics
from collections.abc import Mapping
from typing import Any

import jax

from benchmarks.measuring import Result, result, show
from orchestrator.study.configs import laid_over
from studies.cells import Cell, cells
from studies.parts import sizes
from trainer.config import TrainConfig
from trainer.data import home
from trainer.data.tokens import Tokens, open_tokens
from trainer.models import mesh, model_settings, programs
from trainer.training import assembly

SEEDS = (9100, 9101, 9102)
CELLS = (Cell("inverse-sqrt", 300, "lamb"), Cell("linear", 300, "lamb"), Cell("inverse-sqrt", 300, "adamw"))
CHUNK_STEPS = 20  # it divides the lengths of all runs
FREE = {"below": 50.0, "above": 50.0}  # of raw values: no trust region
THRICE = {"below": math.log(3), "above": math.log(3)}
STATIC = {"hypers": {"alpha": {"eta": 0.0}, "beta1": {"eta": 0.0}}}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "static": STATIC,
    "lagged": {},
    "every_1": {"every_steps": 1},
    "without_beta1": {"hypers": {"beta1": {"eta": 0.0}}},
    "without_alpha": {"hypers": {"alpha": {"eta": 0.0}}},
    "without_end_annealing": {"anneal_steps": 0},
    "without_trust_region": {"hypers": {"alpha": FREE, "beta1": FREE}},
    "at_most_thrice": {"hypers": {"alpha": THRICE}},
    "K_20": {"lag_steps": 20},
    "K_20_at_most_thrice": {"lag_steps": 20, "hypers": {"alpha": THRICE}},
    "anneal_fifth": {"anneal_steps": 60},
}
READINGS = ("lagged", "every_1")
LENGTHS = (1.0, 1.15, 1.3)  # of plain runs
MORE_SEEDS, LONG_STEPS = (*SEEDS, 9103, 9104), 1200  # cells of so many steps have SEEDS alone


def config_of(cell: Cell, guidance: Mapping[str, Any], seed: int, *, over: float = 1.0) -> TrainConfig:
    """Of a run of `over` times the cell's steps. The warm-up stays."""
    lagged = {"estimator": "lagged", "learn": ["alpha", "beta1"], "eta": None, **guidance}
    base = laid_over(sizes()["quick"].base, cell.config())
    made = {"steps": round(over * cell.steps), "guidance": lagged, "seed": seed}
    return TrainConfig.from_dict(laid_over(base, made))


@functools.cache
def text() -> Tokens:
    return open_tokens(config_of(CELLS[0], {}, 0), home=home.texts())


def reached(cell: Cell, guidance: Mapping[str, Any], seed: int, *, over: float = 1.0) -> float:
    """The dev loss of one run."""
    config = config_of(cell, guidance, seed, over=over)
    tokens = text()
    settings = model_settings(config.model, vocabulary=tokens.vocabulary.size)
    job = assembly.job_of(config, tokens, settings, mesh.make_mesh(config.mesh))
    state, cursor, key = job.state, job.cursor, jax.random.key(seed)
    for _ in range(0, config.steps, CHUNK_STEPS):
        batches, cursor, _ = job.batches.chunk(cursor, CHUNK_STEPS)
        state, _ = job.scan(state, job.put(batches), key)
    return float(job.evaluate(job.params_of(state))["dev_loss"])


def gains(cell: Cell) -> dict[str, dict[str, float]]:
    losses = {way: [reached(cell, told, seed) for seed in SEEDS] for way, told in WAYS.items()}
    found = {}
    for way, of in losses.items():
        differences = [s - mine for s, mine in zip(losses["static"], of, strict=True)]
        found[way] = {
            "loss": statistics.fmean(of),
            "gain": statistics.fmean(differences),
            "least": min(differences),
        }
    return found


def readings(cell: Cell) -> dict[str, float]:
    """What reading seldom is worth beside reading at each step, and both beside the plain run."""
    seeds = MORE_SEEDS if cell.steps < LONG_STEPS else SEEDS
    plain = {over: [reached(cell, STATIC, seed, over=over) for seed in seeds] for over in LENGTHS}
    losses = {way: [reached(cell, WAYS[way], seed) for seed in seeds] for way in READINGS}
    logs = {over: statistics.fmean(map(math.log, of)) for over, of in plain.items()}
    slope = statistics.linear_regression([math.log(over) for over in logs], list(logs.values())).slope
    pairs = zip(losses["lagged"], losses["every_1"], strict=True)
    lost = [100 * math.expm1(math.log(seldom / each) / -slope) for seldom, each in pairs]
    return {
        "plain": statistics.fmean(plain[1.0]),
        **{way: statistics.fmean(of) for way, of in losses.items()},
        "slope": slope,
        "more_time_percent": statistics.fmean(lost),
        "standard_error": statistics.stdev(lost) / math.sqrt(len(lost)),
        "seeds": len(seeds),
    }


def measure(*, read: bool = False) -> Result:
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    programs.keep(home.programs())
    if read:
        found = {cell.slug: readings(cell) for cell in cells(sizes()["laptop"])}
        most = max(of["more_time_percent"] for of in found.values())
        ratios = {"more_time_percent": most}
        return result("estimator_ablation", ratios=ratios, figures=found, wants={"more_time_percent": "≤ 3"})
    figures = {cell.slug: gains(cell) for cell in CELLS}
    least = {way: min(of[way]["gain"] for of in figures.values()) for way in WAYS if way != "static"}
    return result("estimator_ablation", ratios=least, figures=figures, wants={"lagged": "≥ 0"})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--readings", action="store_true")
    own, rest = parser.parse_known_args()
    show(measure(read=own.readings), rest)
