"""Is the ledger read as it stands, and charged as it was spent?"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.evidence import frames
from orchestrator.backends.simulated import Fault
from orchestrator.ledger.records import TrialState
from tests.dashboards.ledgers import ALPHA, FAILED, Run, ledger, runs, searched, spec
from tests.faults.world import created, small_study, world


def test_trials_come_by_arm_with_seed_point_and_values() -> None:
    study = spec(confirmations=2)
    frame = frames.read(
        ledger(study, {**searched(), "confirm-bo": runs(0.8, 0.9, values={"dev_bleu": 30.0})}), "s1"
    )
    best = frame.best(study.arm("bo"))
    assert best is not None
    assert (best.name, best.value, best.seed) == ("bo.0.2", 0.8, 0)
    confirming = frame.confirming(study.arm("bo"))
    assert [(t.seed, t.value, frame.value_of(t, "dev_bleu")) for t in confirming] == [
        (1000, 0.8, 30.0),
        (1001, 0.9, 30.0),
    ]
    assert frames.metrics(frame) == {"loss", "dev_bleu"}


def test_only_a_completed_run_has_a_value() -> None:
    lost = Run(0.1, state=TrialState.DIVERGED)
    frame = frames.read(ledger(spec(), {"bo": [lost, FAILED, Run(0.5)]}), "s1")
    assert [t.value for t in frame.trials["bo"]] == [None, None, 0.5]
    assert frame.value_of(frame.trials["bo"][0], "loss") is None


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        *((name, True) for name in ("loss", "dev_loss", "accumulated_loss", "half1_loss", "eval/WER")),
        *((name, False) for name in ("test_bleu", "accuracy", "chrF++", "macro-f1", "recall", "auc", "mcc")),
    ],
)
def test_which_way_is_better_follows_from_the_goal_or_the_name(metric: str, lower: bool) -> None:
    frame = frames.read(ledger(spec(), {}), "s1")
    assert frame.lower_is_better(metric) is lower
    upward = frames.read(ledger(spec(objective={"metric": "loss", "goal": "maximize"}), {}), "s1")
    assert upward.lower_is_better("loss") is False


def test_the_goal_of_a_claim_is_that_of_its_metric() -> None:
    for goal, lower in (("maximize", False), ("minimize", True)):
        claim = {"text": "", "challenger": "guided", "incumbent": "bo", "metric": "rougeL", "goal": goal}
        assert frames.read(ledger(spec(claim=claim), {}), "s1").lower_is_better("rougeL") is lower


def test_the_cost_of_an_arm_is_all_that_was_charged() -> None:
    study = spec()
    store = ledger(study, {"bo": [Run(1.0, hours=2.0, wasted_hours=1.0), FAILED]})
    frame = frames.read(store, "s1")
    cost = frames.cost(frame, [study.arm("bo")], slots=2)
    assert (cost.runs, cost.steps, cost.run_hours, cost.chip_hours) == (2, 80, 4.0, 4.0)
    assert cost.wasted_hours == pytest.approx(2.0)  # one of the completed run, and the failed one
    assert cost.wall_hours == pytest.approx(4.0)  # proposals of BO wait for each other
    assert frames.cost(frame, study.arms, slots=2).wall_hours is None


def test_chip_hours_are_run_hours_times_chips_and_memory_is_the_most_a_run_said() -> None:
    said = {1: 5e8, 2: 9e8, 3: 7e8}
    found = [
        Run(
            1.0,
            hours=2.0,
            said=[(step, "eval", {frames.PEAK_MEMORY: size}, {}) for step, size in said.items()],
        ),
        Run(1.0, hours=1.0),
    ]
    for resources, chips in (({"cpus": 8}, 1), ({"gpus": 2, "hosts": 3}, 6)):
        study = spec(resources=resources)
        store = ledger(study, {"bo": found})
        frame, bo = frames.read(store, "s1"), study.arm("bo")
        heard = frames.curves(store, frame.of(bo))
        cost = frames.cost(frame, [bo], slots=1, heard=heard)
        assert (cost.chip_hours, cost.peak_memory_bytes) == (3.0 * chips, 9e8)
        assert frames.cost(frame, [bo], slots=1).peak_memory_bytes is None  # nobody looked closely


def test_what_a_rung_stopped_is_waste_and_what_diverged_is_none() -> None:
    rungs = {"method": "random", "rungs": {"steps": [10]}, "trials": 3, "space": [ALPHA], "row": "asha"}
    study = spec(more_arms=[{"name": "asha", **rungs}])
    found = [
        Run(0.9),
        Run(0.95, state=TrialState.STOPPED, hours=0.5),
        Run(state=TrialState.DIVERGED, hours=0.2),
    ]
    frame = frames.read(ledger(study, {"asha": found}), "s1")
    assert frames.cost(frame, [study.arm("asha")], slots=1).wasted_hours == pytest.approx(0.5)


def test_seconds_that_went_into_nothing_else_are_none_and_not_less() -> None:
    """Seconds of which the hours, less those of training and evaluation, would be -1e-18."""
    study = spec()
    for train_s, eval_s in itertools.product((0.1, 7.3, 99.7), (0.3, 1.1, 5.9)):
        frame = frames.read(ledger(study, {"base": [Run(1.0)]}), "s1")
        (trial,) = frame.of(study.arm("base"))
        clocks = {"train_s": train_s, "eval_s": eval_s}
        for more in ({}, {"compile_s": 3.0, "other_s": 6.0}):
            told = replace(
                frame, trials={**frame.trials, "base": (replace(trial, charged={**clocks, **more}),)}
            )
            cost = frames.cost(told, [study.arm("base")], slots=1)
            assert cost.compile_hours == pytest.approx(0.003 / 3.6 if more else 0.0)
            assert cost.other_hours == pytest.approx(0.006 / 3.6 if more else 0.0)
            assert cost.other_hours >= 0


def test_a_schedule_of_many_runs_takes_no_more_time_for_each() -> None:
    study = spec()
    frame = frames.read(ledger(study, {"bo": runs(1.0)}), "s1")
    (one,) = frame.of(study.arm("bo"))
    many = tuple(replace(one, index=i) for i in range(20_000))
    began = time.process_time()
    done = frames.schedule(replace(frame, trials={**frame.trials, "bo": many}), study.arm("bo"), slots=2)
    assert time.process_time() - began < 2  # looking back at all finishes takes some 8 s
    assert done[-1][0] == 20_000


def test_a_proposal_waits_for_the_slowest_of_those_that_it_sees() -> None:
    arm = {**spec().arm("bo").model_dump(), "window": 2, "trials": 5}
    study = spec(arms=[arm], claim=None)
    long_first = [Run(1.0, hours=h) for h in (5.0, 1.0, 1.0, 1.0, 1.0)]
    frame = frames.read(ledger(study, {"bo": long_first}), "s1")
    # The third sees the first, done at 5; the fourth sees two, of which the first is the later; and so on.
    done = {t.index: at for at, t in frames.schedule(frame, study.arm("bo"), slots=3)}
    assert done == {0: 5, 1: 1, 2: 6, 3: 6, 4: 7}


def test_independent_runs_share_the_slots_and_bayesian_ones_wait_for_their_window() -> None:
    study = spec()
    results = {"bo": runs(1, 2, 3, 4), "guided": runs(1, 2, 3)}
    frame = frames.read(ledger(study, results), "s1")
    hours = [[at for at, _ in frames.schedule(frame, study.arm(arm), slots=2)] for arm in ("bo", "guided")]
    assert hours == [[1, 2, 3, 4], [1, 1, 2]]
    wide = spec(
        arms=[{**study.arm("bo").model_dump(), "window": 2}], claim=None
    )  # the third waits for the first, and finds it done
    frame = frames.read(ledger(wide, {"bo": runs(1, 2, 3, 4)}), "s1")
    assert [at for at, _ in frames.schedule(frame, wide.arm("bo"), slots=2)] == [1, 1, 2, 2]


def test_curves_hold_values_and_hyperparameters_by_step() -> None:
    said = [(20, "eval", {"loss": 2.0}, {"alpha": 0.9}), (10, "train", {"train_loss": 3.0}, {"alpha": 1.0})]
    store = ledger(spec(), {"base": [Run(1.0, said=said)]})
    frame = frames.read(store, "s1")
    (heard,) = frames.curves(store, frame.trials["base"]).values()
    assert heard.values == {"loss": ((20, 2.0),), "train_loss": ((10, 3.0),)}
    assert heard.hyper == {"alpha": ((10, 1.0), (20, 0.9))}


def test_more_events_than_a_page_are_all_read() -> None:
    said = [(step, "train", {"train_loss": float(step)}, {}) for step in range(2 * frames.PAGE_EVENTS)]
    store = ledger(spec(), {"base": [Run(1.0, said=said)]})
    (heard,) = frames.curves(store, frames.read(store, "s1").trials["base"]).values()
    assert len(heard.values["train_loss"]) == 2 * frames.PAGE_EVENTS


def test_a_lost_attempt_leaves_no_trace_in_the_curves(tmp_path: Path) -> None:
    seen = []
    for name, faults in (("calm", []), ("stormy", [Fault("s1.random.0.1", 1, "die", 6)])):
        place = world(tmp_path / name, faults=faults)
        created(place, small_study())
        place.drive(place.engine(), "s1")
        frame = frames.read(place.store, "s1")
        seen.append(frames.curves(place.store, frame.trials["random"]))
        attempts = len(place.store.attempts("s1.random.0.1"))
        assert attempts == (1 if name == "calm" else 2)
    assert seen[0] == seen[1]
