"""What did an earlier engine leave? Found by name, asked what it holds, and taken over or ended.

An actor that holds nothing is ended, and so is one that does not answer: it hangs. Of a gang all processes
must hold the same attempt; those that are gone meanwhile decide its fate as if they had just died.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.backends.connection import CONNECT_S
from orchestrator.backends.crew import Crew
from orchestrator.backends.fate import Seen
from orchestrator.backends.gang import Gang, Member, in_gang
from orchestrator.backends.slot import Slot
from orchestrator.runs.contract import Launch
from orchestrator.runs.worker import State

GONE = "Its process has gone."


@dataclass
class _Found:
    """Of a gang."""

    count: int
    members: dict[int, tuple[Member, State | None]] = field(default_factory=dict)


def adopt(crew: Crew) -> None:
    asked = []
    for name in crew.names():
        if name.startswith(f"{crew.pool}."):
            with contextlib.suppress(ValueError):  # died meanwhile
                actor = crew.of_gcs(partial(crew.ray.get_actor, name, namespace=crew.namespace))
                asked.append((name, actor, actor.state.remote()))
    requests = [request for _, _, request in asked]
    ready = set(crew.ray.wait(requests, num_returns=len(asked), timeout=CONNECT_S)[0]) if asked else set()
    gangs: dict[str, _Found] = {}
    for name, actor, request in asked:
        state = _state(crew.ray, request) if request in ready else None
        node_id, place, word = where(name.removeprefix(f"{crew.pool}."))
        node_id = node_id or crew.nodes.here
        node = crew.nodes.look().get(node_id)
        host = node.name if node is not None else ""
        if (of_gang := in_gang(word)) is not None:
            uid, index, count = of_gang
            member = Member(node_id, place, Seen(index, host, asked=time.monotonic()), actor)
            gangs.setdefault(uid, _Found(count)).members[index] = member, state
        elif state is None or state.last is None or not state.holds:
            crew.ray.kill(actor)
        else:
            slot = Slot(node_id, place, actor, state.last.resources, host)
            slot.shape_key, slot.adopted, slot.launch = state.last.shape_key, True, state.last
            slot.begun = True
            crew.slots.append(slot)
    kept = [uid for uid, found in gangs.items() if _takes_over(crew, uid, found)]
    crew.gangs.reap(kept)


def _takes_over(crew: Crew, uid: str, found: _Found) -> bool:
    """Whether this gang goes on. One that was never whole is ended: its attempt begins again."""
    launch = _held_by_all(found)
    group = None if launch is None else crew.gangs.group_of(uid)
    if launch is None or group is None:
        for member, _ in found.members.values():
            crew.ray.kill(member.actor)
        return False
    members = []
    for index in range(found.count):
        if index in found.members:
            members.append(found.members[index][0])
        else:
            members.append(Member("", -1, Seen(index, "a host that is not known", dead=GONE)))
            members[-1].seen.at = time.monotonic()
    gang = Gang(uid, members, group, launch.entrypoint, begun=True)
    first = members[0]
    slot = Slot(first.node_id, first.place, first.actor, launch.resources, first.seen.host, gang)
    slot.shape_key, slot.adopted, slot.launch, slot.begun = launch.shape_key, True, launch, True
    crew.slots.append(slot)
    return True


def _held_by_all(found: _Found) -> Launch | None:
    """What all that are there hold, the first one among them."""
    states = [state for _, state in found.members.values()]
    if 0 not in found.members or any(state is None or not state.holds for state in states):
        return None
    held = {state.last.key: state.last for state in states if state is not None and state.last is not None}
    return next(iter(held.values())) if len(held) == 1 else None


def _state(ray: Any, request: Any) -> State | None:
    try:
        told: State = ray.get(request)
    except Exception:  # dead, or of another release: its attempt is unknown from here on
        return None
    return told


def where(name: str) -> tuple[str, int, str]:
    """The node id, the place and the last word in the rest of an actor's name. A former release's is a
    number: its Ray has one host."""
    node_id, _, rest = name.partition(".")
    if not rest:
        return "", int(node_id), ""
    place, _, word = rest.partition(".")
    return node_id, int(place), word
