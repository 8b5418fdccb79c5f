"""How many parameters does each size have, and how soon are they there?"""

from __future__ import annotations

import math
import time

import jax
import pytest

from trainer.config import MODELS, ModelConfig
from trainer.models import count_parameters, init_params, mesh, model_settings, param_shapes


def nmt(d: int, attention: int, ff: int, layers: int, vocabulary: int) -> int:
    """LayerNorms of 2d each, biases in the feed-forward, none in attention."""
    feed_forward = 2 * d * ff + ff + d
    encoder_layer = 4 * d * attention + feed_forward + 2 * 2 * d
    decoder_layer = 8 * d * attention + feed_forward + 3 * 2 * d
    return vocabulary * d + layers * (encoder_layer + decoder_layer) + 2 * 2 * d


def paper_t5(d: int, attention: int, ff: int, layers: int, vocabulary: int, heads: int) -> int:
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
        ("paper-t5", 32_128, paper_t5(512, 384, 1024, 8, 32_128, 6), 60e6),
    ],
)
def test_a_size_has_the_parameters_of_its_formula(
    size: str, vocabulary: int, formula: int, about: float
) -> None:
    count = count_parameters(param_shapes(model_settings(ModelConfig(size=size), vocabulary=vocabulary)))
    assert count == formula
    assert count == pytest.approx(about, rel=0.02)


def test_every_size_is_counted_here() -> None:
    assert set(MODELS) == {"tiny", "small", "base", "paper-nmt", "paper-t5", "t5-tiny", *RELEASED}


# At 32,128 rows: the files of google/t5-*, google/t5-v1_1-*. The largest by shapes alone.
RELEASED = {
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "t5.1.1-small": 76_961_152,
    "t5.1.1-base": 247_577_856,
    "t5.1.1-large": 783_150_080,
    "t5.1.1-xl": 2_849_757_184,
    "t5.1.1-xxl": 11_135_332_352,
}


@pytest.mark.parametrize(("size", "parameters"), RELEASED.items())
def test_a_size_of_t5_has_the_parameters_of_the_released_model(size: str, parameters: int) -> None:
    shapes = param_shapes(model_settings(ModelConfig(size=size), vocabulary=32_128))
    assert count_parameters(shapes) == parameters


def test_mt5_small_is_the_small_t5_1_1_with_its_own_vocabulary() -> None:
    shapes = param_shapes(model_settings(ModelConfig(size="t5.1.1-small"), vocabulary=250_112))
    assert count_parameters(shapes) == 300_176_768


@pytest.mark.parametrize("size", ["t5-11b", "t5.1.1-xxl"])
@pytest.mark.parametrize("axes", [(1, 16, 1), (1, 1, 16), (1, 4, 4), (2, 4, 2)])
def test_no_device_holds_more_than_a_tenth_over_its_share_of_the_largest(
    size: str, axes: tuple[int, int, int]
) -> None:
    shapes = param_shapes(model_settings(ModelConfig(size=size), vocabulary=32_128))
    plan = mesh.AbstractMesh(axes, mesh.AXES)
    held = 0
    for at, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        split = mesh.partition(jax.tree_util.keystr(at, simple=True, separator="/"), leaf.shape, plan)
        held += math.prod(leaf.shape) // math.prod(plan.shape[axis] for axis in split if axis)
    share = count_parameters(shapes) / (axes[1] * axes[2])  # `data` holds copies
    assert held <= 1.1 * share


def test_tiny_is_initialised_in_well_under_a_second_of_cpu() -> None:
    settings = model_settings(ModelConfig(), vocabulary=321)  # shapes that no other test has traced
    before = time.process_time()
    params = init_params(settings, 0)
    assert time.process_time() - before < 1  # measured 0.15; as JAX programs it took 5
    assert count_parameters(params) == nmt(64, 64, 256, 2, 321)
