"""How does an engine run all studies of a ledger, as long as its process lives? In a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from orchestrator.backends.asking import GONE
from orchestrator.engine.tick import Tick
from orchestrator.ground.errors import BackendLost, Fenced, LedgerBusy, LedgerDamaged, MoveRefused
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.service import host
from orchestrator.service.host import Host
from orchestrator.tracking.background import Mirror, NoMirror, mirror

PACE_S = 0.1  # between two ticks that found nothing to do, while something runs
ALIVE_S = 1.0  # between two looks at whether the workers' Ray is still there
IDLE_S = 0.5  # the same while nothing runs, and between two looks at whether another process still leads
WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0)  # after the first, second, … trouble in a row
MIRROR_S = 2.0  # what MLflow is given in the end

OpenHost = Callable[..., Host]


@dataclass(frozen=True)
class EngineStatus:
    """How the engine of a process stands."""

    state: Literal["off", "starting", "leading", "watching", "waiting", "ended"]
    trouble: str = ""  # while it waits: for what
    unrunnable: Mapping[str, str] = field(default_factory=dict)  # study -> why it cannot be launched here
    live: int = 0
    ticked_at: float | None = None  # monotonic


OFF = EngineStatus("off")


class Runner:
    """One thread that leads whenever it can, and ticks. Whatever goes wrong is told once and tried again."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        workers: int | None = None,
        say: Callable[[str], None],
        open_host: OpenHost | None = None,
    ) -> None:
        self._settings, self._store, self._workers = settings, store, workers
        self._say = say
        self._open_host = open_host or partial(host.open_host, lasting=settings.head_state)
        self._mirrored: Mirror | NoMirror = mirror(settings, store, None, say=say)
        self._host: Host | None = None
        self._status = EngineStatus("starting")
        self._look_at = 0.0  # monotonic: when it is looked again whether the workers are there
        self._told: set[str] = set()
        self._ending = False
        self._wake = threading.Event()
        # A daemon: a tick that hangs must not keep a process that is told to end.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def status(self) -> EngineStatus:
        return self._status

    def nudge(self) -> None:
        """Somebody asked for something: look at once."""
        self._wake.set()

    def ask_to_end(self) -> None:
        """At the next tick's end. Trials go on in their workers."""
        self._ending = True
        self._wake.set()

    def join(self, within_s: float) -> bool:
        """Whether the thread has ended."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    # -- the thread ---------------------------------------------------------------------------------
    def _run(self) -> None:
        troubles = 0
        while not self._ending:
            try:
                wait_s = self._look()
                troubles = 0
            except Exception as problem:  # also what nobody foresaw: the other studies must go on
                self._note(problem)
                if not isinstance(problem, (LedgerBusy, Fenced)):
                    self._let_go()
                wait_s = WAITS_S[min(troubles, len(WAITS_S) - 1)]
                troubles += 1
            self._wake.wait(wait_s)
            self._wake.clear()
        self._status = replace(self._status, state="ended")
        for sentence in self._mirrored.finish(MIRROR_S):
            self._say(sentence)
        self._let_go(end=True)

    def _look(self) -> float:
        """Lead and tick, or watch; how long to wait then."""
        if self._host is None:
            if self._store.lead(whoami()) is None:
                return self._watch()
            self._status = replace(self._status, state="starting")
            try:
                self._host = self._open_host(self._settings, self._store, workers=self._workers)
            except Exception:  # who cannot run studies shall not lead: another may, and obeys the requests
                self._store.release()
                raise
        self._require_alive(self._host)
        tick = self._host.engine.tick()
        if not tick.leading:
            return self._watch()
        self._leads(tick)
        if not tick.idle:
            return 0.0
        return PACE_S if tick.live or tick.open_studies else IDLE_S

    def _require_alive(self, host: Host) -> None:
        """Where no trial runs, nothing else would notice that the workers' Ray has gone."""
        now = host.clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + ALIVE_S
            if not host.alive():
                raise BackendLost(GONE)

    def _watch(self) -> float:
        if self._status.state != "watching":
            self._say("Another process runs the studies of this ledger; this one watches.")
        self._status = EngineStatus("watching")
        self._let_go()  # whoever leads may end the workers, and a Ray that is gone takes its drivers along
        return IDLE_S

    def _leads(self, tick: Tick) -> None:
        assert self._host is not None
        if self._status.state != "leading":
            self._say(f"Leading: studies run here, {self._host.workers} trials at a time.")
            self._mirrored.begin_if_cut_short()
            self._told.clear()
        self._status = EngineStatus(
            "leading",
            unrunnable=tick.unrunnable,
            live=tick.live,
            ticked_at=self._host.clock.monotonic(),
        )
        for study_id, why in tick.unrunnable.items():
            self._tell(f"The study {study_id} cannot be run here: {why}")
        if tick.live:
            self._mirrored.begin()

    def _note(self, problem: Exception) -> None:
        foreseen = isinstance(problem, (LedgerBusy, LedgerDamaged, BackendLost, Fenced, MoveRefused))
        if not foreseen:
            logging.getLogger(__name__).error("The engine failed; restarting it", exc_info=problem)
        trouble = str(problem) if foreseen else f"The engine failed: {problem!r:.300}"
        self._status = EngineStatus("waiting", trouble=trouble)
        self._tell(trouble)

    def _tell(self, sentence: str) -> None:
        """Once, until it leads anew."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)

    def _let_go(self, *, end: bool = False) -> None:
        """Of the workers, which go on by themselves; in the end also of those that have nothing to do."""
        host, self._host = self._host, None
        try:
            if host is not None and end:
                host.close()
            elif host is not None:
                host.leave()
            if end:
                self._store.release()
        except Exception as problem:
            logging.getLogger(__name__).warning("The workers were let go with: %r", problem)
