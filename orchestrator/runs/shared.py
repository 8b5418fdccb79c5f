"""Do two machines see the same files, and each other's locks on them? Each reads what the other has written.

Some disks keep `flock` to the machine that asks for it (Lustre mounted with `-o localflock`, an old NFS) or
refuse it. So one machine holds a lock while the other asks for it. From where it does not reach, that is
written down beside the runs, and whoever would conclude something from a lock asks `locks_reach` first.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from orchestrator.ground.errors import MoveRefused
from trainer.protocol import whole

FOLDER = ".hosts"  # below the root of all runs; no study has such a name
WORD = "word"
UNLOCKED = "unlocked"  # below FOLDER: a file for each host whose locks others do not see
ANSWER = re.compile(r"[0-9a-f]{32}")

Flock = Callable[[IO[Any], int], None]


def word_of(root: Path) -> str:
    """What the leader's machine has written, made where there is none."""
    path = root / FOLDER / WORD
    with contextlib.suppress(OSError):
        if word := path.read_text():
            return word
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        unfinished.write_text(secrets.token_hex(16))
    return path.read_text()


def answer(root: Path, word: str) -> str:
    """Read the leader's word on another machine, and write an answer there: its name. MoveRefused says why
    that cannot be done."""
    path = root / FOLDER / WORD
    try:
        found = path.read_text()
    except OSError as problem:
        raise _not_shared(root, f"{path} cannot be read here ({problem.strerror})") from problem
    if found != word:
        raise _not_shared(root, "that path is another folder here")
    name = secrets.token_hex(16)
    try:
        (root / FOLDER / name).write_text(word)
    except OSError as problem:
        raise _not_shared(root, f"nothing can be written there from here ({problem.strerror})") from problem
    return name


def heard(root: Path, name: str) -> bool:
    """Whether the answer of that name has come; it is taken away."""
    path = root / FOLDER / name
    try:
        there = path.read_text() == word_of(root)
        path.unlink()
    except OSError:
        return False
    return there


# -- locks -----------------------------------------------------------------------------------------------
@contextlib.contextmanager
def held(root: Path, name: str, *, flock: Flock = fcntl.flock) -> Iterator[None]:
    """Meanwhile this machine holds the lock of the file of that name, where the disk has locks."""
    with (root / FOLDER / name).open("r+b") as file:
        with contextlib.suppress(OSError):
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_held(root: Path, name: str, *, flock: Flock = fcntl.flock) -> bool:
    """Whether the lock that another machine holds on that file is seen here."""
    try:
        with (root / FOLDER / name).open("r+b") as file:
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file here, or no locks
        return False
    return False


def note_locks(root: Path, host: str, *, reach: bool) -> None:
    """Write down what was found of that host's locks, by its name."""
    note = root / FOLDER / UNLOCKED / host
    if reach:
        note.unlink(missing_ok=True)
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def without_locks(root: Path) -> frozenset[str]:
    """The hosts from which locks were found not to reach others."""
    try:
        return frozenset(note.name for note in (root / FOLDER / UNLOCKED).iterdir())
    except OSError:  # none was
        return frozenset()


def locks_reach(root: Path) -> bool:
    """Whether a lock that is seen on a file below the root says something. One that is not never does."""
    return not without_locks(root)


def no_locks(hosts: Sequence[str]) -> str:
    """What it means that locks do not reach from these, as a person would say it."""
    if not hosts:
        return ""
    return (
        f"Locks on the files of runs do not reach from {' and '.join(hosts)} to other machines. Another one "
        f"that comes to lead counts what runs there as lost after a minute without a report. Mend the mount "
        f"(NFS 4; Lustre with `-o flock`), then join again or run `orch doctor --cluster`."
    )


def _not_shared(root: Path, why: str) -> MoveRefused:
    return MoveRefused(
        f"The server keeps its runs in {root}, and {why}. Mount the disk of the server's ORCH_HOME here, at "
        f"the same path, so that both machines read and write it."
    )
