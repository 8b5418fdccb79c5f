"""How much memory does a host need to save, and to go on from, a checkpoint of which it holds a part?

Two processes, each with half of a state: the most memory that a save or a restore takes over that of before
there was a state, by the size of the half.  python -m benchmarks.gang_save
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=1")

import jax
import numpy as np

from benchmarks.measuring import Result, result, show
from benchmarks.members import told_by
from trainer.config import MeshConfig
from trainer.models import mesh
from trainer.protocol import Place
from trainer.training import checkpoint

PROCESSES = 2
SHAPES = {"embedding": (16_384, 512), **{f"layer_{i}/query/kernel": (2048, 2048) for i in range(20)}}
FINGERPRINT = "f" * 64


def measure() -> Result:
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        told = told_by("benchmarks.gang_save", PROCESSES, folder)
    return result(
        "gang_save",
        ratios={name: max(each[name] for each in told) for name in ("save_memory", "restore_memory")},
        figures={
            "shards_mb": told[0]["shards_mb"],
            "save_s": max(each["save_s"] for each in told),
            "restore_s": max(each["restore_s"] for each in told),
        },
        wants={"save_memory": "at most 1.2", "restore_memory": "at most 1.2"},
    )


def member(index: int, coordinator: str, folder: Path) -> dict[str, float]:
    """What one process measures of itself."""
    mesh.start_distributed(Place(index, PROCESSES, coordinator))
    devices = mesh.make_mesh(MeshConfig(fsdp=PROCESSES))
    shardings = mesh.state_shardings(
        {n: jax.ShapeDtypeStruct(s, "float32") for n, s in SHAPES.items()}, devices
    )
    target = {
        name: jax.ShapeDtypeStruct(shape, "float32", sharding=shardings[name])
        for name, shape in SHAPES.items()
    }

    def part(shape: tuple[int, ...], at: tuple[slice, ...]) -> np.ndarray:
        sizes = [len(range(*each.indices(size))) for each, size in zip(at, shape, strict=True)]
        return np.random.default_rng(0).random(sizes, dtype=np.float32)

    def state(names: Any) -> dict[str, jax.Array]:
        return {
            name: jax.make_array_from_callback(
                SHAPES[name], shardings[name], lambda at, name=name: part(SHAPES[name], at)
            )
            for name in names
        }

    def save(step: int, arrays: Any) -> Path:
        return checkpoint.save(folder, checkpoint.Snapshot(step, arrays, seed=0, fingerprint=FINGERPRINT))

    save(1, state(["layer_0/query/kernel"]))  # what is loaded at the first one
    before_mb = _memory_mb("VmRSS")
    arrays = state(SHAPES)
    shards_mb = sum(s.data.nbytes for each in arrays.values() for s in each.addressable_shards) / 1e6
    _forget_the_peak()
    begun_s = time.perf_counter()
    path = save(2, arrays)
    save_s, save_mb = time.perf_counter() - begun_s, _memory_mb("VmHWM")
    for each in arrays.values():
        each.delete()
    del arrays
    before_restore_mb = min(before_mb, _memory_mb("VmRSS"))
    _forget_the_peak()
    begun_s = time.perf_counter()
    restored = checkpoint.restore(path, target, fingerprint=FINGERPRINT)
    assert restored is not None
    return {
        "shards_mb": shards_mb,
        "save_memory": (save_mb - before_mb) / shards_mb,
        "restore_memory": (_memory_mb("VmHWM") - before_restore_mb) / shards_mb,
        "save_s": save_s,
        "restore_s": time.perf_counter() - begun_s,
    }


def _memory_mb(name: str) -> float:
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e6


def _forget_the_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        print(json.dumps(member(int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))))
    else:
        show(measure())
