"""How do attempts run on Ray? In detached, named actors, one per slot, that outlive the engine.

A slot's actor stays warm from trial to trial. What it holds is asked of the actor itself, so that a new
engine finds what an earlier one began; then that actor's days are over, since its code may be of another
release. A dead actor's last words are in its attempt's journal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.backends import daemon, ray_private
from orchestrator.backends.asking import GONE, ask
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.contract import AttemptKey, Ended, Launch, Progress
from orchestrator.runs.folders import read_journal
from orchestrator.runs.worker import State, Worker, hidden
from orchestrator.study.spec import Resources
from orchestrator.study.whereabouts import INSTALLED, SOURCE
from trainer.protocol import Reply

NAMESPACE = "orch"
CONNECT_S = 30.0  # also for an actor of an earlier engine to say what it holds: it may be compiling
PATIENCE_S = 0.25  # for the answers to one poll; a round trip takes 0.001 s
BEGIN_S = 10.0  # a worker was told to begin an attempt: in this time it has, or it never will
NEWS_S = 2.0  # a worker that has nothing to say answers after this time
ASKING = "asking"  # polls have threads of their own in a worker: one that waits holds up nothing else
ASK_S = 1.0  # for an idle worker to say that it lives
MOST_SILENCES = 10  # in a row, until an idle worker counts as hung
# Ray ends a process a minute after the gcs that it is connected to; this process leaves and starts another.
NEVER_ENDED = (ray_private.GCS_PATIENCE, "1000000")  # 11 days

T = TypeVar("T")


@dataclass(eq=False)
class _Slot:
    name: str
    adopted: bool = False  # its actor was made by an earlier engine, and is ended rather than used again
    silences: int = 0  # so often in a row its idle actor did not answer
    spare: bool = False  # beyond the number of workers: left by a larger pool, ended when it is free
    actor: Any = None
    resources: Resources | None = None  # the actor's
    shape_key: str | None = None  # what the actor is warm for
    launch: Launch | None = None
    ended: bool = False  # the attempt is known to be over
    lost: str | None = None  # the actor is dead: why
    kill_reason: str | None = None
    request: Any = None  # a poll that has not been answered yet
    request_after: int = 0
    request_waits: bool = False  # it is answered when there is news
    unsaid: AttemptKey | None = None  # forgotten here, and the actor does not know it yet


class RayBackend:
    """A pool of `workers` slots on the Ray at `address`."""

    def __init__(
        self,
        address: str,
        *,
        workers: int,
        token_path: Path | None = None,
        pool: str = "orch",
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """`alive`: whether that Ray still runs, asked before each call into it."""
        self._pool, self._workers, self._alive = pool, workers, alive
        self._ray, self._connected_here = _connect(address, token_path)
        self._slots: list[_Slot] = []
        with self._reachable():
            self._total: dict[str, float] = self._of_gcs(self._ray.cluster_resources)
        self.renew()

    def slots(self, resources: Resources) -> int:
        if resources.hosts > 1:
            return 0  # gangs of workers come with the cluster
        fits = [int(self._total.get(name, 0) / amount) for name, amount in _need(resources).items() if amount]
        return min([sum(1 for s in self._slots if not s.spare), *fits])

    def room(self) -> str:
        held = ", ".join(f"{self._total.get(name, 0):g} {name}" for name in _need(Resources()))
        return f"{self._workers} workers on a Ray with {held}, where a trial has one host"

    def submit(self, launch: Launch) -> bool:
        if any(s.launch is not None and s.launch.key == launch.key for s in self._slots):
            return True
        if not self.slots(launch.resources):
            return False
        free = [s for s in self._slots if s.launch is None and not s.spare]
        if not free:
            return False
        slot = min(free, key=lambda s: _preference(s, launch))
        with self._reachable():
            if not self._make_room(slot, launch.resources):
                return False
            if slot.actor is not None and not self._answers(slot):
                return False
            if slot.actor is None and not self._hire(slot, launch.resources):
                return False
            # Not waited for: calls of one caller are carried out in order, and `begin` never raises.
            slot.actor.begin.remote(launch)
        slot.launch, slot.shape_key, slot.unsaid = launch, launch.shape_key, None
        return True

    def poll(self, after: Mapping[AttemptKey, int]) -> dict[AttemptKey, Progress]:
        news: dict[AttemptKey, Progress] = {}
        asked: list[tuple[AttemptKey, _Slot]] = []
        with self._reachable():
            for key, sequence in after.items():
                slot = self._holder(key)
                if slot is None:
                    news[key] = Progress(known=False)
                elif slot.lost is not None:
                    news[key] = _last_words(slot, sequence)
                else:
                    # An unanswered question stands, unless it asks for less than is wanted now.
                    if slot.request is None or slot.request_after > sequence:
                        _ask(slot, key, sequence, wait_s=0.0)
                    asked.append((key, slot))
            self._tell_idle()
            ready = self._answered([s.request for _, s in asked if not s.request_waits], within_s=PATIENCE_S)
            ready |= self._answered([s.request for _, s in asked if s.request_waits], within_s=0.0)
            for key, slot in asked:
                there = slot.request in ready
                news[key] = self._answer(slot, after[key]) if there else Progress(known=True)
                if slot.request is None and slot.actor is not None and not slot.ended:
                    _ask(slot, key, after[key] + len(news[key].events), wait_s=NEWS_S)
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
        if slot.spare or slot.adopted or slot.kill_reason is not None or not over:
            with self._reachable():
                self._end(slot)
        slot.unsaid = key if slot.actor is not None else None
        slot.launch, slot.ended, slot.lost, slot.kill_reason, slot.request = None, False, None, None, None

    def attempts(self) -> list[AttemptKey]:
        return [slot.launch.key for slot in self._slots if slot.launch is not None]

    def actors(self) -> list[str]:
        """The names of all actors on this Ray, whoever made them: the pool's begin with its name."""
        with self._reachable():
            from ray.util import list_named_actors

            listed = self._of_gcs(lambda: list_named_actors(all_namespaces=True))
            return sorted(actor["name"] for actor in listed)

    def renew(self) -> None:
        self._slots = [_Slot(f"{self._pool}.{i}") for i in range(self._workers)]
        with self._reachable():
            self._adopt()

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

    def _holder(self, key: AttemptKey) -> _Slot | None:
        return next((s for s in self._slots if s.launch is not None and s.launch.key == key), None)

    def _make_room(self, slot: _Slot, wanted: Resources) -> bool:
        """End idle workers of another kind while they hold what this trial needs.

        False when those at work leave too little: Ray would let a worker wait for them, and its silence
        would count as a hang.
        """
        if slot.actor is not None and slot.resources == wanted:
            return True
        others = [s for s in self._slots if s is not slot and s.actor is not None]
        idle = [s for s in others if s.launch is None]
        held = [_need(s.resources) for s in others if s.resources is not None and s.launch is not None]
        if not self._has(_need(wanted), beside=held):
            return False
        self._end(slot)
        for other in sorted(idle, key=lambda s: s.resources == wanted):
            need = _need(other.resources or wanted)
            if self._has(_need(wanted), beside=[*held, need]):
                held.append(need)
            else:
                self._end(other)
        return True

    def _has(self, wanted: Mapping[str, float], *, beside: Sequence[Mapping[str, float]]) -> bool:
        used = {name: amount + sum(held[name] for held in beside) for name, amount in wanted.items()}
        return all(used[name] <= self._total.get(name, 0) for name, amount in wanted.items() if amount)

    def _hire(self, slot: _Slot, resources: Resources) -> bool:
        """Give the slot a fresh actor; False when the old one's name is not free yet."""
        pinned = resources.cpus == int(resources.cpus) and not (resources.gpus or resources.tpu_chips)
        pin = (self._slots.index(slot), int(resources.cpus)) if pinned else None
        actor = self._ray.remote(concurrency_groups={ASKING: 2})(Worker).options(
            name=slot.name,
            namespace=NAMESPACE,
            lifetime="detached",
            max_restarts=0,
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            resources={"TPU": resources.tpu_chips} if resources.tpu_chips else None,
        )
        hides = hidden(resources)  # Ray leaves a worker without a GPU what it inherits
        try:
            slot.actor = self._of_gcs(
                lambda: actor.remote(pin=pin, hides=hides, end_on_sigterm=True, keeps_output=True)
            )
        except ValueError:
            return False
        slot.resources, slot.shape_key, slot.adopted, slot.silences = resources, None, False, 0
        return True

    def _answers(self, slot: _Slot) -> bool:
        """Whether its idle actor may be given something, or is known to be dead and let go of: what it never
        began must not count as lost."""
        from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError

        try:
            self._ray.get(slot.actor.state.remote(), timeout=ASK_S)
        except (ActorUnavailableError, GetTimeoutError):
            slot.silences += 1
            if slot.silences >= MOST_SILENCES:
                self._end(slot)
            return False
        except RayActorError:
            slot.actor, slot.resources, slot.shape_key, slot.unsaid = None, None, None, None
        slot.silences = 0
        return True

    def _end(self, slot: _Slot) -> None:
        if slot.actor is not None:
            self._ray.kill(slot.actor)
        slot.actor, slot.resources, slot.shape_key, slot.unsaid = None, None, None, None

    def _answer(self, slot: _Slot, sequence: int) -> Progress:
        """What the actor said to the slot's question, without what is known already."""
        from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

        skip = sequence - slot.request_after
        request, slot.request = slot.request, None
        try:
            progress: Progress = self._ray.get(request)
        except ActorUnavailableError:  # for now: Ray does not know yet whether it lives
            return Progress(known=True)
        except RayActorError:
            return self._bury(
                slot, "The worker died: ended from outside, out of memory, or crashed.", sequence
            )
        except RayTaskError as problem:  # its code is another than ours: an upgrade while it ran
            self._ray.kill(slot.actor)
            return self._bury(slot, f"The worker does not understand this release: {problem.cause}", sequence)
        if not progress.known:  # it refused to begin: its machine is being taken
            self._end(slot)  # another actor is to begin it
            slot.launch = None
            return progress
        slot.ended = progress.ended is not None
        return Progress(known=True, events=progress.events[skip:], ended=progress.ended)

    def _bury(self, slot: _Slot, reason: str, sequence: int) -> Progress:
        slot.lost = slot.kill_reason or reason
        slot.actor, slot.resources, slot.shape_key = None, None, None
        return _last_words(slot, sequence)

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
        prefix = f"{self._pool}."
        known = {slot.name: slot for slot in self._slots}
        asked = []
        for name in self.actors():
            if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                if name not in known:
                    known[name] = _Slot(name, spare=True)
                    self._slots.append(known[name])
                with contextlib.suppress(ValueError):  # died meanwhile
                    actor = self._of_gcs(partial(self._ray.get_actor, name, namespace=NAMESPACE))
                    asked.append((known[name], actor, actor.state.remote()))
        ready = self._answered([request for _, _, request in asked], within_s=CONNECT_S)
        for slot, actor, request in asked:
            try:
                if request not in ready:
                    raise TimeoutError
                state: State = self._ray.get(request)
            except Exception:  # dead, hung, or of another release: its attempt is unknown from here on
                self._ray.kill(actor)
                continue
            slot.actor, slot.adopted = actor, True
            if state.last is None or not state.holds:
                self._end(slot)
            else:
                slot.launch = state.last
                slot.resources, slot.shape_key = state.last.resources, state.last.shape_key

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


def _connect(address: str, token_path: Path | None) -> tuple[Any, bool]:
    """The ray module, connected; and whether that was done here."""
    if token_path is not None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_path)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update([daemon.NO_TASK_EVENTS, NEVER_ENDED])
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a call without a connection starts a Ray of its own
    import ray

    if ray.is_initialized():
        connected = ray.get_runtime_context().gcs_address
        if connected != address:
            raise BackendLost(
                f"This process is connected to the Ray at {connected}; close that backend first."
            )
        return ray, False
    # Ray would try for ever.
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as problem:
        raise BackendLost(f"No Ray answers at {address!r}: {problem}") from problem
    if token_path is not None:
        ray_private.forget_token()
    ray_private.say_to(lambda lines: logging.getLogger(__name__).info("%s", lines))
    in_main = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR,
            configure_logging=False, job_config=ray_private.only_on_path(*_uninstalled()),
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise BackendLost(f"No Ray answers at {address!r}: {problem}") from problem
    if in_main:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own there
    return ray, True


def _ask(slot: _Slot, key: AttemptKey, after: int, *, wait_s: float) -> None:
    """Ask for what was said after that sequence; the answer is waited for elsewhere."""
    poll = slot.actor.poll.options(concurrency_group=ASKING)
    slot.request = poll.remote(key, after=after, wait_s=wait_s, begin_s=BEGIN_S)
    slot.request_after, slot.request_waits = after, bool(wait_s)


def _uninstalled() -> list[Path]:
    """Where our packages lie, unless every Python of this environment finds them."""
    return [] if SOURCE.name in INSTALLED else [SOURCE]


def _need(resources: Resources) -> dict[str, float]:
    """What a trial holds, by Ray's names."""
    return {"CPU": resources.cpus, "GPU": resources.gpus, "TPU": resources.tpu_chips}


def _preference(slot: _Slot, launch: Launch) -> int:
    """Warm for this program first, then an empty slot, then any."""
    if slot.actor is None:
        return 1
    return 0 if (slot.shape_key, slot.resources) == (launch.shape_key, launch.resources) else 2


def _last_words(slot: _Slot, sequence: int) -> Progress:
    assert slot.launch is not None
    events, ended = read_journal(slot.launch.folder, *slot.launch.key, after=sequence)
    return Progress(known=True, events=events, ended=ended or Ended("lost", reason=slot.lost or ""))
