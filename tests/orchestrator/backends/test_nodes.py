"""What are the hosts of a Ray called?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.backends import ray_private
from orchestrator.backends.nodes import Nodes


def listed(node_id: str, name: str) -> dict[str, Any]:
    return {
        "NodeID": node_id,
        "NodeManagerHostname": name,
        "NodeManagerAddress": "192.0.2.1",
        "Resources": {"CPU": 2.0},
        "Alive": True,
    }


def test_a_host_keeps_its_name_when_another_comes_that_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [listed("a" * 12, "vm"), listed("b" * 12, "other")]
    monkeypatch.setattr(ray_private, "draining", lambda: set())
    context = SimpleNamespace(get_node_id=lambda: "a" * 12)
    ray = SimpleNamespace(nodes=lambda: there, get_runtime_context=lambda: context)
    nodes = Nodes(ray, lambda ask: ask(), most_here=None, now=lambda: 0.0)
    assert [node.name for node in nodes.look().values()] == ["vm", "other"]
    there.append(listed("c" * 12, "vm"))
    assert [node.name for node in nodes.look().values()] == ["vm", "other"]  # a moment later
    assert [node.name for node in nodes.look(again=True).values()] == ["vm", "other", "vm-cccccc"]
    fresh = Nodes(ray, lambda ask: ask(), most_here=None, now=lambda: 0.0)
    assert [node.name for node in fresh.look().values()] == ["vm-aaaaaa", "other", "vm-cccccc"]
