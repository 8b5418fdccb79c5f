"""How do arrays stand in files whose parts several processes hold?

Each part of an array is a member of the .npz of one process, in the manifest with its `span`: where it begins
and ends in each dimension. Of a part that several devices hold one is written. Parts go to the file and come
from it by blocks, one after the other, so that nobody needs room for more than it keeps.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Span = tuple[tuple[int, int], ...]
_BLOCK = 1 << 22  # bytes, about
_BY_SIZE = {1: np.uint8, 2: np.uint16}  # how types that .npy does not know are stored: bfloat16, float8


@dataclass(frozen=True)
class Part:
    """Of an array: `data` is there in the process that writes it."""

    process: int
    span: Span
    data: Any


@dataclass(frozen=True)
class Held:
    """What this process holds of an array, copied to the host."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sharding: jax.sharding.Sharding
    at: Mapping[Span, np.ndarray]

    def placed(self) -> jax.Array:
        return jax.make_array_from_callback(
            self.shape, self.sharding, lambda index: self.at[span_of(index, self.shape)]
        )


def held(leaf: Any) -> np.ndarray | Held:
    """A copy of an array on the host, or of what this process holds of it."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.array(leaf)
    found = {span_of(shard.index, leaf.shape): shard.data for shard in leaf.addressable_shards}
    at = {span: np.array(_unremembered(data)) for span, data in found.items()}
    return Held(leaf.shape, np.dtype(leaf.dtype), leaf.sharding, at)


def parts(leaf: Any) -> list[Part]:
    """Those of an array, each once, in an order that all processes share. What each of them has whole for
    itself is the first one's to write."""
    if isinstance(leaf, Held):
        found: Mapping[Span, Any] = leaf.at
    elif isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        found = {span_of(shard.index, leaf.shape): shard.data for shard in leaf.addressable_shards}
    else:
        return [Part(0, whole(np.shape(leaf)), leaf)]
    holders: dict[Span, list[int]] = {}
    indices = leaf.sharding.devices_indices_map(leaf.shape)
    for device in sorted(indices, key=lambda device: device.id):
        holders.setdefault(span_of(indices[device], leaf.shape), []).append(device.process_index)
    # In turn, where several hold the same ones.
    owners = [(span, held[number % len(held)]) for number, (span, held) in enumerate(holders.items())]
    return [Part(process, span, found.get(span)) for span, process in owners]


def whole(shape: tuple[int, ...]) -> Span:
    return tuple((0, size) for size in shape)


def span_of(index: Any, shape: tuple[int, ...]) -> Span:
    return tuple(each.indices(size)[:2] for each, size in zip(index, shape, strict=True))


# -- writing ---------------------------------------------------------------------------------------------


def write(archive: zipfile.ZipFile, member: str, data: Any) -> None:
    """One array, as numpy writes it, without a copy of it."""
    array = np.asarray(_unremembered(data), order="C")
    if array.dtype.hasobject:
        raise ValueError("Object arrays cannot be saved: they would be pickles.")
    stored = array.view(_stored(array.dtype))
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(stored))
        content = stored.reshape(-1).view(np.uint8).data
        for begin in range(0, len(content), _BLOCK):
            file.write(content[begin : begin + _BLOCK])


def _unremembered(data: Any) -> Any:
    """JAX keeps what numpy has asked of an array as long as the array. So another one is asked, with the same
    buffer."""
    if not isinstance(data, jax.Array) or len(data.sharding.device_set) > 1:
        return data
    return jax.make_array_from_single_device_arrays(data.shape, data.sharding, [data])


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.isbuiltin == 1 else np.dtype(_BY_SIZE[dtype.itemsize])


# -- reading ---------------------------------------------------------------------------------------------


class Archives:
    """The files of a checkpoint, each opened when it is first asked."""

    def __init__(self, folder: Path, alone: str) -> None:
        self._folder, self._alone = folder, alone  # the file of those that one process has written
        self._open: dict[str, zipfile.ZipFile] = {}

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._open.values():
            archive.close()

    def whole(self, entry: Mapping[str, Any]) -> np.ndarray:
        span = whole(tuple(entry["shape"]))
        return self.read(entry, [span])[span]

    def read(self, entry: Mapping[str, Any], wanted: Iterable[Span]) -> dict[Span, np.ndarray]:
        """These parts of an array of the manifest, whatever the parts in which it was written."""
        dtype = jnp.dtype(entry["dtype"])
        found = {span: np.empty(_shape(span), _stored(dtype)) for span in wanted}
        lacking = {span: array.size for span, array in found.items()}
        for file, member, span in self._members(entry):
            asking = [each for each in found if _common(each, span) is not None]
            for block, array in self._blocks(file, member, span) if asking else ():
                for each in asking:
                    common = _common(each, block)
                    if common is not None:
                        found[each][_within(common, each)] = array[_within(common, block)]
                        lacking[each] -= math.prod(_shape(common))
        if any(lacking.values()):
            raise ValueError("parts of an array are in no file")
        return {span: array.view(dtype) for span, array in found.items()}

    def _members(self, entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Span]]:
        if "parts" not in entry:
            yield self._alone, entry["file"], whole(tuple(entry["shape"]))
        for part in entry.get("parts", ()):
            yield part["file"], part["member"], tuple((begin, end) for begin, end in part["span"])

    def _blocks(self, file: str, member: str, span: Span) -> Iterator[tuple[Span, np.ndarray]]:
        """To the end, where the archive's own checksum is compared."""
        if file not in self._open:
            if not zipfile.is_zipfile(self._folder / file):
                raise ValueError(f"{file} is no .npz")
            self._open[file] = zipfile.ZipFile(self._folder / file)
        with self._open[file].open(member) as content:
            shape, by_columns, dtype = _header(content)
            if dtype.hasobject or shape != _shape(span):
                raise ValueError(f"{member} is not the array that was written")
            if by_columns or not shape or not math.prod(shape):
                array = np.frombuffer(content.read(), dtype).reshape(shape, order="F" if by_columns else "C")
                yield span, array
                return
            row = dtype.itemsize * math.prod(shape[1:])
            rows, (first, end) = max(1, _BLOCK // row), span[0]
            for begin in range(first, end, rows):
                until = min(begin + rows, end)
                array = np.frombuffer(content.read((until - begin) * row), dtype)
                yield ((begin, until), *span[1:]), array.reshape(until - begin, *shape[1:])


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _shape(span: Span) -> tuple[int, ...]:
    return tuple(end - begin for begin, end in span)


def _common(one: Span, other: Span) -> Span | None:
    """Where two parts overlap; None where they do not."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return both if all(begin < end for begin, end in both) else None


def _within(inner: Span, outer: Span) -> tuple[slice, ...]:
    """Where a part stands in another one's array."""
    return tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(inner, outer, strict=True))
