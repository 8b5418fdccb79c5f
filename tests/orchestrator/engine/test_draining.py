"""Does a study that drains launch nothing more, and go on after a resume as if it had not been drained?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.engine.tick import Engine
from orchestrator.ledger.records import AttemptState, StudyState, TrialState
from orchestrator.service.creation import ask
from orchestrator.study.spec import Budget
from tests.faults import invariants
from tests.faults.world import ACTS, Killed, Tripwire, World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}


def begun(folder: Path, *, slots: int = 2, faults: tuple[Fault, ...] = (), **changes: Any) -> World:
    """A study whose first trials run."""
    place = world(folder, slots=slots, faults=faults)
    created(place, small_study(**changes))
    place.engine().tick()
    place.clock.advance(1)
    assert len(place.store.live_attempts()) == slots
    return place


def asked(place: World, verb: str, engine: Engine) -> str:
    """What a request is answered with."""
    ask(place.store, place.store.study("s1"), verb, {}, clock=place.clock)
    engine.tick()
    answer = place.store.wishes("s1")[-1].answer
    assert answer is not None
    return answer


def drained(place: World, engine: Engine) -> None:
    """Drained, and at rest."""
    assert asked(place, "drain", engine) == ""
    while place.store.live_attempts():
        place.step(engine)


def calm_report(folder: Path, **changes: Any) -> Any:
    place = world(folder, slots=2)
    created(place, small_study(**changes))
    place.drive(place.engine(), "s1")
    return invariants.report(place.store, "s1")


def states(place: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for trial in place.store.trials("s1"):
        found.setdefault(str(trial.state), []).append(trial.trial_id)
    return found


def test_what_runs_ends_by_itself_and_nothing_else_is_launched(tmp_path: Path) -> None:
    place = begun(tmp_path / "drained")
    under_way = [attempt.key for attempt in place.store.live_attempts()]
    wire = Tripwire()
    engine = place.engine(wire)
    drained(place, engine)
    assert place.store.study("s1").state is StudyState.DRAINED
    assert not {"say", "kill", "submit", "add_trial", "start_attempt"} & set(wire.seen)
    assert {"say", "kill", "submit"} <= set(ACTS)  # they would have been counted
    for trial_id, number in under_way:
        (attempt,) = place.store.attempts(trial_id)
        assert (attempt.number, attempt.state) == (number, AttemptState.COMPLETED)
    assert {trial for _, trials in states(place).items() for trial in trials} == {t for t, _ in under_way}
    assert asked(place, "resume", engine) == ""
    place.drive(engine, "s1")
    invariants.check(place.store, "s1")
    assert invariants.report(place.store, "s1") == calm_report(tmp_path / "calm")


def test_a_worker_that_is_lost_meanwhile_is_tried_again_once_it_is_resumed(tmp_path: Path) -> None:
    place = begun(tmp_path, faults=(Fault("s1.base.0.0", 1, "die", 1),))
    engine = place.engine()
    drained(place, engine)
    for _ in range(5):
        place.step(engine)
    lost = place.store.trial("s1.base.0.0")
    assert (lost.state, lost.attempts, lost.losses) == (TrialState.WAITING, 1, 1)
    assert asked(place, "resume", engine) == ""
    place.drive(engine, "s1")
    assert [a.state for a in place.store.attempts(lost.trial_id)] == [
        AttemptState.LOST,
        AttemptState.COMPLETED,
    ]
    invariants.check(place.store, "s1")


def test_what_no_worker_has_begun_waits_until_it_is_resumed(tmp_path: Path) -> None:
    place = world(tmp_path, slots=2)
    created(place, small_study())
    place.engine().tick()  # submitted by a process that dies before a worker takes it
    engine = place.next_life()
    drained(place, engine)
    assert states(place) == {"waiting": ["s1.base.0.0", "s1.random.0.0"]}
    (attempt,) = place.store.attempts("s1.base.0.0")
    assert (attempt.state, attempt.reason) == (
        AttemptState.PREEMPTED,
        "The study was drained before it began.",
    )
    asked(place, "resume", engine)
    place.drive(engine, "s1")
    invariants.check(place.store, "s1")


@pytest.mark.fault(16)
@pytest.mark.parametrize("at", range(1, 12))
def test_a_process_that_dies_while_it_drains_is_followed_by_one_that_drains(tmp_path: Path, at: int) -> None:
    place = begun(tmp_path)
    dying = place.engine(Tripwire(at=at))
    with pytest.raises(Killed):
        drained(place, dying)
    engine = place.next_life()
    engine.tick()
    while place.store.live_attempts():
        place.step(engine)
    assert place.store.study("s1").state is StudyState.DRAINED
    assert [wish.answer for wish in place.store.wishes("s1")] == [""]
    assert [trial.attempts for trial in place.store.trials("s1")] == [1, 1]
    assert states(place) == {"completed": ["s1.base.0.0", "s1.random.0.0"]}


def test_a_study_that_drains_can_be_paused_and_its_runs_save_and_stop(tmp_path: Path) -> None:
    place = begun(tmp_path)
    engine = place.engine()
    assert asked(place, "drain", engine) == ""
    assert asked(place, "pause", engine) == ""
    while place.store.live_attempts():
        place.step(engine)
    assert place.store.study("s1").state is StudyState.PAUSED
    assert states(place) == {"waiting": ["s1.base.0.0", "s1.random.0.0"]}
    assert all(trial.checkpoint for trial in place.store.trials("s1"))


def test_a_study_that_drains_can_be_cancelled(tmp_path: Path) -> None:
    place = begun(tmp_path)
    engine = place.engine()
    assert asked(place, "drain", engine) == ""
    assert asked(place, "cancel", engine) == ""
    while place.store.live_attempts():
        place.step(engine)
    assert place.store.study("s1").state is StudyState.CANCELLED
    assert states(place) == {"stopped": ["s1.base.0.0", "s1.random.0.0"]}


def test_draining_again_changes_nothing(tmp_path: Path) -> None:
    place = begun(tmp_path)
    engine = place.engine()
    assert [asked(place, "drain", engine) for _ in range(2)] == ["", ""]
    drained(place, engine)
    assert place.store.study("s1").state is StudyState.DRAINED


def test_only_a_running_study_is_drained(tmp_path: Path) -> None:
    place = begun(tmp_path)
    engine = place.engine()
    asked(place, "pause", engine)
    assert asked(place, "drain", engine) == (
        "The study small is paused and cannot be drained; only one that is running can."
    )
    asked(place, "resume", engine)
    place.drive(engine, "s1")
    assert asked(place, "drain", engine) == (
        "The study small is completed and cannot be drained; only one that is running can."
    )


def test_a_study_whose_last_runs_end_while_it_drains_is_completed(tmp_path: Path) -> None:
    arms = [{"name": "base", "method": "fixed", "trials": 2}]
    place = begun(tmp_path, arms=arms)
    engine = place.engine()
    drained(place, engine)
    assert place.store.study("s1").state is StudyState.COMPLETED
    invariants.check(place.store, "s1")


def test_an_extension_of_a_drained_study_runs_once_it_is_resumed(tmp_path: Path) -> None:
    arms = [{"name": "base", "method": "fixed", "trials": 3}]
    place = begun(tmp_path, arms=arms)
    engine = place.engine()
    drained(place, engine)
    ask(place.store, place.store.study("s1"), "extend", {"base": 2}, clock=place.clock)
    for _ in range(3):
        place.step(engine)
    assert len(place.store.trials("s1")) == 2
    asked(place, "resume", engine)
    place.drive(engine, "s1")
    assert states(place) == {"completed": [f"s1.base.0.{i}" for i in range(5)]}


def test_a_budget_that_is_spent_meanwhile_ends_the_study_once_it_is_resumed(tmp_path: Path) -> None:
    place = begun(tmp_path, budget=Budget(run_hours=1e-6))
    engine = place.engine()
    drained(place, engine)
    assert place.store.study("s1").state is StudyState.DRAINED
    asked(place, "resume", engine)
    place.drive(engine, "s1")
    study = place.store.study("s1")
    assert study.state is StudyState.COMPLETED
    assert "budget" in study.reason
    assert len(place.store.trials("s1")) == 2


def test_rungs_still_stop_who_lags_and_tell_the_others_nothing(tmp_path: Path) -> None:
    rungs = {"steps": [10, 20], "keep_one_in": 2}
    arms = [{"name": "asha", "method": "random", "trials": 6, "space": [ALPHA], "rungs": rungs}]
    base = {**small_study().base, "eval_every_steps": 10}
    place = begun(tmp_path, slots=4, arms=arms, base=base)
    engine = place.engine()
    drained(place, engine)
    found = states(place)
    assert place.store.study("s1").state is StudyState.DRAINED
    assert sum(map(len, found.values())) == 4
    assert found.keys() == {"completed", "stopped"}
    assert all("rung" in place.store.trial(trial).reason for trial in found["stopped"])
