"""Does a ledger keep the contract: leadership, studies, trials and wishes?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ground.errors import Fenced, MoveRefused, NameTaken, NotFound
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyState, TrialState, trial_id
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
    host,
    led,
    refusal,
    study,
    trial,
    with_live_attempt,
)

WRITES: dict[str, Callable[[Store, int], object]] = {
    "move_study": lambda d, e: d.move_study(e, "s1", StudyState.RUNNING, StudyState.PAUSED),
    "extend_study": lambda d, e: d.extend_study(e, "s1", {"bo": 5}),
    "add_trial": lambda d, e: d.add_trial(e, trial(2)),
    "add_trial that is there": lambda d, e: d.add_trial(e, trial(0)),
    "move_trial": lambda d, e: d.move_trial(
        e, T1, TrialState.WAITING, TrialState.STOPPED, at=5.0, reason="no"
    ),
    "remove_trial that is gone": lambda d, e: d.remove_trial(e, "s1.bo.0.9"),
    "start_attempt": lambda d, e: d.start_attempt(e, attempt(T1)),
    "start_attempt that is live": lambda d, e: d.start_attempt(e, attempt()),
    "attempt_running": lambda d, e: d.attempt_running(e, T0, 1),
    "append": lambda d, e: d.append(
        e, [event(1, clocks={"train_s": 1.0}), event(2, kind="checkpoint", path="p")]
    ),
    "append nothing": lambda d, e: d.append(e, []),
    "end_attempt": lambda d, e: d.end_attempt(e, T0, 1, DONE),
    "end_attempt, to try again": lambda d, e: d.end_attempt(e, T0, 1, LOST),
    "study_waits": lambda d, e: d.study_waits(e, "s1", "for a host with 2 GPUs"),
    "see_hosts": lambda d, e: d.see_hosts(e, [host("a"), host("b")]),
    "answer_wish": lambda d, e: d.answer_wish(e, 1, ""),
}


class StudiesContract(OpenedLedger):
    """Leadership, studies, trials and wishes."""

    # -- leadership and fencing ------------------------------------------------------------------------------
    def test_one_leads_and_asking_again_changes_nothing(self, opener: Opener) -> None:
        first, second = opener(), opener()
        epoch = first.lead("a")
        assert epoch == 1
        assert first.lead("a") == epoch
        assert second.lead("b") is None
        assert first.lead("a") == epoch

    def test_leadership_passes_on_with_a_higher_epoch(self, opener: Opener) -> None:
        first, second = opener(), opener()
        epoch = first.lead("a")
        first.release(epoch)
        assert second.lead("b") == 2
        assert first.lead("a") is None
        first.release(epoch)  # by one who does not lead: does nothing
        assert first.lead("a") is None
        second.release(2)
        assert first.lead("a") == 3

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
    def test_a_write_of_one_who_no_longer_leads_is_fenced(
        self, opener: Opener, write: Callable[[Store, int], object]
    ) -> None:
        loser, winner = opener(), opener()
        stale = with_live_attempt(loser)
        loser.wish("s1", "pause", {}, asked_at=1.0, asked_by="ada")
        loser.release(stale)
        assert winner.lead("winner") == stale + 1
        before = everything(winner)
        for wrong in (stale, stale + 2, 0):
            refusal(Fenced, partial(write, loser, wrong))
        assert everything(winner) == before
        write(winner, stale + 1)

    def test_a_fenced_write_says_who_leads(self, opener: Opener) -> None:
        loser, winner = opener(), opener()
        assert "nobody has led yet" in refusal(Fenced, lambda: loser.append(0, []))
        stale = led(loser)
        loser.release(stale)
        winner.lead("the other one")
        assert refusal(Fenced, lambda: loser.append(stale, [])) == (
            "A write with leadership epoch 1 was refused: the newest is 2, led by 'the other one'. "
            "Nothing was changed; stop writing, or become the leader again."
        )

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
    def test_a_write_that_is_repeated_changes_nothing(
        self, ledger: Store, write: Callable[[Store, int], object]
    ) -> None:
        epoch = with_live_attempt(ledger)
        ledger.wish("s1", "pause", {}, asked_at=1.0, asked_by="ada")
        first = write(ledger, epoch)
        after = everything(ledger)
        again = write(ledger, epoch)
        assert everything(ledger) == after
        if isinstance(first, int):
            assert again == 0  # append: none of them was new
        else:
            assert again == first

    # -- studies ---------------------------------------------------------------------------------------------
    def test_of_fifty_creations_of_one_name_one_succeeds(self, opener: Opener) -> None:
        ledger = opener()

        def create(i: int) -> str | NameTaken:
            try:
                return ledger.create_study(study(f"id{i}", name="same")).study_id
            except NameTaken as taken:
                return taken

        with ThreadPoolExecutor(50) as pool:
            results = list(pool.map(create, range(50)))
        [created] = [r for r in results if isinstance(r, str)]
        taken = [r for r in results if isinstance(r, NameTaken)]
        assert len(taken) == 49
        assert {(t.name, t.study_id) for t in taken} == {("same", created)}
        assert [s.study_id for s in ledger.studies()] == [created]

    def test_many_can_open_a_fresh_ledger_at_once(self, opener: Opener) -> None:
        barrier = threading.Barrier(6)

        def open_one(_: int) -> Store:
            barrier.wait()
            return opener()

        with ThreadPoolExecutor(6) as pool:
            ledgers = list(pool.map(open_one, range(6)))
        ledgers[0].create_study(study())
        assert [d.study("s1") for d in ledgers] == [study()] * 6

    def test_a_study_is_found_by_id_and_by_name(self, ledger: Store) -> None:
        created = ledger.create_study(study(spec={"a": [1, {"b": None}]}))
        assert ledger.study("s1") == ledger.study("name-s1") == created == study(spec={"a": [1, {"b": None}]})

    def test_a_name_that_is_not_there_names_the_nearest(self, ledger: Store) -> None:
        ledger.create_study(study(name="bo-vs-guided"))
        assert refusal(NotFound, lambda: ledger.study("bo-vs-guidde")) == (
            "There is no study 'bo-vs-guidde'. Did you mean 'bo-vs-guided'? `orch study list` shows all."
        )
        assert refusal(NotFound, lambda: ledger.study("\0\ud800")).startswith("There is no study")

    def test_what_is_not_there_is_not_found(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        for act in (
            lambda: ledger.trial("nope"),
            lambda: ledger.move_study(epoch, "nope", StudyState.RUNNING, StudyState.PAUSED),
            lambda: ledger.extend_study(epoch, "nope", {}),
            lambda: ledger.add_trial(epoch, trial(study_id="nope", trial_id="nope.bo.0.0")),
            lambda: ledger.move_trial(epoch, "nope", TrialState.WAITING, TrialState.STOPPED, at=1.0),
            lambda: ledger.start_attempt(epoch, attempt("nope")),
            lambda: ledger.attempt_running(epoch, T0, 2),
            lambda: ledger.end_attempt(epoch, T0, 2, DONE),
            lambda: ledger.answer_wish(epoch, 99, ""),
            lambda: ledger.wish("nope", "pause", {}, asked_at=1.0, asked_by="ada"),
        ):
            refusal(NotFound, act)
        assert (
            ledger.trials("nope"),
            ledger.counts("nope"),
            ledger.attempts("nope"),
            ledger.wishes("nope"),
        ) == (
            [],
            {},
            [],
            [],
        )

    def test_studies_come_oldest_first_and_by_state(self, ledger: Store) -> None:
        epoch = led(ledger)
        for study_id, created_at in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
            ledger.create_study(study(study_id, created_at=created_at))
        ledger.move_study(epoch, "b", StudyState.RUNNING, StudyState.PAUSED)
        assert [s.study_id for s in ledger.studies()] == ["a", "b", "c"]
        assert [s.study_id for s in ledger.studies({StudyState.RUNNING})] == ["a", "c"]

    def test_a_study_moves_by_compare_and_set(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        refused = refusal(
            MoveRefused, lambda: ledger.move_study(epoch, "s1", StudyState.PAUSED, StudyState.CANCELLED)
        )
        assert "is running was expected to be paused" in refused
        ledger.move_study(epoch, "s1", StudyState.RUNNING, StudyState.CANCELLED, reason="enough")
        assert ledger.study("s1") == study(state=StudyState.CANCELLED, reason="enough")
        refused = refusal(
            MoveRefused, lambda: ledger.move_study(epoch, "s1", StudyState.CANCELLED, StudyState.RUNNING)
        )
        assert refused == "A study that is cancelled cannot become running; it may become: nothing."
        refusal(MoveRefused, lambda: ledger.extend_study(epoch, "s1", {"bo": 1}))

    def test_an_extension_is_set_and_not_added(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        ledger.extend_study(epoch, "s1", {"bo": 5})
        assert ledger.extend_study(epoch, "s1", {"bo": 5, "tpe": 1}).extra_trials == {"bo": 5, "tpe": 1}
        assert ledger.study("s1").extra_trials == {"bo": 5, "tpe": 1}

    # -- trials ----------------------------------------------------------------------------------------------
    def test_a_trial_is_added_once_for_its_place(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        added = ledger.add_trial(epoch, trial(0))
        assert ledger.add_trial(epoch, trial(0, trial_id="another", point={"x": 0.9})) == added == trial(0)
        refusal(MoveRefused, lambda: ledger.add_trial(epoch, trial(7, trial_id=T0)))
        refusal(MoveRefused, lambda: ledger.add_trial(epoch, trial(8, state=TrialState.COMPLETED)))
        assert ledger.trials("s1") == [trial(0)]

    def test_a_value_of_a_point_comes_back_in_its_own_type(self, ledger: Store) -> None:
        point = {"layers": 3, "rate": 3.0, "tied": True, "off": False, "name": "3", "text": "true", "one": 1}
        epoch = led(ledger)
        ledger.create_study(study())
        ledger.add_trial(epoch, trial(0, point=point, config={"model": point, "seed": 1}))
        found = ledger.trial(T0)
        assert json.dumps(dict(found.point)) == json.dumps(point)
        assert json.dumps(dict(found.config)) == json.dumps({"model": point, "seed": 1})

    def test_any_point_comes_back_as_it_was_written(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        numbers = count()
        one = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)

        @settings(max_examples=25, deadline=None)
        @given(point=st.dictionaries(st.sampled_from("abcd"), one, min_size=1))
        def comes_back(point: dict[str, Any]) -> None:
            index = next(numbers)
            written = ledger.add_trial(epoch, trial(index, point=point))
            found = ledger.trial(written.trial_id)
            assert [(k, type(v), v) for k, v in found.point.items()] == [
                (k, type(v), v) for k, v in point.items()
            ]

        comes_back()

    def test_trials_come_in_order_and_by_filter(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        # Ä, a, B: an order by language would not put them B, a, Ä
        places = [
            (arm, replicate, index) for arm in ("Ä", "a", "B") for replicate in (1, 0) for index in (10, 9)
        ]
        for arm, replicate, index in places:
            ledger.add_trial(
                epoch,
                trial(
                    trial_id=trial_id("s1", arm, replicate, index), arm=arm, replicate=replicate, index=index
                ),
            )
        stopped = trial_id("s1", "a", 0, 9)
        ledger.move_trial(epoch, stopped, TrialState.WAITING, TrialState.STOPPED, at=4.0, reason="cancelled")

        def found(**filters: Any) -> list[tuple[str, int, int]]:
            return [(t.arm, t.replicate, t.index) for t in ledger.trials("s1", **filters)]

        assert found() == sorted(places)
        assert found(limit=3, offset=2) == sorted(places)[2:5]
        assert found(offset=10) == sorted(places)[10:]
        assert found(arm="a", replicate=0) == [("a", 0, 9), ("a", 0, 10)]
        assert found(states=[TrialState.STOPPED]) == [("a", 0, 9)]
        assert found(states=[TrialState.WAITING, TrialState.STOPPED], limit=5) == sorted(places)[:5]
        assert found(states=[]) == []
        counts = ledger.counts("s1")
        assert counts[("a", 0, TrialState.STOPPED)] == counts[("a", 0, TrialState.WAITING)] == 1
        assert sum(counts.values()) == 12
        assert len(counts) == 7

    def test_many_studies_are_counted_at_once_each_as_it_would_be_alone(self, ledger: Store) -> None:
        epoch = led(ledger)
        for number, size in enumerate((2, 0, 3)):
            study_id = f"s{number}"
            ledger.create_study(study(study_id))
            for index in range(size):
                name = trial_id(study_id, "bo", 0, index)
                ledger.add_trial(epoch, trial(index, trial_id=name, study_id=study_id))
        ledger.move_trial(epoch, "s2.bo.0.1", TrialState.WAITING, TrialState.STOPPED, at=4.0)
        found = ledger.counts_of(["s2", "s1", "s0", "nope"])
        assert found == {study_id: ledger.counts(study_id) for study_id in ("s0", "s1", "s2", "nope")}
        assert found["s0"] == {("bo", 0, TrialState.WAITING): 2}
        assert found["s2"] == {("bo", 0, TrialState.WAITING): 2, ("bo", 0, TrialState.STOPPED): 1}
        assert ledger.counts_of(["s1"]) == {"s1": {}}
        assert ledger.counts_of([]) == {}

    def test_a_trial_without_an_attempt_only_stops_or_is_tried_anew(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        moves = [(a, b) for a in TrialState for b in TrialState]
        for before, after in moves:
            if (before, after) not in {
                (TrialState.WAITING, TrialState.STOPPED),
                (TrialState.FAILED, TrialState.WAITING),
            }:
                refusal(MoveRefused, partial(ledger.move_trial, epoch, T0, before, after, at=3.0))
        refused = refusal(
            MoveRefused, lambda: ledger.move_trial(epoch, T0, TrialState.WAITING, TrialState.STOPPED, at=3.0)
        )
        assert refused == (
            "A trial that is running was expected to be waiting, so it was not made stopped. "
            "Read it again and decide anew."
        )
        assert ledger.trial(T0).state == TrialState.RUNNING

    def test_a_failed_trial_is_tried_anew_on_a_wish_only(self, ledger: Store) -> None:
        epoch = with_live_attempt(ledger)
        ledger.end_attempt(epoch, T0, 1, replace(FAILED, checkpoint="c1"))
        failed = ledger.trial(T0)
        assert (failed.state, failed.losses, failed.failures, failed.reason, failed.ended_at) == (
            TrialState.FAILED,
            0,
            1,
            "it raised",
            25.0,
        )
        assert ledger.attempts(T0)[0].traceback == "Traceback …"
        refusal(MoveRefused, lambda: ledger.start_attempt(epoch, attempt(number=2)))
        again = ledger.move_trial(epoch, T0, TrialState.FAILED, TrialState.WAITING, at=40.0, reason="by ada")
        assert again == replace(failed, state=TrialState.WAITING, failures=0, ended_at=None, reason="by ada")
        assert ledger.start_attempt(epoch, attempt(number=2)).number == 2

    def test_a_stopped_trial_that_never_began_is_taken_back_and_may_be_made_anew(
        self, opener: Opener
    ) -> None:
        ledger, other = opener(), opener()
        epoch = with_live_attempt(ledger)
        told = "cannot be taken back; only a stopped one that never began can"
        assert told in refusal(MoveRefused, lambda: ledger.remove_trial(epoch, T0))  # it runs
        assert told in refusal(MoveRefused, lambda: ledger.remove_trial(epoch, T1))  # it waits
        ledger.end_attempt(epoch, T0, 1, replace(DONE, trial_state=TrialState.STOPPED))
        assert told in refusal(MoveRefused, lambda: ledger.remove_trial(epoch, T0))  # it began
        ledger.move_trial(epoch, T1, TrialState.WAITING, TrialState.STOPPED, at=5.0, reason="no")
        ledger.remove_trial(epoch, T1)
        assert [t.trial_id for t in other.trials("s1")] == [T0]
        assert other.counts("s1") == {("bo", 0, TrialState.STOPPED): 1}
        refusal(NotFound, lambda: other.trial(T1))
        assert ledger.add_trial(epoch, trial(1, point={"x": 0.7})).point == {"x": 0.7}

    # -- wishes ----------------------------------------------------------------------------------------------
    def test_a_wish_is_answered_once(self, ledger: Store) -> None:
        epoch = led(ledger)
        ledger.create_study(study())
        first = ledger.wish("s1", "extend", {"bo": 5}, asked_at=5.0, asked_by="ada")
        second = ledger.wish("s1", "pause", {}, asked_at=4.0, asked_by="bob")
        assert ledger.open_wishes() == ledger.wishes("s1") == [first, second]
        ledger.answer_wish(epoch, first.wish_id, "")
        assert ledger.open_wishes() == [second]
        ledger.answer_wish(epoch, first.wish_id, "on second thoughts, no")
        assert ledger.wishes("s1") == [replace(first, answer=""), second]
        assert [ledger.asked(each.wish_id) for each in (first, second)] == ledger.wishes("s1")

    def test_a_mirror_s_cursor_is_kept_for_all_and_may_go_back(self, opener: Opener) -> None:
        mine, yours = opener(), opener()
        assert mine.cursor("mlflow/x/s1") == 0
        mine.move_cursor("mlflow/x/s1", 7)
        mine.move_cursor("mlflow/x/s2", 2**40)
        assert (yours.cursor("mlflow/x/s1"), yours.cursor("mlflow/x/s2")) == (7, 2**40)
        for event_id in (9, 9, 0):
            yours.move_cursor("mlflow/x/s1", event_id)
            assert mine.cursor("mlflow/x/s1") == event_id
        assert mine.cursor("mlflow/x/s2") == 2**40

    def test_wishes_of_many_are_all_kept(self, opener: Opener) -> None:
        ledger = opener()
        ledger.create_study(study())
        with ThreadPoolExecutor(8) as pool:
            ids = list(
                pool.map(
                    lambda i: ledger.wish("s1", "pause", {"i": i}, asked_at=i, asked_by="x").wish_id,
                    range(24),
                )
            )
        assert sorted(ids) == [w.wish_id for w in ledger.open_wishes()]
        assert {w.detail["i"] for w in ledger.open_wishes()} == set(range(24))
