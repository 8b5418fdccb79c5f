"""What becomes of a study that cannot go on: the others run, it is looked at again, and it says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.tick import Engine
from orchestrator.ground.errors import BackendLost, BadSpec, Fenced, LedgerBusy, MissingPackage
from orchestrator.ground.settings import Settings
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.service.creation import ask
from orchestrator.service.drive import run
from orchestrator.service.host import Host
from tests.faults.world import World, created, small_study, world

GUIDED = {
    "name": "guided",
    "method": "fixed",
    "config": {"guidance": {"estimator": "held-out", "learn": ["alpha"]}},
}
REPLAY = {"name": "replay", "method": "fixed", "phase": "control"}
TAKES = [GUIDED, {**REPLAY, "after": {"arm": "guided", "take": "schedule"}}]


def _refusing(place: World, problem: Callable[[], Exception | None]) -> Engine:
    """An engine whose entrypoints cannot be found while there is a problem."""
    engine = place.engine()
    found = engine._entrypoint

    def entrypoint(name: str) -> Any:
        why = problem()
        if why is not None:
            raise why
        return found(name)

    engine._entrypoint = entrypoint
    return engine


def test_a_torn_file_of_one_study_stops_no_other(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study(arms=TAKES))
    engine = place.engine()
    while not (schedules := list(tmp_path.rglob("schedule.npz"))):
        place.step(engine)
    schedules[0].write_bytes(schedules[0].read_bytes()[:100])  # as a power cut leaves it
    created(place, small_study(name="two"), study_id="s2")
    assert place.drive(engine, "s2").state is StudyState.COMPLETED
    (why,) = engine.tick().unrunnable.values()
    assert f"{schedules[0]} cannot be read (File is not a zip file): it was torn, as by a" in why
    assert place.store.study("s1").state is StudyState.RUNNING


def test_whatever_befalls_one_study_stops_no_other(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    engine = _refusing(place, lambda: PermissionError(13, "Permission denied", "schedules"))
    assert engine.tick().unrunnable["s1"] == (
        "It cannot go on here (PermissionError: [Errno 13] Permission denied: 'schedules'). "
        "Mend that, or cancel the study."
    )


def test_a_study_that_fits_on_no_worker_says_what_it_asks_for_and_what_there_is(tmp_path: Path) -> None:
    place = world(tmp_path, slots=2)
    spec = small_study(resources={"hosts": 2, "tpu_chips": 4, "tpu_type": "v3-16"})
    created(place, spec)
    created(place, small_study(name="two"), study_id="s2")
    slots = place.backend.slots
    place.backend.slots = lambda r: slots(r) if r.hosts == 1 else 0  # type: ignore[method-assign]
    engine = place.engine()
    assert engine.tick().unrunnable == {
        "s1": "A trial of it asks for a whole v3-16 slice (2 hosts, each with 1 CPU, 4 TPU chips), and none "
        "such fits: there are 2 simulated workers. Run it where there is more, or make a new study "
        "that asks for less."
    }
    assert place.drive(engine, "s2").state is StudyState.COMPLETED


@pytest.mark.parametrize("away", [LedgerBusy, BackendLost, Fenced])
def test_a_ledger_or_a_backend_that_is_away_is_no_fault_of_a_study(
    tmp_path: Path, away: type[Exception]
) -> None:
    place = world(tmp_path)
    created(place, small_study())
    problems = iter([away("not now")])
    engine = _refusing(place, lambda: next(problems, None))
    with pytest.raises(away):
        engine.tick()
    assert engine.tick().launched == 3


def test_a_study_that_could_not_go_on_is_looked_at_again(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    problems: list[Exception] = [MissingPackage("Install it.")]
    engine = _refusing(place, lambda: problems[0] if problems else None)
    assert engine.tick().unrunnable == {"s1": "Install it."}
    problems.clear()
    place.clock.advance(29.9)
    assert engine.tick().launched == 0
    place.clock.advance(0.2)
    tick = engine.tick()
    assert (tick.launched, dict(tick.unrunnable)) == (3, {})


def test_where_nothing_can_be_written_no_attempt_is_wasted(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, small_study())
    (tmp_path / "s1").write_text("a file where the study's folder would be")
    engine = place.engine()
    for _ in range(5):
        tick = engine.tick()
        assert tick.unrunnable["s1"].startswith(f"Nothing can be written in {tmp_path / 's1'} (")
        place.clock.advance(31)
    assert place.store.trials("s1") == []
    (tmp_path / "s1").unlink()
    tick = engine.tick()
    assert (tick.launched, dict(tick.unrunnable), tick.passing) == (3, {}, frozenset())


@pytest.mark.parametrize("mended", [True, False])
def test_a_foreground_study_waits_a_minute_for_its_disk(tmp_path: Path, mended: bool) -> None:
    place = world(tmp_path)
    created(place, small_study())
    (tmp_path / "s1").write_text("a file where the study's folder would be")

    def wait(seconds: float) -> None:
        place.clock.advance(10 if place.backend.next_event_at() is None else 0.1)
        if mended and place.clock.monotonic() > 40 and (tmp_path / "s1").is_file():
            (tmp_path / "s1").unlink()

    host = Host(Settings(tmp_path, "memory://", 3), place.store, place.clock, place.engine(), 3)
    if mended:
        assert run(host, "s1", wait=wait).state is StudyState.COMPLETED
    else:
        with pytest.raises(BadSpec, match="Nothing can be written"):
            run(host, "s1", wait=wait)
        assert 60 <= place.clock.monotonic() <= 80


def test_a_foreground_study_that_cannot_go_on_ends_once_nothing_of_it_runs(tmp_path: Path) -> None:
    slow = {"name": "slow", "method": "fixed", "trials": 1, "config": {"steps": 4000}}
    place = world(tmp_path)
    created(place, small_study(arms=[*TAKES, slow]))

    def wait(seconds: float) -> None:
        for schedule in tmp_path.rglob("schedule.npz"):
            schedule.write_bytes(b"torn")
        place.clock.advance_to(place.backend.next_event_at() or 0.0)

    host = Host(Settings(tmp_path, "memory://", 3), place.store, place.clock, place.engine(), 3)
    live: list[int] = []
    with pytest.raises(BadSpec, match="it was torn"):
        run(host, "s1", wait=wait, on_tick=lambda tick: live.append(tick.live if tick.unrunnable else -1))
    assert 1 in live  # told of meanwhile
    assert place.store.live_attempts() == []
    assert {t.arm: t.state for t in place.store.trials("s1")} == {
        "guided": TrialState.COMPLETED,
        "slow": TrialState.COMPLETED,
    }


def test_a_wish_makes_a_study_be_looked_at_at_once_and_a_cancelled_one_is_forgotten(tmp_path: Path) -> None:
    place = world(tmp_path)
    study = created(place, small_study())
    problems: list[Exception] = [BadSpec("Not here.")]
    engine = _refusing(place, lambda: problems[0] if problems else None)
    engine.tick()
    ask(place.store, study, "pause", {}, clock=place.clock)
    engine.tick()
    problems.clear()
    ask(place.store, study, "resume", {}, clock=place.clock)
    assert engine.tick().launched == 3
    other = created(place, small_study(name="other"), study_id="s2")
    problems.append(BadSpec("Not here."))
    place.backend.close(end_workers=True)
    assert "s2" in engine.tick().unrunnable
    ask(place.store, other, "cancel", {}, clock=place.clock)
    assert "s2" not in engine.tick().unrunnable
