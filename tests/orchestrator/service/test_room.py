"""Does a plan say which hosts a trial takes, and how many run at once on those that are there?"""

from __future__ import annotations

from orchestrator.ledger.records import HostRow, HostState
from orchestrator.service.room import room_on
from orchestrator.study.resources import Resources

TWO = Resources(hosts=2)


def row(name: str, cpus: float = 2, state: HostState = HostState.IN_USE) -> HostRow:
    return HostRow(name, "10.0.0.1", {"CPU": cpus}, int(cpus), state, 0.0, "", "")


def test_this_machine_alone_is_as_it_was() -> None:
    assert room_on(Resources(), [], workers=3) == (3, "")
    assert room_on(Resources(), [row("a")], workers=3) == (2, "")


def test_a_gang_says_which_hosts_it_takes_and_how_many_fit() -> None:
    assert room_on(TWO, [row("b"), row("a")], workers=9) == (
        2,
        "Each trial takes 2 hosts, each with 1 CPU; 2 at once on 2 hosts: a (2 CPU), b (2 CPU).",
    )
    gone = room_on(TWO, [row("a"), row("b", state=HostState.GONE)], workers=9)
    assert gone == (
        1,
        "Each trial takes 2 hosts, each with 1 CPU, and none such fits on the hosts that are there: "
        "a (2 CPU).",
    )


def test_without_a_cluster_it_says_whom_to_ask() -> None:
    number, sentence = room_on(TWO, [], workers=9)
    assert number == 1
    assert "Ask a service that hosts have joined (--server)" in sentence
