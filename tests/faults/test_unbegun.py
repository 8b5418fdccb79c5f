"""What becomes of an attempt that was submitted, and that no worker has begun? It is submitted again under
its number, and uses up no retry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.in_flight import MOST_AGAIN
from orchestrator.engine.tick import Engine
from orchestrator.ledger.records import AttemptState, StudyState, TrialState
from orchestrator.runs.contract import AttemptKey
from orchestrator.service.creation import ask
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

VICTIM = "s1.random.0.1"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    place = world(tmp_path_factory.mktemp("calm"))
    created(place, small_study())
    place.drive(place.engine(), "s1")
    return invariants.report(place.store, "s1")


def _submitted(place: World, engine: Engine) -> set[AttemptKey]:
    """Tick until something is submitted that no worker has begun; what that is."""
    while True:
        idle = engine.tick().idle
        unbegun = {a.key for a in place.store.live_attempts() if not a.sequence}
        if unbegun & set(place.backend.attempts()):
            return unbegun
        if idle:
            place.clock.advance_to(place.backend.next_event_at() or 0.0)


@pytest.mark.parametrize("kills", [3, 20])
def test_kills_between_a_submit_and_its_beginning_fail_no_trial(
    tmp_path: Path, undisturbed: list[dict[str, Any]], kills: int
) -> None:
    place = world(tmp_path)
    created(place, small_study())
    engine = place.engine()
    for _ in range(kills):
        unbegun = _submitted(place, engine)
        engine.tick()  # it polls: the workers hold them, and none has begun
        live = {a.key: a for a in place.store.live_attempts()}
        assert {live[key].state for key in unbegun} == {AttemptState.LAUNCHING}
        engine = place.next_life()
    place.drive(engine, "s1")
    invariants.check(place.store, "s1")
    assert invariants.report(place.store, "s1") == undisturbed
    trials = place.store.trials("s1")
    assert {t.state for t in trials} == {TrialState.COMPLETED}
    assert {(t.attempts, t.losses) for t in trials} == {(1, 0)}


def test_an_attempt_is_running_only_once_its_worker_has_said_so(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    engine = place.engine()
    for _ in range(3):
        engine.tick()  # time stands still
    assert {a.state for a in place.store.live_attempts()} == {AttemptState.LAUNCHING}
    place.clock.advance(0.5)
    engine.tick()
    assert {a.state for a in place.store.live_attempts()} == {AttemptState.RUNNING}


@pytest.mark.parametrize("times", [1, MOST_AGAIN])
def test_a_worker_that_dies_before_it_begins_costs_no_retry(
    tmp_path: Path, undisturbed: list[dict[str, Any]], times: int
) -> None:
    place = world(tmp_path)
    created(place, small_study())
    engine = place.engine()
    for _ in range(times):
        for key in _submitted(place, engine):
            place.backend.kill(key, "the worker died")
        engine.tick()
    place.drive(engine, "s1")
    invariants.check(place.store, "s1")
    assert invariants.report(place.store, "s1") == undisturbed
    assert {(t.attempts, t.losses) for t in place.store.trials("s1")} == {(1, 0)}


def test_what_six_workers_in_a_row_did_not_begin_is_lost_and_says_so(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    place = world(tmp_path)
    created(place, small_study())
    engine, submitted = place.engine(), 0
    while place.store.study("s1").state is StudyState.RUNNING:
        idle = engine.tick().idle
        if (VICTIM, 1) in place.backend.attempts() and not place.store.attempts(VICTIM)[0].sequence:
            place.backend.kill((VICTIM, 1), "the worker died")
            submitted += 1
        elif idle:
            place.clock.advance_to(place.backend.next_event_at() or 0.0)
    assert submitted == 1 + MOST_AGAIN
    lost, last = place.store.attempts(VICTIM)
    assert (lost.state, last.state) == (AttemptState.LOST, AttemptState.COMPLETED)
    assert lost.reason == "It was submitted 6 times, and no worker began it. Last: the worker died"
    assert (place.store.trial(VICTIM).losses, place.store.trial(VICTIM).failures) == (1, 0)
    invariants.check(place.store, "s1")
    assert invariants.report(place.store, "s1") == undisturbed


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_worker_lost_before_it_began_in_a_study_that_rests_is_no_loss(tmp_path: Path, verb: str) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    engine = place.engine()
    unbegun = _submitted(place, engine)
    ask(place.store, study, verb, {}, clock=place.clock)
    place.backend.lose_submitted()
    engine.tick()
    attempts = [a for trial, number in unbegun for a in place.store.attempts(trial) if a.number == number]
    assert {a.state for a in attempts} == {AttemptState.PREEMPTED}
    assert {t.losses for t in place.store.trials("s1")} == {0}
    if verb == "pause":
        ask(place.store, study, "resume", {}, clock=place.clock)
        engine.tick()
        place.drive(engine, "s1")
        invariants.check(place.store, "s1")
