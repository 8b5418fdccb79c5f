"""Where are studies mirrored to, how is that place named without secrets, and who writes to it?"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ground.settings import FILE, Settings, without_secrets

LOCK = "mlflow.lock"


@dataclass(frozen=True)
class Destination:
    """file: of a SQLite store. artifacts: the folder for them; None where a server decides."""

    uri: str
    file: Path | None
    artifacts: Path | None
    shown: str  # without secrets
    lock: Path  # under ORCH_HOME: who holds it writes to the mirror
    runs: Path  # the attempts' folders
    reports: Path  # a folder for each study's report
    pages: str | None  # the address of MLflow's own pages; None: no server shows them

    @property
    def is_server(self) -> bool:
        return self.artifacts is None

    @property
    def is_emptied(self) -> bool:
        """Whether it is a file that is not there: not yet, or no more."""
        return self.file is not None and not self.file.exists()

    def cursor(self, study_id: str) -> str:
        """The name of the ledger's cursor: each place, and each study in it, is written by itself."""
        return f"mlflow/{hashlib.sha256(self.shown.encode()).hexdigest()[:12]}/{study_id}"

    def owed(self, study_id: str) -> str:
        """The name of the ledger's note, 0 or 1, that a process has begun to follow a study and has not yet
        told all of it: also its last states, which have no event."""
        return f"{self.cursor(study_id)}/owed"


def destination(settings: Settings) -> Destination | None:
    """Where these settings lead; None when the mirror is switched off."""
    uri = settings.mlflow
    if uri is None:
        return None
    file = None
    if uri.startswith(FILE):  # MLflow makes the rest of the address a path below the working directory
        file = Path(uri.removeprefix(FILE)).absolute()
        uri = f"{FILE}{file}"
    server = uri.startswith(("http://", "https://", "databricks"))
    pages = settings.mlflow_ui or (without_secrets(uri) if uri.startswith("http") else None)
    return Destination(
        uri=uri,
        file=file,
        artifacts=None if server else settings.home / "mlflow-artifacts",
        shown=without_secrets(uri),
        lock=settings.home / LOCK,
        runs=settings.runs,
        reports=settings.reports,
        pages=None if pages is None else pages.rstrip("/"),
    )


@contextmanager
def writing(place: Destination) -> Iterator[bool]:
    """Whether this process may write to the mirror now; the system takes the lock from one that dies."""
    place.lock.parent.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC: a program that we start must not keep a dead process's lock
    fd = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
