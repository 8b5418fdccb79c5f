"""Two runs of a study, disturbed or not, on one worker or five, propose exactly the same points."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.ledger.records import StudyState
from orchestrator.study.spec import StudySpec
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
BETA1 = {"path": "optimizer.beta1", "low": 0.05, "high": 0.99, "scale": "logit"}


def _searching() -> StudySpec:
    arms = [
        {"name": "gp", "method": "gp", "trials": 7, "startup_trials": 3, "space": [ALPHA, BETA1]},
        {"name": "gp-wide", "method": "gp", "trials": 7, "startup_trials": 3, "window": 3, "space": [ALPHA]},
        {"name": "tpe", "method": "tpe", "trials": 7, "startup_trials": 3, "window": 2, "space": [ALPHA]},
        {"name": "sobol", "method": "sobol", "trials": 4, "space": [ALPHA, BETA1]},
        {"name": "confirm", "method": "fixed", "trials": 2, "fresh_seeds": True, "after": {"arm": "gp-wide"}},
    ]
    return small_study(arms=arms)


def _place(folder: Path, slots: int) -> tuple[World, str]:
    place = world(folder, slots=slots)
    return place, created(place, _searching()).study_id


@pytest.fixture(scope="module")
def with_one_worker(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    place, study_id = _place(tmp_path_factory.mktemp("one"), 1)
    place.drive(place.engine(), study_id)
    invariants.check(place.store, study_id)
    return invariants.report(place.store, study_id)


@pytest.mark.parametrize("slots", [2, 5])
def test_the_number_of_workers_changes_no_proposal(
    tmp_path: Path, with_one_worker: list[dict[str, object]], slots: int
) -> None:
    place, study_id = _place(tmp_path, slots)
    place.drive(place.engine(), study_id)
    assert invariants.report(place.store, study_id) == with_one_worker


@pytest.mark.parametrize("slots", [1, 3])
def test_a_restart_after_every_trial_changes_no_proposal(
    tmp_path: Path, with_one_worker: list[dict[str, object]], slots: int
) -> None:
    place, study_id = _place(tmp_path, slots)
    engine, ends = place.engine(), 0
    while place.store.study(study_id).state is StudyState.RUNNING:
        if place.step(engine).ended:
            engine, ends = place.engine(), ends + 1
    assert ends >= len(with_one_worker) / slots
    assert invariants.report(place.store, study_id) == with_one_worker
