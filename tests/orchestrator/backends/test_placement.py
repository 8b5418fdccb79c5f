"""Where is there room for a trial, and who gets it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.placement import Need, Node, count, gangs, in_all, need, open_to
from orchestrator.study.resources import Resources

ONE, TWO = Resources(), Resources(cpus=2)
SMALL, LARGE = need(ONE), need(TWO)


def node(name: str, cpus: float = 2, **more: float) -> Node:
    return Node(name, name, {"CPU": cpus, **more})


def test_a_trial_lies_within_one_host() -> None:
    two = [node("a"), node("b")]
    assert in_all(two, Resources(cpus=2)) == 2
    assert in_all(two, Resources(cpus=3)) == 0
    assert in_all(two, Resources(cpus=3, hosts=2)) == 0


def test_a_gang_has_room_on_as_many_hosts_at_once() -> None:
    hosts = [node("a"), node("b"), node("c", 1)]
    assert in_all(hosts, Resources(hosts=2)) == 2
    assert in_all(hosts, Resources(cpus=2, hosts=2)) == 1
    assert in_all(hosts, Resources(hosts=4)) == 0


@given(
    counts=st.lists(st.integers(min_value=0, max_value=3), max_size=5),
    hosts=st.integers(min_value=1, max_value=5),
)
def test_as_many_gangs_as_can_be_taken_one_after_the_other(counts: list[int], hosts: int) -> None:
    left, taken = list(counts), 0  # from the fullest hosts each time: the best there is
    while len([n for n in left if n]) >= hosts:
        for place in sorted(range(len(left)), key=lambda i: -left[i])[:hosts]:
            left[place] -= 1
        taken += 1
    assert gangs(counts, hosts) == taken


def test_hosts_are_kept_for_a_gang_that_waits_longer() -> None:
    hosts, gang = [node("a"), node("b"), node("c")], Resources(cpus=2, hosts=2)
    held = {"a": [SMALL], "b": [SMALL, SMALL]}
    assert open_to(hosts, held, TWO) == {"a": 0, "b": 0, "c": 1}
    assert open_to(hosts, held, ONE, ahead=[gang]) == {"b": 0}  # c is empty, and a nearly is
    assert open_to(hosts, {}, ONE, ahead=[gang]) == {"a": 0, "b": 0, "c": 2}  # it can begin at once
    assert open_to(hosts, {}, ONE, ahead=[Resources(hosts=4)]) == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("wanted", "beside", "times"),
    [
        (Resources(cpus=2), [], 4),
        (Resources(cpus=2), [LARGE, SMALL], 2),
        (Resources(cpus=0.1), [], 8),  # one a CPU at most, though its share would allow more
        (Resources(cpus=1, gpus=0.5), [], 4),
        (Resources(cpus=1, gpus=0.5), [need(Resources(gpus=1))], 2),
        (Resources(cpus=1, tpu_chips=1), [], 0),
        (Resources(cpus=1), [SMALL] * 9, 0),
    ],
)
def test_a_host_holds_what_its_resources_and_places_allow(
    wanted: Resources, beside: list[Need], times: int
) -> None:
    assert count(node("a", 8, GPU=2), need(wanted), beside) == times


def test_a_pool_may_be_smaller_than_its_host() -> None:
    assert count(Node("a", "a", {"CPU": 8}, most=3), SMALL) == 3


def test_shares_that_add_up_to_the_whole_fit() -> None:
    assert count(node("a", 8, GPU=1), need(Resources(gpus=0.1)), [need(Resources(gpus=0.1))] * 7) == 1


def test_a_large_trial_that_waits_keeps_a_host_for_itself() -> None:
    hosts, held = [node("a"), node("b")], {"a": [SMALL], "b": [SMALL, SMALL]}
    assert open_to(hosts, held, ONE) == {"a": 1, "b": 0}
    assert open_to(hosts, held, ONE, ahead=[TWO]) == {"b": 0}  # a is nearest to being empty
    assert open_to(hosts, held, TWO, ahead=[]) == {"a": 0, "b": 0}


def test_who_waits_longer_is_given_room_first_where_it_costs_least() -> None:
    hosts = [node("a", 4), node("b", 2)]
    assert open_to(hosts, {}, TWO, ahead=[TWO]) == {"a": 2, "b": 0}


def test_a_trial_that_fits_nowhere_keeps_nobody_out() -> None:
    hosts = [node("a"), node("b")]
    assert open_to(hosts, {}, ONE, ahead=[Resources(cpus=5)]) == {"a": 2, "b": 2}


def test_what_others_hold_is_no_room_now_and_no_reason_to_refuse() -> None:
    hosts = [Node("a", "a", {"CPU": 2}, others={"CPU": 1}), Node("b", "b", {"CPU": 2}, others={"CPU": 2})]
    assert open_to(hosts, {}, ONE) == {"a": 1, "b": 0}
    assert open_to(hosts, {"a": [SMALL]}, ONE) == {"a": 0, "b": 0}
    assert open_to(hosts, {}, ONE, ahead=[TWO]) == {"a": 1, "b": 0}  # no host can be kept for it
    assert in_all(hosts, Resources(cpus=2)) == 2
