"""How many parameters does each size have, and how soon are they there?"""

from __future__ import annotations

import time

import pytest

from trainer.config import MODELS, ModelConfig
from trainer.models import count_parameters, init_params, model_settings, param_shapes


def nmt(d: int, attention: int, ff: int, layers: int, vocabulary: int) -> int:
    """LayerNorms of 2d each, biases in the feed-forward, none in attention."""
    feed_forward = 2 * d * ff + ff + d
    encoder_layer = 4 * d * attention + feed_forward + 2 * 2 * d
    decoder_layer = 8 * d * attention + feed_forward + 3 * 2 * d
    return vocabulary * d + layers * (encoder_layer + decoder_layer) + 2 * 2 * d


def t5(d: int, attention: int, ff: int, layers: int, vocabulary: int, heads: int) -> int:
    """RMSNorms of d each, a gate, no bias; 32 buckets a head and stack."""
    feed_forward = 3 * d * ff
    encoder_layer = 4 * d * attention + feed_forward + 2 * d
    decoder_layer = 8 * d * attention + feed_forward + 3 * d
    return vocabulary * d + layers * (encoder_layer + decoder_layer) + 2 * d + 2 * 32 * heads


@pytest.mark.parametrize(
    ("size", "vocabulary", "formula", "about"),
    [
        ("tiny", 320, nmt(64, 64, 256, 2, 320), 250e3),
        ("small", 2_000, nmt(256, 256, 1024, 3, 2_000), 6e6),
        ("base", 37_000, nmt(512, 512, 2048, 6, 37_000), 63e6),  # "Attention Is All You Need": 65M
        ("paper-nmt", 32_000, nmt(1024, 512, 2048, 6, 32_000), 121e6),
        ("t5-small", 32_128, t5(512, 384, 1024, 8, 32_128, 6), 60e6),
    ],
)
def test_a_size_has_the_parameters_of_its_formula(
    size: str, vocabulary: int, formula: int, about: float
) -> None:
    count = count_parameters(param_shapes(model_settings(ModelConfig(size=size), vocabulary=vocabulary)))
    assert count == formula
    assert count == pytest.approx(about, rel=0.02)


def test_every_size_is_counted_here() -> None:
    assert set(MODELS) == {"tiny", "small", "base", "paper-nmt", "t5-small"}


def test_tiny_is_initialised_in_well_under_a_second_of_cpu() -> None:
    settings = model_settings(ModelConfig(), vocabulary=321)  # shapes that no other test has traced
    before = time.process_time()
    params = init_params(settings, 0)
    assert time.process_time() - before < 1  # measured 0.15; as JAX programs it took 5
    assert count_parameters(params) == nmt(64, 64, 256, 2, 321)
