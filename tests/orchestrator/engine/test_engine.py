"""What the engine decides: budgets, arms that follow arms, what is kept, several studies at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import AttemptState, StudyState, TrialState
from orchestrator.readings.overview import overview
from tests.faults import invariants
from tests.faults.world import BEGINS_AFTER_S, World, created, small_study, world

ALPHA = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}


def _finished(folder: Path, *, slots: int = 3, **changes: Any) -> World:
    place = world(folder, slots=slots)
    study = created(place, small_study(**changes))
    place.drive(place.engine(), study.study_id)
    return place


def test_a_confirmation_runs_the_chosen_configuration_on_fresh_seeds(tmp_path: Path) -> None:
    place = _finished(tmp_path)
    best = min(place.store.trials("s1", arm="random"), key=lambda t: t.value or 0.0)
    confirmations = place.store.trials("s1", arm="confirm")
    assert [c.config["seed"] for c in confirmations] == [1000, 1001]
    for trial in confirmations:
        assert {**trial.config, "seed": 0} == {**best.config, "seed": 0}
        assert trial.created_at >= (best.ended_at or 0.0)


def test_replicates_pair_their_seeds_across_arms(tmp_path: Path) -> None:
    place = _finished(tmp_path, replicates=2)
    invariants.check(place.store, "s1")
    by_seed = {(t.arm, t.replicate): t.config["seed"] for t in place.store.trials("s1")}
    assert by_seed["base", 0] == by_seed["random", 0] == by_seed["grid", 0] == 0
    assert by_seed["base", 1] == by_seed["random", 1] == by_seed["grid", 1] == 1
    points = {r: [t.point for t in place.store.trials("s1", arm="random", replicate=r)] for r in (0, 1)}
    assert points[0] != points[1]


@pytest.mark.parametrize("unit", ["run_hours", "chip_hours"])
def test_nothing_is_launched_once_the_budget_is_spent_or_reserved(tmp_path: Path, unit: str) -> None:
    arms = [{"name": "random", "method": "random", "trials": 50, "space": [ALPHA]}]
    whole = _finished(tmp_path / "whole", arms=arms)
    hours = [run_hours(t.charged) for t in whole.store.trials("s1")]
    resources = {"gpus": 2}
    chips = 2 if unit == "chip_hours" else 1
    limit = sum(hours[:10]) * chips
    place = _finished(
        tmp_path / "cut", arms=arms, budget={unit: limit}, resources=resources if chips == 2 else {}
    )
    study = place.store.study("s1")
    assert study.state is StudyState.COMPLETED
    assert study.reason.startswith(f"The budget of {limit:g} {unit.replace('_', '-')} is spent")
    trials = place.store.trials("s1")
    assert all(t.state is TrialState.COMPLETED for t in trials)
    # All runs cost the same: ten fit; what was launched before the first costs were known may exceed.
    assert 10 <= len(trials) <= 12
    assert overview(place.store, study).ended == len(trials)


def test_a_stated_cost_is_reserved_before_anything_has_run(tmp_path: Path) -> None:
    arms = [{"name": "random", "method": "random", "trials": 50, "space": [ALPHA], "run_hours": 1.0}]
    place = world(tmp_path, slots=10)
    created(place, small_study(arms=arms, budget={"run_hours": 4}))
    tick = place.engine().tick()
    assert tick.launched == 4


def test_only_the_best_of_an_arm_and_confirmations_keep_their_parameters(tmp_path: Path) -> None:
    place = _finished(tmp_path, slots=1)
    kept = {p.parent.parent.name for p in tmp_path.rglob("checkpoint*")}
    best = {line.best_trial for line in overview(place.store, place.store.study("s1")).arms}
    confirmations = {t.trial_id for t in place.store.trials("s1", arm="confirm")}
    assert kept == best | confirmations
    journals = {p.parent.parent.name for p in tmp_path.rglob("events.jsonl")}
    assert journals <= {t.trial_id for t in place.store.trials("s1")}


def test_keep_all_and_keep_none(tmp_path: Path) -> None:
    for keep, count in (("all", 8), ("none", 0)):
        _finished(tmp_path / keep, keep=keep)
        kept = {p.parent.parent.name for p in (tmp_path / keep).rglob("checkpoint*")}
        assert len(kept) == count


def test_studies_share_the_workers_and_do_not_mix(tmp_path: Path) -> None:
    place = world(tmp_path)
    one = created(place, small_study(name="one"), study_id="s1")
    two = created(place, small_study(name="two"), study_id="s2")
    engine = place.engine()
    place.drive(engine, one.study_id)
    place.drive(engine, two.study_id)
    for study in (one, two):
        invariants.check(place.store, study.study_id)


def test_a_longest_chain_goes_first(tmp_path: Path) -> None:
    """With one slot, the arm that cannot overlap itself begins; the others fill its gaps."""
    arms = [
        {"name": "random", "method": "random", "trials": 5, "space": [ALPHA]},
        {"name": "tpe", "method": "tpe", "trials": 5, "startup_trials": 5, "space": [ALPHA]},
    ]
    place = world(tmp_path, slots=2)
    created(place, small_study(arms=arms))
    place.engine().tick()
    assert {t.arm for t in place.store.trials("s1")} == {"tpe", "random"}


def test_a_failed_trial_can_be_tried_again_after_the_study_has_ended(tmp_path: Path) -> None:
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    faults = [Fault("s1.base.0.0", n, "die", 1) for n in (1, 2, 3)]
    place = world(tmp_path, faults=faults)
    study = created(place, small_study())
    engine = place.engine()
    place.drive(engine, study.study_id)
    assert place.store.trial("s1.base.0.0").state is TrialState.FAILED
    ask(place.store, study, "retry", {"trial_id": "s1.base.0.0"}, clock=place.clock)
    place.step(engine)
    assert place.store.study("s1").state is StudyState.RUNNING
    place.drive(engine, study.study_id)
    assert place.store.trial("s1.base.0.0").state is TrialState.COMPLETED
    assert len(place.store.attempts("s1.base.0.0")) == 4
    invariants.check(place.store, "s1")


def test_a_trial_whose_arm_was_confirmed_is_not_tried_again(tmp_path: Path) -> None:
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    place = world(tmp_path, faults=[Fault("s1.random.0.1", n, "die", 1) for n in (1, 2, 3)])
    study = created(place, small_study())
    engine = place.engine()
    place.drive(engine, study.study_id)
    ask(place.store, study, "retry", {"trial_id": "s1.random.0.1"}, clock=place.clock)
    engine.tick()
    (wish,) = place.store.wishes("s1")
    assert wish.answer == (
        "confirm has already begun with what random found, so s1.random.0.1 cannot be tried again: "
        "it could become the best. Run its configuration in a new study."
    )
    assert place.store.trial("s1.random.0.1").state is TrialState.FAILED
    invariants.check(place.store, "s1")


FOLLOWED = [
    {"name": "random", "method": "random", "trials": 1, "space": [ALPHA]},
    {
        "name": "confirm",
        "method": "fixed",
        "phase": "confirm",
        "fresh_seeds": True,
        "after": {"arm": "random"},
    },
    {
        "name": "again",
        "method": "fixed",
        "phase": "control",
        "fresh_seeds": True,
        "after": {"arm": "confirm"},
    },
]


def test_a_trial_whose_followers_were_skipped_is_tried_again_and_they_are_made_anew(tmp_path: Path) -> None:
    """In the replicate where it failed; the other one's confirmation has begun, and stays."""
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    place = world(tmp_path, faults=[Fault("s1.random.0.0", n, "die", 1) for n in (1, 2, 3)])
    study = created(place, small_study(arms=FOLLOWED, replicates=2))
    engine = place.engine()
    place.drive(engine, study.study_id)
    skipped = [t for t in place.store.trials("s1") if t.state is TrialState.STOPPED]
    assert [(t.arm, t.replicate, t.attempts) for t in skipped] == [("again", 0, 0), ("confirm", 0, 0)]
    other = place.store.trial("s1.confirm.1.0")
    ask(place.store, study, "retry", {"trial_id": "s1.random.0.0"}, clock=place.clock)
    place.step(engine)
    assert place.store.wishes("s1")[0].answer == ""
    place.drive(engine, study.study_id)
    assert {t.state for t in place.store.trials("s1")} == {TrialState.COMPLETED}
    found = place.store.trial("s1.random.0.0")
    for name in ("s1.confirm.0.0", "s1.again.0.0"):
        assert place.store.trial(name).config["optimizer"] == found.config["optimizer"]
    assert place.store.trial("s1.confirm.1.0") == other
    invariants.check(place.store, "s1")


def test_an_arm_whose_followers_were_skipped_can_be_extended(tmp_path: Path) -> None:
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    place = world(tmp_path, faults=[Fault("s1.random.0.0", 0, "die", 1)])
    study = created(place, small_study(arms=FOLLOWED))
    engine = place.engine()
    place.drive(engine, study.study_id)
    ask(place.store, study, "extend", {"random": 1}, clock=place.clock)
    place.step(engine)
    place.drive(engine, study.study_id)
    states = {t.trial_id: t.state for t in place.store.trials("s1")}
    assert states.pop("s1.random.0.0") is TrialState.FAILED
    assert set(states.values()) == {TrialState.COMPLETED}
    invariants.check(place.store, "s1")


@pytest.mark.parametrize(
    "asked", [("retry", {"trial_id": "s1.random.0.0"}), ("extend", {"random": 1})], ids=["retry", "extend"]
)
def test_nothing_is_added_to_a_study_that_its_budget_ended(
    tmp_path: Path, asked: tuple[str, dict[str, Any]]
) -> None:
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    arms = [{"name": "random", "method": "random", "trials": 4, "space": [ALPHA]}]
    place = world(tmp_path, slots=1, faults=[Fault("s1.random.0.0", 0, "die", 1)])
    study = created(place, small_study(arms=arms, budget={"run_hours": 0.001}))
    engine = place.engine()
    ended = place.drive(engine, study.study_id)
    before = place.store.trials("s1")
    assert before[0].state is TrialState.FAILED
    ask(place.store, study, *asked, clock=place.clock)
    engine.tick()
    (wish,) = place.store.wishes("s1")
    assert wish.answer is not None
    assert wish.answer.startswith("The budget of 0.001 run-hours is spent or reserved (0.00")
    assert wish.answer.endswith(" run-hours). Nothing more can run; make a new study.")
    assert (place.store.study("s1"), place.store.trials("s1")) == (ended, before)


@pytest.mark.parametrize("fresh", [False, True], ids=["the same leader", "new leaders"])
def test_what_lost_attempts_took_counts_while_their_trial_runs_again(tmp_path: Path, fresh: bool) -> None:
    from orchestrator.backends.simulated import Fault

    arms = [{"name": "random", "method": "random", "trials": 9, "space": [ALPHA], "run_hours": 1e-9}]
    base = {**small_study().base, "checkpoint_every_steps": 40}  # nothing is saved before the end
    whole = _finished(tmp_path / "whole", arms=[{**arms[0], "trials": 1}], base=base)
    each = run_hours(whole.store.trial("s1.random.0.0").charged)
    place = world(tmp_path / "cut", slots=2, faults=[Fault("s1.random.0.0", 1, "die", 2)])
    created(place, small_study(arms=arms, base=base, budget={"run_hours": 1.4 * each}))
    engine = place.engine()
    engine.tick()
    while place.store.trial("s1.random.0.1").state is not TrialState.COMPLETED:
        place.step(engine)
        engine = place.engine() if fresh else engine  # one who has only the ledger to go by
    again = place.store.trial("s1.random.0.0")
    assert (again.state, again.attempts) == (TrialState.RUNNING, 2)
    assert 0.4 * each < run_hours(again.charged) < each
    place.drive(engine, "s1")
    assert len(place.store.trials("s1")) == 2


def test_a_run_without_the_objective_fails_and_says_what_it_reported(tmp_path: Path) -> None:
    place = _finished(tmp_path, objective={"metric": "bleu", "goal": "maximize"})
    trial = place.store.trial("s1.base.0.0")
    assert trial.state is TrialState.FAILED
    assert trial.reason.startswith("The run reported no 'bleu', the study's objective; it reported: ")


def test_a_failed_trial_that_is_tried_again_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    from orchestrator.backends.simulated import Fault
    from orchestrator.service.creation import ask

    faults = [Fault("s1.base.0.0", n, "die", 3) for n in (1, 2)]
    place = world(tmp_path, faults=faults)
    study = created(place, small_study(keep="none", retries={"attempts": 2}))
    engine = place.engine()
    place.drive(engine, study.study_id)
    failed = place.store.trial("s1.base.0.0")
    assert failed.state is TrialState.FAILED
    ask(place.store, study, "retry", {"trial_id": failed.trial_id}, clock=place.clock)
    place.step(engine)
    place.drive(engine, study.study_id)
    assert place.store.trial("s1.base.0.0").state is TrialState.COMPLETED
    assert place.store.attempts("s1.base.0.0")[-1].resumed_from == failed.checkpoint
    invariants.check(place.store, "s1")
    assert list(tmp_path.rglob("checkpoint*")) == []


def test_a_study_that_cannot_be_launched_here_does_not_keep_others_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.py").write_text("from orchestrator.rehearsal import check, run, shape_key\n")
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path))
        place = world(tmp_path / "runs", slots=2)
        created(place, small_study(name="one", entrypoint="elsewhere"), study_id="s1")
        place.engine().tick()  # and then the process dies, with two of its attempts intended and lost
        place.backend.close(end_workers=True)
        place.store.release()
        created(place, small_study(name="two"), study_id="s2")
    del sys.modules["elsewhere"]
    place.drive(place.engine(who="in another folder"), "s2")
    invariants.check(place.store, "s2")
    place.store.release()
    tick = place.engine(who="in a third").tick()
    assert tick.unrunnable["s1"].startswith("The entrypoint 'elsewhere' cannot be imported (No module named")
    assert place.store.study("s1").state is StudyState.RUNNING


def test_what_another_leader_heard_is_no_silence(tmp_path: Path) -> None:
    """Back after another led for an hour: the silence of an attempt is counted from now."""
    place = world(tmp_path, slots=1)
    created(place, small_study(retries={"hang_after_s": 60}))
    one, two = place.engine(who="one"), place.engine(who="two")
    one.tick()
    place.clock.advance(BEGINS_AFTER_S)
    one.tick()
    place.store.release()
    two.tick()
    place.clock.advance(0.01)  # no report is due yet
    heard = one._in_flight._heard
    one._in_flight._heard = {key: at - 3600 for key, at in heard.items()}
    place.store.release()
    one.tick()
    one.tick()
    assert [a.state for a in place.store.attempts("s1.base.0.0")] == [AttemptState.RUNNING]


def test_who_leads_again_after_another_looks_at_the_workers_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, renewed = world(tmp_path), list[str]()
    monkeypatch.setattr(place.backend, "renew", lambda: renewed.append("anew"))
    created(place, small_study())
    one, two = place.engine(who="one"), place.engine(who="two")
    for engine in (one, one, two, one, one):
        place.store.release()
        engine.tick()
    assert renewed == ["anew"]  # not when it led last as well


def test_an_arm_on_fresh_seeds_is_not_extended_into_those_of_the_next_replicate(tmp_path: Path) -> None:
    from orchestrator.service.creation import ask

    place = world(tmp_path)
    study = created(place, small_study(replicates=2))
    ask(place.store, study, "extend", {"confirm": 999}, clock=place.clock)
    place.engine().tick()
    (wish,) = place.store.wishes("s1")
    assert wish.answer == "confirm would have 1,001 trials on fresh seeds; at most 1,000 are allowed."
    assert place.store.study("s1").extra_trials == {}
