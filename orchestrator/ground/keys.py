"""Which key opens the service for whoever runs it? 256 random bits in its home, for that user alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from orchestrator.ground.errors import BadSpec

FILE = "key"
SECRET = re.compile(r"orch_[A-Za-z0-9_-]{43}")


def digest(secret: str) -> str:
    """A plain hash is right for 256 random bits: nobody can guess those, however fast they try."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    return f"orch_{secrets.token_urlsafe(32)}"


def read(home: Path) -> str | None:
    """The key of this home; None where there is none, or where it is another user's."""
    try:
        return _read(home / FILE)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def ensure(home: Path, *, say: Callable[[str], None]) -> str:
    """The key of this home, made where there is none. One that other users could read is replaced."""
    file = home / FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(file.lstat().st_mode) & 0o077:
                file.unlink()
                say(f"Other users could read the key in {file}, so it was replaced by a new one.")
        with contextlib.suppress(FileNotFoundError):
            return _read(file)
        _write(file)
        return _read(file)  # another process may have been quicker
    except OSError as problem:
        raise BadSpec(
            f"The service's key cannot be kept in {file} ({problem.strerror}). Name a folder of your own in "
            f"ORCH_HOME."
        ) from problem


def _read(file: Path) -> str:
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as opened:
        text = opened.read(100).decode("ascii", "replace").strip()
    if not SECRET.fullmatch(text):
        raise BadSpec(f"{file} holds no key of orch. Delete it: the next `orch serve` makes another.")
    return text


def _write(file: Path) -> None:
    """Whole or not at all, and never in place of one that is there."""
    unfinished = file.with_name(f".{FILE}-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as opened:
            opened.write(new_secret() + "\n")
            opened.flush()
            os.fsync(handle)
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, file)
    finally:
        unfinished.unlink()
