"""What does one process of a gang see of its checkpoints? Run by test_gang_checkpoints.py; prints JSON,
a line for each act.

It is told what to do one thing after the other: see ACTS.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from trainer.config import MeshConfig
from trainer.models import meeting, mesh
from trainer.protocol import PeerLost, Place
from trainer.training import checkpoint

FINGERPRINT = "f" * 64
TOLD = "told: "  # before each line of JSON: gloo prints too


def state(step: int) -> dict[str, Any]:
    """The same numbers in every process: large arrays that are split, small ones that are whole."""
    rng = np.random.default_rng(step)
    return {
        "embedding": rng.normal(size=(12, 8)).astype(np.float32),
        "layer": {
            "query": {"kernel": rng.normal(size=(8, 16)).astype(jax.numpy.bfloat16)},
            "norm": {"scale": rng.normal(size=8).astype(np.float32)},
        },
        "count": np.array(step, np.int32),
    }


def snapshot(step: int, arrays: Any) -> checkpoint.Snapshot:
    curves = {"loss": np.arange(step, dtype=np.float32)}
    return checkpoint.Snapshot(step, arrays, seed=7, fingerprint=FINGERPRINT, cursor=step, curves=curves)


def is_that_of(step: int, arrays: Any) -> bool:
    """Bit for bit, in what this process holds."""
    same = [
        np.asarray(shard.data).tobytes() == whole[shard.index].tobytes()
        for array, whole in zip(*map(jax.tree.leaves, (arrays, state(step))), strict=True)
        for shard in array.addressable_shards
    ]
    return all(same)


def placed(step: int, shape: dict[str, int]) -> Any:
    return mesh.place_state(state(step), mesh.make_mesh(MeshConfig(**shape)))


def save(folder: Path, *, step: int, shape: dict[str, int]) -> str:
    return checkpoint.save(folder, snapshot(step, placed(step, shape))).name


def full(folder: Path, *, step: int, shape: dict[str, int], on: int, file: str) -> str:
    """A save where one member has no room for a file."""

    def create(path: Path) -> IO[bytes]:
        if path.name == file and jax.process_index() == on:
            raise OSError(errno.ENOSPC, "no room")
        return path.open("xb")

    try:
        checkpoint.save(folder, snapshot(step, placed(step, shape)), create=create)
    except checkpoint.Unwritten as problem:
        return str(problem.strerror)
    return "saved"


def restore(folder: Path, *, name: str, shape: dict[str, int]) -> dict[str, Any] | str:
    target = placed(0, shape)
    try:
        found = checkpoint.restore(folder / name, target, fingerprint=FINGERPRINT)
    except checkpoint.CheckpointError as problem:
        return str(problem)
    if found is None:
        return "none"
    loss = (found.snapshot.curves or {})["loss"]
    as_asked = jax.tree.map(lambda a, b: a.sharding == b.sharding, found.snapshot.state, target)
    return {
        "path": found.path.name,
        "same": is_that_of(found.snapshot.step, found.snapshot.state),
        "sharded": all(jax.tree.leaves(as_asked)),
        "told": [found.snapshot.cursor, len(loss)],
        "damaged": [path.name for path in found.damaged],
        "note": found.note,
    }


def late(folder: Path) -> str:
    """The second process comes once the first has given up."""
    client: Any = distributed.global_state.client
    if jax.process_index() == 1:
        client.blocking_key_value_get("given up", 60_000)
    try:
        meeting.meet("to be late", within_s=0.2)
    except PeerLost as problem:
        return str(problem)
    finally:
        client.key_value_set("given up", "yes", allow_overwrite=True)
    return "all came"


def gone(folder: Path) -> str:
    """The second process ends in the middle of what all compute together."""
    try:
        with meeting.telling_who_is_gone(Place(jax.process_index(), jax.process_count())):
            multihost_utils.broadcast_one_to_all(np.ones(4))  # they are connected
            if jax.process_index() == 1:
                os._exit(9)
            multihost_utils.broadcast_one_to_all(np.ones(4))
    except PeerLost as problem:
        return str(problem)
    return "all came"


def fail(folder: Path) -> str:
    """The second process finds a fault of its own in what each does for itself."""

    def act() -> None:
        if jax.process_index() == 1:
            raise TypeError("mine")

    try:
        meeting.together("to fail", act, alike=(OSError,))
    except (TypeError, PeerLost) as problem:
        return f"{type(problem).__name__}: {problem}"
    return "all well"


def join(folder: Path, *, index: int) -> str:
    """A process that has joined is asked to be another one."""
    try:
        mesh.start_distributed(Place(index, 7, "elsewhere:1"))
    except ValueError as problem:
        return str(problem)
    return "joined"


ACTS: dict[str, Callable[..., Any]] = {
    "save": save,
    "full": full,
    "restore": restore,
    "late": late,
    "fail": fail,
    "join": join,
    "gone": gone,
}


def main() -> None:
    asked = json.loads(sys.argv[1])
    place = Place(**asked["place"])
    for _ in range(2):  # a warm process joins once
        mesh.start_distributed(place, within_s=asked.get("within_s", 120))
    for act, how in asked["acts"]:
        print(TOLD + json.dumps(ACTS[act](Path(asked["folder"]), **how)), flush=True)
    if act == "gone":
        os._exit(0)  # JAX would wait for it


if __name__ == "__main__":
    main()
