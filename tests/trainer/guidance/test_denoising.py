"""Is each hypergradient the derivative that it claims to be, under Adafactor with a T5 and denoising? In
float64, against finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.trainer.data.streams import SENTINELS, Parts, denoiser, words
from tests.trainer.guidance.test_hypergradients import slope
from tests.trainer.mlp import row
from tests.trainer.models.test_transformer import jit
from trainer.config import ModelConfig
from trainer.data.denoising import Denoised, held_out
from trainer.guidance import Forward, HeldOut, Hyper
from trainer.guidance.contract import Estimator
from trainer.models import init_params, model_settings
from trainer.optim import optimizers, schedules
from trainer.optim.hyperparameters import layout
from trainer.training.recipes import loss_of
from trainer.training.state import Recipe, TrainState, begin, declared, settings_of
from trainer.training.step import train_step

WARM = 3  # steps before the one that is checked
STARTS = {"alpha": 1.3, "beta1": 0.7, "decay_rate": 0.6}


def test_hypergradients_of_a_denoising_t5_agree_with_finite_differences() -> None:
    """Of the shape of T5 1.1: the ReLU of the first one has a kink."""
    size = ModelConfig(
        size="t5-tiny", activation="gated-gelu", d_model=8, d_attention=8, d_ff=16, heads=2, layers=1,
        dropout=0, attention_dropout=0,
    )  # fmt: skip
    with jax.enable_x64(True):
        check(size)


def check(size: ModelConfig) -> None:
    settings = replace(model_settings(size, vocabulary=int(SENTINELS[0]) + 1), dtype="float64")
    made = denoiser("random-spans", 24)
    batches = Denoised(Parts(words(1_000)), made, seed=0, sentences=4)
    [piece], _, _ = batches.chunk(batches.first, WARM + 1)
    held = held_out(Parts(words(1_000, 1)), made, rows=4)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), init_params(settings, 0))

    def begun(estimator: Estimator | None) -> tuple[Recipe, TrainState]:
        adafactor = optimizers.adafactor(min_factored_size=5)
        hypers = declared(adafactor, [Hyper(n, s, learn=estimator is not None) for n, s in STARTS.items()])
        recipe = Recipe(loss_of(settings), adafactor, layout(hypers), estimator)
        numbers = schedules.curves_of("constant", warmup_steps=0, steps=8)
        told = settings_of(recipe, hypers, learning_rate=0.05, schedule=numbers)
        return recipe, begin(recipe, params, hypers, settings=told, guidance_batch=held)

    plain, state = begun(None)
    step = jit(lambda state, batch: train_step(plain, state, batch, jax.random.key(0))[0])
    for number in range(WARM):
        state = step(state, row(piece, number))
    guidance = jit(lambda params: loss_of(settings)(params, held, None, False))

    def loss_at(name: str, h: float) -> Any:
        moved = step(state._replace(raw={**state.raw, name: state.raw[name] + h}), row(piece, WARM))
        return guidance(moved.params)

    truth = {n: slope(lambda h, n=n: loss_at(n, h)) for n in STARTS}  # type: ignore[misc]
    assert min(map(abs, truth.values())) > 1e-7, "too small to be a test"
    for estimator in (HeldOut(), Forward()):
        recipe, blank = begun(estimator)
        at = blank._replace(params=state.params, opt_state=state.opt_state, step=state.step)
        _, metrics = jit(lambda s, b, r=recipe: train_step(r, s, b, jax.random.key(0)))(at, row(piece, WARM))
        found = {n: float(value) for n, value in metrics["hypergrad"].items()}
        assert found == pytest.approx(truth, rel=1e-5, abs=1e-13), estimator
