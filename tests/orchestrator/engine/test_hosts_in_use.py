"""On which hosts does a study run? Not on those that are drained, or that lose one attempt after another."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.placement import Node
from orchestrator.backends.simulated import Fault
from orchestrator.engine.hosts import ASIDE_S
from orchestrator.engine.tick import Engine
from orchestrator.ledger.records import AttemptState, HostState, StudyState, TrialState
from orchestrator.readings.hosts import hosts
from orchestrator.readings.overview import overview
from tests.faults import invariants
from tests.faults.world import World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
TWO = [Node("1", "a", {"CPU": 2.0}), Node("2", "b", {"CPU": 2.0})]


def _of(trials: int) -> list[dict[str, Any]]:
    return [{"name": "random", "method": "random", "trials": trials, "space": [ALPHA]}]


def _where(place: World, study: str = "s1") -> Counter[str]:
    trials = place.store.trials(study)
    attempts = [attempt for trial in trials for attempt in place.store.attempts(trial.trial_id)]
    return Counter(str(a.provenance["host"]) for a in attempts if a.provenance)


def _run(place: World, engine: Engine, study: str = "s1") -> None:
    assert place.drive(engine, study).state is StudyState.COMPLETED
    assert {trial.state for trial in place.store.trials(study)} <= {TrialState.COMPLETED, TrialState.DIVERGED}
    invariants.check(place.store, study)


def test_both_hosts_run_trials_and_their_states_are_in_the_ledger(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=TWO)
    created(place, small_study(arms=_of(12)))
    engine = place.engine()
    seen = []
    for _ in range(8):
        place.step(engine)
        seen.append({line.name: len(line.at_work) for line in hosts(place.store)})
    assert {"a": 2, "b": 2} in seen
    _run(place, engine)
    assert set(_where(place)) == {"a", "b"}
    assert {row.name: row.state for row in place.store.hosts()} == {
        "a": HostState.IN_USE,
        "b": HostState.IN_USE,
    }


def test_a_drained_host_is_emptied_without_a_loss_and_used_again_when_a_person_says_so(
    tmp_path: Path,
) -> None:
    place = world(tmp_path, hosts=TWO)
    created(place, small_study(arms=_of(12)))
    engine = place.engine()
    for _ in range(3):
        place.step(engine)
    place.store.drain_host("b", by="ada")
    while any(line.at_work for line in hosts(place.store) if line.name == "b"):
        place.step(engine)
        place.clock.advance(0.1)
    [row] = [line for line in hosts(place.store) if line.name == "b"]
    assert (row.state, row.reason) == (HostState.DRAINED, "ada wants it empty.")
    before = _where(place)["b"]
    for _ in range(20):
        place.step(engine)
    assert _where(place)["b"] == before
    place.store.drain_host("b", by="")
    _run(place, engine)
    assert _where(place)["b"] > before
    trials = place.store.trials("s1")
    assert all(trial.losses == trial.failures == 0 for trial in trials)
    states = {a.state for trial in trials for a in place.store.attempts(trial.trial_id)}
    assert AttemptState.LOST not in states


def test_a_drain_outlives_the_process_that_leads(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=TWO)
    created(place, small_study(arms=_of(6)))
    first = place.engine()
    first.tick()
    place.store.drain_host("a", by="ada")
    first.store.release()
    _run(place, place.engine(who="two"))
    after_the_first_tick = [
        attempt.provenance["host"]
        for trial in place.store.trials("s1")
        for attempt in place.store.attempts(trial.trial_id)
        if attempt.started_at > place.clock.time() - place.clock.monotonic() + 1
    ]
    assert set(after_the_first_tick) == {"b"}


@pytest.mark.parametrize("kind", ["die", "full", "unable"])
def test_a_host_that_loses_three_in_a_row_is_set_aside_and_later_taken_back(
    tmp_path: Path, kind: Any
) -> None:
    place = world(tmp_path, hosts=TWO, faults=[Fault("*", 0, kind, after_reports=1, host="b")])
    created(place, small_study(arms=_of(30), retries={"attempts": 4}))
    engine = place.engine()
    aside = 0
    for _ in range(400):
        place.step(engine)
        [row] = [row for row in place.store.hosts() if row.name == "b"]
        aside += row.state is HostState.SET_ASIDE
        if aside == 1:
            assert re.match(r"[34] attempts in a row ended here in trouble\. Last: ", row.reason)
            place.backend.faults = ()  # whatever it was, it is over
            place.clock.advance(ASIDE_S)
            aside += 1
        if aside > 1 and row.state is HostState.IN_USE:
            break
    lost_there = _where(place)["b"]
    assert aside
    _run(place, engine)
    assert _where(place)["b"] > lost_there


def test_a_retry_is_made_on_another_host_where_that_has_room(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=TWO, faults=[Fault("*", 1, "die", after_reports=1, host="b")])
    created(place, small_study(arms=_of(2)))
    _run(place, place.engine())
    attempts = [place.store.attempts(trial.trial_id) for trial in place.store.trials("s1")]
    again = [each for each in attempts if len(each) > 1]
    assert again
    assert all([a.provenance["host"] for a in each] == ["b", "a"] for each in again)


def test_the_only_host_is_not_set_aside(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=TWO[:1], faults=[Fault("*", 1, "die", after_reports=1)])
    created(place, small_study(arms=_of(6)))
    _run(place, place.engine())
    [row] = place.store.hosts()
    assert row.state is HostState.IN_USE


def test_a_study_whose_hosts_are_all_drained_waits_and_says_for_what(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=[*TWO, Node("3", "c", {"CPU": 4.0, "GPU": 1.0})])
    study = created(place, small_study(arms=_of(2), resources={"cpus": 1, "gpus": 1}))
    engine = place.engine()
    place.store.see_hosts(engine.store.lead("one") or 0, [])
    engine.tick()
    place.store.drain_host("c", by="ada")
    place.clock.advance(2)
    while place.store.live_attempts():
        place.step(engine)
        place.clock.advance(1)
    place.step(engine)
    waiting = place.store.study(study.study_id)
    assert waiting.state is StudyState.RUNNING
    assert waiting.waits == "It waits for a host with 1 CPU, 1 GPU; 1 is draining."
    assert overview(place.store, waiting).waits == waiting.waits
    charged = [trial.charged for trial in place.store.trials("s1")]
    place.clock.advance(100_000)  # far more than a worker may be silent
    place.step(engine)
    assert [trial.charged for trial in place.store.trials("s1")] == charged
    place.store.drain_host("c", by="")
    place.clock.advance(2)
    _run(place, engine)
    assert place.store.study("s1").waits == ""
    assert all(trial.losses == 0 for trial in place.store.trials("s1"))


def test_a_study_waits_for_hosts_that_others_use_and_says_so(tmp_path: Path) -> None:
    busy = [replace(TWO[0], others={"CPU": 2.0}), replace(TWO[1], others={"CPU": 1.5})]
    place = world(tmp_path, hosts=busy)
    study = created(place, small_study(arms=_of(2)))
    engine = place.engine()
    assert engine.tick().launched == 0
    assert place.store.study(study.study_id).waits == (
        "It waits for a host with 1 CPU; 2 are used by others."
    )
    assert {line.name: line.reason for line in hosts(place.store)} == {
        "a": "Others hold 2 CPU of it.",
        "b": "Others hold 1.5 CPU of it.",
    }
    place.backend.nodes = TWO
    place.clock.advance(2)
    _run(place, engine)
    assert {row.reason for row in place.store.hosts()} == {""}
    assert place.store.study("s1").waits == ""


def test_what_fits_no_host_is_refused_and_goes_on_at_once_where_one_has_come(tmp_path: Path) -> None:
    place = world(tmp_path, hosts=TWO)
    created(place, small_study(arms=_of(2), resources={"cpus": 3}))
    engine = place.engine()
    assert (
        engine.tick()
        .unrunnable["s1"]
        .startswith("A trial of it asks for 3 CPUs, and none such fits: there are ")
    )
    place.backend.nodes.append(Node("3", "c", {"CPU": 4.0}))
    place.clock.advance(1.5)
    assert engine.tick().launched == 1
    _run(place, engine)


BUSY = """
from orchestrator.rehearsal import *
from orchestrator import rehearsal
def run(config, reporter, workdir, place):
    if workdir.name == "attempt-1":
        raise RuntimeError(
            "Unable to initialize backend 'tpu': UNKNOWN: TPU initialization failed: open(/dev/vfio/1): "
            "Device or resource busy; Couldn't open iommu group /dev/vfio/1"
        )
    return rehearsal.run(config, reporter, workdir, place)
"""


def test_a_trial_whose_accelerator_is_busy_is_tried_on_another_host(tmp_path: Path, module: Any) -> None:
    place = world(
        tmp_path, hosts=[Node("1", "a", {"CPU": 1.0, "TPU": 4.0}), Node("2", "b", {"CPU": 1.0, "TPU": 4.0})]
    )
    created(place, small_study(arms=_of(1), resources={"tpu_chips": 4}, entrypoint=module(BUSY)))
    _run(place, place.engine())
    first, second = place.store.attempts("s1.random.0.0")
    assert first.state is AttemptState.LOST
    assert first.reason.startswith("Trouble of the machine ")
    assert "Couldn't open iommu group /dev/vfio/1" in first.reason
    assert {first.provenance["host"], second.provenance["host"]} == {"a", "b"}
    assert place.store.trial("s1.random.0.0").losses == 1
