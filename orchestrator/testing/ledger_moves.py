"""Do only allowed moves ever happen, whatever is asked in whatever order? A state machine against a model.

The model knows nothing of the ledger's rules: it spells out the allowed moves once more, in plain words.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from orchestrator.ground.errors import Fenced, MoveRefused, NotFound, OrchError
from orchestrator.ledger import Ending, Store
from orchestrator.ledger.records import AttemptState, StudyState, TrialRow, TrialState
from orchestrator.testing.ledger_rows import T0, T1, attempt, event, study, trial

STUDY_MOVES = {
    "running": {"paused", "drained", "completed", "cancelled"},
    "paused": {"running", "cancelled"},
    "drained": {"running", "paused", "completed", "cancelled"},
    "completed": {"running"},
    "cancelled": set[str](),
}
TRIAL_MOVES_ALONE = {("waiting", "stopped"), ("failed", "waiting")}
ENDS = {"completed", "diverged", "stopped", "failed"}
ATTEMPT_ENDS = ENDS | {"preempted", "lost"}

trial_ids = st.sampled_from([T0, T1])
numbers = st.integers(1, 4)


class Moves(RuleBasedStateMachine):
    """One study with two trials; `states` and `attempts` are the model."""

    def fresh(self, folder: str) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = self.fresh(self.folder.name)
        self.epoch = self.ledger.lead("engine") or 0
        self.study_state = "running"
        self.states = {T0: "waiting", T1: "waiting"}
        self.attempts: dict[str, list[str]] = {T0: [], T1: []}  # their states, by number - 1
        self.said: list[tuple[str, int, int]] = []
        self.frozen: dict[str, TrialRow] = {}  # as they were when they ended
        self.ledger.create_study(study())
        for index in (0, 1):
            self.ledger.add_trial(self.epoch, trial(index))

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def ask(self, act: Callable[[], Any], *, refused: type[OrchError] | None) -> Any:
        if refused is None:
            return act()
        with pytest.raises(refused):
            act()
        return None

    def became(self, of: str, state: str) -> None:
        self.states[of] = state
        self.frozen.pop(of, None)
        if state in ENDS:
            self.frozen[of] = self.ledger.trial(of)

    @rule(before=st.sampled_from(StudyState), after=st.sampled_from(StudyState))
    def move_the_study(self, before: StudyState, after: StudyState) -> None:
        there = self.study_state == after
        fine = there or (self.study_state == before and after in STUDY_MOVES[before])
        self.ask(
            lambda: self.ledger.move_study(self.epoch, "s1", before, after),
            refused=None if fine else MoveRefused,
        )
        if fine:
            self.study_state = str(after)

    @rule(of=trial_ids, move=st.sampled_from([(b, a) for b in TrialState for a in TrialState]))
    def move_a_trial(self, of: str, move: tuple[TrialState, TrialState]) -> None:
        before, after = move
        there = self.states[of] == after
        fine = move in TRIAL_MOVES_ALONE and (there or self.states[of] == before)
        self.ask(
            lambda: self.ledger.move_trial(self.epoch, of, before, after, at=5.0),
            refused=None if fine else MoveRefused,
        )
        if fine and not there:
            self.became(of, str(after))

    @rule(of=trial_ids, number=numbers)
    def start(self, of: str, number: int) -> None:
        had = len(self.attempts[of])
        live = number == had and self.states[of] == "running"
        fine = live or (number == had + 1 and self.states[of] == "waiting")
        self.ask(
            lambda: self.ledger.start_attempt(self.epoch, attempt(of, number)),
            refused=None if fine else MoveRefused,
        )
        if fine and not live:
            self.attempts[of].append("launching")
            self.became(of, "running")

    @rule(of=trial_ids, number=numbers)
    def runs(self, of: str, number: int) -> None:
        known = number <= len(self.attempts[of])
        fine = known and self.attempts[of][number - 1] in ("launching", "running")
        self.ask(
            lambda: self.ledger.attempt_running(self.epoch, of, number),
            refused=None if fine else MoveRefused if known else NotFound,
        )
        if fine:
            self.attempts[of][number - 1] = "running"

    @rule(
        of=trial_ids,
        number=numbers,
        attempt_state=st.sampled_from(AttemptState),
        state=st.sampled_from(TrialState),
    )
    def end(self, of: str, number: int, attempt_state: AttemptState, state: TrialState) -> None:
        known = number <= len(self.attempts[of])
        over = known and self.attempts[of][number - 1] in ATTEMPT_ENDS
        sensible = attempt_state in ATTEMPT_ENDS and (state in ENDS or state == "waiting")
        ending = Ending(attempt_state, state, at=9.0, value=float(number), charged={"train_s": 1.0})
        refused = NotFound if not known else None if over or sensible else MoveRefused
        self.ask(lambda: self.ledger.end_attempt(self.epoch, of, number, ending), refused=refused)
        if refused is None and not over:
            self.attempts[of][number - 1] = str(attempt_state)
            self.became(of, str(state))

    @rule(of=trial_ids, number=numbers, sequence=st.integers(1, 6))
    def say(self, of: str, number: int, sequence: int) -> None:
        live = number == len(self.attempts[of]) and self.states[of] == "running"
        new = live and (of, number, sequence) not in self.said
        word = event(sequence, of=of, number=number, kind="checkpoint", path=f"c{number}")
        assert self.ledger.append(self.epoch, [word, word]) == new
        if new:
            self.said.append((of, number, sequence))

    @rule()
    def another_takes_over(self) -> None:
        stale = self.epoch
        self.ledger.release(stale)
        self.epoch = self.ledger.lead(f"engine {stale + 1}") or 0
        assert self.epoch == stale + 1
        with pytest.raises(Fenced):
            self.ledger.append(stale, [])

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        assert self.ledger.study("s1").state == self.study_state
        rows = {t.trial_id: t for t in self.ledger.trials("s1")}
        assert {k: str(t.state) for k, t in rows.items()} == self.states
        assert {k: [str(a.state) for a in self.ledger.attempts(k)] for k in rows} == self.attempts
        assert {k: t.attempts for k, t in rows.items()} == {k: len(v) for k, v in self.attempts.items()}
        live = {(k, len(v)) for k, v in self.attempts.items() if v and v[-1] in ("launching", "running")}
        assert {a.key for a in self.ledger.live_attempts()} == live
        assert sum(self.ledger.counts("s1").values()) == 2
        stored = [(s.event.trial_id, s.event.attempt, s.event.sequence) for s in self.ledger.events()]
        assert stored == self.said

    @invariant()
    def what_has_ended_is_frozen(self) -> None:
        for of, row in self.frozen.items():
            assert self.ledger.trial(of) == row
            assert row.ended_at is not None


class MovesContract:
    """`fresh` opens an empty ledger; its files, if it has any, lie in the folder."""

    examples = 100  # sequences of 30 moves

    def fresh(self, folder: str) -> Store:
        raise NotImplementedError

    def test_only_allowed_moves_ever_happen(self) -> None:
        suite = self

        class Theirs(Moves):
            def fresh(self, folder: str) -> Store:
                return suite.fresh(folder)

        run_state_machine_as_test(
            Theirs,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
