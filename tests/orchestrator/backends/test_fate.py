"""Does the first cause decide how an attempt of a gang ends?"""

from __future__ import annotations

import pytest

from orchestrator.backends.fate import (
    ANSWER_S,
    FOLLOW_S,
    RESULT_S,
    SETTLE_S,
    SILENCE_S,
    Fate,
    Seen,
    fate,
    standing_still,
)
from orchestrator.runs.contract import Ended
from trainer.protocol import Outcome

DONE = Ended("outcome", outcome=Outcome("completed"))
CLOSED = Ended("raised", reason="ConnectionResetError: closed", traceback="Traceback: closed")
BUG = Ended("raised", reason="ValueError: a bug", traceback="Traceback: a bug")
PEER_LOST = Ended("lost", reason="Another process does not answer.")
FULL = Ended("unwritten", reason="The disk is full.")
DIED = "The worker died."


def three(at: float = 100.0) -> list[Seen]:
    """All at work, and asked a moment ago."""
    return [Seen(i, host, asked=at) for i, host in enumerate("abc")]


def over(member: Seen, ended: Ended | None = None, *, dead: str = "", at: float) -> None:
    member.ended, member.dead, member.at = ended, dead, at


def decided(members: list[Seen], now: float) -> Fate:
    found = fate(members, now)
    assert found is not None
    return found


def test_a_gang_at_work_has_not_ended() -> None:
    assert fate(three(), 10_000.0) is None


def test_the_first_one_s_result_stands_once_all_have_ended() -> None:
    gang = three()
    over(gang[0], DONE, at=100)
    over(gang[1], DONE, at=100)
    assert fate(gang, 100 + SETTLE_S + 1) is None
    over(gang[2], DONE, at=110)
    assert fate(gang, 110) == Fate(DONE, "a", whole=True)


@pytest.mark.parametrize("ended", [None, BUG])
def test_a_member_that_does_not_end_well_behind_a_result_makes_no_failure_and_no_warm_gang(
    ended: Ended | None,
) -> None:
    gang = three()
    over(gang[0], DONE, at=100)
    over(gang[1], DONE, at=100)
    if ended is not None:
        over(gang[2], ended, at=101)
    assert decided(gang, 101 + FOLLOW_S) == Fate(DONE, "a", whole=False)


def test_a_member_that_was_asked_to_leave_may_go_before_the_first_one_has_told_its_result() -> None:
    gang = three()
    over(gang[1], dead=DIED, at=100)
    assert fate(gang, 100 + RESULT_S) is None
    over(gang[0], DONE, at=101)
    over(gang[2], DONE, at=101)
    assert decided(gang, 101).ended == DONE


def test_a_death_makes_the_attempt_lost_and_names_the_process_and_its_host() -> None:
    gang = three()
    over(gang[1], dead=DIED, at=100)
    found = decided(gang, 100 + RESULT_S + 0.1)
    assert found == Fate(Ended("lost", reason=f"Process 1 of 3, on b: {DIED}"), "b")


@pytest.mark.parametrize("later", [0.3, 30.0])
def test_what_its_peers_raise_when_a_host_is_lost_is_no_failure(later: float) -> None:
    """They are heard at once; of the host Ray says so half a minute later."""
    gang = three()
    over(gang[0], CLOSED, at=100)
    over(gang[2], CLOSED, at=100.1)
    assert fate(gang, 100 + later) is None  # b has not answered since
    over(gang[1], dead="Its host has gone.", at=100 + later)
    found = decided(gang, 100 + later + SETTLE_S + 0.1)
    assert (found.ended.how, found.host) == ("lost", "b")


@pytest.mark.parametrize("dead", [0, 2])
def test_a_process_that_ends_for_want_of_a_silent_one_is_not_the_cause(dead: int) -> None:
    """The link to b is cut: JAX ends the others after half a minute, and Ray says so of b later."""
    gang = three()
    gang[1].asked = 68.0
    over(gang[dead], dead=DIED, at=100)
    assert fate(gang, 100 + ANSWER_S) is None
    found = decided(gang, 101 + ANSWER_S)
    assert (found.ended.how, found.host) == ("lost", "b")
    assert "It has not answered for 39 s." in found.ended.reason
    gang[1].asked = 105.0  # it does answer
    assert decided(gang, 106).host == gang[dead].host


def test_a_host_that_ray_misses_a_moment_after_its_peers_did_is_the_cause() -> None:
    gang = three()
    gang[1].asked = 70.0
    over(gang[0], dead=DIED, at=99)
    over(gang[1], dead="Its host has gone.", at=100)
    gang[0].asked, gang[2].asked = 97.0, 101.0
    found = decided(gang, 101)
    assert (found.ended.how, found.host) == ("lost", "b")
    gang[1].asked = 96.0  # as lately heard as the other
    assert decided(gang, 101).host == gang[0].host


def test_a_host_that_never_answers_again_is_lost_though_ray_says_nothing() -> None:
    gang = three()
    over(gang[0], CLOSED, at=100)
    over(gang[2], CLOSED, at=100)
    assert fate(gang, 100 + SILENCE_S) is None
    found = decided(gang, 101 + SILENCE_S)
    assert (found.ended.how, found.host) == ("lost", "b")
    assert "It has not answered for 91 s." in found.ended.reason


def test_a_host_that_its_peers_miss_is_lost_long_before_ray_says_so() -> None:
    gang = three(at=98)
    over(gang[0], PEER_LOST, at=100)
    over(gang[2], PEER_LOST, at=100)
    assert fate(gang, 100 + ANSWER_S) is None
    found = decided(gang, 101 + ANSWER_S)
    assert (found.ended.how, found.host) == ("lost", "b")


def test_an_exception_while_the_others_live_is_a_failure_with_its_traceback() -> None:
    gang = three()
    over(gang[1], BUG, at=100)
    assert fate(gang, 101) is None
    for each in (gang[0], gang[2]):
        each.asked = 100 + SETTLE_S
    found = decided(gang, 103)
    assert found.ended == Ended(
        "raised", reason=f"Process 1 of 3, on b: {BUG.reason}", traceback=BUG.traceback
    )


def test_an_exception_that_every_member_raises_is_a_failure() -> None:
    gang = three()
    for number, each in enumerate(gang):
        over(each, BUG, at=100 + number / 10)
    found = decided(gang, 100.3)
    assert (found.ended.how, found.ended.traceback, found.host) == ("raised", BUG.traceback, "a")


def test_those_who_say_that_they_lost_a_peer_wait_for_its_own_word() -> None:
    gang = three()
    over(gang[0], PEER_LOST, at=100)
    over(gang[2], PEER_LOST, at=100)
    gang[1].asked = 110
    assert fate(gang, 110) is None
    over(gang[1], BUG, at=111)
    assert decided(gang, 111).ended.traceback == BUG.traceback
    gang[1].ended = PEER_LOST
    assert decided(gang, 111).ended.how == "lost"  # of all, none knows why: tried again


def test_a_member_s_full_disk_is_that_host_s_trouble() -> None:
    gang = three()
    over(gang[2], FULL, at=100)
    for each in gang[:2]:
        over(each, PEER_LOST, at=101)
    found = decided(gang, 101)
    assert (found.ended.how, found.host) == ("unwritten", "c")
    assert found.ended.reason == f"Process 2 of 3, on c: {FULL.reason}"


def test_of_a_gang_that_stands_still_the_one_that_does_not_answer_is_named() -> None:
    gang = three()
    gang[1].asked = 60.0
    assert standing_still(gang, 100.0) == ("Process 1 of 3, on b: It has not answered for 40 s.", "b")


def test_of_a_gang_that_answers_the_one_behind_the_others_is_named() -> None:
    gang = three()
    for each, reports in zip(gang, (7, 7, 5), strict=True):
        each.reports = reports
    said, host = standing_still(gang, 100.0)
    assert (said, host) == (
        "Process 2 of 3, on c: It has made 5 reports, and others 7: it stands still.",
        "c",
    )
    gang[2].reports = 7
    assert standing_still(gang, 100.0) == ("", "")
