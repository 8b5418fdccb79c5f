"""On which hosts may trials begin? On all that there are, but for those that are wanted empty, that are about
to be taken away, or that have lost one attempt after another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.backends.slices import is_head
from orchestrator.ground.clock import Clock
from orchestrator.ledger import Store, rules
from orchestrator.ledger.records import HostRow, HostState
from orchestrator.runs.contract import AttemptKey, Backend, Ended, HostView, Progress

LOOK_S = 1.0
STRIKES = 3  # attempts in a row that a host has lost, could not write for, or could not load
ASIDE_S, MOST_ASIDE_S = 30.0, 900.0  # then it rests; twice as long each time that it fails again at once
ABOUT_TO_GO = "Ray says that it is about to be taken away."


@dataclass
class _Troubles:
    """Of one host, since an attempt last went well there."""

    attempts: dict[AttemptKey, str] = field(default_factory=dict)  # and why each ended
    rests: int = 0
    until: float | None = None  # monotonic: it is set aside


class Hosts:
    """As the leader sees them. What people want of them is in the ledger, and what is found goes there."""

    def __init__(self, store: Store, backend: Backend, clock: Clock) -> None:
        self._store, self._backend, self._clock = store, backend, clock
        self._troubles: dict[str, _Troubles] = {}
        self._rows: tuple[HostRow, ...] | None = None  # as they are written; None: nobody has looked yet
        self._looked_at = -math.inf
        self.grew = False  # by the last look: a host has come
        self.used_by_others: Mapping[
            str, Mapping[str, float]
        ] = {}  # by the host's name: what others hold there

    @property
    def rows(self) -> tuple[HostRow, ...]:
        return self._rows or ()

    def forget(self) -> None:
        """Another may have led, or a write may have failed: look anew."""
        self._rows = None

    def look(self, epoch: int) -> tuple[HostRow, ...]:
        """All that there are now. The backend is told which of them to keep off."""
        now = self._clock.monotonic()
        if self._rows is not None and now - self._looked_at < LOOK_S:
            self.grew = False
            return self._rows
        views = self._backend.hosts()
        self.used_by_others = {view.name: view.others for view in views if view.others}
        before = {row.name: row for row in self._store.hosts()}
        self._take_back(now)
        rows = tuple(self._row(view, before.get(view.name)) for view in views)
        wanted_empty = {row.name: True for row in rows if row.drained_by}
        self._backend.keep_off(dict.fromkeys(self._aside(), False) | wanted_empty)
        now_there = {row.name: row for row in rows}
        if now_there != before and before != {r.name: r for r in rules.seen_hosts(before.values(), rows)}:
            self._store.see_hosts(epoch, rows)
        there = {row.name for row in rows}
        self._troubles = {name: t for name, t in self._troubles.items() if name in there}
        self.grew = any(row.name not in before for row in rows)
        self._rows, self._looked_at = rows, now
        return rows

    def hear(self, news: Mapping[AttemptKey, Progress]) -> None:
        """How attempts ended on the hosts that they were at work on."""
        for key, progress in news.items():
            if progress.ended is not None and progress.host:
                self.heard(progress.host, key, progress.ended)

    def heard(self, host: str, key: AttemptKey, ended: Ended) -> None:
        """How an attempt ended there. A host that is gone, or the only one in use, is not set aside."""
        if ended.how not in ("lost", "unwritten", "unable"):
            self._troubles.pop(host, None)
            return
        if not self.others(host):
            return
        troubles = self._troubles.setdefault(host, _Troubles())
        troubles.attempts[key] = ended.reason
        if len(troubles.attempts) >= STRIKES and troubles.until is None:
            rest_s = min(ASIDE_S * 2**troubles.rests, MOST_ASIDE_S)
            troubles.until = self._clock.monotonic() + rest_s
            troubles.rests += 1
            self._looked_at = -math.inf  # heeded at the next look, not a second later

    def others(self, host: str) -> bool:
        """Whether this one is there and others are in use beside it."""
        in_use = {row.name for row in self.rows if row.state is HostState.IN_USE} - self._aside().keys()
        return any(row.name == host for row in self.rows) and bool(in_use - {host})

    def _aside(self) -> dict[str, _Troubles]:
        return {name: t for name, t in self._troubles.items() if t.until is not None}

    def _take_back(self, now: float) -> None:
        """One more attempt that goes wrong there sets it aside again."""
        for troubles in self._aside().values():
            if troubles.until is not None and now >= troubles.until:
                troubles.until = None
                troubles.attempts.pop(next(iter(troubles.attempts)))

    def _row(self, view: HostView, before: HostRow | None) -> HostRow:
        drained_by = before.drained_by if before is not None else ""
        state, reason = HostState.IN_USE, ""
        if view.draining or drained_by:
            state = HostState.DRAINING if view.at_work else HostState.DRAINED
            reason = "" if drained_by else ABOUT_TO_GO
        elif (troubles := self._aside().get(view.name)) is not None:
            state, reason = HostState.SET_ASIDE, _told(troubles)
        elif view.others:
            reason = f"Others hold {_held(view.others)} of it."
        since = self._clock.time()
        if before is not None and before.state is state:
            since = before.since if state is HostState.IN_USE or before.reason == reason else since
        return HostRow(
            view.name, view.address, view.has, view.places, state, since, reason, drained_by, view.labels
        )


def _held(others: Mapping[str, float]) -> str:
    """1 CPU, the head of its slice."""
    return ", ".join(
        "the head of its slice" if is_head(kind) else f"{amount:g} {kind}" for kind, amount in others.items()
    )


def _told(troubles: _Troubles) -> str:
    number = len(troubles.attempts)
    return f"{number} attempts in a row ended here in trouble. Last: {list(troubles.attempts.values())[-1]}"
