"""Does the formula for operations agree with what the compiler counts?"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from trainer.models import Settings, forward, param_shapes
from trainer.training.flops import forward_flops, train_flops

NMT = Settings(128, 64, 256, 2, 1, vocabulary=300)
T5 = Settings(128, 64, 256, 2, 1, "relative", "rms", "gated-gelu", vocabulary=300)
LENGTHS = {"rows": 4, "source_length": 24, "target_length": 16}


def counted(settings: Settings, *, train: bool) -> float:
    """The compiler's count. Elementwise work is in it, which the formula leaves out."""
    row = {name: jax.ShapeDtypeStruct((4, n), jnp.int32) for name, n in (("source", 24), ("target_in", 16))}

    def mean(params: Any, batch: Any) -> jax.Array:
        return jnp.mean(jnp.square(forward(settings, params, batch)))

    program = jax.jit(jax.grad(mean) if train else mean)
    compiled = program.lower(param_shapes(settings), row).compile({"xla_backend_optimization_level": "0"})
    return float(compiled.cost_analysis()["flops"])


@pytest.mark.parametrize("settings", [NMT, T5], ids=["nmt", "t5"])
@pytest.mark.parametrize("train", [False, True], ids=["forward", "train"])
def test_the_formula_is_within_six_percent_of_the_compilers_count(settings: Settings, train: bool) -> None:
    formula = (train_flops if train else forward_flops)(settings, **LENGTHS)
    assert 1.0 <= counted(settings, train=train) / formula <= 1.06


def test_a_token_of_the_papers_model_needs_about_six_operations_a_parameter() -> None:
    settings = Settings(1024, 512, 2048, 8, 6, vocabulary=32_000)
    flops = train_flops(settings, rows=1, source_length=30, target_length=30) / (30 + 30)
    encoder = 6 * (4 * 1024 * 512 + 2 * 1024 * 2048)
    decoder = 6 * (8 * 1024 * 512 + 2 * 1024 * 2048) + 32_000 * 1024
    half_of_each = 6 * (encoder + decoder) / 2  # cross keys and values are computed from source tokens
    assert flops == pytest.approx(half_of_each, rel=0.02)


def test_a_batch_is_the_sum_of_its_rows() -> None:
    rows = [train_flops(NMT, **{**LENGTHS, "rows": n}) for n in (1, 7)]
    assert rows[1] == 7 * rows[0]
