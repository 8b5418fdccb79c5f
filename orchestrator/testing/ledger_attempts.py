"""Does a ledger keep the contract: attempts, events and the values that they carry?"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.ground.errors import Fenced, MoveRefused
from orchestrator.ledger import Ending, Store
from orchestrator.ledger.base import Tally
from orchestrator.ledger.records import AttemptState, TrialState, trial_id
from orchestrator.testing.ledger_rows import (
    DONE,
    FAILED,
    LOST,
    T0,
    T1,
    OpenedLedger,
    Opener,
    attempt,
    event,
    everything,
    led,
    refusal,
    study,
    trial,
    with_live_attempt,
)

# -- values ------------------------------------------------------------------------------------------------
AWKWARD: dict[str, Any] = {
    "values": {"nan": math.nan, "up": math.inf, "down": -math.inf, "tiny": 5e-324, "third": 1 / 3},
    "nested": [[math.inf], {"$float": "NaN"}, {"$$float": 1, "$float": math.inf}],
    "text": "Ä 漢字 🙂 \ud800 \0 $float NaN",
    "big": 2**70,
    "none": None,
    "yes": True,
}


# -- what the trials of a study come to ----------------------------------------------------------------------
def _ended(ledger: Store, epoch: int, index: int, **changes: Any) -> None:
    ledger.add_trial(epoch, trial(index))
    name = trial_id("s1", "bo", 0, index)
    ledger.start_attempt(epoch, attempt(name))
    ledger.end_attempt(epoch, name, 1, replace(DONE, **changes))


class AttemptsContract(OpenedLedger):
    """Attempts, events and the values that they carry; writes together; what trials come to."""

    # -- attempts --------------------------------------------------------------------------------------------
    def test_an_attempt_starts_with_the_next_number_only(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(T1, number=2))) == (
            "Attempt 2 of trial 's1.bo.0.1' cannot start: the trial has had 0, so the next one is number 1."
        )
        refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(T1, state=AttemptState.RUNNING)))
        refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(number=2)))  # 1 is live
        assert ledger.start_attempt(epoch, attempt(started_at=99.0)) == attempt()
        ledger.end_attempt(epoch, T0, 1, LOST)
        refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(number=1)))
        second = attempt(number=2, resumed_from="c1", provenance={"host": "h"})
        assert ledger.start_attempt(epoch, second) == second
        assert (ledger.trial(T0).attempts, ledger.trial(T0).state) == (2, TrialState.RUNNING)
        assert [a.number for a in ledger.attempts(T0)] == [1, 2]

    def test_an_attempt_runs_only_while_it_lives(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.attempt_running(epoch, T0, 1)
        assert ledger.attempts(T0) == ledger.live_attempts() == [attempt(state=AttemptState.RUNNING)]
        ledger.end_attempt(epoch, T0, 1, DONE)
        refusal(MoveRefused, lambda: ledger.attempt_running(epoch, T0, 1))

    def test_live_attempts_are_those_that_have_not_ended(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.create_study(study("s2"))
        ledger.add_trial(epoch, trial(study_id="s2", trial_id="s2.bo.0.0"))
        ledger.start_attempt(epoch, attempt("s2.bo.0.0"))
        assert [a.trial_id for a in ledger.live_attempts()] == [T0, "s2.bo.0.0"]
        assert [a.trial_id for a in ledger.live_attempts("s2")] == ["s2.bo.0.0"]
        ledger.end_attempt(epoch, T0, 1, LOST)
        assert [a.trial_id for a in ledger.live_attempts()] == ["s2.bo.0.0"]

    def test_a_fallback_names_the_checkpoint_that_was_used_and_those_that_were_damaged(
        self, ledger: Store
    ) -> None:
        epoch = with_live_attempt(ledger)
        ledger.append(epoch, [event(1, kind="checkpoint", path="c1"), event(2, kind="checkpoint", path="c2")])
        ledger.end_attempt(epoch, T0, 1, LOST)
        ledger.start_attempt(epoch, attempt(number=2, resumed_from="c2"))
        fell_back = event(2, number=2, kind="fallback", path="c1", damaged=["c2"])
        ledger.append(epoch, [event(1, number=2, kind="started", host="h"), fell_back])
        second = ledger.attempts(T0)[1]
        assert (second.resumed_from, second.damaged, second.provenance["host"]) == ("c1", ("c2",), "h")
        assert ledger.trial(T0).checkpoint == "c1"  # what the next attempt goes on from
        ledger.end_attempt(epoch, T0, 2, LOST)
        ledger.start_attempt(epoch, attempt(number=3, resumed_from="c1"))
        ledger.append(epoch, [event(1, number=3, kind="fallback", damaged=["c1"])])
        third = ledger.attempts(T0)[2]
        assert (third.resumed_from, third.damaged) == (None, ("c1",))
        assert ledger.trial(T0).checkpoint is None
        ledger.append(epoch, [event(2, number=3, kind="checkpoint", path="c3")])
        assert ledger.trial(T0).checkpoint == "c3"

    @pytest.mark.parametrize("payload", [{}, {"path": 7, "damaged": "c2"}, {"path": None, "damaged": None}])
    def test_a_fallback_that_is_told_wrongly_names_no_checkpoint(self, ledger: Store, payload: Any) -> None:
        epoch = with_live_attempt(ledger)
        ledger.append(epoch, [event(1, kind="fallback", **payload)])
        assert (ledger.attempts(T0)[0].resumed_from, ledger.attempts(T0)[0].damaged) == (None, ())

    def test_the_end_of_an_attempt_is_written_into_both_rows(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ended = ledger.end_attempt(epoch, T0, 1, DONE)
        assert ended == ledger.trial(T0)
        assert ended == trial(
            state=TrialState.COMPLETED,
            attempts=1,
            value=0.5,
            values={"loss": 0.5},
            checkpoint="last",
            charged={"train_s": 9.0},
            productive={"train_s": 6.0},
            ended_at=30.0,
        )
        assert ledger.attempts(T0) == [
            attempt(state=AttemptState.COMPLETED, clocks={"train_s": 7.0}, ended_at=30.0)
        ]

    def test_a_trial_that_waits_again_keeps_its_checkpoint_and_counts_the_loss(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.append(epoch, [event(1, kind="checkpoint", path="c1", clocks={"train_s": 2.0})])
        waiting = ledger.end_attempt(epoch, T0, 1, LOST)
        assert waiting == trial(
            attempts=1, losses=1, checkpoint="c1", charged={"train_s": 2.0}, reason="worker died"
        )
        [lost] = ledger.attempts(T0)
        assert (lost.state, lost.clocks, lost.saved_clocks) == (
            AttemptState.LOST,
            {"train_s": 2.0},
            {"train_s": 2.0},
        )
        ledger.start_attempt(epoch, attempt(number=2))
        preempted = replace(LOST, attempt_state=AttemptState.PREEMPTED, checkpoint="c2")
        assert ledger.end_attempt(epoch, T0, 2, preempted).losses == 1
        assert ledger.trial(T0).checkpoint == "c2"

    def test_a_loss_and_a_failure_of_one_trial_are_counted_apart_and_anew_after_a_wish(
        self, ledger: Store
    ) -> None:
        epoch = with_live_attempt(ledger)
        ledger.end_attempt(epoch, T0, 1, LOST)
        ledger.start_attempt(epoch, attempt(number=2))
        failed = ledger.end_attempt(epoch, T0, 2, FAILED)
        assert (failed.losses, failed.failures) == (1, 1)
        again = ledger.move_trial(epoch, T0, TrialState.FAILED, TrialState.WAITING, at=40.0)
        assert (again.losses, again.failures) == (0, 0)

    def test_a_finished_trial_is_frozen(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.end_attempt(epoch, T0, 1, DONE)
        before = everything(ledger)
        assert ledger.end_attempt(epoch, T0, 1, LOST) == ledger.trial(T0)
        assert ledger.append(epoch, [event(1, kind="checkpoint", path="late", clocks={"train_s": 99.0})]) == 0
        refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(number=2)))
        assert everything(ledger) == before

    @pytest.mark.parametrize(
        ("attempt_state", "trial_state"),
        [
            (AttemptState.RUNNING, TrialState.WAITING),
            (AttemptState.LAUNCHING, TrialState.FAILED),
            (AttemptState.COMPLETED, TrialState.RUNNING),
        ],
    )
    def test_an_end_that_is_none_is_refused_whole(
        self, ledger: Store, attempt_state: AttemptState, trial_state: TrialState
    ) -> None:
        epoch = with_live_attempt(ledger)
        before = everything(ledger)
        refusal(
            MoveRefused, lambda: ledger.end_attempt(epoch, T0, 1, Ending(attempt_state, trial_state, at=1.0))
        )
        assert everything(ledger) == before

    # -- events ----------------------------------------------------------------------------------------------
    def test_an_event_moves_its_attempt(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        events = [
            event(1, kind="started", host="h", commit="c"),
            event(2, values={"loss": 2.0}, clocks={"train_s": 1.0}),
            event(3, kind="checkpoint", path="c3", clocks={"train_s": 1.5}),
            event(4, values={"loss": 1.0}, clocks={"train_s": 2.0}),
            event(5, kind="note"),
        ]
        assert ledger.append(epoch, events) == 5
        assert ledger.attempts(T0) == [
            attempt(
                sequence=5,
                clocks={"train_s": 2.0},
                saved_clocks={"train_s": 1.5},
                provenance={"host": "h", "commit": "c"},
            )
        ]
        assert ledger.trial(T0).checkpoint == "c3"
        assert [(s.event_id, s.study_id, s.event) for s in ledger.events()] == [
            (i, "s1", e) for i, e in enumerate(events, start=1)
        ]

    def test_an_event_is_stored_once(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert ledger.append(epoch, [event(1), event(2), event(2, said="twice"), event(4)]) == 3
        assert (
            ledger.append(epoch, [event(2, said="again"), event(3, clocks={"train_s": 3.0}), event(5)]) == 2
        )
        assert [(s.event_id, s.event.sequence) for s in ledger.events()] == [
            (1, 1),
            (2, 2),
            (3, 4),
            (4, 3),
            (5, 5),
        ]
        assert all(not s.event.payload.get("said") for s in ledger.events())
        assert ledger.attempts(T0)[0].clocks == {}  # 3 came after 4: it is kept, and moves nothing

    def test_a_late_event_is_refused(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.append(epoch, [event(1)])
        ledger.end_attempt(epoch, T0, 1, LOST)
        ledger.start_attempt(epoch, attempt(number=2))
        zombie = [event(2, kind="checkpoint", path="zombie", clocks={"train_s": 50.0})]
        unheard_of = [event(1, of="nope"), event(1, of=T1), event(1, number=3)]
        assert ledger.append(epoch, [*zombie, *unheard_of, event(1, number=2)]) == 1
        assert [(s.event.attempt, s.event.sequence) for s in ledger.events()] == [(1, 1), (2, 1)]
        assert ledger.trial(T0).checkpoint is None

    def test_a_strange_word_from_a_worker_does_no_harm(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert (
            ledger.append(
                epoch, [event(1, kind="checkpoint"), event(2, kind="started"), event(3, clocks=None)]
            )
            == 3
        )
        assert ledger.attempts(T0) == [attempt(sequence=3)]

    def test_the_stream_is_followed_with_a_cursor(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.start_attempt(epoch, attempt(T1))
        ledger.create_study(study("s2"))
        ledger.add_trial(epoch, trial(study_id="s2", trial_id="s2.bo.0.0"))
        ledger.start_attempt(epoch, attempt("s2.bo.0.0"))
        ledger.append(epoch, [event(i, of=t) for i in (1, 2) for t in (T0, T1, "s2.bo.0.0")])

        def ids(**filters: Any) -> list[int]:
            return [s.event_id for s in ledger.events(**filters)]

        assert ids() == [1, 2, 3, 4, 5, 6]
        assert ids(after=2, limit=3) == [3, 4, 5]
        assert ids(study_id="s1", after=1) == [2, 4, 5]
        assert ids(trial_id=T1) == [2, 5]
        assert ids(study_id="s2", trial_id=T1) == []
        assert ids(after=6) == []

    def test_a_follower_never_misses_an_event(self, opener: Opener) -> None:
        writer, follower = opener(), opener()
        epoch = with_live_attempt(writer)
        total, seen = 200, list[int]()

        def follow() -> None:
            while not seen or seen[-1] < total:
                seen.extend(s.event_id for s in follower.events(after=seen[-1] if seen else 0))

        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(follow)
            for start in range(1, total, 5):
                writer.append(epoch, [event(i) for i in range(start, start + 5)])
            following.result(timeout=30)
        assert seen == list(range(1, total + 1))

    def test_every_value_comes_back(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.append(epoch, [event(1, **AWKWARD)])
        [stored] = ledger.events()
        assert repr(stored.event.payload) == repr(AWKWARD)  # repr, because NaN equals nothing
        ending = replace(DONE, value=math.inf, values={"loss": math.nan}, charged={"train_s": math.inf})
        ended = ledger.end_attempt(epoch, T0, 1, ending)
        assert (ended.value, ended.charged) == (math.inf, {"train_s": math.inf})
        assert repr(ledger.trial(T0)) == repr(ended)

    def test_a_value_that_is_not_a_number_is_no_value(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert ledger.end_attempt(epoch, T0, 1, replace(DONE, value=math.nan)).value is None
        assert ledger.trial(T0).value is None

    def test_text_that_no_database_holds_is_made_storable(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ending = replace(FAILED, reason="a\0b", traceback="\ud800 Ä 漢字 🙂")
        assert ledger.end_attempt(epoch, T0, 1, ending).reason == "a\ufffdb"
        assert ledger.trial(T0).reason == "a\ufffdb"
        assert ledger.attempts(T0)[0].traceback == "\ufffd Ä 漢字 🙂"

    def test_rows_stay_as_they_are_when_the_caller_changes_what_it_gave(self, ledger: Store) -> None:
        epoch = led(ledger)
        spec, config = {"arms": ["bo"]}, {"model": {"width": 8}}
        ledger.create_study(study(spec=spec))
        ledger.add_trial(epoch, trial(config=config))
        spec["arms"].append("tpe")
        config["model"]["width"] = 9
        assert ledger.study("s1").spec == {"arms": ["bo"]}
        assert ledger.trial(T0).config == {"model": {"width": 8}}

    # -- several writes together -----------------------------------------------------------------------------
    def test_writes_together_see_each_other_and_are_all_there_afterwards(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        with ledger.together(epoch):
            ledger.add_trial(epoch, trial(0))
            ledger.start_attempt(epoch, attempt())
            ledger.append(epoch, [event(1), event(2)])
            assert ledger.trial(T0).state is TrialState.RUNNING
            ledger.end_attempt(epoch, T0, 1, DONE)
        assert ledger.trial(T0).state is TrialState.COMPLETED
        assert len(ledger.events(trial_id=T0)) == 2

    def test_after_an_error_among_writes_together_the_ledger_goes_on(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())

        def fail_in_the_middle() -> None:
            with ledger.together(epoch):
                ledger.add_trial(epoch, trial(0))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail_in_the_middle()
        ledger.add_trial(epoch, trial(0))  # there already, or again: both are right
        ledger.add_trial(epoch, trial(1))
        assert [t.index for t in ledger.trials("s1")] == [0, 1]

    def test_a_loser_cannot_begin_to_write_together(self, ledger: Store) -> None:
        epoch = led(ledger)

        def begin() -> None:
            with ledger.together(epoch - 1):
                raise AssertionError("it was let in")

        with pytest.raises(Fenced):
            begin()

    def test_trials_are_summed_by_arm_and_state(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert ledger.tallies("s1") == {
            ("bo", TrialState.RUNNING): Tally(1, 1, 0.0, 0.0, 0.0),
            ("bo", TrialState.WAITING): Tally(1, 0, 0.0, 0.0, 0.0),
        }
        ledger.end_attempt(epoch, T0, 1, LOST)
        ledger.start_attempt(epoch, attempt(number=2))
        charged = {
            "train_s": 9.0,
            "eval_s": 0.5,
            "compile_s": 2.0,
            "other_s": 0.25,
            "steps": 40.0,
            "tokens": 7.0,
        }
        ledger.end_attempt(epoch, T0, 2, replace(DONE, charged=charged))
        odd = {
            "train_s": math.nan,
            "eval_s": math.inf,
            "other_s": 1.0,
            "steps": 2.0,
            "mine_s": 3.0,
            "$float": 1.0,
        }
        _ended(ledger, epoch, 2, charged=odd, productive={})
        assert ledger.tallies("s1") == {
            ("bo", TrialState.COMPLETED): Tally(2, 3, 42.0, 12.75, 6.0, losses=1, failures=0),
            ("bo", TrialState.WAITING): Tally(1, 0, 0.0, 0.0, 0.0),
        }
        assert ledger.tallies("another") == {}

    def test_clocks_beyond_all_numbers_are_summed_without_an_error(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        for index in (2, 3):
            _ended(ledger, epoch, index, charged={"train_s": 1.7e308})
        assert ledger.tallies("s1")["bo", TrialState.COMPLETED].charged_s == math.inf

    def test_the_best_of_an_arm_is_the_first_of_equals_by_its_goal(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        assert ledger.best("s1", minimize=True) == {}
        for index, value in ((2, 0.5), (4, 0.2), (3, 0.2), (5, 0.9), (6, 0.9)):
            _ended(ledger, epoch, index, value=value)
        stopped = replace(DONE, attempt_state=AttemptState.STOPPED, trial_state=TrialState.STOPPED, value=0.0)
        ledger.end_attempt(epoch, T0, 1, stopped)
        assert ledger.best("s1", minimize=True) == {"bo": ledger.trial(trial_id("s1", "bo", 0, 3))}
        assert ledger.best("s1", minimize=False) == {"bo": ledger.trial(trial_id("s1", "bo", 0, 5))}
