"""Are batches of unlabelled text a function of seed and cursor, with other noise at every visit?"""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from tests.trainer.data.streams import PIECES, SENTINELS, Parts, denoiser, words
from trainer.config import ModelConfig
from trainer.config.choices import OBJECTIVES
from trainer.data.batches import Batch, rounded
from trainer.data.contract import DataError
from trainer.data.denoising import WINDOW, Denoised, held_out, whole
from trainer.models import forward, init_params, model_settings
from trainer.models.losses import token_cross_entropy
from trainer.scoring.evaluation import split_loss
from trainer.training.recipes import loss_of

RAW = 70  # tokens of a piece whose input has 64


def numbered(pieces: int, first: int = 0) -> np.ndarray:
    """Pieces that tell their number: all tokens of piece i are 3 + i."""
    return np.repeat(np.arange(3 + first, 3 + first + pieces), RAW)


def parts(*sizes: int, known: bool = True) -> Parts:
    firsts = np.cumsum([0, *sizes])
    return Parts(*(numbered(size, first) for size, first in zip(sizes, firsts, strict=False)), known=known)


def batches(stream: Parts, name: str = "random-spans", **changes: Any) -> Denoised:
    return Denoised(stream, denoiser(name, 64), **{"seed": 3, "sentences": 4, **changes})


def taken(made: Denoised, steps: int, cursor: Any = None) -> tuple[Batch, Any]:
    [piece], after, _ = made.chunk(made.first if cursor is None else cursor, steps)
    return {name: array.reshape(-1, array.shape[-1]) for name, array in piece.items()}, after


def numbers(batch: Batch) -> list[int]:
    """Which piece each row is."""
    source = np.where((batch["source"] >= 3) & (batch["source"] < PIECES), batch["source"], 0)
    return (source.max(axis=1) - 3).tolist()


def equal(one: Batch, other: Batch) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# -- order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_the_first_epoch_takes_the_parts_as_they_come_and_later_ones_in_other_orders(known: bool) -> None:
    sizes = (40, 8, 24, 16)
    made = batches(parts(*sizes, known=known))
    epochs = [numbers(taken(made, 22, at)[0]) for at in _epochs(made, 22, 4)]
    edges = np.cumsum([0, *sizes])
    part_of = np.repeat(np.arange(4), sizes)
    assert part_of[epochs[0]].tolist() == np.sort(part_of).tolist()
    orders = set()
    for epoch in epochs:
        assert sorted(epoch) == [*range(88)]  # each piece once
        order = list(dict.fromkeys(part_of[epoch].tolist()))
        orders.add(tuple(order))
        at = 0
        for part in order:  # one part after the other
            some = epoch[at : at + sizes[part]]
            assert sorted(some) == [*range(edges[part], edges[part + 1])]
            at += sizes[part]
    assert len(orders) > 1
    assert len({tuple(epoch) for epoch in epochs}) == 4  # within a part too
    assert [n for n in epochs[0] if n < 40] != [n for n in epochs[1] if n < 40]


def _epochs(made: Denoised, steps: int, count: int) -> list[Any]:
    cursors = [made.first]
    for _ in range(count - 1):
        cursors.append(made.chunk(cursors[-1], steps)[1])
    return cursors


def test_a_part_is_asked_for_when_its_turn_comes_in_the_first_epoch() -> None:
    stream = parts(40, 40, 40, known=False)
    made = batches(stream)
    _, cursor = taken(made, 5)
    assert set(stream.asked) == {0}
    taken(made, 6, cursor)
    assert set(stream.asked) == {0, 1}


def test_another_seed_has_another_order_and_other_noise() -> None:
    stream = Parts(np.tile(words(RAW), 40))  # one piece, 40 times
    one, other = (taken(batches(stream, seed=seed), 10)[0] for seed in (3, 4))
    assert not np.array_equal(one["target_out"], other["target_out"])
    stream = parts(40)
    assert numbers(taken(batches(stream, seed=3), 10)[0]) != numbers(taken(batches(stream, seed=4), 10)[0])


Sides = tuple[tuple[int, ...], tuple[int, ...]]


def sides(batch: Batch) -> list[Sides]:
    """Of each piece, in order, without padding."""
    found: list[Sides] = []
    for row in range(len(batch["target_out"])):
        source, target = batch["source"][row], batch["target_out"][row]
        segments = batch["source_segments"][row] if "source_segments" in batch else source > 0
        written = batch["target_segments"][row] if "target_segments" in batch else target > 0
        for segment in range(1, 1 + int(written.max())):
            found.append((tuple(source[segments == segment]), tuple(target[written == segment])))
    return found


def text_of(name: str, piece: Sides) -> tuple[int, ...]:
    """The tokens of the piece, sorted: what tells it, whatever its noise is."""
    told = piece[1] if name in ("lm", "bert", "mass", "deshuffling") else (*piece[0], *piece[1])
    return tuple(sorted(int(token) for token in told if 3 <= token < PIECES))


def one_epoch_at_a_time(name: str, pieces: int = 40) -> Denoised:
    made = denoiser(name, 64)
    stream = Parts(words(pieces * made.lengths.raw))
    return Denoised(stream, made, seed=3, sentences=pieces // made.lengths.pieces)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "lm"])
def test_a_second_visit_of_a_piece_has_other_noise(name: str) -> None:
    made = one_epoch_at_a_time(name)
    first, cursor = taken(made, 1)
    second, _ = taken(made, 1, cursor)
    visits = [{text_of(name, piece): piece for piece in sides(batch)} for batch in (first, second)]
    assert visits[0].keys() == visits[1].keys()
    assert len(visits[0]) == 40
    same = sum(visits[0][text] == visits[1][text] for text in visits[0])
    assert same <= (5 if name == "prefix-lm" else 0)  # of whose 61 splits one is drawn again by chance


# -- cursors ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(OBJECTIVES),
    chunks=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    seed=st.integers(0, 10),
    known=st.booleans(),
)
def test_chunks_of_any_size_are_those_of_one_chunk_also_from_a_cursor_that_was_written_down(
    name: str, chunks: list[int], seed: int, known: bool
) -> None:
    stream = Parts(words(RAW * 300), words(RAW * 20 + 3, 1), words(5, 2), known=known)
    whole, end, real = batches(stream, name, seed=seed).chunk(batches(stream, name).first, sum(chunks))
    cursor: Any = batches(stream, name).first
    pieces, tokens = [], 0
    for steps in chunks:
        resumed = batches(Parts(*stream._parts, known=known), name, seed=seed)  # another process
        [piece], cursor, some = resumed.chunk(json.loads(json.dumps(cursor)), steps)
        pieces.append(piece)
        tokens += some
    assert all(np.array_equal(whole[0][n], np.concatenate([p[n] for p in pieces])) for n in whole[0])
    assert (cursor, tokens) == (end, real)
    assert all(type(value) is int for value in cursor.values())


def test_a_cursor_costs_one_window_wherever_it_is() -> None:
    made = batches(Parts(words(RAW * 8 * WINDOW)))
    made.chunk({"epoch": 1_000_000, "part": 0, "window": 7, "row": 5, "uncorrupted": 0}, 1)
    assert made._window.cache_info().misses == 1
    assert made._pieces.cache_info().misses == 1


def test_how_often_the_text_was_read_is_told() -> None:
    made = batches(parts(40, 8, 24, 16))
    told = [made.told(made.chunk(made.first, steps)[1])["repeats"] for steps in (11, 22, 33, 55)]
    assert told == [0.5, 1.0, 1.5, 2.5]
    assert made.told(made.first) == {"repeats": 0.0, "uncorrupted_spans": 0.0}
    coming = batches(parts(40, 8, known=False))
    assert coming.told(coming.chunk(coming.first, 3)[1])["repeats"] == 0
    assert coming.told(coming.chunk(coming.first, 13)[1])["repeats"] == 1


def test_two_pieces_of_a_row_are_counted_as_two() -> None:
    made = one_epoch_at_a_time("prefix-lm")
    assert made.told(made.chunk(made.first, 3)[1])["repeats"] == 3


def test_spans_without_a_sentinel_are_counted_as_rows_are_taken() -> None:
    few = denoiser("iid-spans", 128, rate=0.25, sentinels=20)
    made = Denoised(Parts(words(127 * 60)), few, seed=0, sentences=4)
    every = denoiser("iid-spans", 128, rate=0.25)
    [piece], cursor, _ = Denoised(Parts(words(127 * 60)), every, seed=0, sentences=4).chunk(made.first, 5)
    assert cursor["uncorrupted"] == 0
    spans = ((piece["source"] >= PIECES).sum(axis=-1)).ravel()
    half = made.chunk(made.first, 2)[1]
    assert half["uncorrupted"] == np.maximum(spans[:8] - 19, 0).sum() > 0
    assert made.chunk(half, 3)[1]["uncorrupted"] == np.maximum(spans - 19, 0).sum()
    assert made.told(half)["uncorrupted_spans"] == half["uncorrupted"]


# -- shapes ----------------------------------------------------------------------------------------------


def test_a_tail_is_dropped_unless_it_is_all_that_there_is() -> None:
    made = batches(Parts(words(RAW * 4 + 69), words(30, 1)))
    assert len({text_of("random-spans", piece) for piece in sides(taken(made, 3)[0])}) == 4
    for known in (True, False):
        short = batches(Parts(words(30), known=known), sentences=1)
        batch, _ = taken(short, 2)
        assert {len(text_of("random-spans", piece)) for piece in sides(batch)} == {30}
        assert batch["source"].shape == (2, 64)


@pytest.mark.parametrize("stream", [Parts([]), Parts(), Parts(words(30), words(30)), Parts([], known=False)])
def test_a_text_without_a_piece_is_refused(stream: Parts) -> None:
    sentence = "The text has no piece of 70 tokens. Give more text, or lower data.source_tokens."
    made = batches(stream)
    with pytest.raises(DataError) as problem:
        made.chunk(made.first, 1)
    assert str(problem.value) == sentence
    with pytest.raises(DataError) as problem:
        whole(stream, denoiser("random-spans", 64), at_a_time=8)
    assert str(problem.value) == sentence


@pytest.mark.parametrize("name", OBJECTIVES)
def test_hardly_anything_of_a_row_is_padding(name: str) -> None:
    made = denoiser(name, 512)
    [piece], _, real = Denoised(Parts(words(60_000)), made, seed=0, sentences=8).chunk(
        batches(Parts()).first, 5
    )
    assert piece["source"].shape == (5, 8, rounded(made.lengths.inputs))
    assert piece["target_out"].shape == (5, 8, rounded(made.lengths.targets))
    assert real / (piece["source"].size + piece["target_out"].size) > (0.95 if name == "iid-spans" else 0.98)


def test_a_batch_of_so_many_tokens_holds_rows_that_the_mesh_divides() -> None:
    made = batches(parts(40), tokens=1_000, rows_divide_by=4)
    assert made.rows == 12  # of 64 + 16
    with pytest.raises(DataError) as problem:
        batches(parts(40), tokens=319, rows_divide_by=4)
    assert str(problem.value) == (
        "batch.tokens is 319, and 4 rows of 64 + 16 tokens are needed at least. Raise it to 320 or more, or "
        "lower data.source_tokens."
    )


# -- what is always the same -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_dev_and_guidance_batches_are_always_the_same(name: str) -> None:
    made = denoiser(name, 64)
    stream = Parts(words(made.lengths.raw * 30))
    assert equal(held_out(stream, made, rows=8), held_out(stream, made, rows=8))
    assert equal(whole(stream, made, at_a_time=8), whole(stream, made, at_a_time=8))
    assert equal(whole(stream, made, at_a_time=8, most=10**6), whole(stream, made, at_a_time=8))
    assert held_out(stream, made, rows=8)["target_out"].shape == (8, rounded(made.lengths.targets))


def test_the_whole_split_is_read_once_and_filled_with_empty_rows() -> None:
    made = denoiser("random-spans", 64)
    split = whole(parts(10, 7), made, at_a_time=8, rows_divide_by=4)
    assert split["source"].shape == (3, 8, 64)
    rows = {name: array.reshape(24, -1) for name, array in split.items()}
    assert numbers({name: array[:17] for name, array in rows.items()}) == [*range(17)]
    assert not any(array[17:].any() for array in rows.values())


def test_a_guide_split_that_does_not_fill_a_batch_is_refused() -> None:
    with pytest.raises(DataError) as problem:
        held_out(parts(7), denoiser("random-spans", 64), rows=8)
    assert str(problem.value) == (
        "The guidance batch is to have 8 rows and the guide split fills 7. Raise data.guide_share, or lower "
        "the batch or data.source_tokens."
    )


# -- in a model ------------------------------------------------------------------------------------------

SMALL = ModelConfig(size="t5-tiny", d_model=16, d_attention=16, d_ff=32, heads=2, layers=2)
MODEL = model_settings(SMALL, vocabulary=int(SENTINELS[0]) + 1)


@pytest.fixture(scope="module")
def packed() -> Batch:
    """Rows of two pieces each."""
    made = denoiser("prefix-lm", 24)
    stream = Parts(words(made.lengths.raw * 6))
    return taken(Denoised(stream, made, seed=0, sentences=3), 1)[0]


def apart(batch: Batch) -> Batch:
    """Each piece in a row of its own, without segments."""
    pieces = sides(batch)
    source, target = (np.zeros((len(pieces), 24), np.int32) for _ in range(2))
    for row, (read, written) in enumerate(pieces):
        source[row, : len(read)], target[row, : len(written)] = read, written
    shifted = np.pad(target, ((0, 0), (1, 0)))[:, :-1] * (target > 0)
    return {"source": source, "target_in": shifted, "target_out": target}


def test_a_packed_batch_has_the_loss_and_the_gradient_of_its_parts(packed: Batch) -> None:
    params = jax.tree.map(jnp.asarray, init_params(MODEL, 0))

    def both(batch: Batch) -> Any:
        def loss(params: Any) -> jax.Array:
            return loss_of(MODEL)(params, batch, jax.random.key(0), False)

        return jax.value_and_grad(loss)(params)

    together, in_parts = both(packed), both(apart(packed))
    one = [both({name: array[row : row + 1] for name, array in apart(packed).items()}) for row in range(6)]
    weights = (apart(packed)["target_out"] > 0).sum(axis=1)
    mean = jax.tree.map(
        lambda *each: sum(w * e for w, e in zip(weights, each, strict=True)) / sum(weights), *one
    )
    for other in (in_parts, mean):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), together, other)


def test_a_changed_token_of_one_piece_moves_no_logit_of_another(packed: Batch) -> None:
    params = jax.tree.map(jnp.asarray, init_params(MODEL, 0))
    logits = jax.jit(lambda batch: forward(MODEL, params, batch))
    before = np.asarray(logits(packed))
    for name, segments in (("source", "source_segments"), ("target_in", "target_segments")):
        changed = packed[name].copy()
        row, at = 1, int(np.flatnonzero(packed[segments][1] == 1)[1])
        changed[row, at] = 3 + (changed[row, at] - 2) % 500
        after = np.asarray(logits({**packed, name: changed}))
        theirs = packed["target_segments"] != 1
        theirs[[0, 2]] = True
        assert np.array_equal(before[theirs], after[theirs])
        assert not np.array_equal(before[1][~theirs[1]], after[1][~theirs[1]])


def test_the_loss_of_a_whole_split_is_that_of_its_rows() -> None:
    made = denoiser("random-spans", 64)
    split = whole(parts(10), made, at_a_time=4)
    params = init_params(MODEL, 0)
    rows = {name: array.reshape(-1, array.shape[-1])[:10] for name, array in split.items()}
    expected = float(token_cross_entropy(forward(MODEL, params, rows), rows["target_out"]))
    assert split_loss(MODEL, params, split) == pytest.approx(expected, rel=1e-5)


def test_the_first_pieces_of_a_split_may_be_all_that_is_evaluated() -> None:
    made = denoiser("random-spans", 64)
    some = whole(parts(10, 7), made, at_a_time=4, most=12)
    rows = some["target_out"].reshape(-1, some["target_out"].shape[-1])
    assert int(rows.any(axis=1).sum()) == 12
    first = whole(parts(10), made, at_a_time=10)
    assert (rows[:10] == first["target_out"][0]).all()
