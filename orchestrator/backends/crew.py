"""Which actors are there, on which hosts, and which of them is given a trial? Hired, kept warm, ended.

An actor's name tells where it is, and ends in a word of its own, so that an actor on a host that cannot be
reached holds up no other; of a gang it tells which process of which gang it is.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.backends.asking import AskGcs
from orchestrator.backends.gang import ANSWERING
from orchestrator.backends.gangs import Gangs
from orchestrator.backends.held import here
from orchestrator.backends.nodes import Nodes
from orchestrator.backends.placement import Need, Node, count, gangs, need, needs, open_to
from orchestrator.backends.slices import slices
from orchestrator.backends.slot import ASKING, Slot
from orchestrator.runs.contract import Launch
from orchestrator.runs.hardware import accelerated
from orchestrator.runs.worker import Worker
from orchestrator.study.resources import Resources

ASK_S = 1.0  # for an idle worker to say that it lives
COUNTED_S = 1.0  # within it Ray has told its head that a new worker holds something
MOST_SILENCES = 10  # in a row, until an idle worker counts as hung


class Crew:
    def __init__(
        self,
        ray: Any,
        *,
        pool: str,
        namespace: str,
        environment: Mapping[str, str],
        of_gcs: AskGcs,
    ) -> None:
        self.ray, self.pool, self.namespace, self.of_gcs = ray, pool, namespace, of_gcs
        self._environment = environment
        self.nodes: Nodes  # set by whoever can list them: what is ours there is asked of us
        self.slots: list[Slot] = []
        self.closed: Mapping[str, bool] = {}
        self.gangs = Gangs(ray, names=f"{namespace}.{pool}.", make=self._made, of_gcs=of_gcs)

    # -- room --------------------------------------------------------------------------------------------

    def open_to(self, resources: Resources, ahead: Sequence[Resources] = ()) -> dict[str, int]:
        """How many processes of such trials could begin on each host now; idle workers make way."""
        held: dict[str, list[Need]] = {}
        for slot in self.slots:
            if slot.launch is not None and slot.holds:
                for node_id, there in slot.held:
                    held.setdefault(node_id, []).append(there)
        nodes = self.nodes.look().values()
        usable = [node for node in nodes if not (node.draining or node.name in self.closed)]
        return open_to(usable, held, resources, ahead)

    def free(self, resources: Resources, ahead: Sequence[Resources]) -> int:
        return gangs(list(self.open_to(resources, ahead).values()), resources.hosts)

    def slot_for(self, launch: Launch, ahead: Sequence[Resources], avoid: str) -> Slot | None:
        """A slot for it: warm for this program first, then a new one where nobody has to make way, then any
        that is idle; but a process that holds an accelerator never runs another program, since the memory of
        its first one is given back by its end alone."""
        resources = launch.resources
        nodes = dict(self.nodes.look())  # the next look may find one of them gone
        room = {node for node, free in self.open_to(resources, ahead).items() if free and node in nodes}
        if resources.hosts > 1:
            return self._gang_for(launch, [nodes[node_id] for node_id in room], avoid)
        room = {node for node in room if nodes[node].name != avoid} or room
        if not room:
            return None
        idle = [s for s in self._idle(resources) if s.node_id in room]
        warm = [slot for slot in idle if slot.shape_key == launch.shape_key]
        idle = warm if accelerated(resources) else idle
        if not warm:
            open_ones = [nodes[node_id] for node_id in room]
            empty = [node for node in open_ones if count(node, need(resources), self._needs_at(node.node_id))]
            if empty:
                return self._hire(min(empty, key=self._load), resources)
            if not idle:
                node = min(open_ones, key=self._load)
                self._make_way(node, need(resources))
                return self._hire(node, resources)
        slot = min(warm or idle, key=lambda slot: self._load(nodes[slot.node_id]))
        return slot if self._answers(slot) else self._in_place_of(slot, nodes[slot.node_id])

    def _gang_for(self, launch: Launch, room: Sequence[Node], avoid: str) -> Slot | None:
        """The same of a gang: another entrypoint's has joined its processes in its own way."""
        resources = launch.resources
        if len(room) < resources.hosts:
            return None
        there = {node.node_id for node in room}
        idle = [
            slot
            for slot in self._idle(resources)
            if slot.gang is not None
            and slot.gang.entrypoint == launch.entrypoint
            and (slot.shape_key == launch.shape_key or not accelerated(resources))
            and all(node_id in there for node_id, _ in slot.places)
            and avoid not in [member.seen.host for member in slot.gang.members]
        ]
        for slot in sorted(idle, key=lambda slot: slot.shape_key != launch.shape_key):
            if self._answers(slot):
                return slot
        chosen = self._hosts_for(resources, room, avoid)
        if not chosen:
            return None
        for node, wanted in zip(chosen, needs(resources, chosen), strict=True):
            self._make_way(node, wanted)
        gang = self.gangs.reserve([(node, self._free_place(node)) for node in chosen], launch)
        first = gang.members[0]
        slot = Slot(first.node_id, first.place, None, resources, first.seen.host, gang)
        slot.hired_at = time.monotonic()
        self.slots.append(slot)
        return slot

    def _hosts_for(self, resources: Resources, room: Sequence[Node], avoid: str) -> Sequence[Node]:
        """The first one's first: of a slice they are in libtpu's order."""
        if resources.slice is None:
            return sorted(room, key=lambda node: (node.name == avoid, self._load(node)))[: resources.hosts]

        def cost(nodes: Sequence[Node]) -> tuple[bool, list[tuple[int, str]]]:
            return any(node.name == avoid for node in nodes), [self._load(node) for node in nodes]

        whole = [each.nodes for each in slices(room, resources.slice) if not each.lacks]
        return min(whole, key=cost, default=())  # one of its hosts may have gone this moment

    def _idle(self, resources: Resources) -> list[Slot]:
        return [slot for slot in self.slots if slot.launch is None and slot.resources == resources]

    def _load(self, node: Node) -> tuple[int, str]:
        at_work = [s for s in self.slots if s.is_at(node.node_id) and s.launch is not None]
        return len(at_work), node.name

    def _needs_at(self, node_id: str) -> list[Need]:
        return [held for s in self.slots if s.holds for at, held in s.held if at == node_id]

    def deducted_at(self, node_id: str) -> list[Need]:
        """What Ray counts there as held by us: a moment ago hired is not counted yet."""
        before = time.monotonic() - COUNTED_S
        there = [s for s in self.slots if s.holds and s.hired_at <= before]
        return [held for s in there for at, held in s.held if at == node_id]

    def _make_way(self, node: Node, wanted: Need) -> None:
        """End idle workers of another kind there while they hold what this trial needs."""
        for slot in [s for s in self.slots if s.is_at(node.node_id) and s.launch is None]:
            if count(node, wanted, self._needs_at(node.node_id)):
                return
            self.end(slot)
            self.slots.remove(slot)

    # -- actors ------------------------------------------------------------------------------------------

    def _free_place(self, node: Node) -> int:
        taken = {place for slot in self.slots for node_id, place in slot.places if node_id == node.node_id}
        return next(i for i in range(len(taken) + 1) if i not in taken)

    def _hire(self, node: Node, resources: Resources) -> Slot:
        """A slot with a fresh actor on this host."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        place = self._free_place(node)
        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        made = self._made((node.node_id, node.name), place, resources, strategy=strategy)
        slot = Slot(node.node_id, place, made, resources, node.name, hired_at=time.monotonic())
        self.slots.append(slot)
        return slot

    def _made(
        self,
        where: tuple[str, str],
        place: int,
        resources: Resources,
        *,
        strategy: Any,
        word: str = "",
        answers: int = 0,
    ) -> Any:
        """A new actor, on its way to that node (its id and name). `answers`: to so many others at once."""
        node_id, host = where
        pinned = resources.cpus == int(resources.cpus) and not (resources.gpus or resources.tpu_chips)
        groups = {ASKING: 2, **({ANSWERING: answers} if answers else {})}
        actor = self.ray.remote(concurrency_groups=groups)(Worker).options(
            name=f"{self.pool}.{node_id}.{place}.{word or uuid.uuid4().hex}",
            namespace=self.namespace,
            lifetime="detached",
            max_restarts=0,
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            resources={"TPU": resources.tpu_chips} if resources.tpu_chips else None,
            scheduling_strategy=strategy,
        )
        return self.of_gcs(
            lambda: actor.remote(
                pin=(place, int(resources.cpus)) if pinned else None,
                environment=self._environment,
                resources=resources,
                held=here,
                host=host,
                end_on_sigterm=True,
                keeps_output=True,
            )
        )

    def _answers(self, slot: Slot) -> bool:
        """Whether an idle slot's actors live: what they never began must not count as lost."""
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError

        try:
            self.ray.get([actor.state.remote() for actor in slot.actors], timeout=ASK_S)
        except (ActorUnavailableError, GetTimeoutError):
            slot.silences += 1
            if slot.silences >= MOST_SILENCES:
                self.end(slot)
                self.slots.remove(slot)
            return False
        except RayActorError:
            self.end(slot)
            self.slots.remove(slot)
            return False
        slot.silences = 0
        return True

    def _in_place_of(self, slot: Slot, node: Node) -> Slot | None:
        """A fresh one where that one has died; one that is only silent is asked again later."""
        return None if slot.silences else self._hire(node, slot.resources)

    def end(self, slot: Slot) -> None:
        if slot.gang is not None:
            self.gangs.end(slot.gang)
        elif slot.actor is not None:
            self.ray.kill(slot.actor)
        slot.actor, slot.shape_key, slot.unsaid = None, None, None

    # -- hosts -------------------------------------------------------------------------------------------

    def heed_hosts(self) -> None:
        """A host that has gone takes its workers along; one that drains is left: trials save and go on
        elsewhere."""
        nodes = self.nodes.look()
        for slot in list(self.slots):
            there = [nodes.get(node_id) for node_id, _ in slot.places]
            if slot.gang is not None:
                for member, node in zip(slot.gang.members, there, strict=True):
                    if node is None and slot.gang.begun:
                        self.gangs.gone(member, "Its host has gone.")
                    elif node is None:
                        slot.gang.until = 0.0  # it cannot be gathered any more
            elif there == [None] and slot.lost is None:
                slot.actor, slot.lost = None, slot.kill_reason or "Its host has gone."
                slot.request = None
            leaves = any(n is not None and (n.draining or self.closed.get(n.name, False)) for n in there)
            if leaves and slot.actor is not None and not slot.told_to_leave:
                slot.told_to_leave = True
                slot.actor.leave.remote()
            gone = slot.actor is None or None in there
            if slot.launch is None and (gone or slot.told_to_leave):
                self.end(slot)
                self.slots.remove(slot)

    def names(self) -> list[str]:
        """Of all actors in our namespace: the pool's begin with its name."""
        from ray.util import list_named_actors

        listed = self.of_gcs(lambda: list_named_actors(all_namespaces=True))
        return sorted(actor["name"] for actor in listed if actor["namespace"] == self.namespace)
