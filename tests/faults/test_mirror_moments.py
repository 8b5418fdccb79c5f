"""Row 10: whatever the moment at which trials and their study end, the mirror passes on the last event.

The mirror reads the ledger in several steps, and a study goes on between any two of them. Here it goes on
just before a chosen read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ledger.records import StudyState
from orchestrator.service.creation import ask
from orchestrator.tracking.background import _Rounds
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import lag
from tests.faults import mirrored
from tests.faults.remembered import RememberedStore
from tests.faults.world import Killed, World, created, small_study, world
from tests.orchestrator.conftest import DIES, mlflow_at

SERVER = "http://127.0.0.1:9"  # never spoken to
READS = ("study", "studies", "trial", "trials", "counts", "attempts", "live_attempts", "events", "cursor")


class Between:
    """A ledger that does something just before each read."""

    def __init__(self, store: Any, before: Callable[[str], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._store, name)
        return self._reading(name, function) if name in READS else function

    def _reading(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **kwargs: Any) -> Any:
            self._before(name)
            return function(*args, **kwargs)

        return read


def _rounds(ledger: Any, place: Destination, sink: RememberedStore, study_id: str | None = None) -> _Rounds:
    rounds = _Rounds(ledger, place, study_id, lambda: True, lambda _: None)
    rounds._sink = sink  # type: ignore[assignment]
    return rounds


def _all_is_there(there: World, place: Destination, sink: RememberedStore) -> None:
    (*_, last) = there.store.events(study_id="s1", limit=100_000)
    assert there.store.cursor(place.cursor("s1")) == last.event_id
    assert lag(there.store, place, "s1") == 0
    mirrored.check(there.store, "s1", sink.look("s1"))


@pytest.mark.parametrize("read", ["trial", "counts", "study"])
def test_trials_that_end_between_the_look_at_events_and_the_next_one_lose_no_event(
    tmp_path: Path, read: str
) -> None:
    place, there, sink = mlflow_at(tmp_path / "home", SERVER), world(tmp_path / "runs"), RememberedStore()
    created(there, small_study())
    engine, heard = there.engine(), []

    def end_it(name: str) -> None:
        heard.append(name)
        late = len(there.store.trials("s1")) == 8 and "events" in heard
        if name == read and late and there.store.study("s1").state is StudyState.RUNNING:
            there.drive(engine, "s1")

    rounds = _rounds(Between(there.store, end_it), place, sink)
    with ExitStack() as held:
        while there.store.study("s1").state is StudyState.RUNNING:
            there.step(engine)
            heard.clear()
            assert rounds.once(held)
        assert rounds.once(held)
    _all_is_there(there, place, sink)


def test_a_study_is_settled_only_once_its_last_event_is_passed_on(tmp_path: Path) -> None:
    place, there = mlflow_at(tmp_path / "home", SERVER), world(tmp_path / "runs")
    created(there, small_study())
    engine = there.engine()
    there.step(engine)
    ends = Between(there.store, lambda name: name == "counts" and there.drive(engine, "s1"))
    follower = StudyMirror(ends, RememberedStore(), place, "s1")  # type: ignore[arg-type]
    follower.advance()
    assert there.store.study("s1").state is StudyState.COMPLETED
    assert not follower.settled
    follower.advance()
    assert follower.settled


def test_a_cancelled_study_is_not_settled_while_one_lives_that_has_said_nothing(tmp_path: Path) -> None:
    place, there = mlflow_at(tmp_path / "home", SERVER), world(tmp_path / "runs")
    study = created(there, small_study())
    engine = there.engine()
    there.step(engine)
    ask(there.store, study, "cancel", {}, clock=there.clock)
    engine.tick(launch=False)
    assert there.store.study("s1").state is StudyState.CANCELLED
    assert there.store.live_attempts("s1")
    follower = StudyMirror(there.store, RememberedStore(), place, "s1")  # type: ignore[arg-type]
    follower.advance()
    assert not follower.settled
    while there.store.live_attempts("s1"):
        there.step(engine)
    follower.advance()
    assert follower.settled


@contextmanager
def _a_world() -> Iterator[tuple[World, Destination]]:
    with tempfile.TemporaryDirectory(prefix="orch-moments-") as folder:
        there = world(Path(folder) / "runs", faults=DIES)
        created(there, small_study())
        yield there, mlflow_at(Path(folder) / "home", SERVER)


def _over(there: World) -> bool:
    return there.store.study("s1").state is not StudyState.RUNNING and not there.store.live_attempts("s1")


@settings(max_examples=40, deadline=None)
@given(
    moments=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), max_size=5),
    ends_after=st.integers(1, 150),
    cancelled_after=st.none() | st.integers(1, 150),
    killed_after=st.lists(st.integers(1, 100), max_size=2),
    alone=st.booleans(),
)
def test_whatever_the_moment_of_the_end_the_cursor_reaches_the_last_event(
    moments: list[tuple[int, int]],
    ends_after: int,
    cancelled_after: int | None,
    killed_after: list[int],
    alone: bool,
) -> None:
    """`moments`: so many reads after the one before, the study goes on by so many ticks. The mirror may be
    killed too: the next one, in a fresh process, owes what it owed."""
    with _a_world() as (there, place):
        engine, sink, reads, due, kills = there.engine(), RememberedStore(), 0, 0, list(killed_after)
        plan = {}
        for gap, ticks in moments:
            due += gap
            plan[due] = ticks

        def goes_on(_: str) -> None:
            nonlocal reads
            reads += 1
            if reads == cancelled_after and not _over(there):
                ask(there.store, there.store.study("s1"), "cancel", {}, clock=there.clock)
            for _ in range(plan.get(reads, 0)):
                there.step(engine)
            while reads >= ends_after and not _over(there):
                there.step(engine)
            if kills and reads >= kills[0]:
                kills.pop(0)
                raise Killed

        there.step(engine)
        followed = "s1" if alone else None
        _rounds(there.store, place, sink, followed).look()  # as `begin` does, where trials are launched
        ledger, ended_before = Between(there.store, goes_on), False
        rounds = _rounds(ledger, place, sink, followed)
        while not ended_before:  # one round that begins after the end is enough
            ended_before = _over(there)
            try:
                with ExitStack() as held:
                    assert rounds.once(held)
            except Killed:
                rounds, ended_before = _rounds(ledger, place, sink, followed), False
        _all_is_there(there, place, sink)
        assert there.store.cursor(place.owed("s1")) == 0
