"""One process of two that keep their programs: prints what it computed, how many programs it asked for, and
how many it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np

from trainer.config import MeshConfig
from trainer.models import mesh, programs
from trainer.protocol import Place

ASKED, FOUND = "compile_requests_use_cache", "cache_hits"


def main(index: int, coordinator: str, folder: Path) -> None:
    mesh.start_distributed(Place(index, 2, coordinator))
    programs.keep(folder)
    heard = {ASKED: 0, FOUND: 0}

    def hear(event: str, **_: str | int) -> None:
        name = event.rpartition("/")[2]
        heard[name] = heard.get(name, 0) + 1

    jax.monitoring.register_event_listener(hear)
    devices = mesh.make_mesh(MeshConfig(data=2))
    split, whole = (jax.NamedSharding(devices, jax.P(*axes)) for axes in (("data",), ()))
    rows = np.arange(24, dtype=np.float32).reshape(4, 6)
    x = jax.make_array_from_callback(rows.shape, split, lambda at: rows[at])
    weighted = jax.jit(lambda x: (x.T @ x).sum(axis=0), out_shardings=whole)(x)
    print(json.dumps({"told": np.asarray(weighted).tolist(), "asked": heard[ASKED], "found": heard[FOUND]}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
