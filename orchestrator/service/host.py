"""How do the parts make a whole? Creating studies, running them in the foreground, rehearsing them."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

from orchestrator.engine.checks import require_runnable
from orchestrator.engine.requests import obey_all
from orchestrator.engine.tick import Engine, Tick
from orchestrator.ground.clock import Clock, SystemClock
from orchestrator.ground.errors import BackendLost, BadSpec, Fenced, LedgerBusy, MoveRefused, NameTaken
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState, Wish
from orchestrator.readings.overview import Overview, overview
from orchestrator.runs.folders import Storage
from orchestrator.study.spec import StudySpec, spec_hash

REHEARSAL = "orchestrator.rehearsal"
PACE_S = 0.05  # between two ticks that found nothing to do
WATCH_S = 0.2  # between two looks at what another process does
PATIENCE_S = 60.0  # how long a ledger or the workers may be away before a foreground run gives up

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Created:
    study: StudyRow
    attached: bool  # an equal study of that name was there


def whoami() -> str:
    """Who asks, or leads: told to people, and never parsed."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"


def create(
    store: Store,
    spec: StudySpec,
    *,
    clock: Clock,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
) -> Created:
    """Write a study down once it is known to run. An equal spec under its name attaches to it."""
    require_runnable(spec)
    row = new_study(spec, study_id=new_id(), created_at=clock.time())
    try:
        return Created(store.create_study(row), attached=False)
    except NameTaken as taken:
        there = store.study(taken.study_id)
        if there.spec_hash != row.spec_hash:
            raise
        return Created(there, attached=True)


def new_study(spec: StudySpec, *, study_id: str, created_at: float) -> StudyRow:
    """The row of a study that is known to run."""
    return StudyRow(
        study_id=study_id,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        spec_hash=spec_hash(spec),
        state=StudyState.RUNNING,
        created_at=created_at,
    )


def ask(store: Store, study: StudyRow, verb: str, detail: Mapping[str, Any], *, clock: Clock) -> Wish:
    """Put a wish down for whoever leads."""
    return store.wish(study.study_id, verb, detail, asked_at=clock.time(), asked_by=whoami())


@dataclass
class Host:
    """Everything a process needs to run studies on this machine."""

    settings: Settings
    store: Store
    clock: Clock
    engine: Engine
    workers: int
    alive: Callable[[], bool] = lambda: True  # whether what the workers live in is still there
    claim: TextIO | None = None  # that meanwhile no other ledger's studies run on these workers

    def leave(self) -> None:
        """Of the workers alone, which go on by themselves: to lead on, or to watch who leads now."""
        self._leave(end_workers=False)

    def close(self) -> None:
        """Let go. Only the leader ends the workers, and only when none of them is at work."""
        idle = False
        with contextlib.suppress(LedgerBusy):
            idle = self.store.lead(self.engine.who) is not None and not self.store.live_attempts()
        self._leave(end_workers=idle)
        self.store.release()

    def _leave(self, *, end_workers: bool) -> None:
        try:
            self.engine.backend.close(end_workers=end_workers)
            if end_workers:
                from orchestrator.backends import daemon

                daemon.stop(self.settings.home)
        finally:
            if self.claim is not None:
                self.claim.close()


def open_host(settings: Settings, store: Store, *, workers: int | None = None) -> Host:
    """The embedded Ray (started if none runs) and an engine over it: for a process that leads.

    Only the leader touches the workers, so nobody ends a Ray that another process is about to use. Leaders
    of two ledgers would: MoveRefused while another ledger's studies run on the workers of this home.
    """
    from orchestrator.backends import daemon
    from orchestrator.backends.ray import RayBackend

    slots = workers or settings.workers
    claim = claimed(settings)
    if claim is None:
        raise MoveRefused(
            f"Another process runs studies of another ledger on the workers of {settings.home}, and two "
            f"would end each other's trials. Wait until that one has ended, or give the studies of this "
            f"ledger a home of their own with ORCH_HOME."
        )
    try:
        address = daemon.start(settings.home, cpus=slots)
        clock, alive = SystemClock(), daemon.pulse(settings.home)
        token = daemon.token_path(settings.home)
        engine = Engine(
            store,
            RayBackend(address, workers=slots, token_path=token, alive=alive),
            clock=clock,
            storage=Storage(settings.runs),
            who=whoami(),
        )
    except BaseException:
        claim.close()
        raise

    return Host(settings, store, clock, engine, slots, alive=alive, claim=claim)


def claimed(settings: Settings) -> TextIO | None:
    """The workers of this home for the studies of this ledger, until it is closed; None: another has them."""
    from orchestrator.backends import daemon

    file = settings.ledger_file
    # However its path is written, and whoever asks; hashed, since an address may hold a password.
    ledger = settings.ledger.split("@")[-1] if file is None else str(file.resolve())
    return daemon.claim(settings.home, hashlib.sha256(ledger.encode()).hexdigest())


def run(
    host: Host,
    study_id: str,
    *,
    launch: bool = True,
    on_tick: Callable[[Tick], None] = lambda tick: None,
    wait: Callable[[float], None] = time.sleep,
) -> StudyRow:
    """Tick until the study has ended, or is paused, and nothing of it runs any more.

    A ledger or a Ray that does not answer is waited for, and a disk that cannot be written; after PATIENCE_S
    the error is raised. That a study cannot go on is raised once nothing of it runs any more. Should another
    process lead, this one watches and takes over when it can.
    """

    def look() -> tuple[Tick, StudyRow | None, bool]:
        tick = host.engine.tick(launch=launch)
        stuck = study_id in tick.unrunnable and not host.store.live_attempts(study_id)
        return tick, at_rest(host.store, study_id), stuck

    stuck_since: float | None = None
    while True:
        tick, rested, stuck = _patiently(look, clock=host.clock, wait=wait)
        on_tick(tick)
        if rested is not None:
            return rested
        now = host.clock.monotonic()
        stuck_since = (now if stuck_since is None else stuck_since) if stuck else None
        patience_s = PATIENCE_S if study_id in tick.passing else 0.0
        if stuck_since is not None and now - stuck_since >= patience_s:
            raise BadSpec(tick.unrunnable[study_id])
        if tick.idle:
            wait(PACE_S)


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


@dataclass(frozen=True)
class Rehearsal:
    """What a whole study did on the virtual clock."""

    overview: Overview
    virtual_hours: float
    real_s: float
    proposals: dict[str, dict[str, float]]  # trial -> point, in the ledger's order


def _paced(spec: StudySpec) -> dict[str, Any]:
    """What a step of the rehearsal takes, so that a plain run takes what this study says of one."""
    hours = [arm.run_hours for arm in spec.arms if arm.run_hours is not None]
    steps = spec.base.get("steps")
    if not hours or not isinstance(steps, int) or steps < 1:
        return {}
    return {"rehearsal": {"seconds_per_step": min(hours) * 3600 / steps}}


def rehearse(
    spec: StudySpec, *, slots: int, on_tick: Callable[[Tick, float], None] = lambda tick, hours: None
) -> Rehearsal:
    """Run every trial of a study through the rehearsal workload, with time that is only counted."""
    from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
    from orchestrator.ledger.memory import MemoryLedger

    if spec.entrypoint not in (REHEARSAL, "trainer.run"):
        raise BadSpec(
            f"A rehearsal stands in for the trainer, and {spec.entrypoint} has a configuration of its own. "
            f"`orch study plan` tells what the study would run; to try it out, create it with fewer trials."
        )
    spec = spec.model_copy(update={"entrypoint": REHEARSAL, "base": {**_paced(spec), **spec.base}})
    started = time.monotonic()
    clock = VirtualClock()
    store = MemoryLedger()
    backend = SimulatedBackend(clock, slots=slots)
    row = create(store, spec, clock=clock).study
    # Thousands of small checkpoints that nobody will read: in memory where the system offers that.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="orch-rehearsal-", dir=memory) as folder:
        engine = Engine(store, backend, clock=clock, storage=Storage(folder), who="rehearsal")
        begun = clock.time()
        hurried = all(arm.rungs is None for arm in spec.arms)  # else whoever lags is told while it runs
        while (study := store.study(row.study_id)).state is StudyState.RUNNING:
            tick = engine.tick()
            on_tick(tick, (clock.time() - begun) / 3600)
            if row.study_id in tick.unrunnable:
                raise BadSpec(tick.unrunnable[row.study_id])
            ahead = backend.next_event_at(ends_only=hurried)
            if tick.idle and ahead is not None:
                clock.advance_to(ahead)
        return Rehearsal(
            overview=overview(store, study),
            virtual_hours=(clock.time() - begun) / 3600,
            real_s=time.monotonic() - started,
            proposals={t.trial_id: dict(t.point) for t in store.trials(row.study_id)},
        )
