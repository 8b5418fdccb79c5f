"""On which hosts does a trial run? On one, or as a gang on several at once, each with all that it asks for:
sums over hosts say nothing.

Pure: of what hosts have and of what is held on them. Small trials cannot starve a large one: what waits
longest is given room first, and where none has it yet, hosts are kept for it until they are empty enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.runs.contract import AttemptKey, HostView
from orchestrator.study.resources import Resources

Need = Mapping[str, float]  # by Ray's names
Held = Mapping[str, Sequence[Need]]  # by the node's id
KINDS = ("CPU", "GPU", "TPU")
ROUNDING = 1e-6  # Ray counts in units of 0.0001


@dataclass(frozen=True)
class Node:
    """A host as Ray knows it."""

    node_id: str
    name: str
    has: Need
    address: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    most: int | None = None  # trials at a time, where that is fewer than it has CPUs
    others: Need = field(default_factory=dict)  # what others hold there

    @property
    def places(self) -> int:
        """How many trials at a time: one a CPU, at most."""
        cpus = int(self.has.get("CPU", 0))
        return cpus if self.most is None else min(cpus, self.most)

    def seen(self, at_work: Sequence[AttemptKey]) -> HostView:
        has = {kind: amount for kind in KINDS if (amount := self.has.get(kind, 0))}
        return HostView(
            self.name, self.address, has, self.places, tuple(at_work), self.draining, dict(self.others)
        )

    @property
    def words(self) -> str:
        has = [(self.has.get(kind, 0), kind) for kind in KINDS]
        return f"{self.name} ({', '.join(f'{n:g} {kind}' for n, kind in has if n or kind == 'CPU')})"


def need(resources: Resources) -> dict[str, float]:
    """What a trial holds on each of its hosts."""
    return {"CPU": resources.cpus, "GPU": resources.gpus, "TPU": resources.tpu_chips}


def count(node: Node, wanted: Need, beside: Sequence[Need] = ()) -> int:
    """How many more such trials the node can hold beside these, and beside what others hold."""
    return _count(node, wanted, (node.others, *beside) if node.others else beside, len(beside))


def _count(node: Node, wanted: Need, beside: Sequence[Need], trials: int) -> int:
    left = node.places - trials
    if left <= 0:  # most often: asked several times in every tick, of every host
        return 0
    for kind, amount in wanted.items():
        if amount:
            free = node.has.get(kind, 0) - sum([each.get(kind, 0) for each in beside])
            left = min(left, int((free + ROUNDING) // amount))
    return max(0, left)


def in_all(nodes: Sequence[Node], resources: Resources) -> int:
    """How many such trials these hosts can hold when nothing else runs, of ours or of others."""
    wanted = need(resources)
    return gangs([_count(node, wanted, (), 0) for node in nodes], resources.hosts)


def gangs(counts: Sequence[int], hosts: int) -> int:
    """How many trials of so many hosts each, where one host has room for so many processes of them."""
    if hosts == 1:
        return sum(counts)
    most = sum(counts) // hosts
    while sum([min(number, most) for number in counts]) < most * hosts:
        most -= 1
    return most


def open_to(
    nodes: Sequence[Node], held: Held, wanted: Resources, ahead: Sequence[Resources] = ()
) -> dict[str, int]:
    """How many processes of such trials each host has room for now, by the node's id, once those `ahead`,
    which have waited longer, are given theirs."""
    left, taken = list(nodes), {node.node_id: list(held.get(node.node_id, ())) for node in nodes}
    for resources in ahead:
        other, hosts = need(resources), resources.hosts
        free = {node.node_id: count(node, other, taken[node.node_id]) for node in left}
        now = sorted([n for n in left if free[n.node_id]], key=lambda n: (free[n.node_id], n.name))
        if len(now) >= hosts:
            for node in now[:hosts]:
                taken[node.node_id].append(other)
            continue
        able = [node for node in left if count(node, other)]
        if len(able) >= hosts:  # kept for it: nothing else begins there
            for node in sorted(able, key=lambda n: (len(taken[n.node_id]), n.name))[:hosts]:
                left.remove(node)
    one = need(wanted)
    return {node.node_id: count(node, one, taken[node.node_id]) for node in left}
