"""How fast does a T5 train? Ours over T5ForConditionalGeneration of transformers, and what guiding costs.

Tokens per second of plain steps (forward, backward, Adafactor without momentum), theirs with the Adafactor of
transformers: the same dimensions, batch and dropout, one thread on one core, CPU time, in turn each round.
Guided steps are of `t5-tiny` on the packed rows of `bo-vs-guided --size quick`; alpha learns, there being no
beta1 (`with_momentum`: both learn, over a plain step with momentum). `adafactor_memory`: the state of the
optimizer at `t5-small` without momentum over that with it, by its shapes. On a GPU the share of the peak that
`t5.1.1-base` reaches in bfloat16 with 64k tokens a batch, and that alone.  python -m benchmarks.t5_step
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.step_speed import PEAKS, batch_of, in_turn, ours  # first: JAX's threads are set there

# isort: split
import jax
import numpy as np

from benchmarks import their_t5
from benchmarks.measuring import Result, result, show, spread
from studies import catalog
from trainer.config import ModelConfig, TrainConfig
from trainer.data.tokens import open_tokens
from trainer.guidance import HeldOut, Hyper, NextBatch
from trainer.guidance.contract import Estimator
from trainer.models import Settings, model_settings, param_shapes
from trainer.optim import optimizers
from trainer.training import flops
from trainer.training.recipes import optimizer_of

WANTS = {
    "vs_hf_torch_tiny": "≥ 1.3",
    "vs_hf_torch_small": "≥ 1.0",
    "next_batch": "≤ 1.10",
    "every_10": "≤ 1.15",
    "held_out": "≤ 2.05",  # its floor is 1.98: a second backward pass
    "adafactor_memory": "≤ 0.1",
    "mfu": "≥ 0.45",
}
# Vocabulary, rows, tokens a side, steps a round, rounds.
ON_CPU_SIZES = {"tiny": (320, 32, 16, 10, 12), "small": (32_128, 16, 32, 1, 6)}
CHUNK_STEPS, ROUNDS = 20, 15  # `every_10` reads at two of them
GPU_ROWS, GPU_LENGTH, GPU_STEPS, GPU_ROUNDS = 512, 64, 5, 8  # 64k tokens a batch
RATE = 1e-4
WAYS: dict[str, Estimator | None] = {
    "plain": None,
    "next_batch": NextBatch(),
    "every_10": HeldOut(every_steps=10),
    "held_out": HeldOut(),
}
ALPHA, BETA1 = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)


def adafactor(beta1: float = 0.0) -> optimizers.Optimizer:
    """That of a run whose config says so."""
    return optimizer_of(TrainConfig.from_dict({"optimizer": {"name": "adafactor", "beta1": beta1}}))


def theirs(settings: Settings, batch: dict[str, np.ndarray], *, steps: int) -> Callable[[], None]:
    """Steps on this batch as transformers has them, without the cache that training has no use for."""
    import torch
    from transformers import Adafactor

    torch.set_num_threads(1)
    model = their_t5.model_of(settings).train()
    optimizer = Adafactor(
        model.parameters(), lr=RATE, beta1=None, scale_parameter=True, relative_step=False, warmup_init=False
    )
    tokens = {name: torch.from_numpy(array.astype(np.int64)) for name, array in batch.items()}
    given = {
        "input_ids": tokens["source"],
        "attention_mask": (tokens["source"] != 0).long(),
        "decoder_input_ids": tokens["target_in"],
        "labels": tokens["target_out"].masked_fill(tokens["target_out"] == 0, -100),
    }

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            model(**given, use_cache=False).loss.backward()
            optimizer.step()

    return run


def against_theirs(size: str) -> tuple[dict[str, Any], float]:
    """The figures of a size, and tokens per second of ours over theirs."""
    vocabulary, rows, length, steps, rounds = ON_CPU_SIZES[size]
    settings = model_settings(ModelConfig(size=f"t5-{size}"), vocabulary=vocabulary)
    batch = batch_of(settings, rows, length)
    runs = {
        "ours": ours(settings, batch, steps=steps, optimizer=adafactor()),
        "theirs": theirs(settings, batch, steps=steps),
    }
    times = in_turn(runs, rounds=rounds, clock=time.process_time)
    per_s = {side: 2 * rows * length * steps / statistics.median(each) for side, each in times.items()}
    by_round = [t / o for t, o in zip(times["theirs"], times["ours"], strict=True)]
    return {"tokens_per_s": per_s, "spread": spread(by_round)}, per_s["ours"] / per_s["theirs"]


def packed(config: TrainConfig) -> tuple[int, dict[str, np.ndarray], Any]:
    """How large the vocabulary is, a batch of packed rows, and one to guide by."""
    with tempfile.TemporaryDirectory() as home:
        tokens = open_tokens(config, home=Path(home))
        rows = tokens.batches(config)
        (made,), _, _ = rows.chunk(rows.first, 1)
        first = {name: array[0] for name, array in made.items()}
        return tokens.vocabulary.size, first, tokens.guidance_batch(config)


def guided(
    beta1: float, learned: tuple[Hyper, ...], rows: tuple[int, dict[str, np.ndarray], Any]
) -> tuple[dict[str, float], dict[str, Any], dict[str, float]]:
    """Each way's time over that of a plain step, by its median and by turns; milliseconds of a step."""
    vocabulary, batch, guidance_batch = rows
    settings = model_settings(ModelConfig(size="t5-tiny"), vocabulary=vocabulary)
    runs = {
        way: ours(
            settings,
            batch,
            steps=CHUNK_STEPS,
            optimizer=adafactor(beta1),
            estimator=estimator,
            learned=learned,
            guidance_batch=guidance_batch,
        )
        for way, estimator in WAYS.items()
    }
    times = in_turn(runs, rounds=ROUNDS, clock=time.process_time)
    step_ms = {way: 1000 * statistics.median(each) / CHUNK_STEPS for way, each in times.items()}
    guiding = [way for way in WAYS if way != "plain"]
    by_turn = {
        way: spread([t / p for t, p in zip(times[way], times["plain"], strict=True)]) for way in guiding
    }
    return {way: step_ms[way] / step_ms["plain"] for way in guiding}, by_turn, step_ms


def state_bytes(beta1: float, *, size: str = "t5-small", vocabulary: int = 32_128) -> int:
    """Of the optimizer's state, by its shapes."""
    shapes = param_shapes(model_settings(ModelConfig(size=size), vocabulary=vocabulary))
    optimizer = adafactor(beta1)
    state = jax.eval_shape(lambda params: optimizer.init(params, dict(optimizer.defaults)), shapes)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def on_cpu() -> Result:
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {"transformers": their_t5.quiet()}
    for size in ON_CPU_SIZES:
        figures[size], ratios[f"vs_hf_torch_{size}"] = against_theirs(size)
    rows = packed(TrainConfig.from_dict({**catalog.get("bo-vs-guided", "quick").base, "seed": 0}))
    over, by_turn, step_ms = guided(0.0, (ALPHA,), rows)
    with_momentum, _, with_momentum_ms = guided(0.9, (ALPHA, BETA1), rows)
    bytes_of = {"without_momentum": state_bytes(0.0), "with_momentum": state_bytes(0.9)}
    ratios |= over
    ratios["adafactor_memory"] = bytes_of["without_momentum"] / bytes_of["with_momentum"]
    figures |= {
        "by_turn": by_turn,
        "step_ms": step_ms,
        "with_momentum": with_momentum,
        "with_momentum_ms": with_momentum_ms,
        "state_mb": {which: each / 1e6 for which, each in bytes_of.items()},
    }
    return result("t5_step", ratios=ratios, figures=figures, wants=WANTS)


def on_gpu(size: str = "t5.1.1-base", vocabulary: int = 32_128, rows: int = GPU_ROWS) -> Result:
    settings = model_settings(ModelConfig(size=size, dtype="bfloat16"), vocabulary=vocabulary)
    batch = batch_of(settings, rows, GPU_LENGTH)
    run = ours(settings, batch, steps=GPU_STEPS, optimizer=adafactor())
    times = in_turn({"plain": run}, rounds=GPU_ROUNDS, clock=time.perf_counter)["plain"]
    step_s = statistics.median(times) / GPU_STEPS
    done = flops.train_flops(settings, rows=rows, source_length=GPU_LENGTH, target_length=GPU_LENGTH)
    device = jax.devices()[0].device_kind
    peak = next((flop_s for name, flop_s in PEAKS.items() if device.startswith(name)), None)
    figures = {
        "device": device,
        "step_ms": 1000 * step_s,
        "model_tflops": done / step_s / 1e12,
        "tokens_per_s": 2 * rows * GPU_LENGTH / step_s,
    }
    return result(
        "t5_step", ratios={} if peak is None else {"mfu": done / step_s / peak}, figures=figures, wants=WANTS
    )


def measure() -> Result:
    return on_cpu() if jax.default_backend() == "cpu" else on_gpu()


if __name__ == "__main__":
    lacking = their_t5.absent("t5_step")
    if lacking and jax.default_backend() == "cpu":
        sys.exit(their_t5.missing(lacking))
    show(measure())
