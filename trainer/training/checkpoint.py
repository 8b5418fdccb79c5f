"""How is a run put aside, so that it goes on as if nothing had happened?

A checkpoint is a folder `checkpoint-<step>`: `arrays.npz` (one .npy in it per array, never a pickle),
`manifest.json` (shapes, types, what is no array, the hash of the arrays) and, written last, `COMPLETE` with
the hash of the manifest. It is written under another name and renamed once it is whole. Each process of a
gang writes the parts of arrays that it holds, `arrays-<process>.npz`, and no part goes to another process;
the first one writes the rest once all have done so. A checkpoint may be restored on another mesh, and by
more or fewer processes: each reads the parts that it is to hold. Parameters that are one vector in memory
stand here as the tree.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from trainer.models import meeting
from trainer.optim import flat
from trainer.protocol import PeerLost
from trainer.training import shards

T = TypeVar("T")

ARRAYS, MANIFEST, MARKER = "arrays.npz", "manifest.json", "COMPLETE"
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d+)")
_CURVES = "curves"  # arrays whose length no structure tells
_PARAMS = "state/params"
_CHOSEN = "chosen"  # the parameters of the best evaluation, by name
_NUMBERS = "state/settings/"  # earlier versions kept a run's numbers, which its config tells
_TOLD = ("step", "seed", "fingerprint", "cursor", "clocks", "values")  # of a snapshot: what is no array

_log = logging.getLogger("trainer")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, in a sentence."""


class Damaged(CheckpointError):
    """It is not what was written."""


class Unwritten(OSError):
    """There was no room; what was there before is as it was."""


_UNUSABLE = (Damaged, CheckpointError, OSError)  # and why, wherever it is seen


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
    chosen_params: Mapping[str, np.ndarray | shards.Held] | None = None


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
    """Write `folder/checkpoint-<step>` and keep the newest `kept`. All processes of a gang call it, and have
    it or an exception together. Unwritten says that the disk is full."""
    path = folder / f"checkpoint-{snapshot.step}"
    unfinished = path.with_name(f"{path.name}.unfinished")
    first = jax.process_index() == 0
    arrays = _arrays(snapshot)
    hashes: list[str] = []

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)

    def finish() -> None:
        _write_manifest(unfinished, snapshot, arrays, hashes, create)
        shutil.rmtree(path, ignore_errors=True)  # a damaged one, or one of a run begun anew
        os.rename(unfinished, path)

    def together(name: str, act: Callable[[], Any]) -> Any:
        return meeting.together(name, lambda: _with_room(path, act), alike=(Unwritten,))

    try:
        together("to begin a checkpoint", begin if first else _nothing)
        digest = together("to write a checkpoint", lambda: _write_arrays(unfinished, arrays, create))
        hashes += meeting.exchange("the hashes of a checkpoint", digest)
        together("to finish a checkpoint", finish if first else _nothing)
    except (OSError, PeerLost):
        if first:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for old in finished(folder, below=snapshot.step)[kept - 1 :] if first else ():
        shutil.rmtree(old, ignore_errors=True)
    return path


def _nothing() -> None:
    """While the first process writes."""


def _with_room(path: Path, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        last = next(iter(finished(path.parent)), None)
        left = f"The last good one is {last}." if last else "There is none before it."
        where = f" by {meeting.who(jax.process_index())}" if jax.process_count() > 1 else ""
        raise Unwritten(
            problem.errno, f"The disk is full: {path} could not be written{where}. {left} Make room there."
        ) from problem


def _arrays(snapshot: Snapshot) -> dict[str, Any]:
    """By name. All processes hold those of the state, in one order."""
    arrays: dict[str, Any] = _named(snapshot.state)
    for group, named in ((_CURVES, snapshot.curves), (_CHOSEN, snapshot.chosen_params)):
        arrays |= {f"{group}/{name}": array for name, array in (named or {}).items()}
    return {name: leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for name, leaf in arrays.items()}


def _file(process: int) -> str:
    return f"arrays-{process}.npz" if jax.process_count() > 1 else ARRAYS


def _members(arrays: Mapping[str, Any]) -> Iterator[tuple[str, str, shards.Part]]:
    """The name of an array, and a part of it with the member that it is to be, in all files."""
    for number, (name, leaf) in enumerate(arrays.items()):
        for place, part in enumerate(shards.parts(leaf)):
            yield name, f"{number}-{place}.npy" if place else f"{number}.npy", part


def _write_arrays(folder: Path, arrays: Mapping[str, Any], create: Opener) -> str:
    """What this process writes, and the hash of it."""
    with create(folder / _file(jax.process_index())) as file:
        hashing = _Hashing(file)
        with zipfile.ZipFile(hashing, "w") as archive:  # type: ignore[call-overload]
            for _, member, part in _members(arrays):
                if part.process == jax.process_index():
                    shards.write(archive, member, part.data)
        _to_disk(file)
    return hashing.digest()


def _write_manifest(
    folder: Path, snapshot: Snapshot, arrays: Mapping[str, Any], hashes: Sequence[str], create: Opener
) -> None:
    table: dict[str, dict[str, Any]] = {}
    for name, member, part in _members(arrays):
        leaf = arrays[name]
        entry = table.setdefault(name, {"shape": leaf.shape, "dtype": np.dtype(leaf.dtype).name})
        if len(hashes) == 1:
            entry["file"] = member
        else:
            where = {"file": _file(part.process), "member": member, "span": part.span}
            entry.setdefault("parts", []).append(where)
    told: dict[str, Any] = {name: getattr(snapshot, name) for name in _TOLD}
    if snapshot.chosen is not None:
        told["chosen"] = snapshot.chosen
    if len(hashes) == 1:
        told["sha256"] = hashes[0]
    else:
        told["files"] = {_file(process): digest for process, digest in enumerate(hashes)}
    manifest = json.dumps({**told, "arrays": table}).encode()
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

    def listed() -> list[str]:
        if not path.is_dir():
            where = f" on {socket.gethostname()}" if jax.process_count() > 1 else ""
            raise CheckpointError(
                f"There is no checkpoint {path}{where}. Name one that is there, or start anew."
            )
        return [str(each) for each in candidates(path, earlier)]

    found = meeting.first(
        "the checkpoints", meeting.together("to find a checkpoint", listed, alike=_UNUSABLE)
    )
    note, damaged = "", list[Path]()
    for each in map(Path, found):
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
    """This checkpoint and no other. Damaged or CheckpointError say why not, in all processes of a gang."""

    def checked() -> dict[str, Any]:
        manifest = _manifest(path)
        _refuse_another(path, manifest, target, fingerprint)
        return manifest

    manifest = meeting.together("to check a checkpoint", checked, alike=_UNUSABLE)
    return meeting.together("to read a checkpoint", lambda: _read(path, manifest, target), alike=_UNUSABLE)


def _read(path: Path, manifest: Mapping[str, Any], target: Any) -> Snapshot:
    table, shapes = manifest["arrays"], flat.as_trees(target)
    wanted = _named(shapes)
    try:
        with shards.Archives(path, ARRAYS) as archives:
            leaves = [_placed_parts(archives, table[name], leaf) for name, leaf in wanted.items()]

            def of(group: str) -> dict[str, Any]:
                names = [name for name in table if name.startswith(f"{group}/")]
                return {name.removeprefix(f"{group}/"): table[name] for name in names}

            curves = {name: archives.whole(entry) for name, entry in of(_CURVES).items()}
            chosen_params = {
                name: _held(archives, entry, wanted.get(f"{_PARAMS}/{name}"))
                for name, entry in of(_CHOSEN).items()
            }
    except zipfile.BadZipFile as problem:  # in a file that another process has found whole
        raise Damaged(f"{path} is damaged: {problem}.") from problem
    except (ValueError, KeyError, EOFError) as problem:
        raise CheckpointError(
            f"{path} does not hold what its {MANIFEST} says: {problem}. Take another one, or start anew."
        ) from problem
    state = flat.like(target, jax.tree.unflatten(jax.tree.structure(shapes), leaves))
    told = {name: manifest[name] for name in _TOLD}
    chosen = manifest.get("chosen")  # earlier versions chose nothing
    return Snapshot(state=state, curves=curves, chosen=chosen, chosen_params=chosen_params or None, **told)


def _manifest(path: Path) -> dict[str, Any]:
    """Of a checkpoint that is what was written: the processes of a gang share its files out among them."""
    try:
        text, marker = (path / MANIFEST).read_bytes(), (path / MARKER).read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        raise Damaged(f"{path} is damaged: it was not finished.") from None
    if hashlib.sha256(text).hexdigest() != marker:
        raise Damaged(f"{path} is damaged: its {MANIFEST} is not what was written.")
    manifest: dict[str, Any] = json.loads(text)
    files = manifest.get("files") or {ARRAYS: manifest["sha256"]}
    for name in list(files)[jax.process_index() :: jax.process_count()]:
        try:
            with (path / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise Damaged(f"{path} is damaged: its {name} is not there.") from None
        if digest != files[name]:
            raise Damaged(f"{path} is damaged: its {name} is not what was written.")
    return manifest


def _refuse_another(path: Path, manifest: Mapping[str, Any], target: Any, fingerprint: str | None) -> None:
    if fingerprint not in (None, manifest["fingerprint"]):
        raise CheckpointError(
            f"{path} is of another config (fingerprint {manifest['fingerprint'][:12]}, this run's is "
            f"{str(fingerprint)[:12]}). Go on with the config that it was made with, or start anew."
        )
    table, wanted = manifest["arrays"], _named(flat.as_trees(target))
    held = {name for name in table if name.startswith("state/") and not name.startswith(_NUMBERS)}
    wrong = sorted(held ^ wanted.keys()) or [n for n in wanted if not _fits(table[n], wanted[n])]
    if wrong:
        raise CheckpointError(
            f"{path} does not fit this program: {', '.join(wrong[:3])} ({len(wrong)} of {len(wanted)} arrays "
            f"differ by name, shape or type). Go on with the version that wrote it, or start anew."
        )


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
    sharding = _sharding(leaf)
    if sharding is None:
        return jnp.array(array, copy=True)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _placed_parts(archives: shards.Archives, entry: Mapping[str, Any], leaf: Any) -> jax.Array:
    """As `placed`, of an array in a checkpoint: only what this process is to hold is read."""
    found = _held(archives, entry, leaf)
    return found.placed() if isinstance(found, shards.Held) else placed(found, leaf)


def _held(archives: shards.Archives, entry: Mapping[str, Any], leaf: Any) -> np.ndarray | shards.Held:
    """An array in a checkpoint: of one that stands like `leaf`, what this process holds of it."""
    sharding, shape = _sharding(leaf), tuple(entry["shape"])
    if sharding is None or np.shape(leaf) != shape:
        return archives.whole(entry)
    spans = {shards.span_of(i, shape) for i in sharding.addressable_devices_indices_map(shape).values()}
    return shards.Held(shape, jnp.dtype(entry["dtype"]), sharding, archives.read(entry, spans))


def _sharding(leaf: Any) -> Any:
    sharding = getattr(leaf, "sharding", None)
    return None if isinstance(leaf, jax.Array) and not leaf.committed else sharding
