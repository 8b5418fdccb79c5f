"""Where is there room for a trial, and who gets it?"""

from __future__ import annotations

import pytest

from orchestrator.backends.placement import Need, Node, count, in_all, need, open_to
from orchestrator.study.spec import Resources

SMALL, LARGE = need(Resources()), need(Resources(cpus=2))


def node(name: str, cpus: float = 2, **more: float) -> Node:
    return Node(name, name, {"CPU": cpus, **more})


def test_a_trial_lies_within_one_host() -> None:
    two = [node("a"), node("b")]
    assert in_all(two, Resources(cpus=2)) == 2
    assert in_all(two, Resources(cpus=3)) == 0
    assert in_all(two, Resources(hosts=2)) == 0


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
    assert open_to(hosts, held, SMALL) == {"a": 1, "b": 0}
    assert open_to(hosts, held, SMALL, ahead=[LARGE]) == {"b": 0}  # a is nearest to being empty
    assert open_to(hosts, held, LARGE, ahead=[]) == {"a": 0, "b": 0}


def test_who_waits_longer_is_given_room_first_where_it_costs_least() -> None:
    hosts = [node("a", 4), node("b", 2)]
    assert open_to(hosts, {}, LARGE, ahead=[LARGE]) == {"a": 2, "b": 0}


def test_a_trial_that_fits_nowhere_keeps_nobody_out() -> None:
    hosts = [node("a"), node("b")]
    assert open_to(hosts, {}, SMALL, ahead=[need(Resources(cpus=5))]) == {"a": 2, "b": 2}


def test_what_others_hold_is_no_room_now_and_no_reason_to_refuse() -> None:
    hosts = [Node("a", "a", {"CPU": 2}, others={"CPU": 1}), Node("b", "b", {"CPU": 2}, others={"CPU": 2})]
    assert open_to(hosts, {}, SMALL) == {"a": 1, "b": 0}
    assert open_to(hosts, {"a": [SMALL]}, SMALL) == {"a": 0, "b": 0}
    assert open_to(hosts, {}, SMALL, ahead=[LARGE]) == {"a": 1, "b": 0}  # no host can be kept for it
    assert in_all(hosts, Resources(cpus=2)) == 2
