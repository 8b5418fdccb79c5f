"""How is one attempt run, and what of it is told? Its folder, its entrypoint's call, its events."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from orchestrator.ledger.records import Event
from orchestrator.runs import ends, provenance
from orchestrator.runs.checkout import code_facts
from orchestrator.runs.contract import Ended, Launch
from orchestrator.runs.folders import Storage
from orchestrator.study.whereabouts import Code, OtherCode, beside, require_same
from trainer.protocol import (
    ALONE,
    NotHere,
    Outcome,
    PeerLost,
    Place,
    Report,
    Reporter,
    Status,
    write_resume_note,
)


def prepare(launch: Launch) -> Path:
    """The attempt's folder, with `resume.json` in it when there is something to resume: the checkpoint, and
    the folders of earlier attempts, for a run that finds it damaged."""
    workdir = Path(launch.folder)
    workdir.mkdir(parents=True, exist_ok=True)
    if launch.resume_from is not None:
        earlier = [str(folder) for folder in Storage.before(workdir, launch.attempt)]
        write_resume_note(workdir, launch.resume_from, **({"earlier": earlier} if earlier else {}))
    return workdir


def run_entrypoint(launch: Launch, reporter: Reporter, workdir: Path, place: Place = ALONE) -> Ended:
    """Whatever the training code does, also sys.exit(), comes back as an end."""
    code = launch.code
    try:
        with beside(code.folder if code is not None and code.first else None):
            try:
                module = importlib.import_module(launch.entrypoint)
                if code is not None:
                    _require_same(launch.entrypoint, module, code)
            except Exception as problem:
                return ends.unable(launch.entrypoint, problem)
            outcome = module.run(launch.config, reporter, workdir, place)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"{launch.entrypoint}.run returned {outcome!r:.200}; it must return an Outcome.")
        return Ended("outcome", outcome=_plain(outcome))
    except NotHere as problem:
        return ends.elsewhere(problem)
    except PeerLost as problem:
        return ends.without_peer(problem)
    except BaseException as problem:
        if ends.of_the_accelerator(problem):
            return ends.without_accelerator(problem)
        away = isinstance(problem, OSError) and not workdir.is_dir()  # with its mount
        return ends.hindered(problem) if away or ends.of_the_machine(problem) else ends.raised(problem)


def _plain(outcome: Outcome) -> Outcome:
    """The outcome in values that a journal and a ledger can hold, whatever library they came from."""
    if outcome.status not in (allowed := get_args(Status)):
        raise ValueError(f"The run ended as {outcome.status!r:.60}; allowed is one of {', '.join(allowed)}.")
    return Outcome(
        outcome.status,
        _floats(outcome.values),
        _floats(outcome.clocks),
        None if outcome.checkpoint is None else str(outcome.checkpoint),
        _names(outcome.files),
        str(outcome.reason),
    )


def _require_same(entrypoint: str, module: ModuleType, code: Code) -> None:
    """As it was checked; another file's contents are told and not refused where ORCH_OTHER_CODE says so."""
    try:
        require_same(entrypoint, module, code)
    except OtherCode as told:
        if os.environ.get("ORCH_OTHER_CODE") != "tell":
            raise
        sys.stderr.write(f"orch: {told}\n")


def as_preempted(ended: Ended) -> Ended:
    """An attempt that was asked to save and stop is to go on later: its machine is taken, or a pause."""
    if ended.outcome is None or ended.outcome.status != "stopped":
        return ended
    return replace(ended, outcome=replace(ended.outcome, status="preempted"))


def started(
    launch: Launch, at: float, host: str = "", held: Mapping[str, Sequence[str]] | None = None
) -> Event:
    """The first event of an attempt: on what it runs. That it cannot be found out fails no attempt. `host`:
    what its backend calls this machine. `held`: which of its accelerators, by kind."""
    seed = launch.config.get("seed")
    try:
        code = code_facts(launch.entrypoint, file_of(launch), Path(launch.folder).parent.parent)
        facts = provenance.collect(code=code, **({} if seed is None else {"seed": seed}))
    except Exception as problem:
        facts = {"unknown": f"{problem!r:.500}"}
    facts |= {"host": host} if host else {}
    facts |= provenance.of_accelerators(launch.resources, held or {})
    facts |= {"hosts": list(launch.hosts)} if len(launch.hosts) > 1 else {}
    return Event(*launch.key, sequence=1, kind="started", step=0, payload=facts, at=at)


def file_of(launch: Launch) -> str:
    """The entrypoint's file, as it was checked, or as this process has loaded it."""
    if launch.code is not None:
        return launch.code.file
    return getattr(sys.modules.get(launch.entrypoint), "__file__", None) or ""


def spoken(launch: Launch, sequence: int, report: Report, at: float) -> Event:
    """A report as an event. Numbers of any library become floats; NaN and infinities pass."""
    payload: dict[str, Any] = {
        "values": _floats(report.values),
        "hyper": _floats(report.hyper),
        "clocks": _floats(report.clocks),
    }
    if report.path is not None:
        payload["path"] = str(report.path)
    if report.damaged:
        payload["damaged"] = [str(path) for path in report.damaged]
    step = int(report.step)
    if abs(step) >= 2**63:
        raise ValueError(f"A report's step is {step:.3e}; a database holds whole numbers below 2^63.")
    return Event(*launch.key, sequence=sequence, kind=str(report.kind), step=step, payload=payload, at=at)


def _names(files: Any) -> tuple[str, ...]:
    """Also of a single file, and of none."""
    return (str(files),) if isinstance(files, str | Path) else tuple(map(str, files or ()))


def _floats(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items()}
