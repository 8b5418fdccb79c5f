"""Who is stopped at a rung? The decision by brute force, and what a study makes of it whatever befalls it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dashboards.evidence import frames
from dashboards.web import study as web
from orchestrator.backends.simulated import Fault
from orchestrator.engine.checks import require_runnable
from orchestrator.engine.rungs import Ladder, ranks
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import Store
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import Event, StoredEvent, TrialState
from orchestrator.readings.overview import overview
from orchestrator.study.spec import Objective, Rungs, StudySpec
from orchestrator.tracking import mapping
from tests.faults import invariants
from tests.faults.world import Killed, Tripwire, World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
RUNGS = {"steps": [10, 20], "keep_one_in": 3}


def racing(trials: int = 9, **changes: Any) -> Any:
    arms = [
        {"name": "asha", "method": "random", "trials": trials, "space": [ALPHA], "rungs": RUNGS},
        {"name": "confirm", "method": "fixed", "trials": 1, "fresh_seeds": True, "after": {"arm": "asha"}},
    ]
    base = {**small_study().base, "eval_every_steps": 10}
    return small_study(**{"arms": arms, "base": base, **changes})


# -- the decision ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(2, 5), st.booleans())
def test_the_last_to_come_goes_on_if_it_is_among_the_best_share(
    values: list[int], keep_one_in: int, minimize: bool
) -> None:
    order = sorted(range(len(values)), key=lambda i: (values[i] if minimize else -values[i], i))
    best = order[: max(1, len(values) // keep_one_in)]
    rank, last = ranks([float(v) for v in values], keep_one_in=keep_one_in, minimize=minimize)
    assert (rank <= last) == (len(values) - 1 in best)


def judged(events: list[StoredEvent], rungs: Rungs, metric: str = "loss") -> set[str]:
    """By brute force: walk through the stream, sort everybody who has come, look who is far enough up."""
    lagging: set[str] = set()
    reached: dict[int, list[tuple[float, str]]] = {step: [] for step in rungs.steps}
    for stored in events:
        trial, value = stored.event.trial_id, stored.event.payload.get("values", {}).get(metric)
        for step in rungs.steps:
            there = reached[step]
            if (
                value is None
                or stored.event.step < step
                or trial in lagging
                or trial in [t for _, t in there]
            ):
                continue
            there.append((value, trial))
            ahead = sorted(there, key=lambda pair: pair[0])[: max(1, len(there) // rungs.keep_one_in)]
            if trial not in [t for _, t in ahead]:
                lagging.add(trial)
    return lagging


def stream(seed: int) -> list[StoredEvent]:
    dice, said = random.Random(seed), []
    steps = dict.fromkeys((f"s.asha.0.{i}" for i in range(8)), 0)
    while steps:
        trial = dice.choice(sorted(steps))
        steps[trial] += dice.choice((10, 20))  # some jump over a rung
        values = {"loss": dice.choice((1.0, 2.0, 3.0, dice.random()))} if dice.random() < 0.9 else {}
        event = Event(trial, 1, len(said) + 1, "eval", steps[trial], {"values": values}, 0.0)
        said.append(StoredEvent(len(said) + 1, "s", event))
        if steps[trial] >= 60:
            del steps[trial]
    return said


@pytest.mark.parametrize("seed", range(30))
def test_a_ladder_judges_as_brute_force_does_however_it_hears(seed: int) -> None:
    rungs, events = Rungs(steps=(20, 40), keep_one_in=2), stream(seed)
    expected = judged(events, rungs)
    for pages in (1, 3, len(events)):
        ladder = Ladder(rungs, Objective())
        for page in range(0, len(events), pages):
            ladder.hear(reversed(events[page : page + pages]))
        trials = {s.event.trial_id for s in events}
        assert {trial for trial in trials if ladder.lags(trial)} == expected
        assert ladder.cursor == len(events)


# -- a study ---------------------------------------------------------------------------------------------


def _stream(store: Store) -> list[StoredEvent]:
    return store.events(study_id="s1", limit=100_000)


def _asha(place: World) -> Iterator[Any]:
    return iter(place.store.trials("s1", arm="asha"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, int]:
    place, wire = world(tmp_path_factory.mktemp("calm")), Tripwire()
    created(place, racing())
    place.drive(place.engine(wire), "s1")
    invariants.check(place.store, "s1")
    return place, wire.count


def test_those_that_lag_behind_are_stopped_with_their_last_value_and_their_cost(
    undisturbed: tuple[World, int],
) -> None:
    place, _ = undisturbed
    lagging = judged([s for s in _stream(place.store) if ".asha." in s.event.trial_id], Rungs(**RUNGS))
    assert 3 <= len(lagging) < 9
    whole = max(run_hours(t.charged) for t in _asha(place))
    for trial in _asha(place):
        assert (trial.state is TrialState.STOPPED) == (trial.trial_id in lagging)
        assert trial.value == trial.values["loss"]
        if trial.trial_id in lagging:
            assert 0 < run_hours(trial.charged) < whole
            assert trial.productive == trial.charged
            assert trial.reason.startswith("At the rung of ")
            assert trial.reason.endswith("(one in 3).")


def test_what_a_rung_stopped_is_waste_wherever_it_is_told(undisturbed: tuple[World, int]) -> None:
    """All that it was charged: its last value is no result."""
    place, _ = undisturbed
    wasted = sum(run_hours(t.charged) for t in _asha(place) if t.state is TrialState.STOPPED)
    assert wasted > 0
    study = place.store.study("s1")
    spec = StudySpec.model_validate(study.spec)
    (line,) = [line for line in overview(place.store, study).arms if line.arm == "asha"]
    frame = frames.read(place.store, "s1")
    mirrored = {p.name: p.value for p in mapping.tally(spec, list(_asha(place)), best_among=[])}
    told = (
        line.wasted_hours,
        frames.cost(frame, [spec.arm("asha")], slots=2).wasted_hours,
        sum(web.wasted_hours(trial) or 0.0 for trial in _asha(place)),
        mirrored["cost/wasted_hours"],
    )
    assert told == pytest.approx((wasted,) * 4)


def test_what_completed_alone_can_be_chosen(undisturbed: tuple[World, int]) -> None:
    place, _ = undisturbed
    best = min((t for t in _asha(place) if t.state is TrialState.COMPLETED), key=lambda t: (t.value, t.index))
    (confirmed,) = place.store.trials("s1", arm="confirm")
    assert confirmed.point == {}
    assert confirmed.config["optimizer"] == best.config["optimizer"]
    assert confirmed.state is TrialState.COMPLETED


def test_every_write_and_every_act_may_be_the_last_of_a_race(
    tmp_path: Path, undisturbed: tuple[World, int]
) -> None:
    calm, calls = undisturbed
    for at in range(1, calls + 1, 11):
        place = world(tmp_path / str(at))
        created(place, racing())
        try:
            place.drive(place.engine(Tripwire(at=at)), "s1")
        except Killed:
            place.drive(place.engine(), "s1")
        invariants.check(place.store, "s1")
        assert invariants.report(place.store, "s1") == invariants.report(calm.store, "s1"), at


def test_an_orchestrator_that_dies_at_every_tick_judges_by_what_is_stored(tmp_path: Path) -> None:
    place = world(tmp_path)
    created(place, racing())
    for _ in range(2000):
        if place.store.study("s1").state != "running":
            break
        place.step(place.engine())
    invariants.check(place.store, "s1")
    lagging = judged([s for s in _stream(place.store) if ".asha." in s.event.trial_id], Rungs(**RUNGS))
    assert {t.trial_id for t in _asha(place) if t.state is TrialState.STOPPED} == lagging


def test_a_worker_that_dies_after_its_rung_is_not_hired_again_for_that_run(tmp_path: Path) -> None:
    """It says three things up to the rung: started, a training loss, and the evaluation that is too poor."""
    grid = {"path": "optimizer.alpha", "values": [1.6, 0.1]}
    arm = {"name": "asha", "method": "grid", "trials": 2, "space": [grid], "rungs": RUNGS}
    place = world(tmp_path, slots=1, faults=[Fault("s1.asha.0.1", 1, "die", 2)])
    created(place, racing(arms=[arm]))
    place.drive(place.engine(), "s1")
    _, second = _asha(place)
    assert (second.state, second.attempts) == (TrialState.STOPPED, 1)
    assert second.values == {"loss": second.value}
    invariants.check(place.store, "s1")


def test_a_search_learns_from_runs_that_were_stopped(tmp_path: Path) -> None:
    arm = {
        "name": "asha",
        "method": "tpe",
        "trials": 6,
        "startup_trials": 2,
        "space": [ALPHA],
        "rungs": RUNGS,
    }
    place = world(tmp_path, slots=1)
    created(place, racing(arms=[arm]))
    place.drive(place.engine(), "s1")
    invariants.check(place.store, "s1")
    assert TrialState.STOPPED in {t.state for t in _asha(place)}
    assert len({t.point["optimizer.alpha"] for t in _asha(place)}) == 6


# -- words -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"rungs": {"steps": [20, 10]}},
            "rungs.steps is 20, 10. Allowed are whole numbers from 1, each above",
        ),
        (
            {"rungs": {"steps": [10, 10]}},
            "rungs.steps is 10, 10. Allowed are whole numbers from 1, each above",
        ),
        (
            {"method": "fixed", "space": [], "trials": 1},
            "arm asha: rungs stop the worse of several configurations, and method 'fixed' has one.",
        ),
    ],
)
def test_rungs_that_cannot_be_are_refused_with_a_sentence(changes: Any, sentence: str) -> None:
    arm = {"name": "asha", "method": "random", "trials": 4, "space": [ALPHA], "rungs": RUNGS}
    with pytest.raises(ValidationError) as refused:
        racing(arms=[{**arm, **changes}])
    assert sentence in str(refused.value)


def test_a_rung_at_the_last_step_is_refused() -> None:
    arm = {"name": "asha", "method": "random", "trials": 4, "space": [ALPHA], "rungs": {"steps": [20, 40]}}
    with pytest.raises(BadSpec) as refused:
        require_runnable(racing(arms=[arm]))
    assert refused.value.problems == [
        "arm asha: a rung stands at 40 steps and a run has 40. Allowed are rungs below 40."
    ]
