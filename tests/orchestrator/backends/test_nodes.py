"""What are the hosts of a Ray called, and what of them is others'?"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.backends.nodes import Nodes
from orchestrator.backends.placement import Need, need
from orchestrator.backends.ray_private import Listed
from orchestrator.study.resources import Resources


def listed(node_id: str, name: str) -> Listed:
    return Listed(node_id, name, "192.0.2.1", {"CPU": 2.0}, {})


def nodes_of(there: list[Listed]) -> Nodes:
    return Nodes(lambda: there, here="a" * 12, most_here=None, now=lambda: 0.0)


def test_a_host_keeps_its_name_when_another_comes_that_is_called_so() -> None:
    there = [listed("a" * 12, "vm"), listed("b" * 12, "other")]
    nodes = nodes_of(there)
    assert [node.name for node in nodes.look().values()] == ["vm", "other"]
    there.append(listed("c" * 12, "vm"))
    assert [node.name for node in nodes.look().values()] == ["vm", "other"]  # a moment later
    assert [node.name for node in nodes.look(again=True).values()] == ["vm", "other", "vm-cccccc"]
    assert [node.name for node in nodes_of(there).look().values()] == ["vm-aaaaaa", "other", "vm-cccccc"]


def others(left: list[Mapping[str, float] | None], ours: list[Need]) -> list[Need]:
    """What of one host with four CPUs and a GPU is others', look by look, if so much of it is nobody's."""
    has = {"CPU": 4.0, "GPU": 1.0}
    told = iter([[Listed("a", "a", "192.0.2.1", has, {}, left=each)] for each in left])
    nodes = Nodes(lambda: next(told), here="b", most_here=None, ours=lambda node_id: ours)
    return [nodes.look(again=True)["a"].others for _ in left]


def test_what_neither_nobody_nor_we_hold_is_others_once_two_looks_agree() -> None:
    one = [need(Resources(cpus=1))]
    assert others([{"CPU": 1.0}] * 2, one) == [{}, {"CPU": 2.0, "GPU": 1.0}]
    assert others([{"CPU": 3.0, "GPU": 1.0}] * 2, one) == [{}, {}]
    assert others([None, None], one) == [{}, {}]  # Ray was not asked: it is ours alone


def test_a_worker_of_ours_that_ray_tells_of_late_is_nobody_else_s() -> None:
    ended = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]
    assert others(ended, []) == [{}, {"CPU": 2.0}, {"CPU": 2.0}]
    assert others([{"CPU": 4.0, "GPU": 1.0}] * 2, [need(Resources(cpus=1))]) == [{}, {}]  # not yet counted
