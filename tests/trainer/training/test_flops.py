"""Does the formula for operations agree with what the compiler counts?"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from trainer.config import ModelConfig
from trainer.models import Settings, count_parameters, forward, model_settings, param_shapes
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


ONE = dataclasses.replace(T5, stacks="prefix-lm")


@pytest.mark.parametrize("settings", [NMT, T5, ONE], ids=["nmt", "t5", "one stack"])
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


# -- T5's paper, 3.2.2 -----------------------------------------------------------------------------------

PROJECTION = 768**2  # of T5-base, whose feed-forward is of 3,072
P = 12 * (4 * PROJECTION + 2 * 768 * 3072)  # the paper's: the matrices of a stack of 12 layers
VARIANTS: dict[str, dict[str, Any]] = {
    "encoder-decoder": {"stacks": "encoder-decoder"},
    "shared": {"stacks": "shared"},
    "half": {"stacks": "encoder-decoder", "layers": 6},
    "language-model": {"stacks": "language-model"},
    "prefix-lm": {"stacks": "prefix-lm"},
}


def variant(name: str) -> Settings:
    return model_settings(ModelConfig(size="t5-base", **VARIANTS[name]), vocabulary=32_128)


@pytest.mark.parametrize(
    ("name", "stacks", "cross_layers"),
    [
        ("encoder-decoder", 2, 12),
        ("shared", 1, 12),
        ("half", 1, 6),
        ("language-model", 1, 0),
        ("prefix-lm", 1, 0),
    ],
)
def test_the_variants_have_the_papers_parameters_beside_cross_attention(
    name: str, stacks: int, cross_layers: int
) -> None:
    shapes = param_shapes(variant(name))
    embedding = count_parameters({"embedding": shapes["embedding"]})
    layers = count_parameters(shapes) - embedding
    cross = 4 * PROJECTION * cross_layers
    # Beside matrices there are 768 numbers a norm and 384 a table of positions: less than one in a thousand.
    assert layers - cross == pytest.approx(stacks * P, rel=1e-3)
    # The paper leaves out the attention to the source: four matrices a layer, beside the twelve of a stack.
    assert cross / P == pytest.approx({12: 1 / 3, 6: 1 / 6, 0: 0}[cross_layers])


@pytest.mark.parametrize(
    ("name", "models"),
    [("encoder-decoder", 1), ("shared", 1), ("half", 0.5), ("language-model", 1), ("prefix-lm", 1)],
)
def test_the_variants_need_the_papers_operations(name: str, models: float) -> None:
    lengths = {"rows": 1, "source_length": 512, "target_length": 114}  # of its denoising

    def layers(name: str) -> int:
        """Without the logits, which are the same for all: M is of the layers."""
        logits = 2 * 768 * 32_128 * lengths["target_length"]
        return forward_flops(variant(name), **lengths) - logits

    # A stack that is joined pays for pairs of source and target twice, an encoder-decoder for the projections
    # of its attention to the source, 2 beside 12 a layer, and for their pairs once. Their difference:
    source, target = lengths["source_length"], lengths["target_length"]
    apart = 2 * 12 * (2 * PROJECTION * (source + target) - 2 * 768 * source * target)
    assert layers("encoder-decoder") - layers("prefix-lm") == apart
    assert layers(name) == pytest.approx(models * layers("encoder-decoder"), rel=2 / 14)
    assert layers("half") * 2 == layers("shared") == layers("encoder-decoder")
