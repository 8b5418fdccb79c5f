"""What does each way of guiding cost? A guided step over a plain one, in time and in memory.

LAMB on the `tiny` Transformer and the packed rows of `bo-vs-guided --size quick`, one thread on one core;
alpha and beta1 learn (`forward_1`: beta1 alone). `small_…`: the same rows on the `small` one. CPU time, all
ways in turn in every round. `in_plans` is what studies/parts.py takes a guided step to cost. Memory is what
the compiler plans for one step at `small` on 8,192 tokens.  python -m benchmarks.guidance_overhead
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
PINNED = hasattr(os, "sched_setaffinity")  # Linux only
CORES = os.sched_getaffinity(0) if PINNED else set()
if PINNED:
    os.sched_setaffinity(0, {max(CORES)})

import functools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.measuring import Result, result, show, spread
from studies import catalog
from studies.parts import OVER_PLAIN
from trainer.config import ModelConfig, TrainConfig
from trainer.data.tokens import open_tokens
from trainer.guidance import Discounted, Forward, HeldOut, Hyper, Lagged, NextBatch
from trainer.guidance.contract import Estimator
from trainer.models import Settings, forward, init_params, model_settings, param_shapes
from trainer.models.losses import token_cross_entropy
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import layout
from trainer.training.recipes import vector_if_small
from trainer.training.state import Recipe, TrainState, begin, declared, settings_of
from trainer.training.step import compiled_scan, compiled_step

CHUNK_STEPS, ROUNDS = 20, 15  # `every_10` reads at two of them, `lagged` at five
ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
WAYS: dict[str, tuple[Estimator | None, tuple[Hyper, ...]]] = {
    "plain": (None, ()),
    "next_batch": (NextBatch(), (ALPHA, BETA1)),
    "every_10": (HeldOut(every_steps=10), (ALPHA, BETA1)),
    "batch_eighth": (HeldOut(batch_fraction=1 / 8), (ALPHA, BETA1)),
    "forward_1": (Forward(), (BETA1,)),
    "held_out": (HeldOut(), (ALPHA, BETA1)),
    "lagged": (Lagged(steps=CHUNK_STEPS * ROUNDS), (ALPHA, BETA1)),
    "discounted": (Discounted(), (ALPHA, BETA1)),
}
TIMED_AT_SMALL = ("plain", "next_batch", "lagged")
SMALL_STEPS, SMALL_ROUNDS = 4, 12  # four steps: `lagged` reads at one of them
MEASURED_AT_SMALL = ("plain", "held_out", "next_batch", "lagged", "discounted")
WANTS = {
    "next_batch": "≤ 1.10",
    "every_10": "≤ 1.12",
    "batch_eighth": "≤ 1.22",
    "forward_1": "≤ 1.75",
    "held_out": "≤ 2.05",
    "lagged": "≤ 1.06",
    "small_next_batch": "≤ 1.12",
    "small_lagged": "≤ 1.15",
    "memory_held_out": "≤ 1.1",
    "memory_next_batch": "≤ 1.1",
    "memory_lagged": "≤ 1.2",
}
SMALL = model_settings(ModelConfig(size="small"), vocabulary=8_000)
SMALL_ROWS, SMALL_LENGTH = 128, 32


@functools.cache
def loss_of(settings: Settings) -> Callable[..., jax.Array]:
    def loss_fn(params: Any, batch: Any, key: jax.Array, train: bool) -> jax.Array:
        return token_cross_entropy(
            forward(settings, params, batch, key=key if train else None), batch["target_out"]
        )

    return loss_fn


def batches(settings: Settings, *shape: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("source", "target_in", "target_out")
    return {name: rng.integers(1, settings.vocabulary, shape).astype(np.int32) for name in names}


def prepared(way: str, settings: Settings) -> tuple[Recipe, tuple[Hyper, ...], dict[str, Any]]:
    estimator, learned = WAYS[way]
    hypers = declared(optimizers.lamb(), learned)
    recipe = Recipe(loss_of(settings), optimizers.lamb(), layout(hypers), estimator)
    schedule = schedules.curves_of("inverse-sqrt", warmup_steps=40, steps=400)
    return recipe, hypers, settings_of(recipe, hypers, learning_rate=0.4, schedule=schedule)


def begun(way: str, settings: Settings, params: Any, guidance_batch: Any) -> tuple[Recipe, TrainState]:
    recipe, hypers, numbers = prepared(way, settings)
    params = vector_if_small(settings, recipe, params, devices=1)
    return recipe, begin(recipe, params, hypers, settings=numbers, guidance_batch=guidance_batch)


def step_times_ms(wait: Callable[[], object]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU milliseconds of a step, by way and round, at `tiny` and at `small`; `wait` lies between compiling
    and measuring."""
    config = TrainConfig.from_dict({**catalog.get("bo-vs-guided", "quick").base, "seed": 0})
    with tempfile.TemporaryDirectory() as home:
        tokens = open_tokens(config, home=Path(home))
        rows = tokens.batches(config)
        (made,), _, _ = rows.chunk(rows.first, CHUNK_STEPS)
        guidance_batch = tokens.guidance_batch(config)
    chunk = jax.device_put(made)
    few = jax.tree.map(lambda x: x[:SMALL_STEPS], chunk)

    def timed(size: str, ways: Iterable[str], piece: Any, rounds: int, ready: Callable[[], object]) -> Any:
        settings = model_settings(ModelConfig(size=size), vocabulary=tokens.vocabulary.size)
        key, params = jax.random.key(0), init_params(settings, 0)
        steps = len(jax.tree.leaves(piece)[0])
        runs, states = {}, {}
        for way in ways:
            recipe, states[way] = begun(way, settings, params, guidance_batch)
            runs[way] = compiled_scan(recipe)
        times: dict[str, list[float]] = {way: [] for way in runs}
        for number in range(rounds + 1):
            if number == 1:  # all are compiled
                ready()
            for way, run in runs.items():
                begun_s = time.process_time()
                states[way], metrics = run(states[way], piece, key)
                jax.block_until_ready(metrics)
                if number:
                    times[way].append(1000 * (time.process_time() - begun_s) / steps)
        return times

    tiny = timed("tiny", WAYS, chunk, ROUNDS, wait)
    return tiny, timed("small", TIMED_AT_SMALL, few, SMALL_ROUNDS, lambda: None)


def memory_bytes(way: str) -> int:
    """Arguments and temporaries of one step at `small`, as compiled; its outputs take their place."""
    recipe, hypers, numbers = prepared(way, SMALL)

    def start(params: Any, guidance_batch: Any) -> TrainState:
        return begin(recipe, params, hypers, settings=numbers, guidance_batch=guidance_batch)

    batch = batches(SMALL, SMALL_ROWS, SMALL_LENGTH)
    state = jax.eval_shape(start, param_shapes(SMALL), batch)
    planned = compiled_step(recipe).lower(state, batch, jax.random.key(0)).compile().memory_analysis()
    return int(planned.argument_size_in_bytes + planned.temp_size_in_bytes)


def measure() -> Result:
    # The large programs are compiled by another process on another core, before anything is measured.
    aside = {"initializer": os.sched_setaffinity, "initargs": (0, CORES - {max(CORES)} or CORES)}
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning, **(aside if PINNED else {})) as pool:
        planned = {way: pool.submit(memory_bytes, way) for way in MEASURED_AT_SMALL}
        times, at_small = step_times_ms(lambda: [each.result() for each in planned.values()])
    memory = {way: each.result() for way, each in planned.items()}
    medians = {way: statistics.median(samples) for way, samples in times.items()}
    by_round = {way: [t / p for t, p in zip(times[way], times["plain"], strict=True)] for way in WAYS}
    small = {way: statistics.median(samples) for way, samples in at_small.items()}
    stated = ("discounted",)
    ratios = {way: medians[way] / medians["plain"] for way in WAYS if way not in ("plain", *stated)}
    ratios |= {f"small_{way}": small[way] / small["plain"] for way in TIMED_AT_SMALL if way != "plain"}
    ratios |= {f"memory_{way}": memory[way] / memory["plain"] for way in ("held_out", "next_batch", "lagged")}
    return result(
        "guidance_overhead",
        ratios=ratios,
        figures={
            **{way: medians[way] / medians["plain"] for way in stated},
            **{f"memory_{way}": memory[way] / memory["plain"] for way in stated},
            "in_plans": {way: over for way, over in OVER_PLAIN.items() if way != "off"},
            "step_ms": medians,
            "small_step_ms": small,
            "spread": {way: spread(by_round[way]) for way in WAYS if way != "plain"},
            "memory_mb": {way: number / 1e6 for way, number in memory.items()},
        },
        wants=WANTS,
    )


if __name__ == "__main__":
    show(measure())
