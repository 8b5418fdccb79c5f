"""What does a backend know of one of its actors? Where it is, what it is at work on, what it was asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.runs.contract import AttemptKey, Launch
from orchestrator.study.spec import Resources

BEGIN_S = 10.0  # a worker was told to begin an attempt: in this time it has, or it never will
ASKING = "asking"  # polls have threads of their own in a worker: one that waits holds up nothing else


@dataclass(eq=False)
class Slot:
    """One actor, and what it is at work on."""

    node_id: str
    place: int  # within its host: which cores are its own
    actor: Any  # None once it is dead
    resources: Resources
    host: str = ""  # its name
    shape_key: str | None = None  # what it is warm for
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


def ask_slot(slot: Slot, key: AttemptKey, after: int, *, wait_s: float) -> None:
    """Ask for what was said after that sequence; the answer is waited for elsewhere."""
    poll = slot.actor.poll.options(concurrency_group=ASKING)
    slot.request = poll.remote(key, after=after, wait_s=wait_s, begin_s=BEGIN_S)
    slot.request_after, slot.request_waits = after, bool(wait_s)


def where(name: str) -> tuple[str, int]:
    """The node id and the place in the rest of an actor's name. A former release's is a number: its Ray has
    one host."""
    node_id, _, rest = name.partition(".")
    return (node_id, int(rest.partition(".")[0])) if rest else ("", int(node_id))
