"""Is the process that used these TPU chips before gone? Each chip has a lock that a process holds for life.

Ray ends a worker without waiting for its process (ray#34917), and libtpu refuses a chip that another process
has open. The locks lie in this machine's folder for temporary files, so that two Rays on one host heed each
other. Where they cannot be had (another user's folder) nothing is waited for, and libtpu says what is wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

WITHIN_S = 60.0  # for the process before to be gone: the kernel gives back its memory and its devices first


def folder() -> Path:
    return Path(tempfile.gettempdir()) / f"orch-chips-{socket.gethostname()}"


class ChipLocks:
    """Of one process: taken once, before it first uses its chips, and given back by its end alone."""

    def __init__(self, chips: Sequence[int], where: Path | None = None) -> None:
        self._left = sorted(chips)  # taken in one order by all, so that no two wait for each other
        self._where = where or folder()
        self._files: list[TextIO] = []  # closed on exec, so that what training code starts does not hold them

    def holder(self) -> str:
        """Take what is free; which chip another process still holds, in words, "" once all are taken."""
        while self._left:
            try:
                file = self._opened(self._left[0])
                held = self._pid_of_holder(file)
            except OSError:
                self._left.clear()
                return ""
            if held:
                return f"TPU chip {self._left[0]}, which process {held} holds"
            self._files.append(file)
            self._left.pop(0)
        return ""

    def _pid_of_holder(self, file: TextIO) -> str:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                return file.read().strip() or "?"
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        return ""

    def _opened(self, chip: int) -> TextIO:
        self._where.mkdir(exist_ok=True)
        path = self._where / f"tpu-{chip}"
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # another user's, who has done so; sticky, it could not be opened
            self._where.chmod(0o777)
            os.fchmod(number, 0o666)
        return open(number, "r+")
