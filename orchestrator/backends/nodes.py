"""Which hosts has a Ray, and what of them do others hold? Looked at again every few seconds: hosts join,
drain and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from orchestrator.backends.placement import KINDS, ROUNDING, Need, Node
from orchestrator.backends.ray_private import Listed
from orchestrator.backends.slices import is_head

LOOK_AGAIN_S = 3.0


class Nodes:
    """The hosts that are alive, by node id."""

    def __init__(
        self,
        listing: Callable[[], Sequence[Listed]],
        *,
        here: str,
        most_here: int | None,
        ours: Callable[[str], Sequence[Need]] = lambda node_id: (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`here`: the node of this process. `most_here`: so many trials at a time there, at most. `ours`:
        what we hold on a node; where the listing says what nobody holds, the rest is others'."""
        self._listing, self.here, self._most_here, self._now = listing, here, most_here, now
        self._ours = ours
        self._known: dict[str, Node] = {}
        self._not_ours: dict[str, Need] = {}  # by the last look alone
        self._looked_at = -LOOK_AGAIN_S

    def look(self, *, again: bool = False) -> Mapping[str, Node]:
        """As they were a moment ago; with `again` as they are now."""
        if again or self._now() - self._looked_at >= LOOK_AGAIN_S:
            listed = self._listing()
            names = self._named(listed)
            before = self._not_ours
            self._not_ours = {each.node_id: self._of_others(each) for each in listed}
            self._known = {
                each.node_id: Node(
                    each.node_id,
                    names[each.node_id],
                    each.has,
                    each.address,
                    labels=each.labels,
                    draining=each.draining,
                    most=self._most_here if each.node_id == self.here else None,
                    others=_lasting(before.get(each.node_id, {}), self._not_ours[each.node_id]),
                )
                for each in listed
            }
            self._looked_at = self._now()
        return self._known

    def _of_others(self, listed: Listed) -> Need:
        if listed.left is None:
            return {}
        ours = self._ours(listed.node_id)
        kinds = (*KINDS, *(kind for kind in listed.has if is_head(kind)))
        held = {
            kind: listed.has.get(kind, 0) - listed.left.get(kind, 0) - sum(each.get(kind, 0) for each in ours)
            for kind in kinds
        }
        return {kind: amount for kind, amount in held.items() if amount > ROUNDING}

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


def _lasting(before: Need, now: Need) -> Need:
    """What two looks agree on: Ray tells late of a worker of ours that has just begun or ended."""
    return {kind: min(amount, before[kind]) for kind, amount in now.items() if kind in before}
