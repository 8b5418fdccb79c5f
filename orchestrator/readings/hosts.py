"""Which hosts run studies, and what is each at work on? A reading of the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.backends import slices as of_tpu
from orchestrator.backends.placement import Node
from orchestrator.ledger import Store
from orchestrator.ledger.records import HostRow, HostState
from orchestrator.ledger.rules import no_host
from orchestrator.runs import shared
from orchestrator.study.tpu import known

KINDS = {"CPU": "CPU", "GPU": "GPU", "TPU": "TPU chip"}


@dataclass(frozen=True)
class HostLine:
    name: str
    address: str
    state: HostState
    since: float
    reason: str  # of a host that is drained or set aside, or that others use too
    places: int  # trials at a time, at most
    has: Mapping[str, float]  # CPU, GPU, TPU; GPU_GiB, TPU_GiB: the memory of one, where it is known
    at_work: tuple[str, ...]  # trial_ids
    locks: bool = True  # False: locks on the files of runs were found not to reach from there
    slice: str = ""  # of a TPU: the name of the slice that the host belongs to
    tpu_type: str = ""  # such as v3-16
    tpu_host: int | None = None  # its place in the slice

    @property
    def words(self) -> str:
        """What it has: 8 CPUs, 2 GPUs of 80 GiB; of a TPU which host of which slice it is."""
        words = [_counted(self.has, kind, word) for kind, word in KINDS.items() if self.has.get(kind)]
        tpu = known(self.tpu_type)
        if tpu is not None and tpu.hosts > 1:
            words.append(f"host {self.tpu_host} of {self.slice} ({self.tpu_type})")
        elif self.tpu_type:
            words.append(self.tpu_type)
        return ", ".join(words)


@dataclass(frozen=True)
class SliceLine:
    """A TPU slice of several hosts: a trial takes all of it or none."""

    name: str
    tpu_type: str
    hosts: tuple[str, ...]  # those that are there, by their place in it
    reason: str  # why no trial can begin on it even when nothing runs there; "": it is whole

    @property
    def state(self) -> str:
        return f"broken: it {self.reason}" if self.reason else "whole"


def slices(lines: Sequence[HostLine]) -> list[SliceLine]:
    away = {line.name: line.state for line in lines if line.state is not HostState.IN_USE}
    found = of_tpu.slices(_node(line) for line in lines if line.state is not HostState.GONE)
    made = []
    for each in found:
        names = tuple(node.name for node in each.nodes)
        unused = [f"host {i} is {away[name]}" for i, name in enumerate(names) if name in away]
        reason = each.lacks or (f"cannot be used while {', '.join(unused)}" if unused else "")
        made.append(SliceLine(each.name, each.tpu.name, names, reason))
    return made


def _node(line: HostLine) -> Node:
    number = "" if line.tpu_host is None else str(line.tpu_host)
    labels = {of_tpu.SLICE: line.slice, of_tpu.TYPE: line.tpu_type, of_tpu.WORKER: number}
    return Node(line.name, line.name, line.has, labels=labels)


def _counted(has: Mapping[str, float], kind: str, word: str) -> str:
    memory = f" of {has[f'{kind}_GiB']:g} GiB" if has.get(f"{kind}_GiB") else ""
    return f"{has[kind]:g} {word}{'s' * (has[kind] != 1)}{memory}"


def hosts(store: Store, runs: Path | None = None) -> list[HostLine]:
    """As the leader saw them last, but for those that run no trials, as a leader's own may not. `runs`: the
    folder of all runs."""
    work: dict[str, list[str]] = defaultdict(list)
    for attempt in store.live_attempts():
        told = attempt.provenance
        for name in told.get("hosts") or [told.get("host", "")]:
            work[str(name)].append(attempt.trial_id)
    unlocked = shared.without_locks(runs) if runs is not None else frozenset()
    return [_line(row, work[row.name], locks=row.name not in unlocked) for row in store.hosts() if row.places]


def host(store: Store, name: str, runs: Path) -> HostLine:
    found = {line.name: line for line in hosts(store, runs)}
    if name not in found:
        raise no_host(name, found)
    return found[name]


def to_dict(line: HostLine | SliceLine) -> dict[str, Any]:
    return asdict(line)


def _line(row: HostRow, at_work: list[str], *, locks: bool) -> HostLine:
    state, reason = row.state, row.reason
    if row.drained_by:  # asked for, and perhaps not yet seen by the leader
        reason = f"{row.drained_by} wants it empty."
        if state is not HostState.GONE:
            state = HostState.DRAINING if at_work else HostState.DRAINED
    return HostLine(
        row.name,
        row.address,
        state,
        row.since,
        reason,
        row.places,
        row.has,
        tuple(at_work),
        locks,
        row.labels.get(of_tpu.SLICE, ""),
        row.labels.get(of_tpu.TYPE, ""),
        of_tpu.worker_of(row.labels),
    )
