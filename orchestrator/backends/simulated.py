"""What would a study do, without waiting for it? Attempts on a virtual clock, with faults as data.

At `submit` the entrypoint runs at once, in this process. Its reports are then let out one by one, each
when the clock has passed the attempt's start plus the seconds on the report's own clocks. A verdict, or
a machine that dies, makes the same run again up to that report: so an entrypoint must be a function of
its config, its folder and the answers it gets, as every rehearsal is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.backends.placement import Need, Node, gangs, in_all, needs, open_to, words_of
from orchestrator.backends.slices import slices
from orchestrator.ground.clock import Clock
from orchestrator.ledger.records import Event
from orchestrator.runs.contract import AttemptKey, Ended, HostView, Launch, Progress
from orchestrator.runs.running import as_preempted, prepare, run_entrypoint, spoken, started
from orchestrator.study.resources import Resources
from trainer.protocol import SECONDS, Reply, Report

EPOCH = 1_700_000_000.0  # where virtual wall time begins, if nobody says: any date will do


ENDS = {
    "die": Ended("lost", reason="the worker died"),
    "full": Ended("unwritten", reason="The disk is full."),
    "unable": Ended("unable", reason="It cannot be imported."),
}  # of the others none is heard


class VirtualClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, *, wall_start: float = EPOCH) -> None:
        self._elapsed_s = 0.0
        self._wall_start = wall_start

    def time(self) -> float:
        return self._wall_start + self._elapsed_s

    def monotonic(self) -> float:
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"A clock cannot go back by {-seconds} s. Use jump_wall to set the wall clock.")
        self._elapsed_s += seconds

    def advance_to(self, monotonic_s: float) -> None:
        """Go to that moment; one that is past changes nothing."""
        self._elapsed_s = max(self._elapsed_s, monotonic_s)

    def jump_wall(self, seconds: float) -> None:
        """Somebody set the wall clock, forward or back; monotonic time does not notice."""
        self._wall_start += seconds


@dataclass(frozen=True)
class Fault:
    """What befalls a trial ("*": any) in an attempt (0: every) once it has said so many reports.

    die: the worker is gone. hang: it says nothing more. forget: the backend has never heard of it.
    preempt: its machine is taken, the next report is answered with save_and_stop. full: its disk is, so
    that nothing more can be written down. unable: the entrypoint cannot be loaded there.
    """

    trial_id: str
    attempt: int
    kind: Literal["die", "hang", "forget", "preempt", "full", "unable"]
    after_reports: int = 0
    host: str = ""  # there alone

    def strikes(self, key: AttemptKey, host: str) -> bool:
        return self.trial_id in ("*", key[0]) and self.attempt in (0, key[1]) and self.host in ("", host)


class _Died(BaseException):
    """Ends a run as kill -9 would: between two reports, past every `except Exception`."""


@dataclass
class _Attempt:
    launch: Launch
    started_s: float  # monotonic, as all moments below: when its worker takes it, after it was submitted
    started_at: float  # the same moment by the wall clock
    fault: Fault | None = None
    moments: list[tuple[float, Event]] = field(default_factory=list)
    answers: dict[int, Reply] = field(default_factory=dict)  # from so many reports on, this one
    ended: Ended | None = None  # None: it never ends by itself
    ended_s: float = 0.0
    seen: int = 0  # events that a poll has given out
    end_seen: bool = False
    hosts: tuple[str, ...] = ("",)  # the nodes' ids: several of a gang

    def said(self, now_s: float) -> int:
        """How many events are out at that moment. Clocks are totals, so moments never go back."""
        return sum(1 for at_s, _ in self.moments if at_s <= now_s)

    def over(self, now_s: float) -> bool:
        return self.ended is not None and self.ended_s <= now_s

    def fades(self) -> bool:
        """It will be forgotten at `ended_s`, or has been."""
        return self.ended is None and self.fault is not None and self.fault.kind == "forget"

    def preempted(self, reports: int) -> bool:
        return self.fault is not None and self.fault.kind == "preempt" and reports >= self.fault.after_reports

    def answer(self, reports: int) -> Reply:
        """What the next report is answered with once so many have been said."""
        latest = max((n for n in self.answers if n <= reports), default=None)
        verdict = Reply.GO if latest is None else self.answers[latest]
        return Reply.SAVE_AND_STOP if verdict is Reply.GO and self.preempted(reports) else verdict


class SimulatedBackend:
    """The machines of a rehearsal. It outlives an engine, as machines do."""

    def __init__(
        self,
        clock: Clock,
        *,
        slots: int = 0,
        hosts: Sequence[Node] = (),
        faults: tuple[Fault, ...] = (),
        begins_after_s: float = 0.0,
    ) -> None:
        """`slots` of any size, or `hosts`, where trials hold what they ask for. `begins_after_s`: from submit
        until a worker takes an attempt. What was submitted by a process that dies within that time may never
        arrive: `lose_submitted`."""
        self._begins_after_s = begins_after_s
        self._clock = clock
        self._slots = slots
        self.nodes = list(hosts)
        self.faults = faults
        self._held: dict[AttemptKey, _Attempt] = {}
        self._closed: Mapping[str, bool] = {}

    def slots(self, resources: Resources) -> int:
        return in_all(self.nodes, resources) if self.nodes else self._slots // resources.hosts

    def free(self, resources: Resources, ahead: Sequence[Resources] = ()) -> int:
        self._drop_forgotten()
        if self.nodes:
            return gangs(list(self._open_to(resources, ahead).values()), resources.hosts)
        held = [attempt.launch.resources for attempt in self._held.values()]
        left = self._slots - sum([each.hosts for each in (*held, *ahead)])
        return max(0, left // resources.hosts)

    def _open_to(self, resources: Resources, ahead: Sequence[Resources]) -> dict[str, int]:
        held: dict[str, list[Need]] = {}
        by_id = {node.node_id: node for node in self.nodes}
        for attempt in self._held.values():
            there = [by_id[host] for host in attempt.hosts if host in by_id]
            for node, wanted in zip(there, needs(attempt.launch.resources, there), strict=True):
                held.setdefault(node.node_id, []).append(wanted)
        usable = [node for node in self.nodes if not (node.draining or node.name in self._closed)]
        return open_to(usable, held, resources, ahead)

    def hosts(self) -> tuple[HostView, ...]:
        self._drop_forgotten()
        work: dict[str, list[AttemptKey]] = {}
        for key, attempt in self._held.items():
            for host in attempt.hosts:
                work.setdefault(host, []).append(key)
        return tuple(node.seen(work.get(node.node_id, ())) for node in self._all_nodes())

    def _all_nodes(self) -> list[Node]:
        return self.nodes or [Node("", "simulated", {"CPU": float(self._slots)})]

    def _name_of(self, attempt: _Attempt) -> str:
        """The first one's, of a gang."""
        return next((node.name for node in self._all_nodes() if node.node_id == attempt.hosts[0]), "")

    def keep_off(self, hosts: Mapping[str, bool]) -> None:
        self._closed = dict(hosts)
        leaving = {node.node_id for node in self._all_nodes() if node.draining or hosts.get(node.name)}
        for key, attempt in self._held.items():
            if leaving.intersection(attempt.hosts):
                self.say(key, Reply.SAVE_AND_STOP)

    def room(self) -> str:
        return words_of(self.nodes) or f"{self._slots} simulated workers"

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        self._drop_forgotten()
        if launch.key in self._held:
            return True
        if not self.free(launch.resources, ahead):
            return False
        wait_s = self._begins_after_s
        attempt = _Attempt(launch, self._clock.monotonic() + wait_s, self._clock.time() + wait_s)
        if self.nodes:
            attempt.hosts = self._hosts_for(launch.resources, ahead, avoid)
        attempt.fault = next((f for f in self.faults if f.strikes(launch.key, self._name_of(attempt))), None)
        self._held[launch.key] = attempt
        self._run(attempt)
        return True

    def _hosts_for(self, resources: Resources, ahead: Sequence[Resources], avoid: str) -> tuple[str, ...]:
        room = self._open_to(resources, ahead)
        open_ones = [node for node in self.nodes if room.get(node.node_id)]
        best = sorted(open_ones, key=lambda node: (node.name == avoid, -room[node.node_id]))
        if resources.slice is not None:
            whole = [each.nodes for each in slices(open_ones, resources.slice)]
            best = list(min(whole, key=lambda nodes: any(node.name == avoid for node in nodes)))
        return tuple(node.node_id for node in best[: resources.hosts])

    def lose_submitted(self) -> None:
        """The process that submitted them died: what no worker has taken yet is not heard of again."""
        now_s = self._clock.monotonic()
        self._held = {key: a for key, a in self._held.items() if a.said(now_s) > 0}

    def poll(self, after: Mapping[AttemptKey, int]) -> dict[AttemptKey, Progress]:
        self._drop_forgotten()
        now_s = self._clock.monotonic()
        news: dict[AttemptKey, Progress] = {}
        for key, sequence in after.items():
            attempt = self._held.get(key)
            if attempt is None:
                news[key] = Progress(known=False)
                continue
            out = attempt.said(now_s)
            attempt.seen, attempt.end_seen = out, attempt.over(now_s)
            news[key] = Progress(
                known=True,
                events=tuple(event for _, event in attempt.moments[sequence:out]),
                ended=attempt.ended if attempt.end_seen else None,
                host=self._name_of(attempt) if attempt.end_seen else "",
            )
        return news

    def say(self, key: AttemptKey, verdict: Reply) -> None:
        now_s = self._clock.monotonic()
        attempt = self._held.get(key)
        if attempt is None or attempt.over(now_s):
            return
        reports = attempt.said(now_s) - 1
        if attempt.answer(reports) is not verdict:
            attempt.answers[reports] = verdict
            self._run(attempt)

    def kill(self, key: AttemptKey, reason: str) -> None:
        now_s = self._clock.monotonic()
        attempt = self._held.get(key)
        if attempt is None or attempt.over(now_s):
            return
        del attempt.moments[attempt.said(now_s) :]
        attempt.ended, attempt.ended_s = Ended("lost", reason=reason), now_s

    def forget(self, key: AttemptKey) -> None:
        self._held.pop(key, None)

    def attempts(self) -> list[AttemptKey]:
        self._drop_forgotten()
        return list(self._held)

    def await_news(self, within_s: float) -> None:
        """At once: this clock stands until somebody moves it."""

    def renew(self) -> None:
        """Nothing to do: all engines of a rehearsal share this object."""

    def close(self, *, end_workers: bool) -> None:
        if end_workers:
            self._held.clear()

    def next_event_at(self, *, ends_only: bool = False) -> float | None:
        """The monotonic moment of the next thing that no poll has given out; None: nothing will come.

        `ends_only` looks at ends alone, for a driver in a hurry: the reports come with them.
        """
        moments = []
        for attempt in self._held.values():
            if not ends_only and attempt.seen < len(attempt.moments):
                moments.append(attempt.moments[attempt.seen][0])
            elif not attempt.end_seen and (attempt.ended is not None or attempt.fades()):
                moments.append(attempt.ended_s)
        return min(moments, default=None)

    def _drop_forgotten(self) -> None:
        now_s = self._clock.monotonic()
        self._held = {key: a for key, a in self._held.items() if not (a.fades() and a.ended_s <= now_s)}

    def _run(self, attempt: _Attempt) -> None:
        """Run the attempt from its beginning, with the answers and the fault that it is to meet."""
        launch, fault = attempt.launch, attempt.fault
        cut = fault.after_reports if fault is not None and fault.kind != "preempt" else None
        at_s = attempt.started_s
        attempt.moments = [(at_s, started(launch, attempt.started_at, self._name_of(attempt)))]
        struck, answered = False, Reply.GO

        def reporter(report: Report) -> Reply:
            nonlocal at_s, struck, answered
            reports = len(attempt.moments) - 1
            if reports == cut:
                struck = True
                raise _Died
            at_s = max(at_s, attempt.started_s + _seconds(report.clocks))
            at = attempt.started_at + at_s - attempt.started_s
            attempt.moments.append((at_s, spoken(launch, reports + 2, report, at)))
            answered = attempt.answer(reports)
            return answered

        ended = run_entrypoint(launch, reporter, prepare(launch))
        clocks = ended.outcome.clocks if ended.outcome is not None else {}
        if struck:
            attempt.ended, attempt.ended_s = ENDS.get(fault.kind if fault is not None else ""), at_s
            return
        attempt.ended = as_preempted(ended) if answered is Reply.SAVE_AND_STOP else ended
        attempt.ended_s = max(at_s, attempt.started_s + _seconds(clocks))


def _seconds(clocks: Mapping[str, float]) -> float:
    return sum(clocks.get(name, 0.0) for name in SECONDS)
