"""Does every epoch show each example once, wherever a run was interrupted, and is a batch what it says?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.batches import TURN, Bucketed, held_out_batch, padded
from trainer.data.contract import DataError
from trainer.data.examples import Examples
from trainer.data.packing import WINDOW, Packed, whole_split
from trainer.models import Settings, forward, init_params
from trainer.models.losses import token_cross_entropy
from trainer.scoring.evaluation import split_loss

END = 1


def made(count: int, *, longest: int = 12, seed: int = 0) -> Examples:
    """Examples whose first source token is their own number + 2, so that they can be told apart."""
    rng = np.random.default_rng(seed)
    sides: list[list[np.ndarray]] = [[], []]
    for i in range(count):
        for side in sides:
            body = rng.integers(2, 20, rng.integers(1, longest - 1))
            side.append(np.array([i + 2, *body, END], np.int32))
    starts = [np.concatenate([[0], np.cumsum([len(x) for x in side])]) for side in sides]
    return Examples(np.concatenate(sides[0]), starts[0], np.concatenate(sides[1]), starts[1])


def seen(pieces: list[dict[str, Any]]) -> list[int]:
    """The numbers of the examples, in order of their steps; of packed rows by their segments."""
    found = []
    for piece in pieces:
        source = piece["source"].reshape(-1, piece["source"].shape[-1])
        if "source_segments" in piece:
            positions, segments = (
                piece[f"source_{n}"].reshape(source.shape) for n in ("positions", "segments")
            )
            found += (source[(positions == 0) & (segments > 0)] - 2).tolist()
        else:
            found += (source[:, 0] - 2).tolist()
    return found


def way(kind: str, examples: Examples, *, seed: int = 3, sentences: int = 4, buckets: int = 1) -> Any:
    if kind == "packed":
        return Packed(examples, seed=seed, sentences=sentences)
    return Bucketed(examples, seed=seed, sentences=sentences, buckets=buckets)


@given(
    count=st.integers(1, 60),
    sentences=st.integers(1, 17),
    buckets=st.integers(1, 5),
    kind=st.sampled_from(["bucketed", "packed"]),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_an_interrupted_run_reads_the_same_batches_and_each_example_once_an_epoch(
    count: int, sentences: int, buckets: int, kind: str, cuts: list[int]
) -> None:
    examples = made(count)
    whole = way(kind, examples, sentences=sentences, buckets=buckets)
    undisturbed, _, tokens = whole.chunk(whole.first, sum(cuts))
    pieces: list[dict[str, Any]] = []
    cursor, counted = whole.first, 0
    for steps in cuts:  # each in a process of its own: nothing is remembered but the cursor
        again = way(kind, examples, sentences=sentences, buckets=buckets)
        more, cursor, some = again.chunk(cursor, steps)
        pieces, counted = pieces + more, counted + some
    assert seen(pieces) == seen(undisturbed)
    lengths = examples.source_lengths + examples.target_lengths
    assert counted == tokens == sum(int(lengths[i]) for i in seen(pieces))
    streams = [set(range(count))] if kind == "packed" else [set(b.members.tolist()) for b in whole.buckets]
    for members in streams:
        mine = [i for i in seen(undisturbed) if i in members]
        for begin in range(0, len(mine), len(members)):
            epoch = mine[begin : begin + len(members)]
            assert len(set(epoch)) == len(epoch)
            assert len(epoch) < len(members) or set(epoch) == members


def test_buckets_come_equally_far() -> None:
    batches = way("bucketed", made(500), sentences=8, buckets=4)
    pieces, _, _ = batches.chunk(batches.first, 250)
    times = Counter(seen(pieces))
    assert set(times) == set(range(500))
    # Within a bucket by an epoch that has begun, and between buckets by less than a batch.
    assert max(times.values()) - min(times.values()) <= 2


def test_a_piece_is_of_one_shape_and_no_longer_than_a_turn() -> None:
    batches = way("bucketed", made(500), sentences=4, buckets=3)
    cursor, shapes = batches.first, set()
    for steps in (50, 7, 13, 50, 1, 29, 50):
        pieces, cursor, _ = batches.chunk(cursor, steps)
        assert sum(len(piece["source"]) for piece in pieces) == steps
        shapes |= {piece["source"].shape[1:] for piece in pieces}
        assert max(len(piece["source"]) for piece in pieces) <= TURN == batches.longest_piece
    assert len(shapes) == len({(b.rows, b.source_length) for b in batches.buckets}) > 1
    alone = way("bucketed", made(500))  # one bucket: one piece
    (piece,), _, _ = alone.chunk({"step": 3}, 50)
    assert piece["source"].shape[:2] == (50, 4)
    assert alone.longest_piece is None


@pytest.mark.parametrize("buckets", [1, 4])
def test_a_run_goes_on_far_out_without_reading_what_came_before(buckets: int) -> None:
    batches = way("bucketed", made(48), sentences=1, buckets=buckets)  # 48 steps an epoch
    pieces, cursor, _ = batches.chunk({"step": 48 * 10**9}, 48)
    assert sorted(seen(pieces)) == list(range(48))
    assert cursor == {"step": 48 * (10**9 + 1)}


def test_packed_rows_follow_each_other_over_windows_and_epochs() -> None:
    count = WINDOW + 100
    examples = made(count, longest=6)
    batches = Packed(examples, seed=0, sentences=64)
    found: list[int] = []
    cursor = batches.first
    while len(found) < 2 * count:
        pieces, cursor, _ = batches.chunk(cursor, 3)
        found += seen(pieces)
    assert sorted(found[:count]) == sorted(found[count : 2 * count]) == list(range(count))
    assert found[:count] != found[count : 2 * count]


def test_epochs_differ_and_so_do_seeds() -> None:
    one, other = (way("bucketed", made(64), seed=seed, sentences=64) for seed in (1, 2))
    first, second = (one.chunk({"step": step}, 1)[0] for step in (0, 1))
    assert seen(first) != seen(second)
    assert seen(first) != seen(other.chunk({"step": 0}, 1)[0])
    assert sorted(seen(first)) == sorted(seen(second))


def test_a_row_is_an_example_shifted_right_and_padded() -> None:
    examples = Examples(
        np.array([5, 6, END, 7, END], np.int32),
        np.array([0, 3, 5]),
        np.array([8, END, 9, 10, END], np.int32),
        np.array([0, 2, 5]),
    )
    batch = padded(examples, np.array([1, 0]), 4, 4)
    assert batch["source"].tolist() == [[7, END, 0, 0], [5, 6, END, 0]]
    assert batch["target_in"].tolist() == [[0, 9, 10, 0], [0, 8, 0, 0]]
    assert batch["target_out"].tolist() == [[9, 10, END, 0], [8, END, 0, 0]]
    assert {a.dtype for a in batch.values()} == {np.dtype(np.int32)}


def test_tokens_a_batch_count_padding_and_rows_suit_the_mesh() -> None:
    batches = Bucketed(made(200), seed=0, tokens=400, buckets=3, rows_divide_by=4)
    for bucket in batches.buckets:
        size = bucket.rows * (bucket.source_length + bucket.target_length)
        assert 200 < size <= 400
        assert bucket.rows % 4 == 0
    packed = Packed(made(200), seed=0, tokens=400, rows_divide_by=4)
    assert (packed.rows, packed.source_length + packed.target_length) == (8, 48)


def test_rows_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match=r"batch\.tokens is 10, and 4 rows of 16 \+ 16 .* Raise it to 128"):
        Bucketed(made(20), seed=0, tokens=10, rows_divide_by=4)
    with pytest.raises(DataError, match=r"batch\.tokens is 191, and 4 packed rows .* Raise it to 192"):
        Packed(made(200), seed=0, tokens=191, rows_divide_by=4)
    with pytest.raises(DataError, match=r"batch\.sentences is 10 and the mesh divides rows by 4"):
        Bucketed(made(20), seed=0, sentences=10, rows_divide_by=4)


def counted_padding(pieces: list[dict[str, Any]]) -> float:
    tokens = np.concatenate([piece[side].ravel() for piece in pieces for side in ("source", "target_out")])
    return float(np.mean(tokens == 0))


def test_more_buckets_mean_less_padding_and_packing_the_least() -> None:
    examples = made(1_000, longest=40)
    shares = []
    for n in (1, 4):  # over one epoch, one example a row
        batches = Bucketed(examples, seed=0, sentences=1, buckets=n)
        shares.append(counted_padding(batches.chunk(batches.first, 1_000)[0]))
    packed = Packed(examples, seed=0)
    whole = -(-len(packed._window(0, 0)) // packed.rows)  # steps; the last of them goes on in the next epoch
    assert counted_padding(packed.chunk(packed.first, whole)[0]) < shares[1] < shares[0]


def test_packed_rows_and_padded_ones_have_the_same_loss() -> None:
    examples = made(40)
    shape = Settings(16, 16, 32, heads=2, layers=1, vocabulary=64)
    params = jax.device_put(init_params(shape, 0))
    mean = jax.jit(lambda batch: token_cross_entropy(forward(shape, params, batch), batch["target_out"]))

    def total(batch: Any) -> tuple[float, int]:
        tokens = int(np.count_nonzero(batch["target_out"]))
        return float(mean(batch)) * tokens, tokens

    batches = Packed(examples, seed=0, sentences=6)
    cursor, sums, chosen = batches.first, [], []
    while cursor["epoch"] == 0:
        (piece,), cursor, _ = batches.chunk(cursor, 1)
        batch = jax.tree.map(lambda x: x[0], piece)
        sums.append(total(batch))
        chosen += seen([piece])
    loose = padded(examples, np.array(chosen), 16, 16)
    loss, tokens = total(loose)
    assert tokens == sum(t for _, t in sums)
    assert sum(s for s, _ in sums) == pytest.approx(loss, rel=2e-6)


def test_the_guidance_batch_is_the_same_in_every_run_and_must_fit_its_split() -> None:
    one, other = (held_out_batch(made(40), rows=8) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert one["source"].shape[0] == 8
    with pytest.raises(
        DataError, match="The guidance batch is to have 41 sentences and the guide split has 40"
    ):
        held_out_batch(made(40), rows=41)


def test_a_packed_guidance_batch_has_the_shape_of_a_training_batch_and_rows_as_full() -> None:
    batches = [Packed(made(2000), seed=seed, sentences=32) for seed in (0, 1)]
    one, other = (each.held_out(made(300)) for each in batches)
    (piece,), _, _ = batches[0].chunk(batches[0].first, 1)
    assert {name: array.shape for name, array in one.items()} == {n: a.shape[1:] for n, a in piece.items()}
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert np.count_nonzero(one["source"]) > 0.8 * np.count_nonzero(piece["source"])
    with pytest.raises(DataError, match=r"The guidance batch is to have \d+ packed rows and the guide"):
        batches[0].held_out(made(3))


def test_packed_batches_for_sentences_are_the_same_on_any_mesh_but_for_empty_rows() -> None:
    alone = Packed(made(200), seed=0, sentences=20)
    shared = Packed(made(200), seed=0, sentences=20, rows_divide_by=4)
    assert alone.rows % 4, "else nothing is filled up"
    assert shared.rows == alone.rows + 4 - alone.rows % 4
    cursor = alone.first
    for _ in range(3):
        (one,), after, tokens = alone.chunk(cursor, 2)
        (other,), *told = shared.chunk(cursor, 2)
        assert told == [after, tokens]
        cursor = after
        for name, array in other.items():
            np.testing.assert_array_equal(array[:, : alone.rows], one[name])
            assert not array[:, alone.rows :].any()
    guide, theirs = alone.held_out(made(100)), shared.held_out(made(100))
    for name, array in theirs.items():
        np.testing.assert_array_equal(array[: alone.rows], guide[name])
        assert not array[alone.rows :].any()


@pytest.mark.parametrize("rows_divide_by", [1, 4])
def test_a_split_is_evaluated_whole_in_fewer_rows_the_last_of_them_filled_up(rows_divide_by: int) -> None:
    batch = whole_split(made(50), at_a_time=16, rows_divide_by=rows_divide_by)
    count, rows, _ = batch["source"].shape
    assert (count, rows % rows_divide_by) == (4, 0)
    assert sorted(seen([batch])) == list(range(50))
    tokens = sum(made(50).target_lengths)
    assert np.count_nonzero(batch["target_out"]) == tokens
    assert count * rows < 50


@pytest.mark.parametrize(("positions", "scan_layers"), [("sinusoidal", False), ("relative", True)])
def test_a_packed_split_has_the_loss_of_the_padded_one(positions: str, scan_layers: bool) -> None:
    examples = made(50)
    shape = Settings(
        16, 16, 32, heads=2, layers=2, vocabulary=64, positions=positions, scan_layers=scan_layers
    )
    params = jax.device_put(init_params(shape, 0))
    rows = padded(examples, np.arange(50), 16, 16)
    loose = {name: array.reshape(5, 10, -1) for name, array in rows.items()}
    loss = split_loss(shape, params, whole_split(examples, at_a_time=16))
    assert loss == pytest.approx(split_loss(shape, params, loose), rel=1e-6)
