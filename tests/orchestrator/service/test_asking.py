"""Is a request that is known to be refused told so at once, and not stored?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ground.errors import BadSpec, MoveRefused, NotFound
from orchestrator.ledger.records import StudyRow, StudyState, TrialState, Wish
from orchestrator.service import asking
from tests.faults.world import World, created, small_study, world


@pytest.fixture
def place(tmp_path: Path) -> World:
    return world(tmp_path)


@pytest.fixture
def study(place: World) -> StudyRow:
    return created(place, small_study())


def ask(place: World, study: StudyRow, verb: str, **detail: Any) -> Wish:
    return asking.submit(place.store, study, verb, detail, clock=place.clock, by="ann")


def refused(place: World, study: StudyRow, verb: str, **detail: Any) -> str:
    before = place.store.wishes(study.study_id)
    study = place.store.study(study.study_id)
    with pytest.raises((BadSpec, MoveRefused, NotFound)) as refusal:
        ask(place, study, verb, **detail)
    assert place.store.wishes(study.study_id) == before
    assert place.store.study(study.study_id) == study
    return str(refusal.value)


def test_an_arm_that_is_not_there_names_the_three_nearest(place: World, study: StudyRow) -> None:
    said = refused(place, study, "extend", rendom=2)
    assert said.startswith("small has no arm 'rendom'. Did you mean 'random', '")
    assert said.count("'") == 8
    assert len(refused(place, study, "extend", **{"x" * 10_000: 2})) < 250


def test_an_extension_that_can_never_be_granted_is_not_stored(place: World, study: StudyRow) -> None:
    assert "is a grid" in refused(place, study, "extend", grid=1)
    assert "at most" in refused(place, study, "extend", random=10**9)
    assert "cannot be added" in refused(place, study, "extend", random=0)


def test_what_the_state_forbids_is_not_stored(place: World, study: StudyRow) -> None:
    with_engine = place.engine()
    assert "has not ended and cannot be deleted" in refused(place, study, "delete")
    place.drive(with_engine, study.study_id)
    assert "is completed and cannot be paused" in refused(place, study, "pause")
    assert "nothing left to cancel" in refused(place, study, "cancel")
    trial = place.store.trials(study.study_id, states={TrialState.COMPLETED})[0].trial_id
    assert "only a failed one can be tried again" in refused(place, study, "retry", trial_id=trial)


def test_what_can_be_granted_is_stored_and_nothing_else_is_written(place: World, study: StudyRow) -> None:
    for verb, detail in (("pause", {}), ("extend", {"random": 2}), ("cancel", {})):
        fresh = created(place, small_study(name=f"s-{verb}"), study_id=f"id-{verb}")
        stored = ask(place, fresh, verb, **detail)
        assert (stored.verb, stored.detail, stored.answer, stored.asked_by) == (verb, detail, None, "ann")
        assert place.store.study(fresh.study_id) == fresh


def test_a_request_behind_one_that_may_change_the_state_is_stored(place: World, study: StudyRow) -> None:
    engine = place.engine()
    place.drive(engine, study.study_id)
    done = place.store.study(study.study_id)
    ask(place, done, "extend", base=2)
    ask(place, done, "pause")  # refused while the extension was not asked for
    engine.tick()
    assert [each.answer for each in place.store.wishes(study.study_id)] == ["", ""]
    assert place.store.study(study.study_id).state is StudyState.PAUSED
