"""What does a sharded search find? Run by test_decode.py in a process with eight devices; prints JSON."""

from __future__ import annotations

import json

import numpy as np

from tests.trainer.scoring.test_decode import PREFIX, T5, lively_params
from trainer.config import MeshConfig
from trainer.models.mesh import make_mesh, place_state
from trainer.scoring.decode import translate_all


def main() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    rng = np.random.default_rng(5)
    sources = [rng.integers(2, 6, n).tolist() for n in (4, 1, 7, 3, 5, 2, 6)]
    # Three rows become four, so that `data` and `fsdp` divide them.
    translations = [
        translate_all(
            each, place_state(lively_params(each), mesh), sources, rows=3, beam=2, length=5, mesh=mesh
        )
        for each in (T5, PREFIX)
    ]
    print(json.dumps({"sources": sources, "translations": translations}))


if __name__ == "__main__":
    main()
