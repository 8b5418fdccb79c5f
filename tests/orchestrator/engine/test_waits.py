"""Whose turn is it when studies share hosts? Small trials cannot starve a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.backends.placement import Node
from orchestrator.ledger.records import StudyState, TrialRow
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}


def _random(trials: int) -> list[dict[str, Any]]:
    return [{"name": "random", "method": "random", "trials": trials, "space": [ALPHA]}]


def _to_the_end(place: World, *studies: str) -> None:
    engine = place.engine()
    for study in studies:
        place.drive(engine, study)
        assert place.store.study(study).state is StudyState.COMPLETED
        invariants.check(place.store, study)


def _begun(place: World, study: str) -> list[float]:
    def begun(trial: TrialRow) -> float:
        return place.store.attempts(trial.trial_id)[0].started_at

    return sorted(begun(trial) for trial in place.store.trials(study))


def test_small_trials_do_not_starve_a_large_one(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=[Node("a", "a", {"CPU": 2})])
    small = created(place, small_study(name="small", arms=_random(20)), study_id="s1")
    large = created(place, small_study(name="large", arms=_random(1), resources={"cpus": 2}), study_id="s2")
    _to_the_end(place, large.study_id, small.study_id)
    began = _begun(place, "s1")
    assert sum(at < _begun(place, "s2")[0] for at in began) <= 4


def test_a_host_is_kept_for_the_large_trial_and_the_others_work_on(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=[Node("a", "a", {"CPU": 2}), Node("b", "b", {"CPU": 2})])
    created(place, small_study(name="small", arms=_random(40)), study_id="s1")
    engine = place.engine()
    place.step(engine)
    created(place, small_study(name="large", arms=_random(3), resources={"cpus": 2}), study_id="s2")
    beside = 0
    for _ in range(400):
        place.step(engine)
        live = [a.trial_id.split(".")[0] for a in place.store.live_attempts()]
        assert live.count("s1") + 2 * live.count("s2") <= 4  # no host holds more than it has
        beside += {"s1", "s2"} <= set(live)
    assert beside > 0
    assert all(place.store.study(study).state is StudyState.COMPLETED for study in ("s1", "s2"))


def test_equal_studies_take_turns(tmp_path: Path) -> None:
    place = world(tmp_path, slots=1)
    for study in ("s1", "s2"):
        created(place, small_study(name=study, arms=_random(6)), study_id=study)
    _to_the_end(place, "s1", "s2")
    order = sorted((at, study) for study in ("s1", "s2") for at in _begun(place, study))
    begun = [study for _, study in order]
    assert all(abs(begun[:n].count("s1") - begun[:n].count("s2")) <= 2 for n in range(12))


def test_a_trial_that_fits_no_host_is_no_wait(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=[Node("a", "a", {"CPU": 2}), Node("b", "b", {"CPU": 2})])
    created(place, small_study(name="huge", arms=_random(1), resources={"cpus": 3}), study_id="s1")
    created(place, small_study(name="small", arms=_random(2)), study_id="s2")
    tick = place.engine().tick()
    assert tick.unrunnable["s1"].startswith(
        "A trial of it asks for 3 CPUs, and none such fits: there are a (2 CPU), b (2 CPU)."
    )
    assert tick.launched == 2
