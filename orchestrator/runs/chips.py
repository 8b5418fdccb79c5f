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

WITHIN_S = 60.0  # for the process before to be gone: the kernel gives back its memory and its devices first


def folder() -> Path:
    return Path(tempfile.gettempdir()) / f"orch-chips-{socket.gethostname()}"


class ChipLocks:
    """Of one process: taken once, before it first uses its chips, and given back by its end alone."""

    def __init__(self, chips: Sequence[int], where: Path | None = None) -> None:
        self._left = sorted(chips)  # taken in one order by all, so that no two wait for each other
        self._where = where or folder()

    def holder(self) -> str:
        """Take what is free; which chip another process still holds, in words, "" once all are taken."""
        while self._left:
            try:
                pid = self._taken_by(self._left[0])
            except OSError:
                self._left.clear()
                return ""
            if pid:
                return f"TPU chip {self._left[0]}, which process {pid} holds"
            self._left.pop(0)
        return ""

    def _taken_by(self, chip: int) -> str:
        """The pid of another process; "" where the lock is this one's from now on."""
        self._where.mkdir(exist_ok=True)
        path = self._where / f"tpu-{chip}"
        # Never closed but by the end, and on exec: what training code starts does not hold it.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # another user's, who has done so
                self._where.chmod(0o777)  # not sticky: then others could not open it
                os.fchmod(file, 0o666)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            pid = os.pread(file, 20, 0).decode(errors="replace").strip()
            os.close(file)
            if isinstance(problem, BlockingIOError):
                return pid or "?"
            raise
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        return ""
