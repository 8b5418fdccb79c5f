"""How do the processes of a gang come together, and how are they heard as one? Step by step, at each poll:
nothing here waits. What has been reserved, made and begun is asked of Ray, so that a new engine finds it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.backends.asking import AskGcs
from orchestrator.backends.fate import Fate, Seen, fate, standing_still
from orchestrator.backends.gang import MARK, FirstActor, Gang, Member, gang_name
from orchestrator.backends.placement import Node, needs
from orchestrator.backends.slices import SLICE
from orchestrator.backends.slot import ASKING, BEGIN_S, Slot
from orchestrator.runs.contract import Ended, Launch, Progress
from orchestrator.runs.folders import read_end, read_journal
from orchestrator.study.resources import Resources

NEWS_S = 2.0  # a process that has nothing to say answers after this time
DIED = "The worker died: ended from outside, out of memory, or crashed."
LABEL = "ray.io/node-id"  # that Ray gives every node


class Gangs:
    def __init__(self, ray: Any, *, names: str, make: Callable[..., Any], of_gcs: AskGcs) -> None:
        """`names`: how those of its placement groups begin. `make`: an actor on a node, in a group."""
        self._ray, self._names, self._make, self._of_gcs = ray, names + MARK, make, of_gcs

    # -- coming together ---------------------------------------------------------------------------------

    def reserve(self, nodes: Sequence[tuple[Node, int]], launch: Launch) -> Gang:
        """Ask for a place on each of these hosts, all of them at once; of a slice for its head too."""
        from ray.util.placement_group import placement_group

        uid, now = uuid.uuid4().hex, time.monotonic()
        hosts = [node for node, _ in nodes]
        bundles = bundles_on(hosts, launch.resources)
        selectors = selectors_of(hosts, launch.resources)
        group = self._of_gcs(
            lambda: placement_group(
                bundles,
                strategy="STRICT_SPREAD",
                name=self._names + uid,
                lifetime="detached",
                bundle_label_selector=selectors,
            )
        )
        members = [
            Member(node.node_id, place, Seen(index, node.name, asked=now))
            for index, (node, place) in enumerate(nodes)
        ]
        return Gang(uid, members, group, launch.entrypoint, until=now + launch.gather_s)

    def _gather(self, gang: Gang, resources: Resources, addresses: Callable[[str], str]) -> str:
        """One step; what is still missing, in words."""
        from ray.exceptions import ActorUnavailableError, RayActorError

        if gang.members[0].actor is None:
            if not self._is_placed(gang):
                return f"It waits until {gang.hosts} are free at the same time."
            self._hire(gang, resources)
        missing, answers = [], {}
        for member in gang.members:
            if member.request is None:
                first = member is gang.members[0]
                member.request = (member.actor.free_port if first else member.actor.state).remote()
            if not self._ray.wait([member.request], timeout=0)[0]:
                missing.append(member.seen.host)
                continue
            try:
                answers[member.seen.index] = self._ray.get(member.request)
            except ActorUnavailableError:
                member.request = None
                missing.append(member.seen.host)
            except RayActorError:
                gang.refused = True
                return f"The worker on {member.seen.host} died before it began."
        if missing:
            return f"It waits for its workers on {', '.join(missing)} to start."
        gang.coordinator = f"{addresses(gang.members[0].node_id)}:{answers[0]}"
        for member in gang.members:
            member.request = None
        return ""

    def _is_placed(self, gang: Gang) -> bool:
        from ray.util.placement_group import placement_group_table

        table = self._of_gcs(lambda: placement_group_table(gang.group))
        return bool(table.get("state") == "CREATED")

    def _hire(self, gang: Gang, resources: Resources) -> None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        for index, member in enumerate(gang.members):
            member.actor = self._make(
                (member.node_id, member.seen.host),
                member.place,
                resources,
                word=gang_name(gang.uid, index, len(gang.members)),
                strategy=PlacementGroupSchedulingStrategy(gang.group, placement_group_bundle_index=index),
                answers=len(gang.members) - 1 if index == 0 else 0,
            )

    def begin(self, gang: Gang, launch: Launch) -> None:
        """Tell all of them. The first one last: what it has begun the others were told to begin, too."""
        now, first = time.monotonic(), FirstActor(gang.members[0].actor)
        launch = replace(launch, hosts=tuple(each.host for each in gang.seen))
        gang.begun, gang.refused, gang.fate = True, False, None
        gang.said, gang.said_after = Progress(known=True), 0
        for member in reversed(gang.members):
            seen = member.seen
            member.seen = Seen(seen.index, seen.host, asked=now)
            member.actor.begin.remote(launch, gang.place_of(seen.index), None if seen.index == 0 else first)

    # -- being heard -------------------------------------------------------------------------------------

    def poll(self, slot: Slot, sequence: int, addresses: Callable[[str], str]) -> Progress:
        """What became of its attempt. `waits` and not known: it was given back."""
        gang, launch = slot.gang, slot.launch
        assert gang is not None
        assert launch is not None
        if gang.fate is None and not gang.begun:
            missing = self._gather(gang, slot.resources, addresses)
            if gang.refused or (missing and time.monotonic() > gang.until):
                self.end(gang)
                return Progress(known=False, waits=f"{missing} It was given back, and is tried again.")
            if missing:
                return Progress(known=True, waits=missing)
            self.begin(gang, launch)
            slot.actor = gang.members[0].actor
        if gang.fate is None:
            self._ask(gang, launch, sequence)
            self._hear(gang)
            if gang.refused:  # its machine is being taken
                self.end(gang)
                return Progress(known=False)
            _read_result(gang, launch)
            slot.begun = slot.begun or bool(gang.said.events)
            gang.fate = fate(gang.seen, time.monotonic())
        if gang.fate is None:
            return Progress(known=True, events=_beyond(gang, sequence), waits=gang.waits)
        slot.ended = True
        if not gang.fate.whole:
            self.end(gang)
            slot.actor, slot.lost = None, gang.fate.ended.reason
        if gang.fate.whole and gang.said_after <= sequence:
            events = _beyond(gang, sequence)
        else:
            events = read_journal(launch.folder, *launch.key, after=sequence)[0]
        return Progress(known=True, events=events, ended=gang.fate.ended, host=gang.fate.host)

    def _ask(self, gang: Gang, launch: Launch, sequence: int) -> None:
        trouble_at = min([each.at for each in gang.seen if each.in_trouble], default=0.0)
        for member in gang.members:
            first = member is gang.members[0]
            if member.actor is None or (member.seen.over and not first):
                continue
            # Once one has died or raised, whether the others live is to be known at once.
            late = member.request is not None and member.request_at < trouble_at
            if member.request is None or (first and member.request_after > sequence) or late:
                poll = member.actor.poll.options(concurrency_group=ASKING)
                after = sequence if first else 0
                wait_s = 0.0 if trouble_at else NEWS_S
                member.request = poll.remote(launch.key, after=after, wait_s=wait_s, begin_s=BEGIN_S)
                member.request_at, member.request_after = time.monotonic(), after

    def _hear(self, gang: Gang) -> None:
        asked = [member for member in gang.members if member.request is not None]
        requests = [member.request for member in asked]
        ready = self._ray.wait(requests, num_returns=len(requests), timeout=0)[0] if requests else []
        for member in asked:
            if member.request in ready:
                self._take(gang, member)

    def _take(self, gang: Gang, member: Member) -> None:
        from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

        request, member.request = member.request, None
        try:
            progress: Progress = self._ray.get(request)
        except ActorUnavailableError:  # for now: Ray does not know yet whether it lives
            return
        except RayActorError:
            self.gone(member, DIED)
            return
        except RayTaskError as problem:  # its code is another than ours: an upgrade while it ran
            self._ray.kill(member.actor)
            self.gone(member, f"The worker does not understand this release: {problem.cause}")
            return
        if not progress.known:
            gang.refused = True
            return
        member.seen.asked, member.seen.reports = member.request_at, progress.reports
        member.waits = progress.waits
        if progress.ended is not None and member.seen.ended is None:
            member.seen.ended, member.seen.at = progress.ended, time.monotonic()
        if member is gang.members[0]:
            gang.said, gang.said_after = progress, member.request_after

    def gone(self, member: Member, why: str) -> None:
        member.actor, member.request = None, None
        if not member.seen.dead:
            member.seen.dead = why
            member.seen.at = member.seen.at if member.seen.ended is not None else time.monotonic()

    # -- its end -----------------------------------------------------------------------------------------

    def kill(self, gang: Gang, reason: str) -> None:
        """Its attempt is lost, for this reason and for the process that keeps the others waiting."""
        said, host = standing_still(gang.seen, time.monotonic()) if gang.begun else ("", "")
        reason = f"{reason} {said}" if said else reason
        gang.fate = Fate(Ended("lost", reason=reason), host or gang.members[0].seen.host)
        self.end(gang)

    def end(self, gang: Gang) -> None:
        """All its processes at once: a collective in which one is missing cannot be left. Then its places."""
        from ray.util.placement_group import remove_placement_group

        for member in gang.members:
            if member.actor is not None:
                self._ray.kill(member.actor)
            member.actor, member.request = None, None
        group, gang.group = gang.group, None
        if group is not None:
            self._of_gcs(lambda: remove_placement_group(group))

    def groups(self) -> list[str]:
        """The names of those that Ray holds for us."""
        from ray.util.placement_group import placement_group_table

        table = self._of_gcs(placement_group_table)
        return [
            each["name"]
            for each in table.values()
            if each["name"].startswith(self._names) and each["state"] != "REMOVED"
        ]

    def reap(self, kept: Collection[str]) -> None:
        """Give back what no gang of these stands on: its engine died before it was whole, or its end."""
        from ray.util.placement_group import get_placement_group, remove_placement_group

        for name in self.groups():
            if name.removeprefix(self._names) not in kept:
                with contextlib.suppress(ValueError):  # gone meanwhile
                    group = self._of_gcs(partial(get_placement_group, name))
                    self._of_gcs(partial(remove_placement_group, group))

    def group_of(self, uid: str) -> Any:
        from ray.util.placement_group import get_placement_group

        try:
            return self._of_gcs(lambda: get_placement_group(self._names + uid))
        except ValueError:
            return None


def bundles_on(hosts: Sequence[Node], resources: Resources) -> list[dict[str, float]]:
    """What a trial's placement group asks for on each of its hosts."""
    wanted = needs(resources, hosts)
    return [{kind: float(amount) for kind, amount in each.items() if amount} for each in wanted]


def selectors_of(hosts: Sequence[Node], resources: Resources) -> list[dict[str, str]]:
    """On which nodes: these, and while they are that slice's."""
    of_slice = resources.slice is not None
    return [{LABEL: n.node_id, **({SLICE: n.labels[SLICE]} if of_slice else {})} for n in hosts]


def _read_result(gang: Gang, launch: Launch) -> None:
    """A first process that has gone may have written its result down just before."""
    first = gang.members[0].seen
    if first.dead and first.ended is None:
        first.ended = read_end(launch.folder)


def _beyond(gang: Gang, sequence: int) -> Any:
    """What the first one said after that, as far as it is known here without a gap."""
    if gang.said_after > sequence:
        return ()
    return tuple(event for event in gang.said.events if event.sequence > sequence)
