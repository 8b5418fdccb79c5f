"""Which hosts has a Ray? Looked at again every few seconds: hosts join, drain and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.backends import ray_private
from orchestrator.backends.placement import Node

LOOK_AGAIN_S = 3.0


class Nodes:
    """The hosts that are alive, by node id."""

    def __init__(
        self,
        ray: Any,
        ask: Callable[[Callable[[], Any]], Any],
        *,
        most_here: int | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most_here`: so many trials at a time on the host of this process, at most."""
        self._ray, self._ask, self._most_here, self._now = ray, ask, most_here, now
        self.here: str = ray.get_runtime_context().get_node_id()
        self._known: dict[str, Node] = {}
        self._looked_at = -LOOK_AGAIN_S

    def look(self, *, again: bool = False) -> Mapping[str, Node]:
        """As they were a moment ago; with `again` as they are now."""
        if again or self._now() - self._looked_at >= LOOK_AGAIN_S:
            listed = self._ask(self._ray.nodes)
            draining = self._ask(ray_private.draining)
            alive = [each for each in listed if each["Alive"]]
            names = self._named(alive)
            self._known = {
                each["NodeID"]: Node(
                    each["NodeID"],
                    names[each["NodeID"]],
                    each["Resources"],
                    each["NodeManagerAddress"],
                    labels=each.get("Labels") or {},
                    draining=each["NodeID"] in draining,
                    most=self._most_here if each["NodeID"] == self.here else None,
                )
                for each in alive
            }
            self._looked_at = self._now()
        return self._known

    def _named(self, alive: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """By node id: the machine's name, and a piece of the id where several are called so. A host keeps the
        name that it was seen by first: what runs there is known by it."""
        number = Counter(each["NodeManagerHostname"] for each in alive)
        names = {}
        for each in alive:
            node_id, name = each["NodeID"], each["NodeManagerHostname"]
            now = name if number[name] == 1 else f"{name}-{node_id[:6]}"
            names[node_id] = self._known[node_id].name if node_id in self._known else now
        return names
