"""A study on the virtual clock, and ways to hurt it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.backends.placement import Node
from orchestrator.backends.simulated import Fault, SimulatedBackend, VirtualClock
from orchestrator.engine.tick import Engine, Tick
from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import Store
from orchestrator.ledger.memory import MemoryLedger
from orchestrator.ledger.records import StudyRow, StudyState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.spec import StudySpec

WRITES = (
    "move_study",
    "extend_study",
    "delete_study",
    "add_trial",
    "move_trial",
    "remove_trial",
    "start_attempt",
    "attempt_running",
    "append",
    "end_attempt",
    "answer_wish",
    "study_waits",
    "see_hosts",
)
ACTS = ("submit", "forget", "say", "kill")
BEGINS_AFTER_S = 0.5  # from submit until a worker begins: every kill falls before, within or after it


class Killed(BaseException):
    """kill -9: nothing of the process goes on, nothing is cleaned up."""


@dataclass
class Tripwire:
    """Counts the calls that go through it, and does something at one of them."""

    at: int | None = None  # the n-th call, from 1
    raises: type[BaseException] = Killed
    before: bool = False  # raise instead of the call, not after it
    count: int = 0
    seen: list[str] = field(default_factory=list)

    def around(self, target: Any, names: Sequence[str]) -> Any:
        return _Wired(target, names, self)

    def call(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        self.seen.append(name)
        if self.count == self.at and self.before:
            raise self.raises(name)
        result = function(*args, **kwargs)
        if self.count == self.at:
            raise self.raises(name)
        return result


class _Wired:
    def __init__(self, target: Any, names: Sequence[str], wire: Tripwire) -> None:
        self._target, self._names, self._wire = target, names, wire

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._target, name)
        if name not in self._names:
            return function
        return lambda *args, **kwargs: self._wire.call(name, function, *args, **kwargs)


@dataclass
class World:
    """The machines, the ledger and the time: what outlives an orchestrator."""

    store: Store
    backend: SimulatedBackend
    clock: VirtualClock
    folder: Path
    lives: int = 0

    def engine(self, wire: Tripwire | None = None, *, who: str = "one") -> Engine:
        """A fresh process over the same machines."""
        self.lives += 1
        store: Any = self.store
        backend: Any = self.backend
        if wire is not None:
            store, backend = wire.around(store, WRITES), wire.around(backend, ACTS)
        return Engine(store, backend, clock=self.clock, storage=Storage(self.folder), who=who)

    def next_life(self, wire: Tripwire | None = None, *, arrives: bool = False) -> Engine:
        """The process was killed, and another one comes. What it had submitted and no worker had taken yet is
        not heard of again, or `arrives` meanwhile."""
        if arrives:
            self.clock.advance(BEGINS_AFTER_S)
        self.backend.lose_submitted()
        return self.engine(wire)

    def step(self, engine: Engine) -> Tick:
        """One tick; with nothing to do, time goes on to what happens next."""
        tick = engine.tick()
        ahead = self.backend.next_event_at()
        if tick.idle and ahead is not None:
            self.clock.advance_to(ahead)
        return tick

    def drive(self, engine: Engine, study_id: str, *, most_ticks: int = 20_000) -> StudyRow:
        """Tick until the study is no longer running."""
        for _ in range(most_ticks):
            study = self.store.study(study_id)
            if study.state is not StudyState.RUNNING:
                return study
            try:
                self.step(engine)
            except LedgerBusy:
                continue
        raise AssertionError(f"the study still runs after {most_ticks} ticks")


def world(
    folder: Path,
    *,
    slots: int = 3,
    hosts: Sequence[Node] = (),
    faults: Sequence[Fault] = (),
    store: Store | None = None,
) -> World:
    clock = VirtualClock()
    backend = SimulatedBackend(
        clock, slots=slots, hosts=hosts, faults=tuple(faults), begins_after_s=BEGINS_AFTER_S
    )
    return World(store or MemoryLedger(), backend, clock, folder)


def created(place: World, spec: StudySpec, *, study_id: str = "s1") -> StudyRow:
    return create(place.store, spec, clock=place.clock, new_id=lambda: study_id).study


def small_study(**changes: Any) -> StudySpec:
    """Every kind of arm that needs no model: fixed, random, grid, and one that follows another."""
    data: dict[str, Any] = {
        "name": "small",
        "entrypoint": "orchestrator.rehearsal",
        "base": {
            "steps": 40,
            "eval_every_steps": 20,
            "checkpoint_every_steps": 10,
            "schedule": {"warmup_steps": 4},
            "optimizer": {"alpha": 1.0, "beta1": 0.9},
        },
        "arms": [
            {"name": "base", "method": "fixed", "trials": 1},
            {
                "name": "random",
                "method": "random",
                "trials": 3,
                "space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}],
            },
            {
                "name": "grid",
                "method": "grid",
                "trials": 2,
                "space": [{"path": "optimizer.beta1", "values": [0.5, 0.9]}],
            },
            {
                "name": "confirm",
                "method": "fixed",
                "trials": 2,
                "phase": "confirm",
                "fresh_seeds": True,
                "after": {"arm": "random"},
            },
        ],
    }
    return StudySpec.model_validate({**data, **changes})
