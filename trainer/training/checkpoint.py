"""How is a run put aside, so that it goes on as if nothing had happened?

A checkpoint is a folder `checkpoint-<step>`: `arrays.npz` (one .npy in it per array, never a pickle),
`manifest.json` (shapes, types, what is no array, the hash of the arrays) and, written last, `COMPLETE` with
the hash of the manifest. It is written under another name and renamed once it is whole. Sharded arrays are
gathered by every host (so the state must fit into its memory): a checkpoint is the same whatever the mesh,
and may be restored on another one. Parameters that are one vector in memory stand here as the tree.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from trainer.optim import flat

ARRAYS, MANIFEST, MARKER = "arrays.npz", "manifest.json", "COMPLETE"
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d+)")
_CURVES = "curves"  # arrays whose length no structure tells
_CHOSEN = "chosen"  # the parameters of the best evaluation, by name
_NUMBERS = "state/settings/"  # earlier versions kept a run's numbers, which its config tells
_TOLD = ("step", "seed", "fingerprint", "cursor", "clocks", "values")  # of a snapshot: what is no array
_BY_SIZE = {1: np.uint8, 2: np.uint16}  # how types that .npy does not know are stored: bfloat16, float8

_log = logging.getLogger("trainer")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, in a sentence."""


class Damaged(CheckpointError):
    """It is not what was written."""


class Unwritten(OSError):
    """There was no room; what was there before is as it was."""


@dataclass(frozen=True)
class Snapshot:
    """A run after `step` steps. `state` is a tree of arrays, `curves` arrays by name; the rest is JSON."""

    step: int
    state: Any
    seed: int
    fingerprint: str  # of the config
    cursor: Any = None  # of the data
    clocks: Mapping[str, float] | None = None
    values: Mapping[str, float] | None = None  # the last ones
    curves: Mapping[str, np.ndarray] | None = None
    chosen: Mapping[str, Any] | None = None  # where a run is to end with its best evaluation: which that is
    chosen_params: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Restored:
    snapshot: Snapshot
    path: Path
    note: str = ""  # says that, and why, it is not the one asked for
    damaged: tuple[Path, ...] = ()  # those that were passed over, the one asked for first


Opener = Callable[[Path], IO[bytes]]


def _create(path: Path) -> IO[bytes]:
    return path.open("xb")


# -- saving ----------------------------------------------------------------------------------------------


def save(folder: Path, snapshot: Snapshot, *, kept: int = KEPT, create: Opener = _create) -> Path:
    """Write `folder/checkpoint-<step>` and keep the newest `kept`. All processes of a gang call it; the
    first one writes. Unwritten says that the disk is full."""
    path = folder / f"checkpoint-{snapshot.step}"
    if jax.process_count() > 1:  # before anything can fail in one of them
        snapshot = replace(snapshot, state=jax.tree.map(gathered, snapshot.state))
    if jax.process_index() != 0:
        return path
    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        _write(unfinished, snapshot, create)
        shutil.rmtree(path, ignore_errors=True)  # a damaged one, or one of a run begun anew
        os.rename(unfinished, path)
    except OSError as problem:
        shutil.rmtree(unfinished, ignore_errors=True)
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        last = next(iter(finished(folder)), None)
        left = f"The last good one is {last}." if last else "There is none before it."
        raise Unwritten(
            problem.errno, f"The disk is full: {path} could not be written. {left} Make room there."
        ) from problem
    for old in finished(folder, below=snapshot.step)[kept - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def _write(folder: Path, snapshot: Snapshot, create: Opener) -> None:
    arrays = _named(snapshot.state)
    for group, named in ((_CURVES, snapshot.curves), (_CHOSEN, snapshot.chosen_params)):
        arrays |= {f"{group}/{name}": array for name, array in (named or {}).items()}
    table = {}
    with create(folder / ARRAYS) as file:
        hashing = _Hashing(file)
        with zipfile.ZipFile(hashing, "w") as archive:  # type: ignore[call-overload]
            for number, (name, leaf) in enumerate(arrays.items()):
                array = np.asarray(leaf)
                table[name] = {"file": f"{number}.npy", "shape": array.shape, "dtype": array.dtype.name}
                with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, _storable(array), allow_pickle=False)
        _to_disk(file)
    told = {name: getattr(snapshot, name) for name in _TOLD}
    if snapshot.chosen is not None:
        told["chosen"] = snapshot.chosen
    manifest = json.dumps({**told, "arrays": table, "sha256": hashing.digest()}).encode()
    for name, content in ((MANIFEST, manifest), (MARKER, hashlib.sha256(manifest).hexdigest().encode())):
        with create(folder / name) as file:
            file.write(content)
            _to_disk(file)


class _Hashing:
    """A file that is written from front to end (zipfile asks no more of it) and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._hash.hexdigest()


def _to_disk(file: IO[bytes]) -> None:
    # A machine that is taken away may lose what is only in its page cache.
    file.flush()
    os.fsync(file.fileno())


def gathered(leaf: Any) -> np.ndarray:
    """The whole array, also where other hosts hold parts of it: then all of them ask together."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def _storable(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isbuiltin == 1 else array.view(_BY_SIZE[array.dtype.itemsize])


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(flat.as_trees(tree))
    return {f"state/{jax.tree_util.keystr(path, simple=True, separator='/')}": leaf for path, leaf in leaves}


# -- restoring -------------------------------------------------------------------------------------------


def restore(
    path: Path, target: Any, *, fingerprint: str | None, earlier: Sequence[Path] = ()
) -> Restored | None:
    """The checkpoint at `path`, in the structure of `target` (arrays or their shapes) and sharded like it.
    Without a fingerprint that of any config whose arrays fit.

    Where it is damaged, the newest whole one of its `candidates`, with a note; None with a warning where
    there is none, since a run begun anew gives the same result. One of another config is refused, as is one
    that is not there.
    """
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint {path}. Name one that is there, or start anew.")
    note, damaged = "", list[Path]()
    for each in candidates(path, earlier):
        try:
            snapshot = read(each, target, fingerprint=fingerprint)
        except Damaged as problem:
            note += f"{problem} "
            damaged.append(each)
            continue
        if note:
            note += f"The run goes on from {each.name if each.parent == path.parent else each}."
            _log.warning(note)
        return Restored(snapshot, each, note, tuple(damaged))
    _log.warning("%sThere is none before it; the run starts anew.", note)
    return None


def candidates(path: Path, earlier: Sequence[Path] = ()) -> list[Path]:
    """The checkpoint at `path`, and those to be taken where it is damaged: the older ones of its folder, and
    those of the `earlier` folders that are not newer. The newest first; of one step, that of the folder that
    is named first."""
    named = _NAME.fullmatch(path.name)
    if named is None:
        return [path]
    step = int(named[1])
    folders = [folder for folder in earlier if folder != path.parent]
    older = finished(path.parent, below=step) + [p for f in folders for p in finished(f, below=step + 1)]
    return [path, *sorted(older, key=_step, reverse=True)]


def read(path: Path, target: Any, *, fingerprint: str | None) -> Snapshot:
    """This checkpoint and no other. Damaged or CheckpointError say why not."""
    manifest = _manifest(path)
    if fingerprint not in (None, manifest["fingerprint"]):
        raise CheckpointError(
            f"{path} is of another config (fingerprint {manifest['fingerprint'][:12]}, this run's is "
            f"{str(fingerprint)[:12]}). Go on with the config that it was made with, or start anew."
        )
    with (path / ARRAYS).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"]:
            raise Damaged(f"{path} is damaged: its {ARRAYS} is not what was written.")
    table = manifest.pop("arrays")
    shapes = flat.as_trees(target)
    wanted = _named(shapes)
    held = {name for name in table if name.startswith("state/") and not name.startswith(_NUMBERS)}
    wrong = sorted(held ^ wanted.keys()) or [n for n in wanted if not _fits(table[n], wanted[n])]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit this program: {', '.join(wrong[:3])} ({len(wrong)} of {len(wanted)} arrays "
            f"differ by name, shape or type). Go on with the version that wrote it, or start anew."
        )
    with np.load(path / ARRAYS, allow_pickle=False) as archive:

        def array(name: str) -> np.ndarray:
            stored = archive[table[name]["file"].removesuffix(".npy")]
            return stored.view(jnp.dtype(table[name]["dtype"]))

        leaves = [placed(array(name), leaf) for name, leaf in wanted.items()]

        def named(group: str) -> dict[str, np.ndarray]:
            return {n.removeprefix(f"{group}/"): array(n) for n in table if n.startswith(f"{group}/")}

        curves, chosen_params = named(_CURVES), named(_CHOSEN) or None
    state = flat.like(target, jax.tree.unflatten(jax.tree.structure(shapes), leaves))
    told = {name: manifest[name] for name in _TOLD}
    chosen = manifest.get("chosen")  # earlier versions chose nothing
    return Snapshot(state=state, curves=curves, chosen=chosen, chosen_params=chosen_params, **told)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        text, marker = (path / MANIFEST).read_bytes(), (path / MARKER).read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        raise Damaged(f"{path} is damaged: it was not finished.") from None
    if hashlib.sha256(text).hexdigest() != marker or not (path / ARRAYS).is_file():
        raise Damaged(f"{path} is damaged: its {MANIFEST} or {ARRAYS} is not what was written.")
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def finished(folder: Path, *, below: float = float("inf")) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    return [path for path in sorted(found, key=_step, reverse=True) if _step(path) < below]


def _step(path: Path) -> int:
    """Of a checkpoint, by its name."""
    return int(path.name.rpartition("-")[2])


def _fits(written: Mapping[str, Any], leaf: Any) -> bool:
    return tuple(written["shape"]) == np.shape(leaf) and written["dtype"] == jnp.dtype(leaf.dtype).name


def placed(array: np.ndarray, leaf: Any) -> jax.Array:
    """An array of its own where the target's stands. Left uncommitted where that is: else a step that is
    compiled already would be compiled once more."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None or (isinstance(leaf, jax.Array) and not leaf.committed):
        return jnp.array(array, copy=True)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
