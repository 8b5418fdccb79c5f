"""What are the hosts of a Ray called?"""

from __future__ import annotations

from orchestrator.backends.nodes import Nodes
from orchestrator.backends.ray_private import Listed


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
