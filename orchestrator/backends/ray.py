"""How do attempts run on Ray? In detached, named actors on its hosts, that outlive the engine.

An actor stays warm from trial to trial. What it holds is asked of the actor itself, so that a new engine
finds what an earlier one began; then that actor's days are over, since its code may be of another release. A
dead actor's last words are in its attempt's journal. A trial of several hosts runs in a gang of actors.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.backends import ray_private
from orchestrator.backends.accelerator_memory import with_memory
from orchestrator.backends.adoption import adopt
from orchestrator.backends.asking import GONE, ask
from orchestrator.backends.connection import NAMESPACE, connect
from orchestrator.backends.crew import Crew
from orchestrator.backends.gangs import DIED, NEWS_S
from orchestrator.backends.nodes import Nodes
from orchestrator.backends.placement import Node, in_all, words_of
from orchestrator.backends.slot import Slot, ask_slot
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.contract import AttemptKey, Ended, HostView, Launch, Progress
from orchestrator.runs.folders import read_journal
from orchestrator.runs.hardware import accelerated
from orchestrator.study.resources import Resources
from trainer.protocol import Reply

PATIENCE_S = 0.25  # for the answers to one poll; a round trip takes 0.001 s
START_S = 300.0  # for a new worker's process to have begun what it was given

T = TypeVar("T")


class RayBackend:
    """Workers on the hosts of the Ray at `address`: one a CPU at most, `workers` on this process's own."""

    def __init__(
        self,
        address: str,
        *,
        workers: int | None = None,
        token_path: Path | None = None,
        pool: str = "orch",
        namespace: str = NAMESPACE,
        environment: Mapping[str, str] | None = None,
        alive: Callable[[], bool] = lambda: True,
        others: bool = False,
    ) -> None:
        """`namespace`: of the actors; those in others are other people's. `environment`: what workers are
        given, wherever they run. `alive`: whether that Ray still runs, asked before each call into it.
        `others`: use that Ray too, and what they hold is no room."""
        self._alive = alive
        self._ray, self._connected_here = connect(address, token_path, namespace)
        self._crew = Crew(
            self._ray,
            pool=pool,
            namespace=namespace,
            environment=dict(environment or {}),
            of_gcs=self._of_gcs,
        )
        with self._reachable():
            here = self._ray.get_runtime_context().get_node_id()
            listing = ray_private.listing(address, what_is_left=others)
            self._crew.nodes = Nodes(
                lambda: self._of_gcs(listing), here=here, most_here=workers, ours=self._crew.deducted_at
            )
        self.renew()

    def slots(self, resources: Resources) -> int:
        return in_all(self._all_nodes(), resources)

    def room(self) -> str:
        hosts = self._all_nodes()
        words = words_of(hosts, most=5)
        return f"{len(hosts)} host{'s' * (len(hosts) != 1)}: {words}" if hosts else "no hosts"

    def hosts(self) -> tuple[HostView, ...]:
        with self._reachable():
            self._crew.heed_hosts()
            nodes = sorted(self._crew.nodes.look().values(), key=lambda node: (node.name, node.address))
        work: dict[str, list[AttemptKey]] = {}
        for slot in self._crew.slots:
            if slot.launch is not None:
                for node_id, _ in slot.places:
                    work.setdefault(node_id, []).append(slot.launch.key)
        return tuple(with_memory(node.seen(work.get(node.node_id, ())), node.labels) for node in nodes)

    def keep_off(self, hosts: Mapping[str, bool]) -> None:
        self._crew.closed = dict(hosts)
        with self._reachable():
            self._crew.heed_hosts()

    def free(self, resources: Resources, ahead: Sequence[Resources] = ()) -> int:
        with self._reachable():
            return self._crew.free(resources, ahead)

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        if any(s.launch is not None and s.launch.key == launch.key for s in self._crew.slots):
            return True
        with self._reachable():
            slot = self._crew.slot_for(launch, ahead, avoid)
            if slot is None:
                return False
            if slot.gang is None:
                # Not waited for: calls of one caller are carried out in order, and `begin` never raises.
                slot.actor.begin.remote(launch)
            elif slot.gang.coordinator:
                self._crew.gangs.begin(slot.gang, launch)
        slot.launch, slot.shape_key, slot.unsaid = launch, launch.shape_key, None
        slot.begun, slot.submitted_at = False, time.monotonic()
        return True

    def poll(self, after: Mapping[AttemptKey, int]) -> dict[AttemptKey, Progress]:
        news: dict[AttemptKey, Progress] = {}
        asked: list[tuple[AttemptKey, Slot]] = []
        with self._reachable():
            for key, sequence in after.items():
                slot = self._holder(key)
                if slot is None:
                    news[key] = Progress(known=False)
                elif slot.gang is not None:
                    news[key] = self._of_gang(slot, sequence)
                elif slot.lost is not None:
                    news[key] = self._last_words(slot, sequence)
                elif not slot.begun and time.monotonic() - slot.submitted_at > START_S:
                    self._crew.end(slot)  # its host has no room after all, or cannot start a process
                    self._crew.slots.remove(slot)
                    news[key] = Progress(known=False)
                else:
                    # An unanswered question stands, unless it asks for less than is wanted now.
                    if slot.request is None or slot.request_after > sequence:
                        ask_slot(slot, key, sequence, wait_s=0.0)
                    asked.append((key, slot))
            self._tell_idle()
            ready = self._answered([s.request for _, s in asked if not s.request_waits], within_s=PATIENCE_S)
            ready |= self._answered([s.request for _, s in asked if s.request_waits], within_s=0.0)
            for key, slot in asked:
                there = slot.request in ready
                news[key] = self._answer(slot, after[key]) if there else Progress(known=True)
                if slot.request is None and slot.actor is not None and not slot.ended:
                    ask_slot(slot, key, after[key] + len(news[key].events), wait_s=NEWS_S)
        return news

    def await_news(self, within_s: float) -> None:
        asked = [request for slot in self._crew.slots for request in slot.requests]
        if not asked:
            time.sleep(within_s)
            return
        with self._reachable():
            self._ray.wait(asked, num_returns=1, timeout=within_s)

    def say(self, key: AttemptKey, verdict: Reply) -> None:
        slot = self._holder(key)
        if slot is not None and slot.actor is not None:
            with self._reachable():
                slot.actor.say.remote(key, verdict)

    def kill(self, key: AttemptKey, reason: str) -> None:
        slot = self._holder(key)
        if slot is not None and slot.holds:
            slot.kill_reason = reason
            with self._reachable():
                if slot.gang is not None:
                    self._crew.gangs.kill(slot.gang, reason)
                else:
                    self._ray.kill(slot.actor)

    def forget(self, key: AttemptKey) -> None:
        slot = self._holder(key)
        if slot is None:
            return
        over = slot.ended or slot.lost is not None
        if slot.spent or slot.adopted or slot.told_to_leave or slot.kill_reason is not None or not over:
            with self._reachable():
                self._crew.end(slot)
        if slot.actor is None:
            self._crew.slots.remove(slot)
            return
        slot.unsaid = key
        slot.launch, slot.ended, slot.request = None, False, None

    def attempts(self) -> list[AttemptKey]:
        return [slot.launch.key for slot in self._crew.slots if slot.launch is not None]

    def actors(self) -> list[str]:
        """The names of all actors in our namespace: the pool's begin with its name."""
        with self._reachable():
            return self._crew.names()

    def groups(self) -> list[str]:
        """The names of the placement groups that gangs of ours stand on."""
        with self._reachable():
            return self._crew.gangs.groups()

    def renew(self) -> None:
        self._crew.slots = []
        with self._reachable():
            self._crew.nodes.look(again=True)
            adopt(self._crew)
            self._crew.nodes.look(again=True)  # what was found is not others'

    def close(self, *, end_workers: bool) -> None:
        with contextlib.suppress(BackendLost), self._reachable():
            if end_workers:
                for slot in self._crew.slots:
                    self._crew.end(slot)
            # waited for, since leaving drops what is still on its way
            self._answered(self._tell_idle(), within_s=PATIENCE_S)
        self._crew.slots = []  # their handles are worth nothing without the connection; closing twice is fine
        if self._connected_here:
            self._connected_here = False
            self._ray.shutdown()

    # -- one slot -----------------------------------------------------------------------------------

    def _holder(self, key: AttemptKey) -> Slot | None:
        return next((s for s in self._crew.slots if s.launch is not None and s.launch.key == key), None)

    def _all_nodes(self) -> list[Node]:
        with self._reachable():
            return list(self._crew.nodes.look().values())

    def _of_gang(self, slot: Slot, sequence: int) -> Progress:
        progress = self._crew.gangs.poll(slot, sequence, self._address)
        if not progress.known:  # what could not be gathered is given back, and others may have their turn
            self._crew.slots.remove(slot)
        return progress

    def _address(self, node_id: str) -> str:
        node = self._crew.nodes.look().get(node_id)
        return node.address if node is not None else ""

    def _answer(self, slot: Slot, sequence: int) -> Progress:
        """What the actor said to the slot's question, without what is known already."""
        from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

        skip = sequence - slot.request_after
        request, slot.request = slot.request, None
        try:
            progress: Progress = self._ray.get(request)
        except ActorUnavailableError:  # for now: Ray does not know yet whether it lives
            return Progress(known=True)
        except RayActorError:
            return self._bury(slot, DIED, sequence)
        except RayTaskError as problem:  # its code is another than ours: an upgrade while it ran
            self._ray.kill(slot.actor)
            return self._bury(slot, f"The worker does not understand this release: {problem.cause}", sequence)
        if not progress.known:  # it refused to begin: its machine is being taken
            self._crew.end(slot)  # another actor is to begin it
            self._crew.slots.remove(slot)
            return progress
        ended, slot.begun = progress.ended, True
        slot.ended = ended is not None
        slot.spent = ended is not None and ended.how != "outcome" and accelerated(slot.resources)
        host = slot.host if slot.ended else ""
        said = progress.events[skip:]
        return Progress(known=True, events=said, ended=ended, host=host, waits=progress.waits)

    def _bury(self, slot: Slot, reason: str, sequence: int) -> Progress:
        slot.lost = slot.kill_reason or reason
        slot.actor, slot.shape_key = None, None
        return self._last_words(slot, sequence)

    def _last_words(self, slot: Slot, sequence: int) -> Progress:
        assert slot.launch is not None
        events, ended = read_journal(slot.launch.folder, *slot.launch.key, after=sequence)
        ended = ended or Ended("lost", reason=slot.lost or "")
        # Trouble of a host that has gone is no longer its own.
        return Progress(
            known=True,
            events=events,
            ended=ended,
            host=slot.host if slot.node_id in self._crew.nodes.look() else "",
        )

    def _tell_idle(self) -> list[Any]:
        """An attempt that was forgotten is dropped by the next `begin`, or here if none has come."""
        told = []
        for slot in self._crew.slots:
            if slot.unsaid is not None:
                told += [actor.forget.remote(slot.unsaid) for actor in slot.actors]
                slot.unsaid = None
        return told

    def _answered(self, requests: list[Any], *, within_s: float) -> set[Any]:
        """Those of them that are answered by then."""
        if not requests:
            return set()
        return set(self._ray.wait(requests, num_returns=len(requests), timeout=within_s)[0])

    def _of_gcs(self, call: Callable[[], T]) -> T:
        return ask(call, alive=self._alive)

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        """Ray's own ways of saying that it is gone, as ours."""
        from ray.exceptions import GetTimeoutError, RaySystemError, RpcError

        if not self._alive():
            raise BackendLost(GONE)
        try:
            yield
        except (ConnectionError, GetTimeoutError, RaySystemError, RpcError) as problem:
            raise BackendLost(f"Ray does not answer: {problem}") from problem
