"""Which TPU slices are there, and which of them are whole? Read from the labels that Ray gives its nodes.

A slice of several hosts is one: its chips are wired to each other, and libtpu numbers its processes by the
host's place in it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from orchestrator.study.resources import Resources
from orchestrator.study.tpu import Tpu, known

SLICE, TYPE, WORKER = "ray.io/tpu-slice-name", "ray.io/tpu-pod-type", "ray.io/tpu-worker-id"


def is_head(kind: str) -> bool:
    """Whether that resource is what Ray gives the first host of a slice."""
    return kind.startswith("TPU-") and kind.endswith("-head")


def labels_of_tpu(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: labels[key] for key in (SLICE, TYPE, WORKER) if labels.get(key)}


def worker_of(labels: Mapping[str, str]) -> int | None:
    """Which host of its slice."""
    told = labels.get(WORKER, "")
    return int(told) if told.isdecimal() else None


class Host(Protocol):
    """What is asked of a node here."""

    @property
    def node_id(self) -> str: ...
    @property
    def has(self) -> Mapping[str, float]: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def draining(self) -> bool: ...


Node = TypeVar("Node", bound=Host)


@dataclass(frozen=True)
class Slice(Generic[Node]):
    """Of several hosts, as far as they are there."""

    name: str
    tpu: Tpu
    nodes: tuple[Node, ...]  # by their place in it, as libtpu numbers its processes

    @property
    def ids(self) -> list[int | None]:
        return [worker_of(node.labels) for node in self.nodes]

    @property
    def missing(self) -> list[int]:
        return [number for number in range(self.tpu.hosts) if number not in self.ids]

    @property
    def lacks(self) -> str:
        """Why it is not whole, after its name: lacks host 1. "" for one that is."""
        if self.missing:
            return f"lacks host{'s' * (len(self.missing) > 1)} {_listed(self.missing)}"
        for number in self.ids:
            if number is None or number >= self.tpu.hosts:
                return f"has a host {number}, and a {self.tpu.name} is {self.tpu.words}"
            if self.ids.count(number) > 1:  # one has come in the place of another, whose end Ray has not seen
                return f"has host {number} twice"
        for number, node in enumerate(self.nodes):
            if (chips := node.has.get("TPU", 0)) < self.tpu.chips_a_host:
                return f"has {chips:g} of {self.tpu.chips_a_host} chips on host {number}"
        leaving = [number for number, node in enumerate(self.nodes) if node.draining]
        return f"is about to lose host{'s' * (len(leaving) > 1)} {_listed(leaving)}" if leaving else ""

    @property
    def words(self) -> str:
        return f"{self.name} ({self.tpu.name}{', ' if self.lacks else ''}{self.lacks})"


def slices(nodes: Iterable[Node], of: Tpu | None = None) -> list[Slice[Node]]:
    """All of several hosts, or those of one type."""
    found: dict[tuple[str, Tpu], list[Node]] = {}
    for node in nodes:
        tpu, name = known(node.labels.get(TYPE)), node.labels.get(SLICE)
        if tpu is not None and name and tpu.hosts > 1 and of in (None, tpu):
            found.setdefault((name, tpu), []).append(node)
    made = [Slice(name, tpu, tuple(sorted(there, key=_place))) for (name, tpu), there in found.items()]
    return sorted(made, key=lambda each: (each.name, each.tpu.name))


def told(nodes: Iterable[Host]) -> str:
    """Of all that are there, in words; "" without any."""
    return ", ".join(each.words for each in slices(nodes))


def may_be_on(node: Host, wanted: Resources) -> bool:
    """Whether the TPU of that host is one that such a trial can use: a host of a slice of several hosts is
    nothing by itself."""
    if not wanted.tpu_chips:
        return True
    here = node.labels.get(TYPE)
    if wanted.slice is not None:
        return here == wanted.slice.name
    if not here and wanted.tpu_type is None:
        return not node.labels.get(SLICE)
    tpu = known(here)
    return tpu is not None and tpu.hosts == 1 and wanted.tpu_type in (None, here)


def _place(node: Host) -> tuple[int, str]:
    number = worker_of(node.labels)
    return (number if number is not None else 1 << 30), node.node_id


def _listed(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last
