"""Does the Transformer compute what it should, and see only what it may?"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainer import compiling
from tests.trainer.models import reference_transformer as reference
from trainer.models import (
    Settings,
    decode_step,
    forward,
    init_params,
    model_settings,
    param_shapes,
    start_decoding,
)
from trainer.models.dropout import Noise
from trainer.models.layers import Projection
from trainer.models.positions import positions_in_segments, relative_buckets, sinusoids

NMT = Settings(d_model=16, d_attention=8, d_ff=24, heads=2, layers=2, vocabulary=19)
T5 = dataclasses.replace(NMT, positions="relative", norm="rms", activation="gated-gelu")
MIXED = dataclasses.replace(NMT, positions="relative", norm="layer", activation="gated-gelu")
SETTINGS = pytest.mark.parametrize("settings", [NMT, T5], ids=["nmt", "t5"])

# Float32 against float64, and one order of sums against another: rounding is 1e-7 of logits of about 1.
CLOSE = {"rtol": 0, "atol": 2e-5}

jit = functools.partial(jax.jit, compiler_options=compiling.OPTIONS)
run = jit(forward, static_argnums=0)  # one compile for the tests that share settings and shapes


def rough_params(settings: Settings, seed: int = 0) -> Any:
    """Parameters in which nothing is zero or one, so that a forgotten bias or scale shows."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: x + rng.normal(0, 0.2, x.shape).astype(np.float32), init_params(settings, seed)
    )


def tokens(rows: int, length: int, *, seed: int, vocabulary: int = 19) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, vocabulary, (rows, length)).astype(np.int32)


def batch_of(rows: int = 3, source: int = 7, target: int = 6) -> dict[str, np.ndarray]:
    return {"source": tokens(rows, source, seed=1), "target_in": tokens(rows, target, seed=2)}


def mean_loss(settings: Settings, params: Any, batch: Any, key: jax.Array | None) -> jax.Array:
    """Of a fixed answer: enough to compare gradients by."""
    return -jnp.mean(jax.nn.log_softmax(forward(settings, params, batch, key=key))[..., 3])


# -- what it computes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [NMT, T5, MIXED], ids=["nmt", "t5", "mixed"])
def test_logits_equal_an_independent_computation_in_float64(settings: Settings) -> None:
    params = rough_params(settings)
    batch = batch_of(source=40)  # long enough for the logarithmic buckets
    batch["source"][0, 30:] = 0
    batch["target_in"][:, 0] = 0  # T5 begins a target with the padding id
    ours = run(settings, params, batch)
    assert ours.shape == (3, 6, 19)
    wide = jax.tree.map(lambda x: x.astype(np.float64), params)
    for row, source, target in zip(ours, batch["source"], batch["target_in"], strict=True):
        np.testing.assert_allclose(row, reference.logits_of_row(wide, source, target, settings), **CLOSE)


def test_a_gradient_equals_finite_differences_in_float64() -> None:
    settings = dataclasses.replace(T5, layers=1, dtype="float64", remat=True)
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        params = jax.tree.map(lambda x: x.astype(np.float64), rough_params(settings))
        along = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
        batch, key = batch_of(rows=2, source=4, target=3), jax.random.key(5)

        def loss(p: Any) -> jax.Array:
            return mean_loss(settings, p, batch, key)

        value = jit(loss)
        ahead, back = (
            float(value(jax.tree.map(lambda p, a, h=h: p + h * a, params, along))) for h in (1e-5, -1e-5)
        )
        grads, tangent = jit(lambda p, a: (jax.grad(loss)(p), jax.jvp(loss, (p,), (a,))[1]))(params, along)
        slope = sum(float(jnp.vdot(g, a)) for g, a in zip(*map(jax.tree.leaves, (grads, along)), strict=True))
    assert slope == pytest.approx((ahead - back) / 2e-5, rel=1e-7)
    assert float(tangent) == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_buckets_are_t5s(bidirectional: bool) -> None:
    index = np.arange(300)
    ours = relative_buckets(jnp.asarray(index), jnp.asarray(index), bidirectional=bidirectional)
    by_offset = [reference.bucket(o, bidirectional=bidirectional) for o in range(-299, 300)]
    expected = np.array(by_offset)[index[None, :] - index[:, None] + 299]
    np.testing.assert_array_equal(ours, expected)
    assert len(np.unique(expected)) == (31 if bidirectional else 32)  # 16 would be "after, at distance 0"


def test_sinusoids_follow_their_formula() -> None:
    expected = [reference.sinusoid(position, 12) for position in range(300)]
    np.testing.assert_allclose(sinusoids(300, 12), expected, rtol=0, atol=3e-5)  # angles up to 300


# -- what it may see -------------------------------------------------------------------------------------


@SETTINGS
def test_the_future_does_not_leak(settings: Settings) -> None:
    params, batch = init_params(settings, 0), batch_of()
    other = {**batch, "target_in": batch["target_in"].copy()}
    other["target_in"][:, 4:] = tokens(3, 2, seed=9)
    first, second = run(settings, params, batch), run(settings, params, other)
    np.testing.assert_array_equal(first[:, :4], second[:, :4])
    assert not np.allclose(first[:, 4:], second[:, 4:], atol=1e-2)


@SETTINGS
def test_padding_changes_nothing(settings: Settings) -> None:
    params, batch = rough_params(settings), batch_of()
    wider = {name: np.pad(value, ((0, 1), (0, 5))) for name, value in batch.items()}
    ours, padded = run(settings, params, batch), run(settings, params, wider)
    np.testing.assert_allclose(padded[:3, :6], ours, **CLOSE)
    assert np.isfinite(padded).all()  # a row of nothing but padding, too


@SETTINGS
@pytest.mark.parametrize("positions", ["counted", "stated"])
def test_packed_equals_unpacked(settings: Settings, positions: str) -> None:
    lengths = [(3, 4), (5, 2), (2, 3)]  # of source and target
    pairs = [(tokens(1, n, seed=i)[0], tokens(1, m, seed=50 + i)[0]) for i, (n, m) in enumerate(lengths)]

    def packed(side: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [pair[side] for pair in pairs]
        rows = (
            np.concatenate(parts),
            np.concatenate([np.full(len(p), i + 1) for i, p in enumerate(parts)]),
            np.concatenate([np.arange(len(p)) for p in parts]),
        )
        text, segments, places = (np.pad(r, (0, length - len(r)))[None].astype(np.int32) for r in rows)
        return text, segments, places

    batch = {}
    batch["source"], batch["source_segments"], source_places = packed(0, 12)
    batch["target_in"], batch["target_segments"], target_places = packed(1, 11)
    if positions == "stated":
        batch |= {"source_positions": source_places, "target_positions": target_places}
    params = rough_params(settings)
    together = run(settings, params, batch)[0]
    assert np.isfinite(together).all()
    apart = {
        "source": np.stack([np.pad(source, (0, 5 - len(source))) for source, _ in pairs]),
        "target_in": np.stack([np.pad(target, (0, 4 - len(target))) for _, target in pairs]),
    }
    begin = 0
    for (_, m), alone in zip(lengths, run(settings, params, apart), strict=True):
        np.testing.assert_allclose(together[begin : begin + m], alone[:m], **CLOSE)
        begin += m


def test_positions_are_counted_anew_in_every_segment() -> None:
    segments = jnp.array([[1, 1, 1, 2, 3, 3, 0, 0], [1, 2, 2, 2, 2, 2, 2, 3]])
    expected = [[0, 1, 2, 0, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4, 5, 0]]
    np.testing.assert_array_equal(positions_in_segments(segments), expected)


@SETTINGS
def test_the_cache_agrees_with_recomputation(settings: Settings) -> None:
    params, batch = rough_params(settings), batch_of()
    batch["source"][1, 4:] = 0
    whole = run(settings, params, batch)
    cache = jit(lambda p, source: start_decoding(settings, p, source, length=9))(params, batch["source"])
    traced = []

    def step_of(p: Any, cache: Any, tokens: Any) -> Any:
        traced.append(cache)
        return decode_step(settings, p, cache, tokens)

    step = jit(step_of)
    for i in range(6):
        logits, cache = step(params, cache, batch["target_in"][:, i])
        np.testing.assert_allclose(logits, whole[:, i], **CLOSE)
    assert int(cache.step) == 6
    assert len(traced) == 1, "a program for all steps"


# -- types, memory and programs --------------------------------------------------------------------------


def test_bfloat16_computes_near_float32_and_keeps_parameters_and_logits_wide() -> None:
    exact = dataclasses.replace(NMT, layers=1)
    low = dataclasses.replace(exact, dtype="bfloat16")
    params, batch = rough_params(low), batch_of()

    def of(settings: Settings) -> tuple[jax.Array, Any]:
        def loss(p: Any) -> tuple[jax.Array, jax.Array]:
            logits = forward(settings, p, batch)
            return -jnp.mean(jax.nn.log_softmax(logits)[..., 3]), logits

        grads, logits = jit(jax.grad(loss, has_aux=True))(params)
        return logits, grads

    (logits, grads), (full, true_grads) = of(low), of(exact)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    np.testing.assert_allclose(logits, full, rtol=0, atol=0.05 * float(jnp.abs(full).max()))
    rounded = logits.astype(jnp.bfloat16).astype(jnp.float32)
    assert not np.array_equal(rounded, logits)  # summed in float32, not cast to it
    for ours, true in zip(*map(jax.tree.leaves, (grads, true_grads)), strict=True):
        assert ours.dtype == jnp.float32
        assert float(jnp.linalg.norm(ours - true)) < 0.05 * float(jnp.linalg.norm(true))


def test_remat_and_scan_change_neither_tree_nor_loss_nor_gradient() -> None:
    plain = dataclasses.replace(NMT, attention_dropout=0.0)
    params, batch, key = rough_params(NMT), batch_of(), jax.random.key(7)

    def both(settings: Settings) -> tuple[jax.Array, Any]:
        return jit(jax.value_and_grad(lambda p: mean_loss(settings, p, batch, key)))(params)

    other = dataclasses.replace(plain, remat=True, scan_layers=True)
    assert jax.tree.structure(param_shapes(other)) == jax.tree.structure(params)
    (loss, grads), (other_loss, other_grads) = both(plain), both(other)
    assert float(other_loss) == pytest.approx(float(loss), rel=1e-6)  # with the same dropout masks
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, other_grads)


def test_scan_compiles_one_layer_whatever_their_number() -> None:
    def text_length(layers: int, *, scan: bool) -> int:
        settings = dataclasses.replace(NMT, layers=layers, scan_layers=scan)
        return len(
            jax.jit(forward, static_argnums=0).lower(settings, param_shapes(settings), batch_of()).as_text()
        )

    assert text_length(4, scan=True) < 0.7 * text_length(4, scan=False)


# -- dropout ---------------------------------------------------------------------------------------------


def masks(key: jax.Array, *, layer: int = 0, place: int = 0, rate: float = 0.1) -> np.ndarray:
    x = jnp.ones((64, 32, 128))
    return np.asarray(Noise.of(key, layers=2).at(layer).drop(x, rate, place=place))


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    for rate in (0.1, 0.5):
        dropped = masks(jax.random.key(0), rate=rate)
        n = dropped.size
        assert abs((dropped == 0).mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / n)
        np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - rate)], rtol=1e-6)


def test_masks_differ_by_key_layer_and_place_and_have_no_pattern() -> None:
    base = masks(jax.random.key(0)) == 0
    others = [
        masks(jax.random.key(1)) == 0,
        masks(jax.random.key(0), layer=1) == 0,
        masks(jax.random.key(0), place=1) == 0,
        np.roll(base, 1, 0),
        np.roll(base, 1, 1),
        np.roll(base, 1, 2),
        np.roll(base, 16, 2),
    ]
    n = base.size
    for other in others:  # independent: both dropped in 1 % of the places
        assert abs((base & other).mean() - 0.01) < 4.5 * math.sqrt(0.01 * 0.99 / n)
    for axis in (0, 1, 2):  # no row or column is dropped more often than chance has it
        counts = base.sum(tuple(a for a in range(3) if a != axis))
        each = n // len(counts)
        assert np.abs(counts - 0.1 * each).max() < 5 * math.sqrt(0.09 * each)


def test_without_a_key_or_a_rate_nothing_is_dropped() -> None:
    params, batch = init_params(NMT, 0), batch_of()
    off = dataclasses.replace(NMT, dropout=0.0, attention_dropout=0.0)
    plain, key = run(NMT, params, batch), jax.random.key(0)
    np.testing.assert_array_equal(plain, run(off, params, batch, key=key))
    assert not np.allclose(plain, run(NMT, params, batch, key=key), atol=1e-2)


# -- the start -------------------------------------------------------------------------------------------


def test_initial_parameters_have_the_declared_shapes_and_depend_on_seed_and_name_alone() -> None:
    params = init_params(T5, 3)
    shapes = param_shapes(T5)
    assert jax.tree.map(lambda p: (p.shape, p.dtype), params) == jax.tree.map(
        lambda p: (p.shape, p.dtype), shapes
    )
    deeper = init_params(dataclasses.replace(T5, layers=3), 3)
    jax.tree.map(np.testing.assert_array_equal, params["decoder_1"], deeper["decoder_1"])
    other = init_params(T5, 4)
    assert not np.array_equal(params["embedding"], other["embedding"])
    layers = params["encoder_0"]["attention"], params["encoder_1"]["attention"]
    assert not np.array_equal(layers[0]["query"]["kernel"], layers[1]["query"]["kernel"])


def test_initial_scales_are_glorots_for_nmt_and_t5s_for_t5() -> None:
    wide = {"d_model": 128, "d_attention": 64, "d_ff": 256, "heads": 4, "vocabulary": 500}
    nmt = init_params(dataclasses.replace(NMT, **wide), 0)["encoder_0"]
    t5 = init_params(dataclasses.replace(T5, **wide), 0)
    bound = math.sqrt(6 / (128 + 64))
    query = nmt["attention"]["query"]["kernel"]
    assert 0.99 * bound < np.abs(query).max() <= bound
    assert query.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert {*nmt["feed_forward"]["up"]["bias"], *nmt["attention_norm"]["bias"]} == {0.0}
    assert {*nmt["attention_norm"]["scale"]} == {1.0}
    assert t5["embedding"].std() == pytest.approx(1, rel=0.03)
    attention = t5["encoder_0"]["attention"]
    assert attention["query"]["kernel"].std() == pytest.approx((128 * 16) ** -0.5, rel=0.03)
    assert attention["key"]["kernel"].std() == pytest.approx(128**-0.5, rel=0.03)
    assert attention["out"]["kernel"].std() == pytest.approx(64**-0.5, rel=0.03)
    assert t5["encoder_0"]["feed_forward"]["down"]["kernel"].std() == pytest.approx(256**-0.5, rel=0.03)
    assert "bias" not in t5["encoder_0"]["feed_forward"]["up"]


def test_settings_come_from_a_config() -> None:
    from trainer.config import TrainConfig

    config = TrainConfig.from_dict(
        {"model": {"size": "t5-small", "layers": 2, "norm": "layer", "dropout": 0}}
    )
    settings = model_settings(config.model, vocabulary=77)
    assert (settings.layers, settings.norm, settings.positions) == (2, "layer", "relative")
    assert (settings.vocabulary, settings.dropout, settings.head_dim) == (77, 0.0, 64)


@pytest.mark.parametrize(("width", "features"), [(6, 9), (9, 6)])
def test_a_narrow_products_derivatives_are_those_of_a_plain_one_in_both_modes(
    width: int, features: int
) -> None:
    rng = np.random.default_rng(0)
    x, kernel, g = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((2, 5, width), (width, features), (2, 5, features))
    )
    projection = Projection(features, jnp.float32)

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return projection.apply({"params": {"kernel": kernel}}, x)

    y, back = jax.vjp(ours, x, kernel)
    rows = np.asarray(x, np.float64).reshape(-1, width)
    np.testing.assert_allclose(y, np.asarray(x) @ np.asarray(kernel), rtol=1e-5, atol=1e-6)
    dx, dk = back(g)
    np.testing.assert_allclose(dx, np.asarray(g) @ np.asarray(kernel).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dk, rows.T @ np.asarray(g).reshape(-1, features), rtol=1e-5, atol=1e-5)
    along = jax.jvp(ours, (x, kernel), (x, 2 * kernel))[1]
    np.testing.assert_allclose(along, 3 * np.asarray(y), rtol=1e-5, atol=1e-5)
