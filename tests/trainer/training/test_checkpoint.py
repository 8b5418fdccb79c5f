"""Is everything that was put aside there again, bit for bit, or is it said why not?"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tests.trainer.mlp import equal_bits, start
from trainer.guidance import HeldOut, Hyper, Lagged
from trainer.training.checkpoint import (
    ARRAYS,
    MANIFEST,
    MARKER,
    CheckpointError,
    Snapshot,
    Unwritten,
    candidates,
    restore,
    save,
)


def snapshot(step: int, state: Any = None, **others: Any) -> Snapshot:
    state = {"w": jnp.arange(4.0) + step} if state is None else state
    return Snapshot(step, state, seed=7, fingerprint="f" * 64, **others)


def back(path: Path, target: Any) -> Any:
    restored = restore(path, target, fingerprint="f" * 64)
    assert restored is not None
    return restored


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("optimizer", "estimator"),
    [("lamb", HeldOut()), ("adafactor", Lagged(steps=24)), ("sgd", None)],
    ids=["held-out", "lagged", "plain"],
)
def test_a_whole_train_state_comes_back_bit_for_bit(optimizer: str, estimator: Any, tmp_path: Path) -> None:
    hypers = [Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)] if estimator else []
    begun = start(optimizer, estimator, *hypers)[1].kept()
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: jnp.asarray(rng.integers(1, 99, x.shape) / 3, x.dtype), begun)
    restored = back(save(tmp_path, snapshot(3, state)), begun)
    assert equal_bits(restored.snapshot.state, state)
    assert not equal_bits(begun.params, state.params)
    same = jax.tree.map(lambda a, b: (a.dtype, a.weak_type) == (b.dtype, b.weak_type), begun, state)
    assert all(jax.tree.leaves(same))


def test_what_is_no_array_comes_back_too(tmp_path: Path) -> None:
    told = {
        "cursor": {"epoch": 2, "shard": ["a", 17]},
        "clocks": {"train_s": 0.1 + 0.2, "steps": 5.0},
        "values": {"loss": 1 / 3},
    }
    curves = {"loss": np.linspace(0, 1, 5, dtype=np.float32), "hyper.alpha": np.ones((5, 2), np.float32)}
    restored = back(save(tmp_path, snapshot(5, **told, curves=curves)), {"w": jnp.zeros(4)}).snapshot
    assert {name: getattr(restored, name) for name in told} == told
    assert (restored.step, restored.seed, restored.fingerprint) == (5, 7, "f" * 64)
    assert equal_bits(restored.curves, curves)


@given(
    st_numpy.arrays(
        dtype=st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_]),
        shape=st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_arrays_of_any_shape_and_bits_come_back(tmp_path_factory: Any, array: np.ndarray) -> None:
    folder = tmp_path_factory.mktemp("any")
    curves = back(save(folder, snapshot(1, {}, curves={"it": array})), {}).snapshot.curves
    assert curves["it"].dtype == array.dtype
    assert curves["it"].tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
def test_narrow_types_come_back_with_their_nans_and_signed_zeros(dtype: str, tmp_path: Path) -> None:
    state = {"w": jnp.asarray([1.5, -0.0, jnp.nan, 3e-3], dtype), "one": jnp.asarray(2.5, dtype)}
    restored = back(save(tmp_path, snapshot(1, state)), state).snapshot.state
    for name, leaf in state.items():
        assert restored[name].dtype == jnp.dtype(dtype)
        assert np.asarray(restored[name]).tobytes() == np.asarray(leaf).tobytes()


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        save(tmp_path, snapshot(1, {}, curves={"it": np.array([object()])}))


def test_shapes_are_target_enough_and_a_sharded_one_is_followed(tmp_path: Path) -> None:
    path = save(tmp_path, snapshot(1))
    shapes = {"w": jax.ShapeDtypeStruct((4,), jnp.float32)}
    assert back(path, shapes).snapshot.state["w"].tolist() == [1, 2, 3, 4]
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    target = {"w": jax.device_put(jnp.zeros(4), sharding)}
    assert back(path, target).snapshot.state["w"].sharding == sharding
    assert not back(path, {"w": jnp.zeros(4)}).snapshot.state["w"].committed


def test_two_are_kept_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("mine")
    for step in (1, 9, 10, 100):
        save(tmp_path, snapshot(step))
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-100", "events.jsonl"]
    assert names(tmp_path / "checkpoint-100") == [MARKER, ARRAYS, MANIFEST]


def test_one_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, snapshot(4))
    path = save(tmp_path, snapshot(4, {"w": jnp.full(4, 8.0)}))
    assert back(path, {"w": jnp.zeros(4)}).snapshot.state["w"].tolist() == [8.0] * 4


# -- damage ----------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "arrays cut short": lambda p: cut(p / ARRAYS),
    "one bit of the arrays": lambda p: flip(p / ARRAYS),
    "no arrays": lambda p: (p / ARRAYS).unlink(),
    "one bit of the manifest": lambda p: flip(p / MANIFEST),
    "manifest cut short": lambda p: cut(p / MANIFEST),
    "no marker": lambda p: (p / MARKER).unlink(),
    "an empty marker": lambda p: (p / MARKER).write_text(""),
    "nothing in it": lambda p: (shutil.rmtree(p), p.mkdir()),
}


@pytest.mark.fault(13, real=True)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_one_falls_back_to_the_one_before_and_says_so(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, snapshot(10))
    newest = save(tmp_path, snapshot(20))
    DAMAGES[damage](newest)
    with caplog.at_level(logging.WARNING, "trainer"):
        restored = back(newest, {"w": jnp.zeros(4)})
    assert (restored.snapshot.step, restored.path) == (10, tmp_path / "checkpoint-10")
    assert restored.note.startswith(f"{newest} is damaged: ")
    assert restored.note.endswith("The run goes on from checkpoint-10.")
    assert caplog.messages == [restored.note]
    assert restored.damaged == (newest,)


def test_the_newest_whole_one_of_the_folders_of_earlier_attempts_is_taken(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"attempt-{number}" for number in (1, 2, 3))
    kept = {
        (folder.name, step): save(folder, snapshot(step), kept=9)
        for folder, steps in ((first, (10, 20, 30, 40)), (second, (30,)), (third, (20, 40)))
        for step in steps
    }
    newest = kept["attempt-3", 40]
    order = [("attempt-3", 40), ("attempt-1", 40), ("attempt-2", 30), ("attempt-1", 30), ("attempt-3", 20)]
    expected = [kept[key] for key in (*order, ("attempt-1", 20), ("attempt-1", 10))]
    assert candidates(newest, [third, second, first]) == expected
    assert candidates(kept["attempt-2", 30], [second, first])[1:] == [
        kept["attempt-1", step] for step in (30, 20, 10)
    ]
    for number, damaged in enumerate(expected[:-1], 1):
        cut(damaged / ARRAYS)
        restored = restore(newest, {"w": jnp.zeros(4)}, fingerprint="f" * 64, earlier=[second, first])
        assert restored is not None
        assert (restored.path, restored.damaged) == (expected[number], tuple(expected[:number]))
        where = restored.path.name if restored.path.parent == third else restored.path
        assert restored.note.endswith(f"The run goes on from {where}.")
    cut(expected[-1] / ARRAYS)
    assert restore(newest, {"w": jnp.zeros(4)}, fingerprint="f" * 64, earlier=[second, first]) is None
    assert candidates(tmp_path / "mine", [first]) == [tmp_path / "mine"]


def test_what_a_later_attempt_saves_leaves_the_checkpoints_of_an_earlier_one(tmp_path: Path) -> None:
    for step in (10, 20):
        save(tmp_path / "attempt-1", snapshot(step))
    for step in (30, 40, 50):
        save(tmp_path / "attempt-2", snapshot(step))
    assert sorted(p.name for p in tmp_path.glob("*/*")) == [f"checkpoint-{step}" for step in (10, 20, 40, 50)]


def test_with_no_whole_one_left_there_is_none_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [save(tmp_path, snapshot(step)) for step in (10, 20)]
    for path in paths:
        cut(path / ARRAYS)
    with caplog.at_level(logging.WARNING, "trainer"):
        assert restore(paths[1], {"w": jnp.zeros(4)}, fingerprint="f" * 64) is None
    assert caplog.messages[0].endswith("There is none before it; the run starts anew.")


def test_a_newer_one_than_the_one_asked_for_is_never_taken(tmp_path: Path) -> None:
    older, newer = (save(tmp_path, snapshot(step)) for step in (10, 20))
    assert back(older, {"w": jnp.zeros(4)}).path == older
    cut(older / ARRAYS)
    assert restore(older, {"w": jnp.zeros(4)}, fingerprint="f" * 64) is None
    assert back(newer, {"w": jnp.zeros(4)}).path == newer


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.fault(13, real=True)
def test_one_of_another_config_is_refused_even_where_an_older_one_is_there(tmp_path: Path) -> None:
    save(tmp_path, snapshot(1))
    path = save(tmp_path, snapshot(2))
    with pytest.raises(CheckpointError) as refused:
        restore(path, {"w": jnp.zeros(4)}, fingerprint="a" * 64)
    assert str(refused.value) == (
        f"{path} is of another config (fingerprint ffffffffffff, this run's is aaaaaaaaaaaa). "
        f"Go on with the config that it was made with, or start anew."
    )


@pytest.mark.parametrize(
    "target",
    [
        {"w": jnp.zeros(5)},
        {"w": jnp.zeros(4, jnp.int32)},
        {"v": jnp.zeros(4)},
        {"w": jnp.zeros(4), "v": jnp.zeros(1)},
    ],
    ids=["shape", "type", "name", "one more"],
)
def test_one_that_does_not_fit_is_refused(target: Any, tmp_path: Path) -> None:
    path = save(tmp_path, snapshot(1))
    with pytest.raises(CheckpointError) as refused:
        restore(path, target, fingerprint="f" * 64)
    assert str(refused.value).startswith(f"{path} does not fit this program: state/")


def test_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refused:
        restore(tmp_path / "checkpoint-3", {}, fingerprint="f" * 64)
    assert str(refused.value).startswith(f"There is no checkpoint {tmp_path / 'checkpoint-3'}.")


# -- a full disk -----------------------------------------------------------------------------------------


class Full:
    """A file on a disk with room for so many bytes."""

    def __init__(self, file: IO[bytes], room: int, number: int) -> None:
        self._file, self._room, self._number = file, room, number

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        self._room -= len(bytes(data))
        if self._room < 0:
            raise OSError(self._number, "no room")
        return self._file.write(data)


def on_full_disk(after: str, number: int = errno.ENOSPC) -> Any:
    """Opens files; there is no room once this one is begun."""

    def create(path: Path) -> Any:
        return Full(path.open("xb"), 0 if path.name == after else 10**9, number)

    return create


@pytest.mark.parametrize("file", [ARRAYS, MANIFEST, MARKER])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_last_good_one_and_gives_a_sentence(
    file: str, number: int, tmp_path: Path
) -> None:
    for step in (1, 2):
        save(tmp_path, snapshot(step))
    with pytest.raises(Unwritten) as full:
        save(tmp_path, snapshot(3), create=on_full_disk(file, number))
    assert full.value.strerror == (
        f"The disk is full: {tmp_path / 'checkpoint-3'} could not be written. "
        f"The last good one is {tmp_path / 'checkpoint-2'}. Make room there."
    )
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    back(tmp_path / "checkpoint-2", {"w": jnp.zeros(4)})


def test_another_error_of_the_disk_is_not_called_a_full_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        save(tmp_path, snapshot(3), create=on_full_disk(ARRAYS, errno.EACCES))
    assert names(tmp_path) == []


def test_the_manifest_says_what_is_in_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, snapshot(1))
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["arrays"] == {"state/w": {"file": "0.npy", "shape": [4], "dtype": "float32"}}
    assert manifest["sha256"] == hashlib.sha256((path / ARRAYS).read_bytes()).hexdigest()
    with np.load(path / ARRAYS, allow_pickle=False) as archive:  # any numpy can read it
        assert archive["0"].tolist() == [1, 2, 3, 4]
