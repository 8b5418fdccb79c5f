"""Which small job do the tests of the loop train, and what did it tell? Alpha and beta1 learn."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.trainer.mlp import equal_bits, loss_fn, mlp_batches, row, start
from trainer.guidance import HeldOut, Hyper
from trainer.protocol import Outcome, Place, Reply, Report
from trainer.training import checkpoint
from trainer.training.loop import Cadence, Host, Job, train
from trainer.training.step import compiled_scan

CADENCE = Cadence(steps=16, eval_every_steps=8, checkpoint_every_steps=4)
FINGERPRINT = "f" * 64
LEARNED = Hyper("alpha", 1.0, learn=True), Hyper("beta1", 0.9, learn=True)
DATA = jax.tree.map(np.asarray, mlp_batches(64))
TRACED: list[bool] = []  # one entry whenever the loss is traced to be trained on
EVALUATE = jax.jit(lambda params: loss_fn(params, row(mlp_batches(1, seed=5), 0), None, False))


class Killed(Exception):
    """Stands for kill -9: nothing after it happens."""


@dataclass
class Data:
    """Batches of a cursor that is a position; remembers what it was asked."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    nan_at: int | None = None

    def chunk(self, cursor: int, steps: int) -> tuple[Any, int, int]:
        self.asked.append((cursor, steps))
        batches = jax.tree.map(lambda x: x[cursor : cursor + steps], DATA)
        if self.nan_at is not None:
            scale = np.ones(steps, np.float32)
            scale[np.arange(cursor, cursor + steps) >= self.nan_at] = np.nan
            batches = {**batches, "scale": scale}
        return batches, cursor + steps, 8 * 2 * steps


@dataclass
class Told:
    """A reporter that answers with these verdicts by number of report, and can be killed at one."""

    verdicts: dict[int, Reply] = field(default_factory=dict)
    killed_at: int | None = None
    reports: list[Report] = field(default_factory=list)

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        if len(self.reports) == self.killed_at:
            raise Killed
        return self.verdicts.get(len(self.reports), Reply.GO)

    def said(self, kind: str | None = None) -> list[tuple[Any, ...]]:
        return [
            (r.step, r.kind, {k: v for k, v in r.values.items() if k != "peak_memory_bytes"}, dict(r.hyper))
            for r in self.reports
            if kind in (None, r.kind)
        ]

    def steps(self, kind: str) -> list[int]:
        return [r.step for r in self.reports if r.kind == kind]


def evaluate(params: Any) -> dict[str, float]:
    return {"dev_loss": float(EVALUATE(params))}


def counted_loss(params: Any, batch: Any, key: Any, train: bool) -> jax.Array:
    TRACED.append(train)
    return loss_fn(params, batch, key, train)


def job(**changes: Any) -> Job:
    estimator, chosen = HeldOut(every_steps=2), {"schedule": "linear", "eta": 0.05, "skip": 0, "steps": 16}
    recipe, state = start("lamb", estimator, *LEARNED, loss=counted_loss, **chosen)
    made = Job(compiled_scan(recipe), state, Data(), 0, evaluate, CADENCE, 3, FINGERPRINT)
    return replace(made, **changes)


def run(
    folder: Path, told: Told | None = None, *, resume: Any = None, place: Place | None = None, **changes: Any
):
    host_changes = {k: changes.pop(k) for k in ("clocks", "unix_s", "save") if k in changes}
    folder.mkdir(exist_ok=True)
    if resume is not None:
        (folder / "resume.json").write_text(json.dumps({"checkpoint": str(resume)}))
    told = Told() if told is None else told
    return train(job(**changes), Host(told, folder, place or Place(), **host_changes)), told


def params_at(path: Any) -> Any:
    snapshot = checkpoint.read(Path(path), job().state.kept(), fingerprint=FINGERPRINT)
    return snapshot.state


def same_end(folder: Path, outcome: Outcome, undisturbed: tuple[Path, Outcome, Told]) -> None:
    """Parameters and all else that is carried, files and values, bit for bit."""
    whole, end, _ = undisturbed
    assert (outcome.status, outcome.values) == ("completed", end.values)
    assert equal_bits(params_at(outcome.checkpoint), params_at(end.checkpoint))
    for file in ("schedule.npz", "trajectory.npz"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()
