"""Rows 4, 5, 6, 7, 9, 17, 18 and 19 on the virtual clock: what befalls trials, and what becomes of them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import AttemptRow, AttemptState, Event, StudyState, TrialState
from orchestrator.readings.overview import overview
from orchestrator.runs.folders import Journal, Storage
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

VICTIM = "s1.random.0.1"


def _run(folder: Path, *faults: Fault, **changes: Any) -> World:
    place = world(folder, faults=faults)
    study = created(place, small_study(**changes))
    place.drive(place.engine(), study.study_id)
    invariants.check(place.store, study.study_id)
    return place


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return invariants.report(_run(tmp_path_factory.mktemp("calm")).store, "s1")


@pytest.mark.fault(4)
@pytest.mark.parametrize("after_reports", range(8))
@pytest.mark.parametrize("kind", ["die", "forget"])
def test_a_lost_worker_is_retried_from_its_checkpoint(
    tmp_path: Path, undisturbed: list[dict[str, Any]], kind: Any, after_reports: int
) -> None:
    place = _run(tmp_path, Fault(VICTIM, 1, kind, after_reports))
    assert invariants.report(place.store, "s1") == undisturbed
    first, second = place.store.attempts(VICTIM)
    assert (first.state, second.state) == (AttemptState.LOST, AttemptState.COMPLETED)
    trial = place.store.trial(VICTIM)
    # Both attempts are charged, and what was done twice is waste.
    lost_steps = trial.charged["steps"] - trial.productive["steps"]
    assert trial.charged["steps"] == first.clocks.get("steps", 0) + second.clocks["steps"]
    assert 0 <= lost_steps <= 10  # one checkpoint interval
    saved = first.saved_clocks.get("steps", 0)
    assert (second.resumed_from is not None) == (saved > 0)
    assert second.clocks["steps"] == 40 - saved


def _machines_restart(place: World, attempt: AttemptRow, *, ends: bool) -> list[Event]:
    """After all that this attempt had to say, which only its journal has heard; the words of it."""
    place.clock.advance(3600)
    progress = place.backend.poll({attempt.key: 0})[attempt.key]
    said = list(progress.events if ends else progress.events[:-3])
    storage = Storage(place.folder)
    journal = Journal(storage.folder("s1", *attempt.key))
    for event in said:
        journal.event(event)
    if ends and progress.ended is not None:
        journal.end(progress.ended)
    journal.close()
    place.backend.close(end_workers=True)
    return [storage.keyed(event) for event in said]  # as the ledger holds them


@pytest.mark.fault(8)
@pytest.mark.parametrize("ticks", [1, 3], ids=["launching", "running"])
@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("same", [True, False], ids=["the same leader", "a new leader"])
def test_what_only_a_journal_has_heard_is_taken_in(
    tmp_path: Path, undisturbed: list[dict[str, Any]], ticks: int, ends: bool, same: bool
) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    engine = place.engine()
    for _ in range(ticks):
        place.step(engine)
    (attempt, *others) = place.store.live_attempts()
    assert others
    said = _machines_restart(place, attempt, ends=ends)
    engine = engine if same else place.engine()
    engine.tick()
    assert [s.event for s in place.store.events(trial_id=attempt.trial_id)][: len(said)] == said
    trial = place.store.trial(attempt.trial_id)
    if ends:
        assert (trial.state, trial.losses, trial.attempts) == (TrialState.COMPLETED, 0, 1)
    else:
        saved = [e.payload["path"] for e in said if e.kind == "checkpoint"][-1]
        assert (trial.checkpoint, trial.losses) == (saved, 1)
        assert place.store.attempts(trial.trial_id)[0].state is AttemptState.LOST
    place.drive(engine, study.study_id)
    invariants.check(place.store, study.study_id)
    assert invariants.report(place.store, study.study_id) == undisturbed


@pytest.mark.fault(7)
def test_a_machine_that_was_taken_while_nobody_led_counts_no_failure(tmp_path: Path) -> None:
    place = world(tmp_path, faults=[Fault(VICTIM, 1, "preempt", 2)])
    created(place, small_study())
    engine = place.engine()
    while VICTIM not in {a.trial_id for a in place.store.live_attempts()}:
        place.step(engine)
    (attempt,) = (a for a in place.store.live_attempts() if a.trial_id == VICTIM)
    _machines_restart(place, attempt, ends=True)
    fresh = place.engine()
    fresh.tick()
    (first, *_) = place.store.attempts(VICTIM)
    assert (first.state, place.store.trial(VICTIM).losses) == (AttemptState.PREEMPTED, 0)
    place.drive(fresh, "s1")
    invariants.check(place.store, "s1")
    assert place.store.trial(VICTIM).charged["steps"] == 40  # nothing was trained twice


@pytest.mark.fault(5)
def test_a_worker_that_dies_on_every_attempt_fails_its_trial_alone(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    place = _run(tmp_path, Fault("s1.grid.0.1", 0, "die", 1))
    trial = place.store.trial("s1.grid.0.1")
    assert trial.state is TrialState.FAILED
    assert trial.reason == (
        "Its worker was lost 3 times, as often as this study allows. Last: the worker died"
    )
    assert [a.state for a in place.store.attempts(trial.trial_id)] == [AttemptState.LOST] * 3
    others = [t for t in invariants.report(place.store, "s1") if t["trial"] != ("grid", 0, 1)]
    assert others == [t for t in undisturbed if t["trial"] != ("grid", 0, 1)]


@pytest.mark.fault(12)
@pytest.mark.parametrize("after_reports", [0, 3, 5])
def test_a_full_disk_fails_no_trial_and_nothing_is_launched_for_a_while(
    tmp_path: Path, undisturbed: list[dict[str, Any]], after_reports: int
) -> None:
    place = world(tmp_path, faults=[Fault(VICTIM, n, "full", after_reports) for n in (1, 2, 3, 4)])
    created(place, small_study())
    engine, told = place.engine(), dict[float, int]()
    while place.store.study("s1").state is StudyState.RUNNING:
        tick = place.step(engine)
        if tick.unrunnable:
            assert (dict(tick.unrunnable), tick.passing) == ({"s1": "The disk is full."}, {"s1"})
            told[place.clock.monotonic()] = tick.launched
            if tick.idle and place.backend.next_event_at() is None:
                place.clock.advance(30)
    assert told
    assert set(told.values()) == {0}
    invariants.check(place.store, "s1")
    assert invariants.report(place.store, "s1") == undisturbed
    states = [a.state for a in place.store.attempts(VICTIM)]
    assert states == [AttemptState.PREEMPTED] * (len(states) - 1) + [AttemptState.COMPLETED]
    assert place.store.trial(VICTIM).losses == 0


@pytest.mark.fault(6)
def test_an_exception_in_the_training_code_fails_after_one_try(tmp_path: Path) -> None:
    base = {**small_study().base, "rehearsal": {"fail_at_step": 15}}
    place = _run(tmp_path, base=base)
    for trial in place.store.trials("s1", arm="grid"):
        assert (trial.state, trial.attempts) == (TrialState.FAILED, 1)
        (attempt,) = place.store.attempts(trial.trial_id)
        assert attempt.traceback.startswith("Traceback (most recent call last)")
        assert trial.reason
    assert overview(place.store, place.store.study("s1")).no_valid_result


@pytest.mark.fault(7)
def test_a_preempted_trial_goes_on_and_counts_no_failure(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    place = _run(tmp_path, *(Fault(VICTIM, n, "preempt", 2) for n in (1, 2)))
    trial = place.store.trial(VICTIM)
    states = [a.state for a in place.store.attempts(VICTIM)]
    assert states == [AttemptState.PREEMPTED] * 2 + [AttemptState.COMPLETED]
    assert trial.losses == 0
    assert trial.charged["steps"] == trial.productive["steps"] == 40  # nothing was done twice
    assert invariants.report(place.store, "s1") == undisturbed


@pytest.mark.fault(9)
def test_a_zombie_reports_to_nobody(tmp_path: Path) -> None:
    place = _run(tmp_path, Fault(VICTIM, 1, "die", 3))
    before = place.store.events(trial_id=VICTIM)
    epoch = place.store.lead("one")
    assert epoch is not None
    late = Event(VICTIM, 1, 99, "eval", 39, {"values": {"loss": 0.0}, "clocks": {"train_s": 1e9}}, 0.0)
    assert place.store.append(epoch, [late]) == 0
    assert place.store.events(trial_id=VICTIM) == before
    invariants.check(place.store, "s1")


@pytest.mark.fault(9)
def test_an_attempt_that_was_given_up_is_ended_by_the_next_leader(tmp_path: Path) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    engine = place.engine()
    engine.tick()
    (attempt, *_) = place.store.live_attempts()
    epoch = place.store.lead("one")
    assert epoch is not None
    from orchestrator.ledger.base import Ending

    place.store.end_attempt(
        epoch, *attempt.key, Ending(AttemptState.LOST, TrialState.WAITING, 0.0, reason="given up")
    )
    assert attempt.key in place.backend.attempts()
    fresh = place.engine()
    fresh.tick()
    assert attempt.key not in place.backend.attempts()
    place.drive(fresh, study.study_id)
    invariants.check(place.store, study.study_id)


@pytest.mark.fault(19)
def test_a_hung_trial_is_killed_and_retried(tmp_path: Path, undisturbed: list[dict[str, Any]]) -> None:
    place = world(tmp_path, faults=[Fault(VICTIM, 1, "hang", 2)])
    spec = small_study(retries={"hang_after_s": 60})
    study = created(place, spec)
    engine = place.engine()
    for _ in range(10_000):
        if place.store.study(study.study_id).state is not StudyState.RUNNING:
            break
        if place.step(engine).idle and place.backend.next_event_at() is None:
            place.clock.advance(61)  # nothing will ever happen by itself
    invariants.check(place.store, study.study_id)
    first, second = place.store.attempts(VICTIM)
    assert first.state is AttemptState.LOST
    assert re.fullmatch(r"No report for \d+ s; 60 s are allowed \(retries.hang_after_s\).", first.reason)
    assert second.state is AttemptState.COMPLETED
    assert invariants.report(place.store, study.study_id) == undisturbed


@pytest.mark.fault(18)
@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_wall_clock_that_jumps_changes_no_cost_and_alarms_nobody(tmp_path: Path, jump_s: float) -> None:
    calm, place = _run(tmp_path / "calm"), world(tmp_path / "jumpy")
    study = created(place, small_study(retries={"hang_after_s": 60}))
    engine = place.engine()
    while place.store.study(study.study_id).state is StudyState.RUNNING:
        place.step(engine)
        place.clock.jump_wall(jump_s)
    invariants.check(place.store, study.study_id)
    for trial in place.store.trials(study.study_id):
        undisturbed = calm.store.trial(trial.trial_id)
        assert (trial.attempts, trial.charged) == (1, undisturbed.charged)


@pytest.mark.fault(17)
def test_a_run_that_diverges_keeps_its_last_finite_values(tmp_path: Path) -> None:
    base = {**small_study().base, "rehearsal": {"nan_at_step": 25}}
    place = _run(tmp_path, base=base)
    seen = overview(place.store, place.store.study("s1"))
    assert seen.no_valid_result
    for trial in place.store.trials("s1"):
        if trial.arm == "confirm":  # nothing to confirm
            assert trial.state is TrialState.STOPPED
            assert trial.reason == "No valid result in random, which it follows."
            assert trial.attempts == 0
            continue
        assert trial.state is TrialState.DIVERGED
        assert trial.value is None
        assert trial.values
        assert all(math.isfinite(v) for v in trial.values.values())
        assert run_hours(trial.charged) > 0


@pytest.mark.fault(17)
def test_the_search_goes_on_when_every_trial_diverges(tmp_path: Path) -> None:
    arms = [
        {
            "name": "bo",
            "method": "gp",
            "trials": 5,
            "startup_trials": 2,
            "space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}],
        }
    ]
    base = {**small_study().base, "rehearsal": {"nan_at_step": 25}}
    place = _run(tmp_path, base=base, arms=arms)
    states = [t.state for t in place.store.trials("s1")]
    assert states == [TrialState.DIVERGED] * 5
