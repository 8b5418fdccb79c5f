"""One set of words for how a study stands, from its stored state and the count of its runs under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.ledger.records import StudyState
from orchestrator.readings.overview import listed, overview
from orchestrator.readings.states import Status, status, stored
from orchestrator.service.creation import ask
from tests.faults.world import World, created, small_study, world


@pytest.mark.parametrize(
    ("state", "running", "word"),
    [
        ("running", 0, "waiting"),
        ("running", 2, "running"),
        ("paused", 1, "pausing"),
        ("paused", 0, "paused"),
        ("drained", 1, "draining"),
        ("drained", 0, "drained"),
        ("completed", 0, "completed"),
        ("cancelled", 1, "cancelled"),
        ("cancelled", 0, "cancelled"),
    ],
)
def test_the_word_of_a_state(state: str, running: int, word: str) -> None:
    assert status(StudyState(state), running) == word


def test_every_word_is_told_of_one_stored_state() -> None:
    assert {word: stored(word) for word in Status} == {
        "waiting": "running",
        "running": "running",
        "pausing": "paused",
        "paused": "paused",
        "draining": "drained",
        "drained": "drained",
        "completed": "completed",
        "cancelled": "cancelled",
    }


def told(place: World) -> tuple[str, int]:
    """The word, the same in the list and in the overview, and the count of what runs."""
    study = place.store.study("s1")
    view = overview(place.store, study)
    assert listed(place.store, [study])[0]["status"] == view.status
    assert view.running == len(place.store.live_attempts("s1"))
    return view.status, view.running


def test_a_study_drains(tmp_path: Path) -> None:
    place = world(tmp_path, slots=2)
    study = created(place, small_study())
    engine = place.engine()
    engine.tick()
    place.clock.advance(1)
    ask(place.store, study, "drain", {}, clock=place.clock)
    engine.tick()
    assert told(place) == ("draining", 2)
    while place.store.live_attempts("s1"):
        place.step(engine)
    assert told(place) == ("drained", 0)


def test_a_study_waits_runs_pauses_and_is_extended(tmp_path: Path) -> None:
    place = world(tmp_path, slots=2)
    study = created(place, small_study())
    assert told(place) == ("waiting", 0)
    engine = place.engine()
    engine.tick()
    assert told(place) == ("running", 2)
    place.clock.advance(1)  # their workers have begun
    ask(place.store, study, "pause", {}, clock=place.clock)
    engine.tick()
    assert told(place) == ("pausing", 2)
    while place.store.live_attempts("s1"):
        place.step(engine)
    assert told(place) == ("paused", 0)
    ask(place.store, study, "resume", {}, clock=place.clock)
    place.drive(engine, "s1")
    place.step(engine)
    place.drive(engine, "s1")
    assert told(place) == ("completed", 0)
    ask(place.store, study, "extend", {"base": 1}, clock=place.clock)
    engine.tick(launch=False)
    assert told(place) == ("waiting", 0)
