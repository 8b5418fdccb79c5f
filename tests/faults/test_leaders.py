"""Row 15: two orchestrators on one ledger. One leads, the other takes over, the loser is fenced."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import Fenced
from orchestrator.ledger import open_ledger
from orchestrator.records import StudyState
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world


@pytest.fixture
def pair(tmp_path: Path) -> tuple[World, World]:
    """Two processes' views of one SQLite ledger and one set of machines."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    one = world(tmp_path, store=open_ledger(url))
    two = World(open_ledger(url), one.backend, one.clock, tmp_path)
    return one, two


def test_one_leads_and_the_other_waits(pair: tuple[World, World]) -> None:
    one, two = pair
    study = created(one, small_study())
    first, second = one.engine(who="one"), two.engine(who="two")
    while one.store.study(study.study_id).state is StudyState.RUNNING:
        assert one.step(first).leading
        assert not second.tick().leading
    invariants.check(two.store, study.study_id)


def test_the_other_takes_over_and_the_loser_writes_nothing_more(pair: tuple[World, World]) -> None:
    one, two = pair
    study = created(one, small_study())
    first, second = one.engine(who="one"), two.engine(who="two")
    one.step(first)
    epoch = one.store.lead("one")
    assert epoch is not None
    one.store.release()  # as the end of its process would
    assert second.tick().leading
    before = invariants.report(two.store, study.study_id)
    (attempt, *_) = two.store.live_attempts()
    with pytest.raises(Fenced):
        one.store.attempt_running(epoch, attempt.trial_id, attempt.number)
    with pytest.raises(Fenced):
        one.store.move_study(epoch, study.study_id, StudyState.RUNNING, StudyState.PAUSED)
    assert invariants.report(two.store, study.study_id) == before
    two.drive(second, study.study_id)
    invariants.check(two.store, study.study_id)


def test_leadership_may_change_at_every_tick(pair: tuple[World, World], tmp_path: Path) -> None:
    one, two = pair
    study = created(one, small_study())
    places, engines = (one, two), (one.engine(who="one"), two.engine(who="two"))
    turn = 0
    while one.store.study(study.study_id).state is StudyState.RUNNING:
        assert places[turn].step(engines[turn]).leading
        places[turn].store.release()
        turn = 1 - turn
    invariants.check(one.store, study.study_id)
    calm = world(tmp_path / "calm")
    created(calm, small_study())
    calm.drive(calm.engine(), study.study_id)
    assert invariants.report(one.store, study.study_id) == invariants.report(calm.store, study.study_id)
