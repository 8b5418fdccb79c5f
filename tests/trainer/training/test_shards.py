"""Is any part of an array read as it was written, in whatever parts that was?"""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.training import shards


def written(folder: Path, array: np.ndarray, cuts: tuple[int, ...]) -> dict[str, Any]:
    """The array in as many parts along each axis as `cuts` says, in two files in turn."""
    entry: dict[str, Any] = {"shape": list(array.shape), "dtype": array.dtype.name, "parts": []}
    axes = [np.array_split(np.arange(size), cut) for size, cut in zip(array.shape, cuts, strict=True)]
    with zipfile.ZipFile(folder / "a.npz", "w") as first, zipfile.ZipFile(folder / "b.npz", "w") as second:
        for number, places in enumerate(itertools.product(*axes)):
            span = [[int(at[0]), int(at[-1]) + 1] for at in places]
            archive, file = ((first, "a.npz"), (second, "b.npz"))[number % 2]
            shards.write(archive, f"{number}.npy", array[tuple(slice(*each) for each in span)])
            entry["parts"].append({"file": file, "member": f"{number}.npy", "span": span})
    return entry


@given(
    shape=st.lists(st.integers(2, 9), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 2), min_size=3, max_size=3),
    at=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=3, max_size=3),
    block=st.integers(1, 64),
)
def test_any_part_is_read_from_any_parts(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, cuts: Any, at: Any, block: int
) -> None:
    array = np.random.default_rng(0).integers(0, 99, shape).astype(np.int16)
    folder: Path = tmp_path_factory.mktemp("parts")
    entry = written(folder, array, tuple(cuts[: len(shape)]))
    ends = [sorted((a % size, b % size)) for (a, b), size in zip(at, shape, strict=False)]
    span = tuple((a, b + 1) for a, b in ends)
    everything = shards.whole(tuple(shape))
    with pytest.MonkeyPatch.context() as patch, shards.Archives(folder, "arrays.npz") as archives:
        patch.setattr(shards, "_BLOCK", block)
        found = archives.read(entry, [span, everything])
    np.testing.assert_array_equal(found[everything], array)
    np.testing.assert_array_equal(found[span], array[tuple(slice(*each) for each in span)])


def test_arrays_that_numpy_wrote_by_columns_are_read_too(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.savez(tmp_path / "arrays.npz", it=array)
    with shards.Archives(tmp_path, "arrays.npz") as archives:
        found = archives.whole({"file": "it.npy", "shape": [3, 4], "dtype": "float64"})
    np.testing.assert_array_equal(found, array)


def test_a_part_that_is_in_no_file_and_a_bit_that_has_changed_are_told(tmp_path: Path) -> None:
    entry = written(tmp_path, np.arange(64.0), (2,))
    lacking = {**entry, "parts": entry["parts"][:1]}
    with shards.Archives(tmp_path, "arrays.npz") as archives, pytest.raises(ValueError, match="in no file"):
        archives.whole(lacking)
    content = bytearray((tmp_path / "b.npz").read_bytes())
    content[content.index(np.float64(40).tobytes())] ^= 1
    (tmp_path / "b.npz").write_bytes(content)
    with shards.Archives(tmp_path, "arrays.npz") as archives, pytest.raises(zipfile.BadZipFile):
        archives.whole(entry)
