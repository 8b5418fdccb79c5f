"""The orchestrator dies around every write, also of the files that arms take of a learned run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends.simulated import Fault
from orchestrator.engine.tick import Engine
from orchestrator.runs.folders import Storage
from tests.faults import invariants
from tests.faults.world import ACTS, WRITES, Killed, Tripwire, World, created, small_study, world

GUIDED = {"estimator": "held-out", "learn": ["alpha", "beta1"]}
TAKES = ("schedule", "schedule-mean", "matched-decay")
ARMS: list[dict[str, Any]] = [
    {
        "name": "guided",
        "method": "grid",
        "trials": 2,
        "config": {"guidance": GUIDED},
        "space": [{"path": "guidance.eta", "values": [0.1, 2.0]}],
    },
    *(
        {
            "name": take,
            "method": "fixed",
            "phase": "control",
            "fresh_seeds": True,
            "after": {"arm": "guided", "take": take},
        }
        for take in TAKES
    ),
]


def engine(place: World, wire: Tripwire) -> Engine:
    """As `World.engine`, with the writing of schedule files on the wire as well."""
    place.lives += 1
    store, backend = wire.around(place.store, WRITES), wire.around(place.backend, ACTS)
    storage = wire.around(Storage(place.folder), ("keep",))
    return Engine(store, backend, clock=place.clock, storage=storage, who="one")


def outcome(place: World) -> tuple[str, dict[str, bytes]]:
    """The report wherever the world lies, and the bytes of the files that trials name."""
    report = json.dumps(invariants.report(place.store, "s1")).replace(str(place.folder), "ROOT")
    files = {path.name: path.read_bytes() for path in (place.folder / "s1" / "schedules").iterdir()}
    return report, files


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, dict[str, bytes]], list[str]]:
    place, wire = world(tmp_path_factory.mktemp("undisturbed")), Tripwire()
    created(place, small_study(arms=ARMS))
    place.drive(engine(place, wire), "s1")
    invariants.check(place.store, "s1")
    return outcome(place), wire.seen


def test_the_controls_follow_the_better_run_on_fresh_seeds(
    undisturbed: tuple[tuple[str, dict[str, bytes]], list[str]],
) -> None:
    (report, files), calls = undisturbed
    trials = {t["trial"][0]: t for t in json.loads(report)}
    assert {f"s1.guided.0.1.{take}.npz" for take in ("schedule", "matched-decay")} == files.keys()
    assert calls.count("keep") == 2
    for take in TAKES:
        assert trials[take]["config"]["guidance"] == {"estimator": "off", "learn": []}
        assert trials[take]["config"]["seed"] == 1000
        named = trials[take]["config"]["schedule"].get("name")
        assert named == (None if take == "schedule-mean" else f"runs:s1/schedules/s1.guided.0.1.{take}.npz")
    assert trials["schedule-mean"]["config"]["optimizer"]["alpha"] > 1  # between the start and where it went


@pytest.mark.fault(2)
@pytest.mark.parametrize("before", [False, True], ids=["after the call", "before the call"])
def test_every_write_may_be_the_last_and_the_controls_are_the_same(
    tmp_path: Path, undisturbed: tuple[tuple[str, dict[str, bytes]], list[str]], before: bool
) -> None:
    told, calls = undisturbed
    for at in range(1, len(calls) + 1):
        place = world(tmp_path / f"{at}")
        created(place, small_study(arms=ARMS))
        try:
            place.drive(engine(place, Tripwire(at=at, before=before)), "s1")
        except Killed:
            place.drive(place.next_life(), "s1")
        assert place.lives == 2
        invariants.check(place.store, "s1")
        assert outcome(place) == told, f"{calls[at - 1]} (call {at})"


@pytest.mark.fault(4)
def test_a_guided_run_that_was_lost_once_leaves_the_same_schedule(
    tmp_path: Path, undisturbed: tuple[tuple[str, dict[str, bytes]], list[str]]
) -> None:
    """Its second attempt goes on from a checkpoint, and it is that attempt's file that is taken."""
    place = world(tmp_path, faults=[Fault("*", 1, "die", 3)])
    created(place, small_study(arms=ARMS))
    place.drive(place.engine(), "s1")
    assert {t.attempts for t in place.store.trials("s1")} == {2}
    assert outcome(place) == undisturbed[0]
