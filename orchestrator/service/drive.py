"""How does one process run a study to its rest, or follow another that does?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from orchestrator.engine.requests import obey_all
from orchestrator.engine.tick import Tick
from orchestrator.ground.clock import Clock, SystemClock
from orchestrator.ground.errors import BackendLost, BadSpec, Fenced, LedgerBusy
from orchestrator.ground.identity import whoami
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState
from orchestrator.runs.folders import Storage
from orchestrator.service.host import Host

PACE_S = 0.25  # between two ticks that found nothing to do, unless a worker says something before


WATCH_S = 0.2  # between two looks at what another process does


PATIENCE_S = 60.0  # how long a ledger or the workers may be away before a foreground run gives up


Seen = TypeVar("Seen")


def run(
    host: Host,
    study_id: str,
    *,
    launch: bool = True,
    on_tick: Callable[[Tick], None] = lambda tick: None,
    wait: Callable[[float], None] | None = None,
) -> StudyRow:
    """Tick until the study has ended, or is paused or drained, and nothing of it runs any more.

    A ledger or a Ray that does not answer is waited for, and a disk that cannot be written; after PATIENCE_S
    the error is raised. That a study cannot go on is raised once nothing of it runs any more. Should another
    process lead, this one watches and takes over when it can. `wait` stands in for time that passes.
    """
    rest, sleep = wait or host.engine.backend.await_news, wait or time.sleep

    def look() -> tuple[Tick, StudyRow | None, bool]:
        tick = host.engine.tick(launch=launch)
        stuck = study_id in tick.unrunnable and not host.store.live_attempts(study_id)
        return tick, at_rest(host.store, study_id), stuck

    stuck_since: float | None = None
    while True:
        tick, rested, stuck = _patiently(look, clock=host.clock, wait=sleep)
        on_tick(tick)
        if rested is not None:
            return rested
        now = host.clock.monotonic()
        stuck_since = (now if stuck_since is None else stuck_since) if stuck else None
        patience_s = PATIENCE_S if study_id in tick.passing else 0.0
        if stuck_since is not None and now - stuck_since >= patience_s:
            raise BadSpec(tick.unrunnable[study_id])
        if tick.idle:
            rest(PACE_S)


def follow(
    store: Store,
    study_id: str,
    *,
    lead: bool,
    on_tick: Callable[[Tick], None] = lambda tick: None,
    wait: Callable[[float], None] = time.sleep,
) -> StudyRow | None:
    """Watch what another process runs until it is at rest. With `lead`: None as soon as we lead instead."""
    clock = SystemClock()

    def look() -> tuple[bool, StudyRow | None]:
        return lead and store.lead(whoami()) is not None, at_rest(store, study_id)

    while True:
        leading, rested = _patiently(look, clock=clock, wait=wait)
        if rested is not None or leading:
            return rested
        on_tick(Tick(leading=False))
        wait(WATCH_S)


def at_rest(store: Store, study_id: str) -> StudyRow | None:
    """The study, if nothing of it runs and nothing will."""
    study = store.study(study_id)
    still = study.state is not StudyState.RUNNING and not store.live_attempts(study_id)
    return study if still else None


def _patiently(look: Callable[[], Seen], *, clock: Clock, wait: Callable[[float], None]) -> Seen:
    away_since: float | None = None
    while True:
        try:
            return look()
        except (LedgerBusy, BackendLost, Fenced):
            now = clock.monotonic()
            away_since = now if away_since is None else away_since
            if now - away_since > PATIENCE_S:
                raise
            wait(1.0)


def obey_now(store: Store, *, clock: Clock, storage: Storage | None = None) -> bool:
    """Lead for a moment and answer what people asked for; False while another process leads.

    Deletions are done only with the storage, and else left to one who has it.
    """
    epoch = store.lead(whoami())
    if epoch is None:
        return False
    try:
        obey_all(store, epoch, clock=clock, storage=storage)
    finally:
        store.release()
    return True
