"""Can a run go on from another's checkpoint with numbers of its own? What a population and a rollout need."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.trainer.mlp import equal_bits, start
from tests.trainer.training.loop_job import CADENCE, DATA, Data, Told, evaluate
from trainer.guidance import HeldOut, Hyper
from trainer.protocol import Outcome, Reply
from trainer.training import checkpoint
from trainer.training.checkpoint import CheckpointError
from trainer.training.loop import Host, Job, train
from trainer.training.step import compiled_scan


def job(*, alpha: float = 1.0, learning_rate: float = 0.05, fingerprint: str = "a" * 64) -> Job:
    """Alpha is constant; beta1 learns."""
    hypers = Hyper("alpha", alpha), Hyper("beta1", 0.9, learn=True)
    recipe, state = start(
        "adamw", HeldOut(), *hypers, learning_rate=learning_rate, eta=0.05, skip=0, steps=16
    )
    return Job(compiled_scan(recipe), state, Data(), 0, evaluate, CADENCE, 3, fingerprint)


def go(folder: Path, made: Job, told: Told | None = None, **note: Any) -> tuple[Outcome, Told]:
    folder.mkdir()
    if note:
        (folder / "resume.json").write_text(json.dumps(note))
    told = told or Told()
    return train(made, Host(told, folder)), told


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """After 8 of 16 steps."""
    folder = tmp_path_factory.mktemp("donor") / "run"
    outcome, told = go(folder, job(), Told({9: Reply.SAVE_AND_STOP}))
    assert (outcome.status, told.reports[-1].step) == ("stopped", 8)
    assert outcome.checkpoint is not None
    return outcome.checkpoint


def test_named_hyperparameters_start_anew_and_all_else_goes_on(donor: str, tmp_path: Path) -> None:
    """Against the steps themselves, taken from the donor's state with the numbers exchanged by hand."""
    other = job(alpha=0.5, learning_rate=0.02, fingerprint="b" * 64)
    restored = checkpoint.restore(Path(donor), job().state.kept(), fingerprint=None)
    assert restored is not None
    taken = restored.snapshot.state
    begun = job(alpha=0.5, learning_rate=0.02).state
    by_hand = taken._replace(raw={**taken.raw, "alpha": begun.raw["alpha"]}, settings=begun.settings)
    expected, metrics = other.scan(by_hand, jax.tree.map(lambda x: x[8:16], DATA), jax.random.key(3))
    outcome, told = go(tmp_path / "run", other, checkpoint=donor, fork=["alpha"])
    assert outcome.status == "completed"
    assert outcome.checkpoint is not None
    end = checkpoint.read(Path(outcome.checkpoint), job().state.kept(), fingerprint="b" * 64)
    assert equal_bits(end.state.params, expected.params)
    assert equal_bits(end.state.raw, expected.raw)
    assert [h["beta1"] for *_, h in told.said("train")] == np.asarray(metrics["hyper"]["beta1"]).tolist()
    assert outcome.clocks["steps"] == 8


def test_its_schedule_tells_of_the_donors_steps_and_of_its_own(donor: str, tmp_path: Path) -> None:
    go(tmp_path / "run", job(alpha=0.5), checkpoint=donor, fork=["alpha"])
    with np.load(tmp_path / "run" / "schedule.npz") as curves:
        np.testing.assert_allclose(curves["alpha"], [1.0] * 8 + [0.5] * 8, rtol=1e-6)
        assert len(set(curves["beta1"].tolist())) > 12  # learned on, from where the donor had come


def test_a_fork_that_changes_nothing_is_the_run_itself(donor: str, tmp_path: Path) -> None:
    plain, _ = go(tmp_path / "plain", job(), checkpoint=donor)
    forked, _ = go(tmp_path / "forked", job(), checkpoint=donor, fork=["alpha", "no such name"])
    assert forked.values == plain.values


def test_a_checkpoint_of_a_version_that_kept_the_numbers_too_is_gone_on_from(
    donor: str, tmp_path: Path
) -> None:
    found = checkpoint.read(Path(donor), job().state.kept(), fingerprint=None)
    numbers = {"learning_rate": np.float32(9), "schedule": {"steps": np.float32(7)}}
    old = checkpoint.save(tmp_path / "old", replace(found, state=found.state._replace(settings=numbers)))
    whole, _ = go(tmp_path / "whole", job(), checkpoint=donor)
    resumed, _ = go(tmp_path / "resumed", job(), checkpoint=str(old))
    assert resumed.values == whole.values


def test_another_config_without_a_fork_is_refused(donor: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is of another config"):
        go(tmp_path / "run", job(fingerprint="b" * 64), checkpoint=donor)
