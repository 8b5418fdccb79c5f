"""What does a trial of the quick study cost the process that runs it? Its events without the training.

An engine over a SQLite ledger, and the mirror into an MLflow store, with trials that say as much as those of
`quick`: 250 train reports in chunks, four evaluations with checkpoints, an end. Asking Ray is not in it.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import Event
from orchestrator.runs.contract import AttemptKey, Ended, HostView, Launch, Progress
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.resources import Resources
from orchestrator.study.spec import Arm, Parameter, StudySpec
from orchestrator.tracking.destination import destination
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from trainer.protocol import Outcome, Reply

TRIALS, AT_A_TIME = 40, 2
GUIDED = 3  # one in so many reports hypergradients too
CHUNK, CHUNKS = 25, 10  # train reports
EVALUATED = (2, 5, 7, 9)  # after these chunks
CONFIG = 35  # numbers in a config besides the two that are searched
PACKAGES = {f"package-{i}": f"{i}.0.1" for i in range(50)}


class Retold:
    """A backend of one host, whose every attempt has said one more chunk at each poll."""

    def __init__(self) -> None:
        self._held: dict[AttemptKey, tuple[list[Event], list[int]]] = {}
        self._polls: dict[AttemptKey, int] = {}

    def slots(self, resources: Resources) -> int:
        return AT_A_TIME

    def free(self, resources: Resources, ahead: Sequence[Resources] = ()) -> int:
        return max(0, AT_A_TIME - len(self._held) - len(ahead))

    def hosts(self) -> tuple[HostView, ...]:
        has = {"CPU": float(AT_A_TIME)}
        return (HostView("h", "127.0.0.1", has, AT_A_TIME, tuple(self._held)),)

    def keep_off(self, hosts: Mapping[str, bool]) -> None:
        """There is no other, so that it is never set aside; and nobody drains it."""

    def room(self) -> str:
        return f"{AT_A_TIME} workers"

    def submit(self, launch: Launch, ahead: Sequence[Resources] = (), *, avoid: str = "") -> bool:
        if launch.key in self._held:
            return True
        if not self.free(launch.resources, ahead):
            return False
        self._held[launch.key], self._polls[launch.key] = _events(launch), 0
        return True

    def poll(self, after: Mapping[AttemptKey, int]) -> dict[AttemptKey, Progress]:
        return {key: self._progress(key, sequence) for key, sequence in after.items()}

    def _progress(self, key: AttemptKey, sequence: int) -> Progress:
        events, marks = self._held[key]
        out = marks[self._polls[key]]
        self._polls[key] += 1
        over = out == len(events)
        ended = Ended("outcome", Outcome("completed", {"dev_loss": 2.0, "train_loss": 1.5}, _clocks(250)))
        return Progress(True, tuple(events[sequence:out]), ended if over else None)

    def await_news(self, within_s: float) -> None: ...

    def say(self, key: AttemptKey, verdict: Reply) -> None: ...

    def kill(self, key: AttemptKey, reason: str) -> None: ...

    def forget(self, key: AttemptKey) -> None:
        self._held.pop(key, None)

    def attempts(self) -> list[AttemptKey]:
        return list(self._held)

    def renew(self) -> None: ...

    def close(self, *, end_workers: bool) -> None: ...


def _events(launch: Launch) -> tuple[list[Event], list[int]]:
    """What one attempt says, and how many of its events are out after each poll."""
    guided = int(launch.trial_id.rpartition(".")[2]) % GUIDED == 0
    said: list[tuple[str, int, dict[str, Any]]] = [("started", 0, {"host": "h", "packages": PACKAGES})]
    marks = [1]
    for chunk in range(CHUNKS):
        for step in range(chunk * CHUNK + 1, (chunk + 1) * CHUNK + 1):
            said.append(("train", step, _report(step, chunk, guided=guided)))
        if chunk in EVALUATED:
            clocks = _clocks(step)
            said.append(
                ("eval", step, {"values": {"dev_loss": 9 / (1 + chunk)}, "hyper": {}, "clocks": clocks})
            )
            path = f"{launch.folder}/checkpoint-{step}"
            said.append(("checkpoint", step, {"values": {}, "hyper": {}, "clocks": clocks, "path": path}))
        marks.append(len(said))
    last = {"values": {"dev_loss": 2.0, "train_loss": 1.5}, "hyper": {}, "clocks": _clocks(step)}
    said.append(("final", step, last))
    marks[-1] = len(said)
    now = time.time()
    return [
        Event(launch.trial_id, launch.attempt, i, kind, step, payload, now + i / 100)
        for i, (kind, step, payload) in enumerate(said, start=1)
    ], marks


def _report(step: int, chunk: int, *, guided: bool) -> dict[str, Any]:
    noise = math.sin(1e4 * step) / 10
    guidance = {
        "guidance_loss": 6 * math.exp(-step / 60) + 0.4 - noise,
        "hypergrad.alpha": noise / step,
        "hypergrad.beta1": -noise / step,
    }
    return {
        "values": {
            "train_loss": 6 * math.exp(-step / 60) + 0.3 + noise,
            "multiplier": min(step / 60, math.sqrt(60 / step)),
            **(guidance if guided else {}),
        },
        "hyper": {
            "alpha": 1 + guided * math.sin(step / 90),
            "beta1": 0.9 - guided * math.sin(step / 70) / 5,
            "beta2": 0.9990000128746033,
            "eps": 1e-6,
            "weight_decay": 0.0,
        },
        "clocks": {**_clocks(chunk * CHUNK), "other_s": 5 + step / 1e4},
    }


def _clocks(step: int) -> dict[str, float]:
    return {
        "train_s": step / 111,
        "eval_s": step / 999,
        "compile_s": 8.90779306096374,
        "other_s": 5.0,
        "steps": float(step),
        "tokens": step * 641.0,
        "flops": step * 578027520.0,
    }


def measure() -> dict[str, Any]:
    """CPU seconds a trial, by part, and what a trial leaves in the ledger and in MLflow."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        home = Path(folder)
        settings = from_environment({"ORCH_HOME": str(home)})
        place = destination(settings)
        assert place is not None
        assert place.file is not None
        store, clock = open_ledger(settings.ledger), SystemClock()
        sink = MlflowStore(place)  # makes the file
        before = {file: _bytes(file) for file in (settings.ledger_file, place.file) if file is not None}
        study = create(store, _spec(), clock=clock).study
        engine = Engine(store, Retold(), clock=clock, storage=Storage(settings.runs), who="benchmark")
        mirror = StudyMirror(store, sink, place, study.study_id)
        spent = {"engine": 0.0, "mirror": 0.0}
        going, unseen = True, 0
        while going:
            begun = time.process_time()
            tick = engine.tick()
            spent["engine"] += time.process_time() - begun
            going, unseen = tick.open_studies > 0, unseen + tick.ended
            if unseen >= AT_A_TIME or not going:  # as often as it looks, with trials of some seconds
                begun, unseen = time.process_time(), 0
                mirror.advance()
                spent["mirror"] += time.process_time() - begun
        assert mirror.advance()
        store.close()
        grown = {file: (_bytes(file) - size) / TRIALS for file, size in before.items()}
    ledger_bytes, mlflow_bytes = grown.values()
    return {
        "engine_cpu_s_per_trial": sum(spent.values()) / TRIALS,
        "mlflow_mb_per_trial": mlflow_bytes / 1e6,
        "ledger_kb_per_trial": ledger_bytes / 1e3,
        "cpu_s_per_trial": {part: seconds / TRIALS for part, seconds in spent.items()},
    }


def _spec() -> StudySpec:
    space = (
        Parameter(path="x", low=0.1, high=10, scale="log"),
        Parameter(path="y", low=0.05, high=0.99, scale="logit"),
    )
    third = TRIALS * 4 // 10
    return StudySpec(
        name="quick-trials",
        entrypoint="benchmarks.noop",
        base={"x": 0.5, "y": 0.5, "rest": {f"number-{i}": i / 7 for i in range(CONFIG)}},
        arms=(
            Arm(name="gp", method="gp", trials=third, space=space),
            Arm(name="random", method="random", trials=TRIALS - third, space=space),
        ),
        objective={"metric": "dev_loss", "goal": "minimize"},
    )


def _bytes(file: Path) -> int:
    """A database, once what was written ahead of it is in it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size
