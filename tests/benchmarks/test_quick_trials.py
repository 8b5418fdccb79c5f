"""Does the backend of the benchmark `quick_trials` do what the engine asks of one?"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from benchmarks import quick_trials
from orchestrator.backends.simulated import VirtualClock
from orchestrator.engine.tick import Engine
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import StudyState
from orchestrator.runs.contract import Backend, Launch
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create

TRIALS = 5
ASKED = [name for name, _ in inspect.getmembers(Backend, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", ASKED)
def test_it_is_asked_as_the_contract_says(name: str) -> None:
    wanted, there = (inspect.signature(getattr(of, name)) for of in (Backend, quick_trials.Retold))
    assert there == wanted


def test_an_engine_brings_a_study_to_its_end_with_so_many_trials_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_trials, "TRIALS", TRIALS)
    store, clock, backend = MemoryLedger(), VirtualClock(), quick_trials.Retold()
    study = create(store, quick_trials._spec(), clock=clock).study
    engine = Engine(store, backend, clock=clock, storage=Storage(tmp_path), who="test")
    live = set()
    while (tick := engine.tick()).open_studies:
        live.add(tick.live)
    assert max(live) == quick_trials.AT_A_TIME
    assert store.study(study.study_id).state is StudyState.COMPLETED
    assert [trial.attempts for trial in store.trials(study.study_id)] == [1] * TRIALS
    assert [(host.name, host.at_work) for host in backend.hosts()] == [("h", ())]


def test_it_takes_no_more_than_it_has_room_for_and_an_attempt_that_it_has_only_once() -> None:
    backend = quick_trials.Retold()
    first, second, third = (Launch(f"s.a.0.{i}", 1, "benchmarks.noop", {}, "noop", "") for i in range(3))
    assert backend.free(first.resources) == quick_trials.AT_A_TIME == 2
    assert backend.submit(first)
    assert not backend.submit(second, [second.resources])  # the room is another's, that has waited longer
    assert backend.submit(second, avoid="h")  # no other host has room
    backend.poll({first.key: 0})
    (more,) = backend.poll({first.key: 1}).values()
    assert backend.submit(first)
    assert more.events[0].sequence == 2
    (later,) = backend.poll({first.key: 1}).values()
    assert len(later.events) > len(more.events)  # it was not begun again
    assert not backend.submit(third)
    backend.forget(first.key)
    assert backend.submit(third)
