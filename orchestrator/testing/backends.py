"""Does a backend keep its contract?

A subclass of `BackendContract` states the fixture `machines`: a backend with two slots that runs nothing yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import Clock, SystemClock
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import Event, StudyState, TrialState
from orchestrator.runs.contract import AttemptKey, Backend, Ended, Launch, Progress
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.resources import Resources
from orchestrator.study.spec import Arm, Parameter, Rungs, StudySpec
from trainer.protocol import Reply

PATIENCE_S = 60.0
QUICK = {"seed": 1, "steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20}
LONG = {**QUICK, "steps": 4000}


class Machines:
    """A backend, a way to let time pass, and a way to come back to it as another engine would: `make` is
    called again. `pace_s`: what a step of a long run takes; `clock`: where time does not pass by itself."""

    def __init__(
        self,
        make: Callable[[], Backend],
        pass_time: Callable[[], object],
        *,
        pace_s: float,
        clock: Clock | None = None,
    ) -> None:
        self._make, self.pass_time, self.clock = make, pass_time, clock
        self.long = {**LONG, "rehearsal": {"pace_s": pace_s}}  # on Ray 20 s, if nobody ends it
        self.backend = make()

    def reconnect(self) -> None:
        self.backend.close(end_workers=False)
        self.backend = self._make()

    def until(
        self, key: AttemptKey, done: Callable[[list[Event], Progress], bool], *, after: int = 0
    ) -> tuple[list[Event], Progress]:
        """Poll, each time after what is known, until `done`."""
        heard: list[Event] = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            progress = self.backend.poll({key: after + len(heard)})[key]
            heard += progress.events
            if done(heard, progress):
                return heard, progress
            self.pass_time()
        raise AssertionError(
            f"{key} is not there after {PATIENCE_S} s; heard {len(heard)} events: {heard[-1:]}"
        )

    def to_the_end(self, key: AttemptKey) -> tuple[list[Event], Ended]:
        heard, progress = self.until(key, lambda _, p: p.ended is not None)
        assert progress.ended is not None
        return heard, progress.ended

    def until_heard(self, key: AttemptKey, events: int) -> list[Event]:
        return self.until(key, lambda heard, _: len(heard) >= events)[0]


class BackendContract:
    """What `orchestrator.runs.contract.Backend` promises, with the rehearsal in place of training code."""

    @pytest.fixture
    def launch(self, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Launch]:
        def make(trial: str = "a", attempt: int = 1, config: dict[str, Any] = QUICK, **more: Any) -> Launch:
            # Actors outlive a test, and a key is never used twice in the life of a study.
            trial_id = f"{request.node.name}.{trial}"
            folder = str(tmp_path / trial / f"attempt-{attempt}")
            return Launch(trial_id, attempt, "orchestrator.rehearsal", config, "shape", folder, **more)

        return make

    def test_an_attempt_runs_to_its_outcome_and_is_forgotten(self, machines: Machines, launch: Any) -> None:
        job = launch()
        assert machines.backend.submit(job)
        events, ended = machines.to_the_end(job.key)
        assert ended.how == "outcome"
        assert ended.outcome is not None
        assert ended.outcome.status == "completed"
        assert (
            ended.outcome.values["loss"]
            == [e for e in events if e.kind == "eval"][-1].payload["values"]["loss"]
        )
        assert machines.backend.attempts() == [job.key]
        machines.backend.forget(job.key)
        assert machines.backend.attempts() == []
        assert machines.backend.poll({job.key: 0}) == {job.key: Progress(known=False)}

    def test_events_come_in_order_without_gaps_and_begin_with_provenance(
        self, machines: Machines, launch: Any
    ) -> None:
        job = launch()
        machines.backend.submit(job)
        events, _ = machines.to_the_end(job.key)
        assert [(e.trial_id, e.attempt, e.sequence) for e in events] == [
            (*job.key, i + 1) for i in range(len(events))
        ]
        assert [e.kind for e in events] == [
            "started", "train", "eval", "train", "eval", "checkpoint",
            "train", "eval", "train", "eval", "checkpoint",
        ]  # fmt: skip
        assert events[0].payload["seeds"] == {"seed": 1}
        assert events[0].payload["orch"]["version"]
        assert set(events[1].payload) == {"values", "hyper", "clocks"}
        assert Path(events[5].payload["path"]).exists()
        assert [e.at for e in events] == sorted(e.at for e in events)

    def test_a_poll_repeats_what_it_is_asked_for_again(self, machines: Machines, launch: Any) -> None:
        job = launch()
        machines.backend.submit(job)
        events, ended = machines.to_the_end(job.key)
        for after in (0, 3, len(events)):
            again, progress = machines.until(job.key, lambda _, p: p.ended is not None, after=after)
            assert again == events[after:]
            assert progress.ended == ended

    def test_submitting_what_is_there_already_does_nothing(self, machines: Machines, launch: Any) -> None:
        job = launch(config=machines.long)
        assert machines.backend.submit(job)
        machines.until_heard(job.key, 2)
        assert machines.backend.submit(job)
        assert machines.backend.attempts() == [job.key]
        assert [e.sequence for e in machines.until_heard(job.key, 3)[:3]] == [1, 2, 3]

    def test_a_third_attempt_finds_no_slot_until_one_is_forgotten(
        self, machines: Machines, launch: Any
    ) -> None:
        a, b, c = launch("a"), launch("b"), launch("c")
        assert machines.backend.slots(Resources()) == 2
        assert machines.backend.submit(a)
        assert machines.backend.submit(b)
        assert not machines.backend.submit(c)
        machines.to_the_end(a.key)
        assert not machines.backend.submit(c)  # ended, and not yet in the ledger
        machines.backend.forget(a.key)
        assert machines.backend.submit(c)
        assert machines.to_the_end(c.key)[1].how == "outcome"
        assert machines.to_the_end(b.key)[1].how == "outcome"

    def test_an_exception_in_the_training_code_comes_back_with_its_traceback(
        self, machines: Machines, launch: Any
    ) -> None:
        job = launch(config={**QUICK, "rehearsal": {"fail_at_step": 15}})
        machines.backend.submit(job)
        events, ended = machines.to_the_end(job.key)
        assert ended.how == "raised"
        assert ended.reason == "RuntimeError: The rehearsal was told to fail at step 15."
        assert "rehearsal.py" in ended.traceback
        assert [e.step for e in events] == [0, 10, 10]

    def test_an_entrypoint_that_cannot_be_imported_there_is_said(
        self, machines: Machines, launch: Any
    ) -> None:
        job = replace(launch(), entrypoint="no.such.module")
        machines.backend.submit(job)
        ended = machines.to_the_end(job.key)[1]
        assert ended.how == "unable"
        assert ended.reason.endswith("ModuleNotFoundError: No module named 'no'")

    def test_what_it_never_heard_of_is_not_known(self, machines: Machines) -> None:
        key = ("nobody", 1)
        assert machines.backend.poll({key: 0}) == {key: Progress(known=False)}
        machines.backend.say(key, Reply.STOP)
        machines.backend.kill(key, "no reason")
        machines.backend.forget(key)
        assert machines.backend.attempts() == []

    def test_a_verdict_of_stop_ends_an_attempt_at_its_next_report(
        self, machines: Machines, launch: Any
    ) -> None:
        job = launch(config=machines.long)
        machines.backend.submit(job)
        machines.until_heard(job.key, 3)
        machines.backend.say(job.key, Reply.STOP)
        events, ended = machines.to_the_end(job.key)
        assert ended.outcome is not None
        assert ended.outcome.status == "stopped"
        assert 3 < len(events) < 100

    def test_a_killed_attempt_is_lost_with_the_reason_and_with_all_that_it_said(
        self, machines: Machines, launch: Any
    ) -> None:
        job = launch(config=machines.long)
        machines.backend.submit(job)
        machines.until_heard(job.key, 6)
        machines.backend.kill(job.key, "no report for 1800 s")
        events, ended = machines.to_the_end(job.key)
        assert (ended.how, ended.reason) == ("lost", "no report for 1800 s")
        assert len(events) >= 6
        assert [e.sequence for e in events] == list(range(1, len(events) + 1))
        machines.backend.forget(job.key)
        after = launch("after")
        assert machines.backend.submit(after)
        assert machines.to_the_end(after.key)[1].how == "outcome"

    def test_killing_what_has_ended_changes_nothing(self, machines: Machines, launch: Any) -> None:
        job = launch()
        machines.backend.submit(job)
        before = machines.to_the_end(job.key)
        machines.backend.kill(job.key, "too late")
        assert machines.to_the_end(job.key) == before

    def test_save_and_stop_leaves_a_checkpoint_from_which_it_ends_bit_equal(
        self, machines: Machines, launch: Any
    ) -> None:
        config = {**machines.long, "steps": 400}
        first = launch("a", 1, config)
        machines.backend.submit(first)
        machines.until_heard(first.key, 4)
        machines.backend.say(first.key, Reply.SAVE_AND_STOP)
        events, ended = machines.to_the_end(first.key)
        assert ended.outcome is not None
        assert ended.outcome.status == "preempted"  # to go on later, not ended by anybody
        assert ended.outcome.checkpoint == events[-1].payload["path"]
        machines.backend.forget(first.key)

        quick = {**config, "rehearsal": {}}
        second = launch("a", 2, quick, resume_from=ended.outcome.checkpoint)
        whole = launch("whole", 1, quick)
        assert machines.backend.submit(second)
        assert machines.backend.submit(whole)
        resumed, undisturbed = machines.to_the_end(second.key), machines.to_the_end(whole.key)
        assert resumed[1].outcome is not None
        assert undisturbed[1].outcome is not None
        assert resumed[1].outcome.values == undisturbed[1].outcome.values
        said = [
            (e.step, e.kind, e.payload["values"])
            for e in [*events, *resumed[0]]
            if e.kind in ("train", "eval")
        ]
        assert said == [
            (e.step, e.kind, e.payload["values"]) for e in undisturbed[0] if e.kind in ("train", "eval")
        ]

    def test_another_engine_finds_what_runs_and_what_has_ended(self, machines: Machines, launch: Any) -> None:
        running, over = launch("running", config=machines.long), launch("over")
        machines.backend.submit(running)
        machines.backend.submit(over)
        before = machines.to_the_end(over.key)
        heard = machines.until_heard(running.key, 3)
        machines.reconnect()
        assert set(machines.backend.attempts()) == {running.key, over.key}
        assert machines.backend.submit(running)
        assert machines.to_the_end(over.key) == before
        assert machines.until_heard(running.key, len(heard) + 2)[: len(heard)] == heard

    def test_a_run_that_lags_behind_at_a_rung_is_stopped_wherever_it_runs(
        self, machines: Machines, tmp_path: Path
    ) -> None:
        """The good half of a grid first: who comes later to the rung is worse, and one in three goes on."""
        values = [1.6, 1.5, 0.2, 0.1]
        race = Arm(
            name="race",
            method="grid",
            trials=len(values),
            space=(Parameter(path="optimizer.alpha", values=tuple(values)),),
            rungs=Rungs(steps=(100,)),
        )
        unseeded = {key: value for key, value in machines.long.items() if key != "seed"}
        paced = {**unseeded, "steps": 400, "eval_every_steps": 50, "schedule": {"warmup_steps": 4}}
        store = MemoryLedger()
        clock: Clock = machines.clock or SystemClock()
        spec = StudySpec(
            name="small",
            entrypoint="orchestrator.rehearsal",
            arms=(race,),
            base={**paced, "checkpoint_every_steps": 400},
        )
        study = create(store, spec, clock=clock, new_id=lambda: tmp_path.name).study
        engine = Engine(store, machines.backend, clock=clock, storage=Storage(tmp_path), who="one")
        deadline = time.monotonic() + PATIENCE_S
        while store.study(study.study_id).state is StudyState.RUNNING and time.monotonic() < deadline:
            if engine.tick().idle:
                machines.pass_time()
        trials = store.trials(study.study_id)
        assert trials[0].state is TrialState.COMPLETED or trials[1].state is TrialState.COMPLETED
        assert {t.state for t in trials[2:]} == {TrialState.STOPPED}
        for trial in trials[2:]:
            assert trial.reason.startswith("At the rung of 100 steps its loss of ")
            assert 100 <= trial.charged["steps"] < 400
            assert trial.value is not None
