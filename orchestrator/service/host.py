"""What does a process need to run studies on this machine? Workers, an engine over them, a claim on both."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from orchestrator.backends import daemon, joined, ray_private
from orchestrator.backends.ray import RayBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import Clock, SystemClock
from orchestrator.ground.errors import LedgerBusy, MoveRefused
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.runs.folders import Storage
from orchestrator.study.resources import Resources


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
                # Machines that have joined a head of ours wait for it to come back.
                daemon.stop(self.settings.home, for_good=self.settings.ray is not None)
        finally:
            if self.claim is not None:
                self.claim.close()


def open_host(settings: Settings, store: Store, *, workers: int | None = None, lasting: bool = False) -> Host:
    """The workers (started if none run) and an engine over them: for a process that leads.

    Only the leader touches the workers, so nobody ends a Ray that another process is about to use. Leaders
    of two ledgers would: MoveRefused while another ledger's studies run on the workers of this home.
    `lasting`: other machines may join, and wait for a Ray that has died to come back.
    """
    slots = workers or settings.workers
    claim = claimed(settings)
    if claim is None:
        raise MoveRefused(
            f"Another process runs studies of another ledger on the workers of {settings.home}, and two "
            f"would end each other's trials. Wait until that one has ended, or give the studies of this "
            f"ledger a home of their own with ORCH_HOME."
        )
    try:
        backend, alive = _backend(settings, store, slots, lasting=lasting)
        clock = SystemClock()
        engine = Engine(
            store,
            backend,
            clock=clock,
            storage=Storage(settings.runs),
            who=whoami(),
        )
    except BaseException:
        claim.close()
        raise

    at_a_time = slots if settings.ray is None else backend.slots(Resources())
    return Host(settings, store, clock, engine, at_a_time, alive=alive, claim=claim)


def _backend(
    settings: Settings, store: Store, slots: int, *, lasting: bool = False
) -> tuple[RayBackend, Callable[[], bool]]:
    """Workers on this machine's own Ray and the hosts that have joined it; or on the cluster of ORCH_RAY, of
    which this machine becomes a node without CPUs, since Ray wants one beside who asks. And whether that Ray
    lives."""
    given = {name: os.environ[name] for name in settings.passed if name in os.environ}
    given["ORCH_OTHER_CODE"] = settings.other_code
    if settings.ray is None:
        address = daemon.start(settings.home, cpus=slots, ports=settings.ports, lasting=lasting)
        token, alive = daemon.token_path(settings.home), daemon.pulse(settings.home)
        return RayBackend(address, workers=slots, token_path=token, environment=given, alive=alive), alive
    address = joined.join(settings.home, settings.ray, cpus=0, ports=settings.ports)
    alive = joined.pulse(settings.home, address)
    backend = RayBackend(
        address,
        namespace=f"orch-{store.ledger_id()}",
        environment={"ORCH_HOME": str(settings.home), **given},
        alive=alive,
        others=True,
    )
    return backend, alive


def end_workers(settings: Settings, store: Store) -> None:
    """Those of this ledger on the cluster of ORCH_RAY, at work or not."""
    backend, _ = _backend(settings, store, settings.workers)
    backend.close(end_workers=True)


def lacking(settings: Settings, resources: Resources) -> str:
    """Which accelerators a trial asks for that this machine has not got; "" where workers run already, which
    are asked themselves, and where it has them."""
    wanted = {"GPU": resources.gpus, "TPU": resources.tpu_chips}
    if not any(wanted.values()) or daemon.find(settings.home) is not None:
        return ""
    for kind, amount in wanted.items():
        found = ray_private.accelerators(kind) if amount else 0
        if found < amount:
            unit = "GPU" if kind == "GPU" else "TPU chip"
            there = f"{found}" if found else "none"
            return f"asks for {amount:g} {unit}{'s' * (amount != 1)}, and this machine has {there}"
    return ""


def claimed(settings: Settings) -> TextIO | None:
    """The workers of this home for the studies of this ledger, until it is closed; None: another has them."""
    file = settings.ledger_file
    # However its path is written, and whoever asks; hashed, since an address may hold a password.
    ledger = settings.ledger.split("@")[-1] if file is None else str(file.resolve())
    return daemon.claim(settings.home, hashlib.sha256(ledger.encode()).hexdigest())
