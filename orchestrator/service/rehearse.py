"""What would a whole study do? Every trial on a virtual clock, with a small workload for the trainer."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.tick import Engine, Tick
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.records import StudyState
from orchestrator.readings.overview import Overview, overview
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.spec import StudySpec

REHEARSAL = "orchestrator.rehearsal"


@dataclass(frozen=True)
class Rehearsal:
    """What a whole study did on the virtual clock."""

    overview: Overview
    virtual_hours: float
    real_s: float


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
            f"`orch study plan` shows what the study would run; to try it out, create it with fewer trials."
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
        )
