"""Row 16: pause, resume, cancel, extend and retry raced with finishing trials. Only allowed moves."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.backends.simulated import Fault
from orchestrator.ledger.records import ENDED, MOVES, AttemptState, StudyState, TrialState
from orchestrator.service.creation import ask
from tests.faults import invariants
from tests.faults.world import Killed, Tripwire, created, small_study, world


class Race(RuleBasedStateMachine):
    """People wish, workers end and die, the orchestrator dies, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="orch-race-"))
        base = {**small_study().base, "rehearsal": {"fail_at_step": 35}}
        arms: list[dict[str, Any]] = [arm.model_dump() for arm in small_study().arms]
        arms[2]["config"] = {"rehearsal": {"fail_at_step": 10**6}}
        faults = [Fault("s1.random.0.0", 1, "die", 2), Fault("s1.grid.0.0", 1, "preempt", 1)]
        self.place = world(self.folder, slots=2, faults=faults)
        self.study_id = created(self.place, small_study(base=base, arms=arms)).study_id
        self.engine = self.place.engine()
        self.trials: dict[str, TrialState] = {}
        self.began: set[str] = set()
        self.state = StudyState.RUNNING

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(ticks=st.integers(1, 6))
    def time_goes_on(self, ticks: int) -> None:
        for _ in range(ticks):
            self.place.step(self.engine)
            self.only_allowed_moves()

    @rule(verb=st.sampled_from(["pause", "resume", "drain", "resume", "cancel"]))
    def wish(self, verb: str) -> None:
        study = self.place.store.study(self.study_id)
        ask(self.place.store, study, verb, {}, clock=self.place.clock)

    @rule(arm=st.sampled_from(["base", "random", "grid", "confirm", "none"]), more=st.integers(-1, 2))
    def extend(self, arm: str, more: int) -> None:
        study = self.place.store.study(self.study_id)
        ask(self.place.store, study, "extend", {arm: more}, clock=self.place.clock)

    @rule(pick=st.integers(0, 20))
    @precondition(lambda self: self.trials)
    def retry(self, pick: int) -> None:
        study = self.place.store.study(self.study_id)
        trial = sorted(self.trials)[pick % len(self.trials)]
        ask(self.place.store, study, "retry", {"trial_id": trial}, clock=self.place.clock)

    @rule(at=st.integers(1, 12))
    def the_orchestrator_dies(self, at: int) -> None:
        dying = self.place.engine(Tripwire(at=at))
        try:
            for _ in range(4):
                self.place.step(dying)
        except Killed:
            pass
        self.engine = self.place.next_life()

    @invariant()
    def only_allowed_moves(self) -> None:
        """Between two looks any chain of allowed moves may lie; what has ended stays unless retried."""
        study = self.place.store.study(self.study_id)
        assert study.state in _reachable(self.state)
        self.state = study.state
        for trial in self.place.store.trials(self.study_id):
            began = trial.trial_id in self.began  # one that did not may be taken back and made anew
            before = self.trials[trial.trial_id] if began else TrialState.WAITING
            assert trial.state in _reachable(before)
            self.trials[trial.trial_id] = trial.state
            self.began |= {trial.trial_id} if trial.attempts else set()
            invariants.the_seconds_add_up_so_far(self.place.store, trial)
        invariants.no_point_is_written_twice(self.place.store, self.study_id)

    @invariant()
    def nothing_runs_in_a_study_that_is_over(self) -> None:
        if self.state is StudyState.COMPLETED:
            assert all(state in ENDED for state in self.trials.values())


def _reachable(state: Any) -> set[Any]:
    seen, new = {state}, {state}
    while new:
        new = {after for s in new for after in MOVES[type(s)].get(s, ())} - seen
        seen |= new
    return seen


TestRace = pytest.mark.fault(16)(Race.TestCase)
TestRace.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def _ran(tmp_path: Path, *verbs: tuple[str, dict[str, Any]]) -> Any:
    place = world(tmp_path)
    study = created(place, small_study())
    engine = place.engine()
    place.step(engine)
    for verb, detail in verbs:
        ask(place.store, study, verb, detail, clock=place.clock)
    return place, engine, study.study_id


@pytest.mark.fault(16)
def test_a_pause_saves_what_runs_and_a_resume_goes_on_from_there(tmp_path: Path) -> None:
    place, engine, study_id = _ran(tmp_path / "paused", ("pause", {}))
    for _ in range(50):
        place.step(engine)
    assert place.store.study(study_id).state is StudyState.PAUSED
    assert place.store.live_attempts() == []
    assert place.backend.attempts() == []
    waiting = place.store.trials(study_id, states={TrialState.WAITING})
    assert len(waiting) == 3
    assert all(t.losses == 0 for t in waiting)
    ask(place.store, place.store.study(study_id), "resume", {}, clock=place.clock)
    place.step(engine)
    place.drive(engine, study_id)
    invariants.check(place.store, study_id)
    calm = world(tmp_path / "calm")
    created(calm, small_study())
    calm.drive(calm.engine(), study_id)
    assert invariants.report(place.store, study_id) == invariants.report(calm.store, study_id)


@pytest.mark.fault(16)
def test_a_cancel_stops_everything_for_good(tmp_path: Path) -> None:
    place, engine, study_id = _ran(tmp_path, ("cancel", {}), ("resume", {}))
    for _ in range(50):
        place.step(engine)
    assert place.store.study(study_id).state is StudyState.CANCELLED
    assert place.backend.attempts() == []
    assert {t.state for t in place.store.trials(study_id)} <= ENDED
    cancel, resume = place.store.wishes(study_id)
    assert cancel.answer == ""
    assert resume.answer == (
        "The study small is cancelled and cannot be resumed; only one that is paused or drained "
        "can. Create it again under another name."
    )


def test_two_extensions_add_up_and_one_is_not_counted_twice(tmp_path: Path) -> None:
    place, engine, study_id = _ran(tmp_path, ("extend", {"base": 2}), ("extend", {"base": 1}))
    dying = place.engine(Tripwire(at=2))  # obeyed, and dead before it could answer
    try:
        place.step(dying)
    except Killed:
        engine = place.next_life()
    place.drive(engine, study_id)
    assert dict(place.store.study(study_id).extra_trials) == {"base": 3}
    invariants.check(place.store, study_id)


def test_wishes_that_cannot_be_granted_are_answered_with_a_sentence(tmp_path: Path) -> None:
    place, engine, study_id = _ran(
        tmp_path,
        ("extend", {"grid": 1}),
        ("extend", {"nobody": 1}),
        ("extend", {"base": 0}),
        ("retry", {"trial_id": "s1.base.0.0"}),
        ("dance", {}),
    )
    place.step(engine)
    assert [w.answer for w in place.store.wishes(study_id)] == [
        "grid is a grid: all its points are in it. Make a new study with more values.",
        "small has no arm 'nobody'. Did you mean 'random', 'grid' or 'base'?",
        "base: 0 more trials cannot be added. Give a whole number from 1.",
        "The trial s1.base.0.0 is running; only a failed one can be tried again.",
        "Nothing is known of 'dance'. Allowed: pause, drain, resume, cancel, extend, retry, delete.",
    ]


@pytest.mark.fault(16)
def test_a_resume_right_after_a_pause_ends_no_trial_early(tmp_path: Path) -> None:
    """What was told to save may do so only when the study runs again: it goes on all the same."""
    place, engine, study_id = _ran(tmp_path / "hasty", ("pause", {}))
    engine.tick()  # they are told
    ask(place.store, place.store.study(study_id), "resume", {}, clock=place.clock)
    other = place.engine()  # another process, which told nobody anything
    place.step(other)
    place.drive(other, study_id)
    assert AttemptState.PREEMPTED in {
        a.state for t in place.store.trials(study_id) for a in place.store.attempts(t.trial_id)
    }
    invariants.check(place.store, study_id)
    calm = world(tmp_path / "calm")
    created(calm, small_study())
    calm.drive(calm.engine(), study_id)
    assert invariants.report(place.store, study_id) == invariants.report(calm.store, study_id)
