"""What does a backend know of one of its actors? Where it is, what it is at work on, what it was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.backends.gang import Gang
from orchestrator.backends.placement import Need, need
from orchestrator.runs.contract import AttemptKey, Launch
from orchestrator.study.resources import Resources

BEGIN_S = 10.0  # a worker was told to begin an attempt: in this time it has, or it never will
ASKING = "asking"  # polls have threads of their own in a worker: one that waits holds up nothing else


@dataclass(eq=False)
class Slot:
    """One actor, and what it is at work on; or the actors of a gang, of which it is the first."""

    node_id: str
    place: int  # within its host: which cores are its own
    actor: Any  # None once it is dead
    resources: Resources
    host: str = ""  # its name
    gang: Gang | None = None
    shape_key: str | None = None  # what it is warm for
    spent: bool = False  # what its accelerator holds after such an end is not known: not used again
    adopted: bool = False  # made by an earlier engine, and ended rather than used again
    silences: int = 0  # so often in a row it did not answer while idle
    launch: Launch | None = None
    ended: bool = False  # the attempt is known to be over
    lost: str | None = None  # the actor is dead: why
    kill_reason: str | None = None
    begun: bool = False  # its worker has answered for that attempt
    submitted_at: float = 0.0  # monotonic, as is
    hired_at: float = 0.0
    request: Any = None  # a poll that has not been answered yet
    request_after: int = 0
    request_waits: bool = False  # it is answered when there is news
    unsaid: AttemptKey | None = None  # forgotten here, and the actor does not know it yet
    told_to_leave: bool = False  # its host drains

    @property
    def places(self) -> list[tuple[str, int]]:
        """The nodes that it is on, and its place within each."""
        if self.gang is None:
            return [(self.node_id, self.place)]
        return [(member.node_id, member.place) for member in self.gang.members]

    @property
    def held(self) -> list[tuple[str, Need]]:
        """What it takes up on each of these."""
        nodes = enumerate(node_id for node_id, _ in self.places)
        return [(node_id, need(self.resources, first=index == 0)) for index, node_id in nodes]

    @property
    def holds(self) -> bool:
        """Whether it takes up what it asks for."""
        return self.actor is not None if self.gang is None else self.gang.stands

    @property
    def actors(self) -> list[Any]:
        """Those that live."""
        found = [self.actor] if self.gang is None else [member.actor for member in self.gang.members]
        return [actor for actor in found if actor is not None]

    @property
    def requests(self) -> list[Any]:
        """What has been asked and is not answered yet."""
        members = [] if self.gang is None else self.gang.members
        return [r for r in (self.request, *(member.request for member in members)) if r is not None]

    def is_at(self, node_id: str) -> bool:
        return any(node == node_id for node, _ in self.places)


def ask_slot(slot: Slot, key: AttemptKey, after: int, *, wait_s: float) -> None:
    """Ask for what was said after that sequence; the answer is waited for elsewhere."""
    poll = slot.actor.poll.options(concurrency_group=ASKING)
    slot.request = poll.remote(key, after=after, wait_s=wait_s, begin_s=BEGIN_S)
    slot.request_after, slot.request_waits = after, bool(wait_s)
