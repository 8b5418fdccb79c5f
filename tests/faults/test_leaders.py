"""Row 15: two orchestrators on one ledger. One leads, the other takes over, the loser is fenced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.backends.simulated import SimulatedBackend
from orchestrator.engine import orphans
from orchestrator.engine.tick import Engine
from orchestrator.ground.errors import Fenced
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import AttemptRow, AttemptState, StudyState, TrialState
from orchestrator.runs import provenance, shared
from orchestrator.runs.folders import Journal, Storage
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world


@pytest.fixture
def pair(tmp_path: Path) -> tuple[World, World]:
    """Two processes' views of one SQLite ledger and one set of machines."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    one = world(tmp_path, store=open_ledger(url))
    two = World(open_ledger(url), one.backend, one.clock, tmp_path)
    return one, two


@pytest.mark.fault(15)
def test_one_leads_and_the_other_waits(pair: tuple[World, World]) -> None:
    one, two = pair
    study = created(one, small_study())
    first, second = one.engine(who="one"), two.engine(who="two")
    while one.store.study(study.study_id).state is StudyState.RUNNING:
        assert one.step(first).leading
        assert not second.tick().leading
    invariants.check(two.store, study.study_id)


@pytest.mark.fault(15)
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


@pytest.mark.fault(15)
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


# -- another machine takes over, and the workers of the former train on --------------------------------------
@dataclass
class Takeover:
    """Machine A trains an attempt, its process has gone, and B leads. They mount the same disk."""

    place: World  # B's
    engine: Engine
    attempt: AttemptRow
    journal: Journal  # as A's worker holds it
    former: SimulatedBackend  # A's

    def says(self, *, ends: bool) -> None:
        """A's worker writes down what it has not yet, but for the last three words unless it ends."""
        self.place.clock.advance(3600 if ends else 0)
        told = self.former.poll({self.attempt.key: 0})[self.attempt.key]
        for event in told.events[self.place.store.attempts(self.attempt.trial_id)[0].sequence :]:
            self.journal.event(event)
        if ends and told.ended is not None:
            self.journal.end(told.ended)

    def tick(self, after_s: float = 5.0) -> list[AttemptState]:
        """B's next look; the states of the trial's attempts."""
        self.place.clock.advance(after_s)
        self.engine.tick()
        return [a.state for a in self.place.store.attempts(self.attempt.trial_id)]


@pytest.fixture
def takeover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Takeover]:
    one = world(tmp_path, slots=1)
    created(one, small_study(retries={"hang_after_s": 60}))
    first = one.engine(who="A")
    for _ in range(4):
        one.step(first)
    (attempt,) = one.store.live_attempts()
    assert attempt.sequence > 1
    journal = Journal(Storage(tmp_path).folder("s1", *attempt.key))
    for event in one.backend.poll({attempt.key: 0})[attempt.key].events[: attempt.sequence]:
        journal.event(event)
    one.store.release()
    monkeypatch.setattr(provenance, "machine", lambda: "B")
    two = World(one.store, SimulatedBackend(one.clock, slots=1), one.clock, tmp_path)
    yield Takeover(two, two.engine(who="B"), attempt, journal, one.backend)
    journal.close()


def test_what_another_machine_still_trains_is_followed_to_its_end(takeover: Takeover) -> None:
    assert takeover.tick() == [AttemptState.RUNNING]
    assert takeover.place.backend.attempts() == []
    takeover.says(ends=True)
    assert takeover.tick() == [AttemptState.COMPLETED]
    trial = takeover.place.store.trial(takeover.attempt.trial_id)
    assert (trial.state, trial.losses) == (TrialState.COMPLETED, 0)
    takeover.place.drive(takeover.engine, "s1")
    invariants.check(takeover.place.store, "s1")


def test_a_worker_that_dies_on_another_machine_is_lost_at_the_next_look(takeover: Takeover) -> None:
    assert takeover.tick() == [AttemptState.RUNNING]
    takeover.journal.close()  # as the end of its process does
    assert takeover.tick()[:1] == [AttemptState.LOST]
    takeover.place.drive(takeover.engine, "s1")
    invariants.check(takeover.place.store, "s1")


def test_a_worker_that_hangs_on_another_machine_is_given_up_after_a_while(takeover: Takeover) -> None:
    assert takeover.tick() == [AttemptState.RUNNING]
    assert takeover.tick(59) == [AttemptState.RUNNING]
    assert takeover.tick(6)[:1] == [AttemptState.LOST]
    (lost, *_) = takeover.place.store.attempts(takeover.attempt.trial_id)
    assert lost.reason == (
        "No report for 65 s from the machine that led before; 60 s are allowed (retries.hang_after_s)."
    )
    takeover.place.drive(takeover.engine, "s1")
    invariants.check(takeover.place.store, "s1")


def test_where_locks_do_not_reach_what_another_machine_trains_is_followed_while_it_reports(
    takeover: Takeover,
) -> None:
    """Its journal's lock is not seen, and nothing is concluded from that."""
    shared.note_locks(takeover.place.folder, "A", reach=False)
    takeover.journal.close()
    assert takeover.tick() == [AttemptState.RUNNING]
    takeover.says(ends=False)
    assert takeover.tick(59) == [AttemptState.RUNNING]
    takeover.says(ends=True)
    assert takeover.tick() == [AttemptState.COMPLETED]
    takeover.place.drive(takeover.engine, "s1")
    invariants.check(takeover.place.store, "s1")


def test_where_locks_do_not_reach_one_that_is_held_saves_no_attempt_that_says_nothing(
    takeover: Takeover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "SILENCE_S", 20.0)
    shared.note_locks(takeover.place.folder, "A", reach=False)
    assert takeover.tick() == [AttemptState.RUNNING]
    assert takeover.tick(20) == [AttemptState.RUNNING]
    assert takeover.tick(5)[:1] == [AttemptState.LOST]
    (lost, *_) = takeover.place.store.attempts(takeover.attempt.trial_id)
    assert lost.reason == (
        "No report for 25 s from the machine that led before; 20 s are allowed "
        "(locks on files do not reach it)."
    )
    takeover.place.drive(takeover.engine, "s1")
    invariants.check(takeover.place.store, "s1")


def test_what_the_workers_of_this_machine_know_nothing_of_is_lost_at_once(
    takeover: Takeover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    assert takeover.tick(0)[:1] == [AttemptState.LOST]
