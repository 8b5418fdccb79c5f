"""An arm whose first runs fail alike starts no more of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.engine.skipping import kind_of
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.service.creation import ask
from tests.faults import invariants
from tests.faults.world import Killed, Tripwire, World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
BREAKS = {"rehearsal": {"fail_at_step": 20}}
REASON = "RuntimeError: The rehearsal was told to fail at step 20."


def searching(method: str = "random", trials: int = 6, **more: Any) -> dict[str, Any]:
    return {"name": "search", "method": method, "trials": trials, "space": [ALPHA], "config": BREAKS, **more}


def ran(folder: Path, *arms: dict[str, Any], slots: int = 1, **changes: Any) -> World:
    place = world(folder, slots=slots)
    created(place, small_study(arms=list(arms), **changes))
    place.drive(place.engine(), "s1")
    return place


def ends(place: World, arm: str = "search") -> list[tuple[str, int]]:
    """State and attempts of each of its trials."""
    return [(str(t.state), t.attempts) for t in place.store.trials("s1", arm=arm)]


def test_after_three_failures_with_one_reason_the_rest_of_the_arm_is_not_started(tmp_path: Path) -> None:
    place = ran(tmp_path, {"name": "base", "method": "fixed"}, searching())
    assert ends(place) == [("failed", 1)] * 3 + [("stopped", 0)] * 3
    assert ends(place, "base") == [("completed", 1)]
    last = place.store.trials("s1", arm="search")[-1]
    assert last.reason == f"The first 3 runs of search failed for the same reason: {REASON}"
    invariants.check(place.store, "s1")


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_runs_that_are_under_way_go_on_to_their_end(tmp_path: Path, method: str) -> None:
    place = ran(tmp_path, searching(method, window=4), slots=4)
    states = [state for state, _ in ends(place)]
    assert states[:4] == ["failed"] * 4
    assert set(states[4:]) <= {"failed", "stopped"}
    assert "stopped" in states
    invariants.check(place.store, "s1")


@pytest.mark.parametrize(("most", "failed"), [(2, 2), (5, 5), (0, 6)])
def test_how_many_is_in_the_spec_and_0_never_stops(tmp_path: Path, most: int, failed: int) -> None:
    place = ran(tmp_path, searching(), retries={"stop_arm_after": most})
    assert ends(place) == [("failed", 1)] * failed + [("stopped", 0)] * (6 - failed)


def test_reasons_that_differ_stop_nothing(tmp_path: Path) -> None:
    """Two die of a lost worker and one of its own code."""
    faults = [Fault(f"s1.search.0.{i}", 0, "die", 1) for i in (0, 1)]
    place = world(tmp_path, slots=1, faults=faults)
    created(place, small_study(arms=[searching()]))
    place.drive(place.engine(), "s1")
    assert {state for state, _ in ends(place)} == {"failed"}


def test_an_arm_of_which_one_run_completed_goes_on(tmp_path: Path) -> None:
    faults = [Fault(f"s1.search.0.{i}", 0, "die", 1) for i in range(3)]
    place = world(tmp_path, slots=4, faults=faults)
    created(place, small_study(arms=[searching(config={})]))
    place.drive(place.engine(), "s1")
    assert [state for state, _ in ends(place)] == ["failed"] * 3 + ["completed"] * 3


def test_what_follows_an_arm_that_was_stopped_is_not_started_either(tmp_path: Path) -> None:
    confirm = {"name": "confirm", "method": "fixed", "phase": "confirm", "after": {"arm": "search"}}
    place = ran(tmp_path, searching(), confirm)
    assert ends(place, "confirm") == [("stopped", 0)]
    invariants.check(place.store, "s1")


def test_all_replicates_of_the_arm_are_stopped(tmp_path: Path) -> None:
    place = ran(tmp_path, searching(), replicates=2)
    states = [state for state, _ in ends(place)]
    assert states.count("failed") == 3
    assert states.count("stopped") == 9
    invariants.check(place.store, "s1")


def test_a_leader_that_is_killed_anywhere_leaves_what_the_next_one_ends_alike(tmp_path: Path) -> None:
    arms = ({"name": "base", "method": "fixed"}, searching())
    undisturbed = ends(ran(tmp_path / "whole", *arms))
    for at in range(1, 60, 4):
        wire = Tripwire(at=at)
        place = world(tmp_path / f"killed{at}", slots=1)
        created(place, small_study(arms=list(arms)))
        try:
            place.drive(place.engine(wire), "s1")
        except Killed:
            place.drive(place.next_life(), "s1")
        assert [state for state, _ in ends(place)] == [state for state, _ in undisturbed]
        invariants.check(place.store, "s1")


def test_with_one_of_the_failed_tried_again_the_arm_goes_on(tmp_path: Path) -> None:
    faults = [Fault(f"s1.search.{r}.{i}", n, "die", 1) for r in (0, 1) for i in range(3) for n in (1, 2, 3)]
    place = world(tmp_path, slots=1, faults=faults)
    study = created(place, small_study(arms=[searching(config={})], replicates=2))
    engine = place.engine()
    place.drive(engine, "s1")
    assert [state for state, _ in ends(place)].count("stopped") == 9
    ask(place.store, study, "extend", {"search": 2}, clock=place.clock)
    ask(place.store, study, "retry", {"trial_id": "s1.search.0.1"}, clock=place.clock)
    place.step(engine)
    refused, granted = (wish.answer for wish in place.store.wishes("s1"))
    assert refused is not None
    assert refused.startswith("More runs of search would not be started. The first 3 runs of search failed")
    assert granted == ""
    assert place.store.study("s1").state is StudyState.RUNNING
    place.drive(engine, "s1")
    by_id = {t.trial_id: t.state for t in place.store.trials("s1")}
    assert by_id["s1.search.0.1"] is TrialState.COMPLETED
    assert TrialState.STOPPED not in by_id.values()
    invariants.check(place.store, "s1")


def test_a_reason_is_told_apart_by_its_words_alone() -> None:
    one = "OSError: /runs/s1.search.0.3/2/state of s1.search.0.3 has 17 bytes"
    other = "OSError: /runs/s1.search.0.4/1/state of s1.search.0.4 has 1024 bytes"
    assert kind_of(one) == kind_of(other)
    assert kind_of(one) != kind_of("ValueError: /runs/s1.search.0.3/2/state of s1.search.0.3 has 17 bytes")
