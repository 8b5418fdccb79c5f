"""Does every arrangement of the layers compute what it should, see only what it may, and decode the same?"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainer.models import reference_transformer as reference
from tests.trainer.models.test_mesh import ALONE, answer, close, started
from tests.trainer.models.test_transformer import CLOSE, MIXED, NMT, T5, jit, rough_params, run, tokens
from trainer.config.choices import ONE_STACK, STACKS
from trainer.models import Settings, decode_step, forward, param_shapes, start_decoding
from trainer.models.joined import joined
from trainer.models.losses import token_cross_entropy

LENGTHS = [(3, 4), (5, 2), (2, 3)]  # of the sources and targets that are packed


def arranged(stacks: str, style: Settings = T5, **more: Any) -> Settings:
    return dataclasses.replace(style, stacks=stacks, **more)


# With sinusoids the single stacks alone: what they add is counted anew there.
EVERY = pytest.mark.parametrize(
    "settings",
    [arranged(stacks) for stacks in STACKS] + [arranged(stacks, NMT) for stacks in ONE_STACK],
    ids=[*STACKS, *(f"{stacks}-nmt" for stacks in ONE_STACK)],
)
# One of either kind: test_transformer.py asks the same of an encoder-decoder.
OF_EITHER_KIND = pytest.mark.parametrize(
    "settings", [arranged("shared"), arranged("prefix-lm")], ids=["shared", "prefix-lm"]
)
SINGLE = pytest.mark.parametrize("settings", [arranged(stacks) for stacks in ONE_STACK], ids=ONE_STACK)


def pairs_of(lengths: list[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sources and targets, of which the last token is the end."""
    return [(tokens(1, n, seed=i)[0], tokens(1, m, seed=50 + i)[0]) for i, (n, m) in enumerate(lengths)]


def shifted(target: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], target[:-1]])


def packed(pairs: list[tuple[np.ndarray, np.ndarray]], source: int, target: int) -> dict[str, np.ndarray]:
    """One row of these lengths, with a segment for each pair."""

    def row(parts: list[np.ndarray], length: int) -> np.ndarray:
        whole = np.concatenate(parts)
        return np.pad(whole, (0, length - len(whole)))[None].astype(np.int32)

    sources, targets = zip(*pairs, strict=True)
    numbered = [[np.full(len(p), i + 1) for i, p in enumerate(side)] for side in (sources, targets)]
    return {
        "source": row(list(sources), source),
        "target_in": row([shifted(t) for t in targets], target),
        "target_out": row(list(targets), target),
        "source_segments": row(numbered[0], source),
        "target_segments": row(numbered[1], target),
    }


def padded(pairs: list[tuple[np.ndarray, np.ndarray]], source: int, target: int) -> dict[str, np.ndarray]:
    """A row for each pair."""

    def rows(parts: list[np.ndarray], length: int) -> np.ndarray:
        return np.stack([np.pad(p, (0, length - len(p))) for p in parts]).astype(np.int32)

    return {
        "source": rows([s for s, _ in pairs], source),
        "target_in": rows([shifted(t) for _, t in pairs], target),
        "target_out": rows([t for _, t in pairs], target),
    }


def summed_loss(settings: Settings, params: Any, batch: Any) -> jax.Array:
    """Over the tokens of a batch."""
    count = jnp.sum(batch["target_out"] != 0)
    return count * token_cross_entropy(forward(settings, params, batch), batch["target_out"])


begin = jit(functools.partial(start_decoding, length=9), static_argnums=0)
loss_and_gradient = jit(jax.value_and_grad(summed_loss, argnums=1), static_argnums=0)


def assert_equal_trees(ours: Any, theirs: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), ours, theirs)


# -- what it computes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [NMT, T5, MIXED], ids=["nmt", "t5", "mixed"])
@pytest.mark.parametrize("stacks", ONE_STACK)
def test_logits_of_one_stack_equal_an_independent_computation_in_float64(
    stacks: str, style: Settings
) -> None:
    settings = arranged(stacks, style)
    params = rough_params(settings)
    pairs = pairs_of([(40, 6), (25, 6), (1, 6)])  # long enough for the logarithmic buckets
    batch = padded(pairs, 41, 6)
    ours = run(settings, params, batch)
    assert ours.shape == (3, 6, 19)
    wide = jax.tree.map(lambda x: x.astype(np.float64), params)
    for row, (source, target) in zip(ours, pairs, strict=True):
        expected = reference.logits_of_joined(wide, source, shifted(target), settings)
        np.testing.assert_allclose(row, expected, **CLOSE)


def test_a_shared_model_is_an_encoder_decoder_whose_encoder_has_the_decoders_layers() -> None:
    style, settings = T5, arranged("shared")
    params = rough_params(settings)
    assert not [name for name in params if name.startswith("encoder_") and name[8:].isdigit()]
    own = param_shapes(style)
    # What an encoder's layer needs is a decoder's but for the attention to the source.
    apart = params | {
        f"encoder_{i}": {part: params[f"decoder_{i}"][part] for part in own[f"encoder_{i}"]} for i in range(2)
    }
    batch = padded(pairs_of(LENGTHS), 6, 5)
    np.testing.assert_array_equal(run(settings, params, batch), run(style, apart, batch))
    # Each use adds its part to the gradient.
    _, ours = loss_and_gradient(settings, params, batch)
    _, theirs = loss_and_gradient(style, apart, batch)
    for i in range(2):
        for part, of_encoder in theirs[f"encoder_{i}"].items():
            both = jax.tree.map(jnp.add, theirs[f"decoder_{i}"][part], of_encoder)
            assert_equal_trees(ours[f"decoder_{i}"][part], both)
    assert_equal_trees(ours["encoder_norm"], theirs["encoder_norm"])


@SINGLE
def test_a_derivative_along_a_direction_is_the_gradients_part_in_it(settings: Settings) -> None:
    params, batch = rough_params(settings), packed(pairs_of(LENGTHS), 12, 11)
    rng = np.random.default_rng(3)
    along = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
    _, gradient = loss_and_gradient(settings, params, batch)
    slope = sum(float(np.vdot(g, a)) for g, a in zip(*map(jax.tree.leaves, (gradient, along)), strict=True))
    tangent = jit(lambda p, a: jax.jvp(lambda p: summed_loss(settings, p, batch), (p,), (a,))[1])
    assert float(tangent(params, along)) == pytest.approx(slope, rel=1e-4)


# -- what it may see -------------------------------------------------------------------------------------


@EVERY
def test_a_packed_batch_has_the_loss_and_the_gradient_of_its_parts(settings: Settings) -> None:
    params, pairs = rough_params(settings), pairs_of(LENGTHS)
    loss, gradient = loss_and_gradient(settings, params, packed(pairs, 12, 11))
    apart = [loss_and_gradient(settings, params, padded([pair], 5, 4)) for pair in pairs]
    assert float(loss) == pytest.approx(sum(float(one) for one, _ in apart), rel=1e-5)
    assert_equal_trees(gradient, jax.tree.map(lambda *parts: sum(parts), *(each for _, each in apart)))


@EVERY
def test_a_padded_batch_has_the_loss_and_the_gradient_of_its_rows(settings: Settings) -> None:
    params, pairs = rough_params(settings), pairs_of(LENGTHS)
    batch = {name: np.pad(array, ((0, 1), (0, 0))) for name, array in padded(pairs, 9, 8).items()}
    loss, gradient = loss_and_gradient(settings, params, batch)  # of which a row is nothing but padding
    apart = [loss_and_gradient(settings, params, padded([pair], 5, 4)) for pair in pairs]
    assert float(loss) == pytest.approx(sum(float(one) for one, _ in apart), rel=1e-5)
    assert_equal_trees(gradient, jax.tree.map(lambda *parts: sum(parts), *(each for _, each in apart)))


@EVERY
@pytest.mark.parametrize("side", ["source", "target_in"])
def test_a_changed_token_in_one_segment_moves_no_logit_of_another(settings: Settings, side: str) -> None:
    params, batch = rough_params(settings), packed(pairs_of(LENGTHS), 12, 11)
    segments = batch["source_segments" if side == "source" else "target_segments"]
    before = run(settings, params, batch)
    for segment in (1, 2, 3):
        place = np.flatnonzero(segments[0] == segment)[0]
        other = batch[side].copy()
        other[0, place] = other[0, place] % 18 + 1
        after = run(settings, params, {**batch, side: other})
        elsewhere = batch["target_segments"][0] != segment
        np.testing.assert_array_equal(after[0, elsewhere], before[0, elsewhere])
        moved = np.abs(np.asarray(after - before))[0, ~elsewhere].max(axis=-1)
        assert (moved > 1e-4).all()


@EVERY
def test_a_changed_target_token_moves_none_before_it(settings: Settings) -> None:
    params, batch = rough_params(settings), padded(pairs_of([(4, 6), (7, 6)]), 7, 6)
    before = np.asarray(run(settings, params, batch))
    for place in range(6):
        other = batch["target_in"].copy()
        other[:, place] = other[:, place] % 18 + 1
        after = np.asarray(run(settings, params, {**batch, "target_in": other}))
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (np.abs(after - before)[:, place:].max(axis=-1) > 1e-4).all()


@pytest.mark.parametrize(("stacks", "sees"), [("prefix-lm", True), ("language-model", False)])
def test_a_changed_source_token_moves_earlier_places_of_a_prefix_alone(stacks: str, sees: bool) -> None:
    settings = arranged(stacks)
    params, source = rough_params(settings), tokens(2, 7, seed=1)
    other = source.copy()
    other[:, 5] = other[:, 5] % 18 + 1

    def keys(source: np.ndarray) -> np.ndarray:
        """Of the second layer, so of what the first one saw: (rows, heads, head_dim, places)."""
        return np.asarray(begin(settings, params, source).cross[1].keys)

    moved = np.abs(keys(source) - keys(other)).max(axis=(0, 1, 2))
    assert moved[5:].min() > 1e-4
    assert (moved[:5] > 1e-4).all() if sees else (moved[:5] == 0).all()


@SINGLE
def test_a_source_may_be_empty(settings: Settings) -> None:
    params = rough_params(settings)
    pairs = [(source[:0], target) for source, target in pairs_of(LENGTHS)]
    wide = jax.tree.map(lambda x: x.astype(np.float64), params)
    nothing, room = run(settings, params, padded(pairs, 0, 4)), run(settings, params, padded(pairs, 3, 4))
    together = run(settings, params, packed(pairs, 0, 11))[0]
    begin = 0
    for row, (source, target) in enumerate(pairs):
        expected = reference.logits_of_joined(wide, source, shifted(target), settings)
        m = len(target)
        for ours in (nothing[row, :m], room[row, :m], together[begin : begin + m]):
            np.testing.assert_allclose(ours, expected, **CLOSE)
        begin += m


def test_sources_and_targets_are_joined_segment_by_segment_and_padding_comes_last() -> None:
    row = joined(
        *(jnp.array([each]) for each in ([11, 12, 13, 0], [0, 21, 0, 22, 0, 0])),
        (jnp.array([[1, 1, 3, 0]]), jnp.array([[1, 1, 2, 2, 3, 0]])),
    )
    assert row.tokens.tolist() == [[11, 12, 0, 21, 0, 22, 13, 0, 0, 0]]
    assert row.segments.tolist() == [[1, 1, 1, 1, 2, 2, 3, 3, 0, 0]]
    assert row.is_source[0].nonzero()[0].tolist() == [0, 1, 6]
    assert row.targets.tolist() == [[2, 3, 4, 5, 7, 9]]


# -- decoding --------------------------------------------------------------------------------------------


@EVERY
def test_a_step_of_decoding_gives_the_logits_of_the_whole_sequence(settings: Settings) -> None:
    params = rough_params(settings)
    batch = {"source": tokens(3, 20, seed=1), "target_in": tokens(3, 6, seed=2)}
    batch["source"][1, 4:] = 0
    batch["target_in"][:, 0] = 0
    whole = run(settings, params, batch)
    cache = begin(settings, params, batch["source"])
    traced = []

    def step_of(params: Any, cache: Any, tokens: Any) -> Any:
        traced.append(cache)
        return decode_step(settings, params, cache, tokens)

    step = jit(step_of)
    for i in range(6):
        logits, cache = step(params, cache, batch["target_in"][:, i])
        np.testing.assert_allclose(logits, whole[:, i], rtol=0, atol=1e-5)
    assert len(traced) == 1, "a program for all steps"


# -- types, memory and devices ---------------------------------------------------------------------------


@OF_EITHER_KIND
def test_remat_and_scan_change_neither_tree_nor_loss_nor_gradient(settings: Settings) -> None:
    plain = dataclasses.replace(settings, attention_dropout=0.0)
    params, batch, key = rough_params(plain), packed(pairs_of(LENGTHS), 12, 11), jax.random.key(7)

    def both(of: Settings) -> tuple[jax.Array, Any]:
        def loss(p: Any) -> jax.Array:
            return token_cross_entropy(forward(of, p, batch, key=key), batch["target_out"])

        return jit(jax.value_and_grad(loss))(params)

    other = dataclasses.replace(plain, remat=True, scan_layers=True)
    assert jax.tree.structure(param_shapes(other)) == jax.tree.structure(params)
    (loss, gradient), (other_loss, other_gradient) = both(plain), both(other)
    assert float(other_loss) == pytest.approx(float(loss), rel=1e-6)  # with the same dropout masks
    assert float(loss) != pytest.approx(float(summed_loss(plain, params, batch)) / 9, rel=1e-5)
    assert_equal_trees(other_gradient, gradient)


@OF_EITHER_KIND
def test_bfloat16_computes_near_float32_and_keeps_logits_wide(settings: Settings) -> None:
    exact = dataclasses.replace(settings, layers=1)
    low, params = dataclasses.replace(exact, dtype="bfloat16"), rough_params(exact)
    batch = packed(pairs_of(LENGTHS), 12, 11)
    full, logits = run(exact, params, batch), run(low, params, batch)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, full, rtol=0, atol=0.05 * float(jnp.abs(full).max()))
    cache = begin(low, params, batch["source"])
    assert {leaf.dtype for leaf in (cache.past[0].keys, cache.cross[0].keys)} == {jnp.dtype("bfloat16")}
    step, _ = jit(decode_step, static_argnums=0)(low, params, cache, batch["target_in"][:, 0])
    assert step.dtype == jnp.float32


@pytest.mark.parametrize(
    "stacks",
    ["shared", "prefix-lm"],
)
@pytest.mark.slow  # their layers are split by the same names as an encoder-decoder's, which test_mesh.py has
def test_several_devices_compute_what_one_does(stacks: str) -> None:
    shapes = [ALONE, {"data": 2, "fsdp": 2, "tensor": 2}]
    one, eight = answer(started({"place": {}, "shapes": shapes, "stacks": stacks}, devices=8))
    close(eight, one)
    assert eight["embedding_shard"] == [12, 8]
    assert one["losses"][-1] < 0.95 * one["losses"][0]
