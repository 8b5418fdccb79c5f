"""On which hosts does a trial run? On one, or as a gang on several at once, each with all that it asks for:
sums over hosts say nothing. On TPUs of several hosts a gang has one whole slice.

Pure: of what hosts have and of what is held on them. Small trials cannot starve a large one: what waits
longest is given room first, and where none has it yet, hosts are kept for it until they are empty enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.backends.slices import TYPE, Slice, labels_of_tpu, may_be_on, slices, told
from orchestrator.ledger.records import HostRow, HostState
from orchestrator.runs.contract import AttemptKey, HostView
from orchestrator.study.resources import Resources
from orchestrator.study.tpu import known

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
            self.name,
            self.address,
            has,
            self.places,
            tuple(at_work),
            self.draining,
            dict(self.others),
            labels_of_tpu(self.labels),
        )

    @property
    def words(self) -> str:
        has = [(self.has.get(kind, 0), kind) for kind in KINDS]
        told = ", ".join(f"{n:g} {kind}" for n, kind in has if n or kind == "CPU")
        tpu = known(self.labels.get(TYPE))
        return f"{self.name} ({told}{f' of a {tpu.name}' if tpu is not None and tpu.hosts == 1 else ''})"


def node_of(row: HostRow) -> Node:
    """A host as the leader has written it down."""
    leaves = row.state in (HostState.DRAINING, HostState.DRAINED)
    return Node(row.name, row.name, row.has, labels=row.labels, draining=leaves, most=row.places)


def words_of(nodes: Sequence[Node], *, most: int | None = None) -> str:
    """Hosts and slices that are there; with `most` so many of the hosts."""
    hosts = sorted(nodes, key=lambda node: node.name)
    listed = ", ".join(node.words for node in hosts[:most]) + (
        ", …" if len(hosts[:most]) < len(hosts) else ""
    )
    of_slices = told(nodes)
    return f"{listed}; slices: {of_slices}" if of_slices else listed


def need(resources: Resources, *, first: bool = False) -> dict[str, float]:
    """What a trial holds on each of its hosts; on the first one of a slice its head too, which tells others
    that the slice is taken."""
    head = {resources.slice.head: 1.0} if first and resources.slice is not None else {}
    return {"CPU": resources.cpus, "GPU": resources.gpus, "TPU": resources.tpu_chips, **head}


def needs(resources: Resources, nodes: Sequence[Node]) -> list[dict[str, float]]:
    """What it holds on each of these, its hosts in order. A slice without a head has none to hold."""
    held = [need(resources, first=node is nodes[0]) for node in nodes]
    return [
        {kind: amount for kind, amount in each.items() if kind in KINDS or kind in node.has}
        for each, node in zip(held, nodes, strict=True)
    ]


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
    counts = [_count(node, wanted, (), 0) if may_be_on(node, resources) else 0 for node in nodes]
    if resources.slice is None:
        return gangs(counts, resources.hosts)
    able = [node for node, number in zip(nodes, counts, strict=True) if number]
    return sum(not each.missing for each in slices(able, resources.slice))


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
        begins = _hosts_now(left, resources, taken)
        for node, held_there in zip(begins, needs(resources, begins), strict=True):
            taken[node.node_id].append(held_there)
        kept = () if begins else _hosts_kept(left, resources, taken)
        for node in kept:  # nothing else begins there
            left.remove(node)
    return _room(left, wanted, taken)


def _room(nodes: Sequence[Node], wanted: Resources, taken: Held) -> dict[str, int]:
    if wanted.slice is None:
        one = need(wanted)
        return {
            node.node_id: count(node, one, taken[node.node_id]) if may_be_on(node, wanted) else 0
            for node in nodes
        }
    free = {node.node_id for each in _open_slices(nodes, wanted, taken) for node in each.nodes}
    return {node.node_id: int(node.node_id in free) for node in nodes}


def _open_slices(nodes: Sequence[Node], wanted: Resources, taken: Held) -> list[Slice[Node]]:
    """Whole ones with room on every host: a half of one and a half of another are none."""
    return [
        each
        for each in slices(nodes, wanted.slice)
        if not each.lacks
        and all(
            count(node, one, taken.get(node.node_id, ()))
            for node, one in zip(each.nodes, needs(wanted, each.nodes), strict=True)
        )
    ]


def _hosts_now(left: Sequence[Node], resources: Resources, taken: Held) -> Sequence[Node]:
    """Where such a trial would begin now, where it costs others least; none where it has to wait."""
    if resources.slice is not None:
        whole = _open_slices(left, resources, taken)
        return whole[0].nodes if whole else ()
    free = _room(left, resources, taken)
    now = sorted([n for n in left if free[n.node_id]], key=lambda n: (free[n.node_id], n.name))
    return now[: resources.hosts] if len(now) >= resources.hosts else ()


def _hosts_kept(left: Sequence[Node], resources: Resources, taken: Held) -> Sequence[Node]:
    """Those that are nearest to having room for it; none where no hosts will ever do."""
    if resources.slice is not None:
        whole = _open_slices(left, resources, {})
        fullest = [(sum(len(taken[node.node_id]) for node in each.nodes), each.name) for each in whole]
        return whole[fullest.index(min(fullest))].nodes if whole else ()
    one = need(resources)
    able = [node for node in left if may_be_on(node, resources) and count(node, one)]
    nearest = sorted(able, key=lambda n: (len(taken[n.node_id]), n.name))
    return nearest[: resources.hosts] if len(able) >= resources.hosts else ()
