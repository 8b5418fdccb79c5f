"""Which hosts has a Ray? Looked at again every few seconds: hosts join, drain and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from orchestrator.backends.placement import Node
from orchestrator.backends.ray_private import Listed

LOOK_AGAIN_S = 3.0


class Nodes:
    """The hosts that are alive, by node id."""

    def __init__(
        self,
        listing: Callable[[], Sequence[Listed]],
        *,
        here: str,
        most_here: int | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`here`: the node of this process. `most_here`: so many trials at a time there, at most."""
        self._listing, self.here, self._most_here, self._now = listing, here, most_here, now
        self._known: dict[str, Node] = {}
        self._looked_at = -LOOK_AGAIN_S

    def look(self, *, again: bool = False) -> Mapping[str, Node]:
        """As they were a moment ago; with `again` as they are now."""
        if again or self._now() - self._looked_at >= LOOK_AGAIN_S:
            listed = self._listing()
            names = self._named(listed)
            self._known = {
                each.node_id: Node(
                    each.node_id,
                    names[each.node_id],
                    each.has,
                    each.address,
                    labels=each.labels,
                    draining=each.draining,
                    most=self._most_here if each.node_id == self.here else None,
                )
                for each in listed
            }
            self._looked_at = self._now()
        return self._known

    def _named(self, listed: Sequence[Listed]) -> dict[str, str]:
        """By node id: the machine's name, and a piece of the id where several are called so. A host keeps the
        name that it was seen by first: what runs there is known by it."""
        number = Counter(each.hostname for each in listed)
        names = {}
        for each in listed:
            node_id, name = each.node_id, each.hostname
            now = name if number[name] == 1 else f"{name}-{node_id[:6]}"
            names[node_id] = self._known[node_id].name if node_id in self._known else now
        return names
