"""Do two machines see the same files? Each reads what the other has written."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path

from orchestrator.ground.errors import MoveRefused
from trainer.protocol import whole

FOLDER = ".hosts"  # below the root of all runs; no study has such a name
WORD = "word"
ANSWER = re.compile(r"[0-9a-f]{32}")


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


def _not_shared(root: Path, why: str) -> MoveRefused:
    return MoveRefused(
        f"The server keeps its runs in {root}, and {why}. Mount the disk of the server's ORCH_HOME here, at "
        f"the same path, so that both machines read and write it."
    )
