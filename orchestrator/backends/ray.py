"""How do attempts run on Ray? In detached, named actors on its hosts, that outlive the engine.

An actor stays warm from trial to trial. What it holds is asked of the actor itself, so that a new engine
finds what an earlier one began; then that actor's days are over, since its code may be of another release. A
dead actor's last words are in its attempt's journal. Its name ends in a word of its own, so that an actor on
a host that cannot be reached holds up no other.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.backends import ray_private
from orchestrator.backends.asking import GONE, ask
from orchestrator.backends.connection import CONNECT_S, NAMESPACE, connect
from orchestrator.backends.nodes import Nodes
from orchestrator.backends.placement import Need, Node, count, in_all, need, open_to
from orchestrator.backends.slot import ASKING, Slot, ask_slot, where
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.contract import AttemptKey, Ended, HostView, Launch, Progress
from orchestrator.runs.folders import read_journal
from orchestrator.runs.worker import State, Worker, hidden
from orchestrator.study.spec import Resources
from trainer.protocol import Reply

PATIENCE_S = 0.25  # for the answers to one poll; a round trip takes 0.001 s
NEWS_S = 2.0  # a worker that has nothing to say answers after this time
START_S = 300.0  # for a new worker's process to have begun what it was given
ASK_S = 1.0  # for an idle worker to say that it lives
COUNTED_S = 1.0  # within it Ray has told its head that a new worker holds something
MOST_SILENCES = 10  # in a row, until an idle worker counts as hung
DIED = "The worker died: ended from outside, out of memory, or crashed."

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
        self._pool, self._namespace, self._alive = pool, namespace, alive
        self._environment = dict(environment or {})
        self._ray, self._connected_here = connect(address, token_path, namespace)
        self._slots: list[Slot] = []
        self._closed: Mapping[str, bool] = {}
        with self._reachable():
            here = self._ray.get_runtime_context().get_node_id()
            listing = ray_private.listing(address, what_is_left=others)
            self._nodes = Nodes(
                lambda: self._of_gcs(listing), here=here, most_here=workers, ours=self._deducted_at
            )
        self.renew()

    def slots(self, resources: Resources) -> int:
        return in_all(self._all_nodes(), resources)

    def room(self) -> str:
        hosts = sorted(self._all_nodes(), key=lambda node: node.name)
        words = ", ".join(node.words for node in hosts[:5]) + (", …" if len(hosts) > 5 else "")
        return f"{len(hosts)} host{'s' * (len(hosts) != 1)}: {words}" if hosts else "no hosts"

    def hosts(self) -> tuple[HostView, ...]:
        with self._reachable():
            self._heed_hosts()
            nodes = sorted(self._nodes.look().values(), key=lambda node: (node.name, node.address))
        work: dict[str, list[AttemptKey]] = {}
        for slot in self._slots:
            if slot.launch is not None:
                work.setdefault(slot.node_id, []).append(slot.launch.key)
        return tuple(node.seen(work.get(node.node_id, ())) for node in nodes)

    def keep_off(self, hosts: Mapping[str, bool]) -> None:
        self._closed = dict(hosts)
        with self._reachable():
            self._heed_hosts()

    def free(self, resources: Resources, ahead: Sequence[Resources] = ()) -> int:
        if resources.hosts > 1:
            return 0  # gangs of workers are not built yet
        return sum(self._open_to(resources, ahead).values())

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        if any(s.launch is not None and s.launch.key == launch.key for s in self._slots):
            return True
        if launch.resources.hosts > 1:
            return False
        with self._reachable():
            slot = self._for(launch, ahead, avoid)
            if slot is None:
                return False
            # Not waited for: calls of one caller are carried out in order, and `begin` never raises.
            slot.actor.begin.remote(launch)
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
                elif slot.lost is not None:
                    news[key] = self._last_words(slot, sequence)
                elif not slot.begun and time.monotonic() - slot.submitted_at > START_S:
                    self._end(slot)  # its host has no room after all, or cannot start a process
                    self._slots.remove(slot)
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
        asked = [slot.request for slot in self._slots if slot.request is not None]
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
        if slot is not None and slot.actor is not None:
            slot.kill_reason = reason
            with self._reachable():
                self._ray.kill(slot.actor)

    def forget(self, key: AttemptKey) -> None:
        slot = self._holder(key)
        if slot is None:
            return
        over = slot.ended or slot.lost is not None
        if slot.adopted or slot.told_to_leave or slot.kill_reason is not None or not over:
            with self._reachable():
                self._end(slot)
        if slot.actor is None:
            self._slots.remove(slot)
            return
        slot.unsaid = key
        slot.launch, slot.ended, slot.request = None, False, None

    def attempts(self) -> list[AttemptKey]:
        return [slot.launch.key for slot in self._slots if slot.launch is not None]

    def actors(self) -> list[str]:
        """The names of all actors in our namespace: the pool's begin with its name."""
        with self._reachable():
            from ray.util import list_named_actors

            listed = self._of_gcs(lambda: list_named_actors(all_namespaces=True))
            return sorted(actor["name"] for actor in listed if actor["namespace"] == self._namespace)

    def renew(self) -> None:
        self._slots = []
        with self._reachable():
            self._nodes.look(again=True)
            self._adopt()
            self._nodes.look(again=True)  # what was found is not others'

    def close(self, *, end_workers: bool) -> None:
        with contextlib.suppress(BackendLost), self._reachable():
            if end_workers:
                for slot in self._slots:
                    self._end(slot)
            # waited for, since leaving drops what is still on its way
            self._answered(self._tell_idle(), within_s=PATIENCE_S)
        self._slots = []  # their handles are worth nothing without the connection; closing twice is fine
        if self._connected_here:
            self._connected_here = False
            self._ray.shutdown()

    # -- one slot -----------------------------------------------------------------------------------

    def _holder(self, key: AttemptKey) -> Slot | None:
        return next((s for s in self._slots if s.launch is not None and s.launch.key == key), None)

    def _all_nodes(self) -> list[Node]:
        with self._reachable():
            return list(self._nodes.look().values())

    def _usable(self) -> list[Node]:
        return [node for node in self._all_nodes() if not (node.draining or node.name in self._closed)]

    def _open_to(self, resources: Resources, ahead: Sequence[Resources] = ()) -> dict[str, int]:
        """How many such trials could begin on each host now; idle workers make way."""
        held: dict[str, list[Need]] = {}
        for slot in self._slots:
            if slot.launch is not None and slot.actor is not None:
                held.setdefault(slot.node_id, []).append(need(slot.resources))
        return open_to(self._usable(), held, need(resources), [need(other) for other in ahead])

    def _for(self, launch: Launch, ahead: Sequence[Resources], avoid: str) -> Slot | None:
        """A slot for it: warm for this program first, then a new one where nobody has to make way, then any
        that is idle."""
        resources = launch.resources
        nodes = dict(self._nodes.look())  # the next look may find one of them gone
        room = {node for node, free in self._open_to(resources, ahead).items() if free and node in nodes}
        room = {node for node in room if nodes[node].name != avoid} or room
        if not room:
            return None
        idle = [
            slot
            for slot in self._slots
            if slot.launch is None and slot.node_id in room and slot.resources == resources
        ]
        warm = [slot for slot in idle if slot.shape_key == launch.shape_key]
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
        return self._answering(slot, nodes[slot.node_id])

    def _load(self, node: Node) -> tuple[int, str]:
        at_work = [s for s in self._slots if s.node_id == node.node_id and s.launch is not None]
        return len(at_work), node.name

    def _needs_at(self, node_id: str) -> list[Need]:
        return [need(s.resources) for s in self._slots if s.node_id == node_id and s.actor is not None]

    def _deducted_at(self, node_id: str) -> list[Need]:
        """What Ray counts there as held by us: a moment ago hired is not counted yet."""
        before = time.monotonic() - COUNTED_S
        there = [s for s in self._slots if s.node_id == node_id and s.actor is not None]
        return [need(s.resources) for s in there if s.hired_at <= before]

    def _make_way(self, node: Node, wanted: Need) -> None:
        """End idle workers of another kind there while they hold what this trial needs."""
        for slot in [s for s in self._slots if s.node_id == node.node_id and s.launch is None]:
            if count(node, wanted, self._needs_at(node.node_id)):
                return
            self._end(slot)
            self._slots.remove(slot)

    def _hire(self, node: Node, resources: Resources) -> Slot:
        """A slot with a fresh actor on this host."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        taken = {slot.place for slot in self._slots if slot.node_id == node.node_id}
        place = next(i for i in range(len(taken) + 1) if i not in taken)
        pinned = resources.cpus == int(resources.cpus) and not (resources.gpus or resources.tpu_chips)
        pin = (place, int(resources.cpus)) if pinned else None
        actor = self._ray.remote(concurrency_groups={ASKING: 2})(Worker).options(
            name=f"{self._pool}.{node.node_id}.{place}.{uuid.uuid4().hex}",
            namespace=self._namespace,
            lifetime="detached",
            max_restarts=0,
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            resources={"TPU": resources.tpu_chips} if resources.tpu_chips else None,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
        )
        # Ray leaves a worker without a GPU what it inherits.
        environment = {**self._environment, **hidden(resources)}
        made = self._of_gcs(
            lambda: actor.remote(
                pin=pin, environment=environment, host=node.name, end_on_sigterm=True, keeps_output=True
            )
        )
        slot = Slot(node.node_id, place, made, resources, node.name, hired_at=time.monotonic())
        self._slots.append(slot)
        return slot

    def _answering(self, slot: Slot, node: Node) -> Slot | None:
        """The slot, if its idle actor may be given something; a fresh one where that has died: what it never
        began must not count as lost."""
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError

        try:
            self._ray.get(slot.actor.state.remote(), timeout=ASK_S)
        except (ActorUnavailableError, GetTimeoutError):
            slot.silences += 1
            if slot.silences >= MOST_SILENCES:
                self._end(slot)
                self._slots.remove(slot)
            return None
        except RayActorError:
            self._slots.remove(slot)
            return self._hire(node, slot.resources)
        slot.silences = 0
        return slot

    def _end(self, slot: Slot) -> None:
        if slot.actor is not None:
            self._ray.kill(slot.actor)
        slot.actor, slot.shape_key, slot.unsaid = None, None, None

    def _heed_hosts(self) -> None:
        """A host that has gone takes its workers along; one that drains is left: trials save and go on
        elsewhere."""
        nodes = self._nodes.look()
        for slot in list(self._slots):
            node = nodes.get(slot.node_id)
            if node is None and slot.lost is None:
                slot.actor, slot.lost = None, slot.kill_reason or "Its host has gone."
                slot.request = None
            leaves = node is not None and (node.draining or self._closed.get(node.name, False))
            if leaves and slot.actor is not None and not slot.told_to_leave:
                slot.told_to_leave = True
                slot.actor.leave.remote()
            if slot.launch is None and (slot.actor is None or slot.told_to_leave):
                self._end(slot)
                self._slots.remove(slot)

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
            self._end(slot)  # another actor is to begin it
            self._slots.remove(slot)
            return progress
        slot.ended, slot.begun = progress.ended is not None, True
        host = slot.host if slot.ended else ""
        return Progress(known=True, events=progress.events[skip:], ended=progress.ended, host=host)

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
            host=slot.host if slot.node_id in self._nodes.look() else "",
        )

    def _tell_idle(self) -> list[Any]:
        """An attempt that was forgotten is dropped by the next `begin`, or here if none has come."""
        told = []
        for slot in self._slots:
            if slot.unsaid is not None:
                told.append(slot.actor.forget.remote(slot.unsaid))
                slot.unsaid = None
        return told

    def _adopt(self) -> None:
        """Find what an earlier engine left. An actor that holds nothing is ended, and so is one that does not
        answer: it hangs."""
        asked = []
        for name in self.actors():
            if name.startswith(f"{self._pool}."):
                with contextlib.suppress(ValueError):  # died meanwhile
                    actor = self._of_gcs(partial(self._ray.get_actor, name, namespace=self._namespace))
                    asked.append((name, actor, actor.state.remote()))
        ready = self._answered([request for _, _, request in asked], within_s=CONNECT_S)
        for name, actor, request in asked:
            try:
                if request not in ready:
                    raise TimeoutError
                state: State = self._ray.get(request)
            except Exception:  # dead, hung, or of another release: its attempt is unknown from here on
                self._ray.kill(actor)
                continue
            if state.last is None or not state.holds:
                self._ray.kill(actor)
                continue
            node_id, place = where(name.removeprefix(f"{self._pool}."))
            node_id = node_id or self._nodes.here
            node = self._nodes.look().get(node_id)
            slot = Slot(node_id, place, actor, state.last.resources, node.name if node is not None else "")
            slot.shape_key, slot.adopted, slot.launch = state.last.shape_key, True, state.last
            slot.begun = True
            self._slots.append(slot)

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
