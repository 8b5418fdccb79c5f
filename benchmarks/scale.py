"""Does a study slow down as it grows? A tick's time and memory at 100, 1,000 and 10,000 ended trials.

No-op trials on the simulated backend over a real SQLite ledger. In the end a server process is asked about
them: how long it takes to create a study of as many trials, to list, and to get. And a process of its own
writes the report of a study of as many rehearsals, with their curves.  python -m benchmarks.scale
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.api_load import PAGE, server
from benchmarks.measuring import Result, result, show
from orchestrator.backends.simulated import SimulatedBackend, VirtualClock
from orchestrator.engine.tick import Engine
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from orchestrator.study.spec import Arm, Parameter, StudySpec

MARKS = (100, 1_000, 10_000)
TICKS = 200  # around each mark
ASKED = 20  # times each


def measure() -> Result:
    trials = MARKS[-1] + TICKS
    searched = Parameter(path="x", low=0, high=1)
    spec = _spec("scale", "benchmarks.noop", {"x": 0.5}, searched, trials=trials)
    busy_ms: dict[str, float] = {}
    resident_mb: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        clock = VirtualClock()
        engine, study_id = _begun(Path(folder), spec, SimulatedBackend(clock, slots=1), clock)
        store = engine.store
        ended, samples = 0, []
        while store.study(study_id).state is StudyState.RUNNING:
            begun = time.process_time()
            ended += engine.tick().ended  # it collects one trial and launches the next
            samples.append(time.process_time() - begun)
            clock.advance(1.0)
            if ended in MARKS and str(ended) not in busy_ms:
                busy_ms[str(ended)] = 1000 * statistics.median(samples[-min(TICKS, ended) :])
                resident_mb[str(ended)] = psutil.Process().memory_info().rss / 1e6
        begun = time.perf_counter()
        listed = store.trials(study_id)
        list_s = time.perf_counter() - begun
        store.close()
        asked_ms = asked(Path(folder), spec, f"{study_id}.random.0.{trials - 1}")
    with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
        report_cpu_s, report_mb = reported(Path(folder))
    lost = trials - sum(t.state is TrialState.COMPLETED for t in listed)
    first, last = str(MARKS[0]), str(MARKS[-1])
    return result(
        "scale",
        ratios={
            "lost": lost,
            "tick_growth": busy_ms[last] / busy_ms[first],
            "slowest_answer_ms": max(asked_ms.values()),
            "report_10000_cpu_s": report_cpu_s,
            "report_10000_mb": report_mb,
        },
        figures={
            "tick_ms": busy_ms,
            "resident_mb": resident_mb,
            "list_10000_s": list_s,
            "answer_p95_ms": asked_ms,
        },
        wants={
            "lost": "0",
            "tick_growth": "≤ 1.5",
            "slowest_answer_ms": "≤ 300",
            "report_10000_cpu_s": "≤ 10",
            "report_10000_mb": "≤ 400",
        },
    )


def _spec(name: str, entrypoint: str, base: dict[str, Any], searched: Parameter, *, trials: int) -> StudySpec:
    arm = Arm(name="random", method="random", trials=trials, space=(searched,))
    return StudySpec(name=name, entrypoint=entrypoint, base=base, arms=(arm,))


def _begun(home: Path, spec: StudySpec, backend: SimulatedBackend, clock: VirtualClock) -> tuple[Engine, str]:
    """An engine over a SQLite ledger with this study, and the study's id."""
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    study = create(store, spec, clock=clock).study
    storage = Storage(home / "runs")
    return Engine(store, backend, clock=clock, storage=storage, who="benchmark"), study.study_id


def reported(home: Path) -> tuple[float, float]:
    """CPU seconds and peak MB of `orch study report` on 10,000 rehearsals of 40 steps."""
    base = {"steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 40}
    searched = Parameter(path="optimizer.alpha", low=0.1, high=10, scale="log")
    spec = _spec("curves", "orchestrator.rehearsal", base, searched, trials=MARKS[-1])
    clock = VirtualClock()
    backend = SimulatedBackend(clock, slots=64)
    engine, study_id = _begun(home, spec, backend, clock)
    while engine.store.study(study_id).state is StudyState.RUNNING:
        engine.tick()
        ahead = backend.next_event_at(ends_only=True)
        if ahead is not None:
            clock.advance_to(ahead)
    engine.store.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "study", "report", "curves"],
        env={**os.environ, "ORCH_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)  # of this child alone
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000  # kB


def asked(folder: Path, spec: StudySpec, trial: str) -> dict[str, float]:
    """The 95th percentile of what a client waits for each answer, in milliseconds."""
    took_s: dict[str, list[float]] = {}
    with (
        server(folder, f"sqlite:///{folder / 'ledger.db'}") as (url, _),
        httpx.Client(trust_env=False) as ask,
    ):
        for number in range(ASKED):
            new = {"spec": spec.model_copy(update={"name": f"scale-{number}"}).model_dump(mode="json")}
            for what, verb, path, body in (
                ("create", "POST", "/studies", new),
                ("list studies", "GET", "/studies", None),
                ("get study", "GET", f"/studies/{spec.name}", None),
                ("list trials", "GET", f"/studies/{spec.name}/trials?limit=500", None),
                ("get trial", "GET", f"/trials/{trial}", None),
            ):
                begun = time.perf_counter()
                ask.request(verb, f"{url}{PAGE}{path}", json=body).raise_for_status()
                took_s.setdefault(what, []).append(time.perf_counter() - begun)
    return {what: 1000 * statistics.quantiles(took, n=20)[-1] for what, took in took_s.items()}


if __name__ == "__main__":
    show(measure())
