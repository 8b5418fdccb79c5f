"""What does a process of a gang see and say of a run that is stopped and goes on? For test_loop_gang.py."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.trainer.mlp import loss_fn, mlp_batches, row, start
from trainer.config import MeshConfig
from trainer.guidance import Hyper, NextBatch
from trainer.models import mesh as meshes
from trainer.protocol import Outcome, Place, Reply, Report, write_resume_note
from trainer.training.loop import Cadence, Host, Job, train
from trainer.training.step import compiled_scan

STEPS = 12
MEMORY = "peak_memory_bytes"  # each process's own
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


def run(
    shape: dict[str, int], workdir: Path, place: Place, verdicts: dict[int, Reply] | None = None
) -> tuple[Outcome, list[Report]]:
    """Verdicts are by the step of the report that this process makes."""
    made, mesh = job(shape)
    reports: list[Report] = []

    def reporter(report: Report) -> Reply:
        reports.append(report)
        return (verdicts or {}).get(report.step, Reply.GO)

    with jax.set_mesh(mesh):
        return train(made, Host(reporter, workdir, place)), reports


def main() -> None:
    """Stages, each of which goes on from the checkpoint of the one before. What a stage holds is by process:
    the verdicts that its reporter gives, and when its machine is taken."""
    asked = json.loads(sys.argv[1])
    place, workdir = Place(**asked["place"]), Path(asked["workdir"])
    meshes.start_distributed(place)
    told, number = [], str(place.process_index)
    for stage in asked["stages"]:
        heard = {int(k): Reply(v) for k, v in stage.get("verdicts", {}).get(number, {}).items()}
        here = replace(place, preempt_at=stage.get("preempt_at", {}).get(number))
        outcome, reports = run(asked["shape"], workdir, here, heard)
        jax.experimental.multihost_utils.sync_global_devices("saved")  # the first process writes
        if place.process_index == 0 and outcome.checkpoint:
            write_resume_note(workdir, outcome.checkpoint)
        jax.experimental.multihost_utils.sync_global_devices("may go on")
        said = [[r.step, r.kind, r.path, {k: v for k, v in r.values.items() if k != MEMORY}] for r in reports]
        one = {"status": outcome.status, "values": outcome.values, "steps": outcome.clocks["steps"]}
        told.append({**one, "reports": said})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
