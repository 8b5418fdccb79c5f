"""Row 1, with real processes: `orch serve` ended by kill -9, at named moments and at random ones."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.study.spec import StudySpec
from orchestrator.tracking.destination import Destination, destination
from orchestrator.tracking.sync import lag
from tests.faults import invariants, mirrored
from tests.faults.serving import LEADS_WITHIN_S, WORKERS, Service, actors, awaited, service, settings_of
from tests.faults.world import created, small_study, world

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PACE_S = 0.04  # a step: 40 of them, a checkpoint each 10
FEW = ("after:submit:1", "after:append:2", "after:end_attempt:1")
MANY = (
    "after:add_trial:1",
    "before:start_attempt:1",
    "after:start_attempt:1",
    "before:submit:1",
    "after:submit:1",
    "before:attempt_running:1",
    "after:attempt_running:1",
    "before:append:1",
    "after:append:3",
    "before:end_attempt:1",
    "after:end_attempt:1",
    "before:forget:1",
    "after:forget:1",
)
AT_LAST = "before:move_study:1"


def _spec(trials: int, *, pace_s: float = PACE_S) -> StudySpec:
    base = small_study().base
    return small_study(
        name="killed",
        base={**base, "rehearsal": {"pace_s": pace_s} if pace_s else {}},
        arms=[
            {
                "name": "random",
                "method": "random",
                "trials": trials,
                "space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}],
            }
        ],
    )


def _undisturbed(folder: Path, trials: int) -> list[dict[str, Any]]:
    """The report of the same study on the virtual clock, where nothing happens to it."""
    place = world(folder)
    created(place, _spec(trials, pace_s=0))
    place.drive(place.engine(), "s1")
    return _unpaced(invariants.report(place.store, "s1"))


def _unpaced(report: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for trial in report:
        trial["config"] = {key: value for key, value in trial["config"].items() if key != "rehearsal"}
    return report


def _holds(
    there: Service, study_id: str, calm: list[dict[str, Any]], place: Destination | None = None
) -> None:
    """I1 to I7 of a study that nothing but the service's own kills has disturbed."""
    with there.ledger() as store:
        invariants.check(store, study_id)
        assert _unpaced(invariants.report(store, study_id)) == calm
        # Its workers were never touched: nothing is trained twice, and what never began is not charged.
        assert {(t.attempts, t.failures) for t in store.trials(study_id)} == {(1, 0)}
        if place is not None:
            awaited(lambda: lag(store, place, study_id) == 0 or None, what="the mirror's end")
    assert len(actors(there.home)) <= WORKERS
    there.end()
    assert daemon.processes(there.home) == []
    if place is not None:
        with there.ledger() as store:
            mirrored.check(store, study_id, mirrored.look(place.uri, study_id))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path / "home", module="tests.faults.dying") as found:
        yield found


def _dies(there: Service, study_id: str) -> None:
    """Of what was laid for it, and while its study runs."""
    awaited(lambda: None if there.alive() else True, what="the kill")
    there.process.wait()
    assert there.process.returncode == -9, there.said.read_text()[-2000:]
    assert there.runs(study_id)


@pytest.mark.fault(1, 2, real=True)
def test_killed_at_named_moments_it_goes_on_within_30_s_and_nothing_is_lost(
    there: Service, tmp_path: Path
) -> None:
    trials = 2 * len(FEW) + 2
    there.start(FEW[0])
    study_id = awaited(lambda: there.create(_spec(trials)))
    for moment in (*FEW[1:], "never"):
        _dies(there, study_id)
        there.start(moment)
    assert there.leads() < LEADS_WITHIN_S
    there.to_the_end(study_id)
    _holds(there, study_id, _undisturbed(tmp_path / "calm", trials))


@pytest.mark.slow
@pytest.mark.fault(1, 2, real=True)
def test_killed_at_every_named_moment_nothing_is_lost_nor_mirrored_twice(tmp_path: Path) -> None:
    trials = 2 * len(MANY) + 4
    environ = {"ORCH_MLFLOW": "on", "MLFLOW_TRACKING_URI": ""}
    with service(tmp_path / "home", module="tests.faults.dying", environ=environ) as there:
        there.start(MANY[0])
        study_id = awaited(lambda: there.create(_spec(trials)))
        for moment in (*MANY[1:], AT_LAST, "never"):
            _dies(there, study_id)
            there.start(moment)
        assert there.leads() < LEADS_WITHIN_S
        there.to_the_end(study_id)
        place = destination(settings_of(there))
        _holds(there, study_id, _undisturbed(tmp_path / "calm", trials), place)


@pytest.mark.slow
@pytest.mark.fault(1, real=True)
@pytest.mark.parametrize(("down_s", "kills"), [(0, 8), (20, 2), (60, 1)])
def test_killed_at_random_moments_and_down_for_a_while_nothing_is_lost(
    there: Service, tmp_path: Path, down_s: float, kills: int
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    trials = 6 * kills + 4
    there.start("never")
    study_id = awaited(lambda: there.create(_spec(trials)))
    for _ in range(kills):
        there.leads()
        time.sleep(dice.random() * 2)
        there.kill()
        assert there.runs(study_id)
        time.sleep(down_s)
        there.start("never")
        assert there.leads() < LEADS_WITHIN_S
    there.to_the_end(study_id)
    _holds(there, study_id, _undisturbed(tmp_path / "calm", trials))
