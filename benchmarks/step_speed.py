"""How fast is a training step? Ours over torch.nn's, and its model FLOPs over a bare matrix product's.

The same Transformer, batch, optimizer (AdamW) and dropout, one thread on one core, in turn in every round;
on a GPU ours alone, as the share of the peak that `paper-nmt` reaches in bfloat16 with 64k tokens a batch,
and what guidance costs there.  python -m benchmarks.step_speed
"""

from __future__ import annotations

import os

# Before JAX starts its threads.
ON_CPU = os.environ.get("JAX_PLATFORMS", "cpu") == "cpu"
if ON_CPU:
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )
    if hasattr(os, "sched_setaffinity"):  # Linux only
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measuring import Result, result, show, spread
from trainer.config import ModelConfig
from trainer.guidance import HeldOut, Hyper, NextBatch
from trainer.guidance.contract import Estimator
from trainer.models import Settings, init_params, model_settings
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import layout
from trainer.training import flops
from trainer.training.recipes import loss_of, vector_if_small
from trainer.training.state import Recipe, begin, declared, settings_of
from trainer.training.step import compiled_scan

WANTS = {
    "vs_torch_tiny": "≥ 1.6",
    "vs_torch_small": "≥ 1.0",
    "of_gemm_tiny": "≥ 0.45",
    "of_gemm_small": "≥ 0.6",
    "of_gemm_base": "≥ 0.65",
    "mfu": "≥ 0.45",
}
# Model, vocabulary, rows, tokens a side, steps a round, rounds.
ON_CPU_SIZES = {
    "tiny": (320, 32, 16, 10, 12),
    "small": (8_000, 32, 32, 1, 8),
    "base": (8_000, 16, 32, 1, 4),
}
PEAKS = {"NVIDIA H200": 989e12, "NVIDIA H100": 989e12, "NVIDIA A100": 312e12}  # dense bfloat16, by the maker
GPU_ROWS, GPU_LENGTH, GPU_STEPS, GPU_ROUNDS = 512, 64, 5, 8  # 64k tokens a batch
LEARNED = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)


def ours(
    settings: Settings,
    batch: dict[str, np.ndarray],
    *,
    steps: int,
    optimizer: optimizers.Optimizer,
    estimator: Estimator | None = None,
    learned: tuple[Hyper, ...] = LEARNED,
    guidance_batch: dict[str, np.ndarray] | None = None,
) -> Callable[[], None]:
    """A chunk of steps on this batch, by which they are guided too where there is no other to guide by."""
    hypers = declared(optimizer, learned if estimator else ())
    recipe = Recipe(loss_of(settings), optimizer, layout(hypers), estimator)
    numbers = settings_of(
        recipe,
        hypers,
        learning_rate=1e-4,
        schedule=schedules.curves_of("constant", warmup_steps=0, steps=1),
        eta=0.0,
    )
    held = [
        begin(
            recipe,
            vector_if_small(settings, recipe, init_params(settings, 0), devices=1),
            hypers,
            settings=numbers,
            guidance_batch=(guidance_batch or batch) if estimator else None,
        )
    ]
    chunk = jax.device_put({name: np.repeat(array[None], steps, axis=0) for name, array in batch.items()})
    scan, key = compiled_scan(recipe), jax.random.key(0)

    def run() -> None:
        held[0], metrics = scan(held[0], chunk, key)
        jax.block_until_ready(metrics)

    return run


def theirs(settings: Settings, batch: dict[str, np.ndarray], *, steps: int) -> Callable[[], None]:
    """The same with torch.nn, as its documentation would have it."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    s = settings

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(s.vocabulary, s.d_model, padding_idx=0)
            places = torch.arange(batch["source"].shape[1])[:, None]
            rates = torch.exp(torch.arange(0, s.d_model, 2) * (-np.log(10_000.0) / s.d_model))
            table = torch.zeros(len(places), s.d_model)
            table[:, 0::2], table[:, 1::2] = torch.sin(places * rates), torch.cos(places * rates)
            self.register_buffer("table", table)
            self.body = nn.Transformer(
                s.d_model,
                s.heads,
                s.layers,
                s.layers,
                s.d_ff,
                dropout=s.dropout,
                batch_first=True,
                norm_first=True,
            )
            self.dropout = nn.Dropout(s.dropout)

        def embed(self, tokens: Any) -> Any:
            return self.dropout(self.embedding(tokens) * s.d_model**0.5 + self.table)

        def forward(self, source: Any, target: Any) -> Any:
            padding = source == 0
            causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            hidden = self.body(
                self.embed(source),
                self.embed(target),
                tgt_mask=causal,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
                tgt_is_causal=True,
            )
            return hidden @ self.embedding.weight.T

    model = Model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
    tokens = {name: torch.from_numpy(array.astype(np.int64)) for name, array in batch.items()}

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            logits = model(tokens["source"], tokens["target_in"])
            loss = nn.functional.cross_entropy(
                logits.flatten(0, 1), tokens["target_out"].flatten(), ignore_index=0
            )
            loss.backward()
            optimizer.step()

    return run


def seconds(clock: Callable[[], float], run: Callable[[], None]) -> float:
    begun = clock()
    run()
    return clock() - begun


def in_turn(
    runs: dict[str, Callable[[], None]], *, rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Seconds of each, by round, after one round that compiles."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            taken = seconds(clock, run)
            if number:
                times[name].append(taken)
    return times


def batch_of(settings: Settings, rows: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("source", "target_in", "target_out")
    return {name: rng.integers(1, settings.vocabulary, (rows, length)).astype(np.int32) for name in names}


def on_cpu() -> Result:
    side = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2048)), jnp.float32)
    product = jax.jit(jnp.matmul)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {"spread": {}}
    for size, (vocabulary, rows, length, steps, rounds) in ON_CPU_SIZES.items():
        settings = model_settings(ModelConfig(size=size), vocabulary=vocabulary)
        batch = batch_of(settings, rows, length)
        runs = {
            "ours": ours(settings, batch, steps=steps, optimizer=optimizers.adamw()),
            "product": lambda: jax.block_until_ready(product(side, side)),
        }
        if size != "base":
            runs["torch"] = theirs(settings, batch, steps=steps)
        times = in_turn(runs, rounds=rounds, clock=time.process_time)
        medians = {name: statistics.median(samples) for name, samples in times.items()}
        done = flops.train_flops(settings, rows=rows, source_length=length, target_length=length) * steps
        best = 2 * 2048**3 / min(times["product"])
        if "torch" in runs:
            ratios[f"vs_torch_{size}"] = medians["torch"] / medians["ours"]
            by_round = [t / o for t, o in zip(times["torch"], times["ours"], strict=True)]
            figures["spread"][size] = spread(by_round)
        ratios[f"of_gemm_{size}"] = done / medians["ours"] / best
        figures[size] = {f"{name}_ms": 1000 * medians[name] / steps for name in runs if name != "product"}
        figures[size]["gemm_gflops"] = best / 1e9
    return result("step_speed", ratios=ratios, figures=figures, wants=WANTS)


def on_gpu() -> Result:
    settings = model_settings(ModelConfig(size="paper-nmt", dtype="bfloat16"), vocabulary=32_000)
    batch = batch_of(settings, GPU_ROWS, GPU_LENGTH)
    ways: dict[str, Estimator | None] = {
        "plain": None,
        "next_batch": NextBatch(),
        "every_10": HeldOut(every_steps=10),
        "batch_eighth": HeldOut(batch_fraction=1 / 8),
        "held_out": HeldOut(),
    }
    steps = 2 * GPU_STEPS  # a multiple of ten, for every_10
    times: dict[str, list[float]] = {}
    for way, estimator in ways.items():  # one after the other: two states of LAMB fill much of the memory
        run = ours(settings, batch, steps=steps, optimizer=optimizers.lamb(), estimator=estimator)
        times |= in_turn({way: run}, rounds=GPU_ROUNDS, clock=time.perf_counter)
    medians = {way: statistics.median(samples) / steps for way, samples in times.items()}
    done = flops.train_flops(settings, rows=GPU_ROWS, source_length=GPU_LENGTH, target_length=GPU_LENGTH)
    device = jax.devices()[0].device_kind
    peak = next((flop_s for name, flop_s in PEAKS.items() if device.startswith(name)), None)
    ratios = {} if peak is None else {"mfu": done / medians["plain"] / peak}
    figures = {
        "device": device,
        "step_ms": {way: 1000 * each for way, each in medians.items()},
        "over_plain": {way: each / medians["plain"] for way, each in medians.items()},
        "model_tflops": done / medians["plain"] / 1e12,
        "tokens_per_s": 2 * GPU_ROWS * GPU_LENGTH / medians["plain"],
    }
    return result("step_speed", ratios=ratios, figures=figures, wants=WANTS)


def measure() -> Result:
    return on_cpu() if jax.default_backend() == "cpu" else on_gpu()


if __name__ == "__main__":
    show(measure())
