"""What does one process of a gang see of a run that is stopped and goes on? Run by test_loop_gang.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.trainer.mlp import loss_fn, mlp_batches, row, start
from trainer.config import MeshConfig
from trainer.guidance import Hyper, NextBatch
from trainer.models import mesh as meshes
from trainer.protocol import Outcome, Place, Reply, Report
from trainer.training.loop import Cadence, Host, Job, train
from trainer.training.step import compiled_scan

STEPS = 12
CHOSEN_LOSS = 9.0  # above all: the first evaluation is chosen, before the run is stopped


class Data:
    def chunk(self, cursor: int, steps: int) -> tuple[Any, int, int]:
        whole = jax.tree.map(np.asarray, mlp_batches(STEPS))
        return jax.tree.map(lambda x: x[cursor : cursor + steps], whole), cursor + steps, 16 * steps


def job(shape: dict[str, int]) -> tuple[Job, jax.sharding.Mesh]:
    mesh = meshes.make_mesh(MeshConfig(**shape))
    learned = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
    recipe, state = start("sgd", NextBatch(), *learned, eta=0.05)
    batch = meshes.place_batch(row(mlp_batches(1, seed=5), 0), mesh)
    dev_loss = jax.jit(lambda params, batch: loss_fn(params, batch, None, False))

    def evaluate(params: Any) -> dict[str, float]:
        loss = float(dev_loss(params, batch))
        return {"dev_loss": loss, "choosing": -abs(loss - CHOSEN_LOSS)}

    made = Job(
        scan=compiled_scan(recipe),
        state=meshes.place_state(state, mesh),
        batches=Data(),
        cursor=0,
        evaluate=evaluate,
        cadence=Cadence(STEPS, eval_every_steps=4, checkpoint_every_steps=4),
        seed=3,
        fingerprint="f" * 64,
        score=lambda params: {"again": float(dev_loss(params, batch))},
        choose_by="choosing",
        put=lambda batches: meshes.place_batch(batches, mesh, leading_dims=1),
    )
    return made, mesh


def run(shape: dict[str, int], workdir: Path, place: Place, *, stop_at: int | None = None) -> Outcome:
    """The first process alone is told to save and stop, and when the machine is taken."""
    made, mesh = job(shape)

    def reporter(report: Report) -> Reply:
        assert place.process_index == 0, "only the first process reports"
        return Reply.SAVE_AND_STOP if report.step == stop_at else Reply.GO

    with jax.set_mesh(mesh):
        return train(made, Host(reporter, workdir, place))


def main() -> None:
    asked = json.loads(sys.argv[1])
    place, workdir = Place(**asked["place"]), Path(asked["workdir"])
    meshes.start_distributed(place)
    first = run(asked["shape"], workdir, place, stop_at=2)
    jax.experimental.multihost_utils.sync_global_devices("saved")  # the first process writes
    if place.process_index == 0:
        (workdir / "resume.json").write_text(json.dumps({"checkpoint": first.checkpoint}))
    jax.experimental.multihost_utils.sync_global_devices("resumed")
    second = run(asked["shape"], workdir, place)
    told = [{"status": o.status, "values": o.values, "steps": o.clocks["steps"]} for o in (first, second)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
