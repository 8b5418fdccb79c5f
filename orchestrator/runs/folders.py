"""Where do an attempt's files lie, and what did it say before its worker died?

An attempt may write only its own folder, `root/study/trial/attempt-N`. Its journal, `events.jsonl`, holds
a line for each event and a last one for how it ended: it outlives the process, the backend's memory is
only faster. Folders are paths that every machine of the study mounts: an entrypoint is given a Path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.ground.errors import BadSpec, MoveRefused, OrchError
from orchestrator.ledger.records import Event
from orchestrator.runs.contract import Ended
from trainer.protocol import FALLBACK, Outcome, whole

JOURNAL = "events.jsonl"
HERE = "runs:"  # before the name of a file below the root, in the config of a stored trial
SCHEDULES = "schedules"  # in a study's folder: learned curves that its trials replay
PARAMETERS = ("checkpoint*", "params*")  # what is large in a folder, by name; the rest is kept
NO_ROOM = {  # a disk's trouble and no other's, by the system's numbers
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The disk is read-only",
    errno.ESTALE: "The disk is away",  # of another machine, mounted here
}
FILE_UNWRITTEN = "{path} could not be written. Make room there, then resume the study."
EVENT_UNWRITTEN = (
    "an event could not be written to {path}. Make room there; the trial goes on from its last checkpoint."
)
END_BYTES = 1_000_000  # the last line of a journal is looked for in so many
PAGE_BYTES = 4096  # the least that a file with anything in it takes
KEY = re.compile(r"[^/]+/[^/]+/attempt-[0-9]+/.")  # study, trial, attempt
SAFE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,254}")


class NotWritten(OrchError):
    """What must be written down before anything goes on cannot be; it may be possible later."""


class DiskFull(NotWritten):
    """There is no room for it."""


class Storage:
    """The folders of all studies below one root. No name can lead out of it."""

    def __init__(self, root: str | Path) -> None:
        if "://" in str(root):
            raise BadSpec(
                f"The storage root {str(root)!r} is a URL; it must be a path on a disk that every worker "
                f"sees. Mount the bucket, and give the mounted path."
            )
        self.root = Path(root).absolute()

    # -- what the ledger holds: names below the root, so that all can be moved elsewhere ------------------
    def key(self, path: str) -> str:
        """A path in an attempt's folder, as the ledger holds it. Any other name of a checkpoint stays."""
        inside = path.removeprefix(f"{self.root}/")
        return inside if KEY.match(inside) else path

    def path(self, key: str) -> str:
        """The path of a key. Ledgers of before hold paths, which stay as they are."""
        return str(self.root / key) if KEY.match(key) else key

    def in_config(self, path: Path) -> str:
        """A file below the root, as the config of a stored trial names it."""
        return HERE + path.relative_to(self.root).as_posix()

    def placed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config of a stored trial, with the paths of such files."""

        def place(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: place(inner) for name, inner in value.items()}
            named = isinstance(value, str) and value.startswith(HERE)
            return str(self.root / value.removeprefix(HERE)) if named else value

        return {name: place(value) for name, value in config.items()}

    def keyed(self, event: Event) -> Event:
        """An event of a worker, as the ledger holds it."""
        named = {name: event.payload[name] for name in ("path", "damaged") if name in event.payload}
        if event.kind not in ("checkpoint", FALLBACK) or not named:
            return event
        keys = {
            name: self.key(value) if isinstance(value, str) else [self.key(str(each)) for each in value]
            for name, value in named.items()
            if isinstance(value, str | list | tuple)
        }
        return replace(event, payload={**event.payload, **keys})

    def folder(self, study_id: str, trial_id: str, attempt: int) -> Path:
        """The attempt's own folder. It need not exist yet."""
        for name in (study_id, trial_id):
            if not SAFE.fullmatch(name):
                raise BadSpec(
                    f"The name {name[:60]!r} cannot be a folder. Allowed are 1 to 255 letters, digits, "
                    f"'_', '.', '+' and '-', not beginning with '.'."
                )
        return self.root / study_id / trial_id / f"attempt-{attempt:d}"

    @staticmethod
    def before(folder: Path, attempt: int) -> list[Path]:
        """The folders that earlier attempts left beside this attempt's, the newest first."""
        folders = [folder.with_name(f"attempt-{number:d}") for number in range(attempt - 1, 0, -1)]
        return [each for each in folders if each.is_dir()]

    def latest(self, study_id: str, trial_id: str, attempts: int, file: str) -> Path:
        """The folder of the newest attempt that left such a file; the last one where none did. An attempt
        that is cut short at once leaves nothing, and what it resumed from lies in one before."""
        numbers = range(max(1, attempts), 0, -1)
        folders = [self.folder(study_id, trial_id, number) for number in numbers]
        return next((f for f in folders if (f / file).is_file()), folders[0])

    def keep(self, study_id: str, name: str, content: bytes) -> Path:
        """A schedule file of the study, for its trials to read: on the disk whole, or not there. Writing
        the same again changes nothing."""
        path = self.folder(study_id, name, 0).parent.parent / SCHEDULES / name
        if path.is_file() and path.read_bytes() == content:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with no_room(path), whole(path) as unfinished, unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the ledger will name it, and outlives a power cut
        return path

    def require_room(self, study_id: str) -> None:
        """NotWritten unless the study's folder takes a small file: asked before a launch is written down, so
        that a full disk costs one attempt a worker and not one every time it is looked again."""
        path = self.folder(study_id, SCHEDULES, 0).parent.parent / f"unfinished-{os.getpid()}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.write_bytes(bytes(PAGE_BYTES))
            finally:
                path.unlink(missing_ok=True)
        except OSError as problem:
            raise NotWritten(
                f"Nothing can be written in {path.parent} ({problem.strerror or problem}). Mend that; what "
                f"ran goes on from its last checkpoints."
            ) from problem

    def delete(self, study_id: str) -> None:
        """Delete all folders of a study."""
        if not SAFE.fullmatch(study_id):
            raise BadSpec(f"The id {study_id[:60]!r} cannot be a folder; nothing was deleted.")
        try:
            shutil.rmtree(self.root / study_id)
        except FileNotFoundError:
            return
        except OSError as problem:
            raise MoveRefused(
                f"The folder {self.root / study_id} cannot be deleted: {problem}. Mend that, and ask again."
            ) from problem

    def discard(self, folder: str | Path) -> None:
        """Delete an attempt's checkpoints and parameters; its journal and small files stay. So does what
        cannot be deleted now: that it takes room is no reason for a study to stop."""
        resolved = Path(folder).resolve()
        if self.root.resolve() not in resolved.parents:
            raise BadSpec(f"{str(folder)!r} is not below {str(self.root)!r}; nothing was deleted.")
        for pattern in PARAMETERS:
            for found in _found(resolved, pattern):
                with contextlib.suppress(OSError):
                    if found.is_dir() and not found.is_symlink():
                        shutil.rmtree(found, ignore_errors=True)
                    else:
                        found.unlink(missing_ok=True)
                if os.path.lexists(found):
                    logging.getLogger(__name__).warning("%s cannot be deleted now; it stays", found)


class Journal:
    """`events.jsonl` of one attempt, for the one process that appends to it.

    It begins afresh: what lies there is of a worker that nobody heard of, and its numbers are given anew.
    Unlinked, not emptied: should that worker still live, its lines do not come between ours.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / JOURNAL
        self._begun = False
        self._file: BinaryIO | None = None

    def event(self, event: Event) -> None:
        self._line({"event": [event.sequence, event.kind, event.step, event.at, event.payload]})

    def end(self, ended: Ended) -> None:
        self._line({"ended": asdict(ended)})
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, data: dict[str, Any]) -> None:
        # One write of one whole line, unbuffered: a kill -9 tears at most the last line. No fsync: the
        # page cache outlives the process, and after a power cut the attempt is retried anyway.
        line = json.dumps(data, separators=(",", ":")).encode() + b"\n"
        with no_room(self.path, EVENT_UNWRITTEN):
            if not self._begun:
                if self.path.exists() and self.path.stat().st_size:
                    self.path.unlink()
                self._begun = True
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (held for the attempt)
                with contextlib.suppress(OSError):  # a disk without locks: nobody can tell that we live
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "short write")


@contextlib.contextmanager
def no_room(path: Path, sentence: str = FILE_UNWRITTEN) -> Iterator[None]:
    """DiskFull, with that sentence, where what is written there finds no room."""
    try:
        yield
    except OSError as problem:
        trouble = NO_ROOM.get(problem.errno or 0)
        if trouble is None:
            raise
        raise DiskFull(f"{trouble}: {sentence.format(path=path)}") from problem


def is_written(folder: str | Path) -> bool:
    """Whether a process that appends to the journal lives, on whichever machine: the lock goes with it."""
    try:
        with (Path(folder) / JOURNAL).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no journal, or a disk without locks
        return False
    return False


def read_journal(
    folder: str | Path, trial_id: str, attempt: int, *, after: int = 0
) -> tuple[tuple[Event, ...], Ended | None]:
    """The events after a sequence, and the end if it was written. A torn line ends the reading."""
    try:
        whole_lines = (Path(folder) / JOURNAL).read_bytes().split(b"\n")[:-1]  # what follows them was torn
    except FileNotFoundError:
        return (), None
    events: list[Event] = []
    for line in whole_lines:
        try:
            data = json.loads(line)
        except ValueError:
            break
        if "ended" in data:
            return tuple(events), _ended(data["ended"])
        sequence, kind, step, at, payload = data["event"]
        if sequence > after:
            events.append(Event(trial_id, attempt, sequence, kind, step, payload, at))
    return tuple(events), None


def read_end(folder: str | Path) -> Ended | None:
    """How the attempt ended, by the last line of its journal alone; None where it was not written."""
    try:
        with (Path(folder) / JOURNAL).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - END_BYTES))
            last = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
        return _ended(json.loads(last)["ended"])
    except (OSError, ValueError, KeyError):
        return None


def is_large(name: str) -> bool:
    """Whether a file of that name is a checkpoint or parameters, which `discard` deletes."""
    return any(fnmatch(name.partition("/")[0], pattern) for pattern in PARAMETERS)


def _found(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except OSError as problem:
        logging.getLogger(__name__).warning("%s cannot be looked through: %s", folder, problem)
        return []


def _ended(data: dict[str, Any]) -> Ended:
    outcome = data["outcome"]
    return Ended(**{**data, "outcome": None if outcome is None else Outcome.from_dict(outcome)})
