"""Can this machine run the trials of that leader? What it says of itself, when it is asked there."""

from __future__ import annotations

import hashlib
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ground.errors import OrchError
from orchestrator.runs import provenance, shared
from orchestrator.study.whereabouts import OURS, SOURCE

MOST_OFF_S = 60.0  # of two clocks: nothing that orch decides depends on one, but people compare their times
LEAST_FREE_GB = 1.0


@dataclass(frozen=True)
class Checkup:
    host: str
    versions: dict[str, str]
    code: str  # of orch's own packages: equal where they are
    at: float  # unix seconds, by its clock
    answer: str = ""  # what it has written beside the runs, where it could
    unshared: str = ""  # why not
    free_gb: float = 0.0
    locks: bool = True  # False: it does not see the lock that the leader's machine held meanwhile


def examined(root: str, word: str, held: str) -> Checkup:
    """Of the machine that this runs on. `word`: what the leader has written below the root of all runs;
    `held`: the file there whose lock it holds."""
    answer, unshared, locks = "", "", True
    try:
        answer = shared.answer(Path(root), word)
        locks = shared.is_held(Path(root), held)
    except OrchError as problem:
        unshared = str(problem)
    there = next((p for p in (Path(root), *Path(root).parents) if p.exists()), Path("/"))
    return Checkup(
        host=socket.gethostname(),
        versions=provenance.of_hosts(),
        code=code(),
        at=time.time(),
        answer=answer,
        unshared=unshared,
        free_gb=shutil.disk_usage(there).free / 1e9,
        locks=locks,
    )


def code() -> str:
    """Of every file of orch's own packages."""
    found = hashlib.sha256()
    for file in sorted(file for package in OURS for file in (SOURCE / package).rglob("*.py")):
        found.update(str(file.relative_to(SOURCE)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def lead_s(at: float, begun: float, done: float) -> float:
    """How far a clock is ahead of ours that said `at` at some moment between these two."""
    return at - done if at > done else at - begun if at < begun else 0.0


def troubles(there: Checkup, *, off_s: float, heard: bool) -> list[str]:
    """What keeps it from running this leader's trials. `off_s`: its clock's lead over ours; `heard`: whether
    what it wrote is seen here."""
    own = provenance.of_hosts()
    found = [
        f"{name} {theirs}, and {own[name]} here"
        for name, theirs in there.versions.items()
        if own[name] != theirs
    ]
    if not found and there.code != code():
        found.append(f"orch {own['orch']} with other files than here")
    if there.unshared:
        found.append(there.unshared)
    elif not heard:
        found.append("What it writes beside the runs is not seen here.")
    if abs(off_s) > MOST_OFF_S:
        found.append(f"Its clock is {abs(off_s):.0f} s {'ahead' if off_s > 0 else 'behind'}.")
    if there.free_gb < LEAST_FREE_GB:
        found.append(f"Its disk has {there.free_gb:.1f} GB left.")
    return found
