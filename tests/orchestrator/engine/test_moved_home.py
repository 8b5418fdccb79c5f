"""Can the folder of all runs be moved? What the ledger holds of it are names below its root."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.records import StudyState
from orchestrator.runs.folders import Storage
from orchestrator.service.asking import submit
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
ARMS: list[dict[str, Any]] = [{"name": "random", "method": "random", "trials": 3, "space": [ALPHA]}]


def _ask(place: World, verb: str) -> None:
    submit(place.store, place.store.study("s1"), verb, {}, clock=place.clock)


def test_a_paused_study_goes_on_from_its_checkpoints_where_its_folder_was_moved(tmp_path: Path) -> None:
    place = world(tmp_path / "before")
    created(place, small_study(arms=ARMS))
    engine = place.engine()
    while not all(trial.checkpoint for trial in place.store.trials("s1")) or not place.store.trials("s1"):
        place.step(engine)
    _ask(place, "pause")
    while place.store.live_attempts():
        place.step(engine)
    saved = {trial.trial_id: trial.checkpoint or "" for trial in place.store.trials("s1")}
    assert all(key.startswith(f"s1/{trial}/attempt-1/") for trial, key in saved.items())
    engine.store.release()

    shutil.move(tmp_path / "before", tmp_path / "after")
    place.folder = tmp_path / "after"
    _ask(place, "resume")
    engine = place.engine(who="two")
    engine.tick()
    assert place.drive(engine, "s1").state is StudyState.COMPLETED
    invariants.check(place.store, "s1")
    for trial in place.store.trials("s1"):
        first, second = place.store.attempts(trial.trial_id)
        assert second.resumed_from == saved[trial.trial_id]
        assert not second.damaged
        steps = place.store.study("s1").spec["base"]["steps"]
        assert first.clocks["steps"] + second.clocks["steps"] == steps  # none twice
    assert not (tmp_path / "before").exists()


@pytest.mark.parametrize("kept", ["s3://bucket/run/7", "c3", "/elsewhere/checkpoint-3", "/runs/other"])
def test_what_is_no_path_in_an_attempts_folder_stays_as_it_is(kept: str) -> None:
    storage = Storage("/runs")
    assert storage.path(storage.key(kept)) == storage.key(kept) == kept


def test_a_path_in_a_folder_is_held_by_its_name_below_the_root() -> None:
    path = "/runs/s1/s1.a.0.0/attempt-2/checkpoint-20"
    assert Storage("/runs").key(path) == "s1/s1.a.0.0/attempt-2/checkpoint-20"
    assert Storage("/moved").path(Storage("/runs").key(path)) == path.replace("/runs", "/moved")
    assert Storage("/moved").path(path) == path  # of a ledger of before


def test_a_file_that_a_config_names_is_placed_wherever_the_root_is() -> None:
    named = Storage("/runs").in_config(Path("/runs/s1/schedules/s1.a.0.0.schedule.npz"))
    config = {"schedule": {"name": named, "warmup": 3}, "seed": 1}
    assert Storage("/moved").placed(config) == {
        "schedule": {"name": "/moved/s1/schedules/s1.a.0.0.schedule.npz", "warmup": 3},
        "seed": 1,
    }
