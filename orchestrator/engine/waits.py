"""Which studies wait for room, and whose turn is next? Whoever has waited longest gets the next room."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from orchestrator.backends.placement import Node, node_of
from orchestrator.backends.slices import Slice, may_be_on, slices
from orchestrator.ledger.records import HostRow, HostState, StudyRow
from orchestrator.study.resources import Resources

KINDS = (("cpus", "CPU"), ("gpus", "GPU"), ("tpu_chips", "TPU"))


class Waits:
    def __init__(self) -> None:
        self._waiting: dict[str, Resources] = {}  # study -> what a trial asks for; the longest wait first

    def begins(self, study_id: str, wanted: Resources) -> None:
        """It has a trial to launch and there is no room. One that waits already keeps its turn."""
        self._waiting.setdefault(study_id, wanted)

    def ends(self, study_id: str) -> None:
        self._waiting.pop(study_id, None)

    def keep_only(self, study_ids: Collection[str]) -> None:
        self._waiting = {study: wanted for study, wanted in self._waiting.items() if study in study_ids}

    def in_turn(self, studies: Iterable[StudyRow]) -> list[StudyRow]:
        """Those that wait first, the longest wait before the others; the rest as they come."""
        turns = {study: turn for turn, study in enumerate(self._waiting)}
        return sorted(studies, key=lambda study: turns.get(study.study_id, len(turns)))

    def ahead(self, study_id: str) -> tuple[Resources, ...]:
        """What trials of the studies ask for that have waited longer than this one."""
        turns = list(self._waiting)
        before = turns[: turns.index(study_id)] if study_id in turns else turns
        return tuple(self._waiting[study] for study in before)


def reason_to_wait(
    wanted: Resources, hosts: Sequence[HostRow], others: Mapping[str, Mapping[str, float]]
) -> str:
    """Why a trial that asks for this has no host yet, as a person would say it. `others`: what they hold on
    the hosts of these names."""
    if wanted.slice is not None:
        there = [_of_slice(each, hosts, others) for each in slices(map(node_of, hosts), wanted.slice)]
        return f"{'; '.join([f'It waits for a whole {wanted.slice.name} slice', ', '.join(there)])}."
    able = [host for host in hosts if _holds(host, wanted) and may_be_on(node_of(host), wanted)]
    draining = sum(host.state in (HostState.DRAINING, HostState.DRAINED) for host in able)
    aside = sum(host.state is HostState.SET_ASIDE for host in able)
    in_use = [host for host in able if host.state is HostState.IN_USE]
    taken = sum(not _holds(host, wanted, others.get(host.name, {})) for host in in_use)
    at_work = len(in_use) - taken
    what = f"a host with {wanted.words}" if wanted.hosts == 1 else f"{wanted.words}, at the same time"
    told = [(at_work, "at work"), (taken, "used by others"), (draining, "draining"), (aside, "set aside")]
    counts = [f"{number} {'is' if number == 1 else 'are'} {word}" for number, word in told if number]
    return "; ".join([f"It waits for {what}", ", ".join(counts)]) + "."


def _of_slice(each: Slice[Node], hosts: Sequence[HostRow], others: Mapping[str, Mapping[str, float]]) -> str:
    """What keeps a trial off that slice."""
    names = [node.name for node in each.nodes]
    aside = [names.index(h.name) for h in hosts if h.name in names and h.state is HostState.SET_ASIDE]
    if each.lacks:
        return f"{each.name} {each.lacks}"
    if aside:
        return f"host {aside[0]} of {each.name} is set aside"
    if any(each.tpu.head in others.get(name, {}) for name in names):
        return f"the head of {each.name} is held by others"
    if any("TPU" in others.get(name, {}) for name in names):
        return f"{each.name} is used by others"
    return f"{each.name} is at work"


def _holds(host: HostRow, wanted: Resources, others: Mapping[str, float] = MappingProxyType({})) -> bool:
    left = {kind: host.has.get(kind, 0) - others.get(kind, 0) for _, kind in KINDS}
    return host.places > 0 and all(left[kind] >= getattr(wanted, name) for name, kind in KINDS)
