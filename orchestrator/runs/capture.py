"""How does what a process prints come into an attempt's folder? Its file descriptors 1 and 2 are that file.

At that level prints, logging, C code and child processes are all heard. The file is written to directly, so
that a kill -9 or a crash loses nothing that was printed, and nobody who prints waits for a reader of ours: a
pipe would make C code that holds Python's lock wait for ever. A thread looks at the file's size and shortens
it; until it looks a fast printer may write more than is kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import threading
from pathlib import Path

from orchestrator.runs import output

LOOK_S = 0.25  # between two looks at the file's size
LINE_BUFFERED = 1  # of setvbuf, as in Linux' and the BSDs' <stdio.h>


class Capture:
    """The output of one attempt. Made before it is entered, so that a folder without room is known then."""

    def __init__(self, folder: Path, *, look_s: float = LOOK_S) -> None:
        self._folder, self._look_s = folder, look_s
        self._file = output.begin(folder)

    def __enter__(self) -> None:
        _by_lines()
        _flush()
        self._before = [(os.dup(fd), fd) for fd in (1, 2)]
        for fd in (1, 2):
            os.dup2(self._file, fd)
        os.close(self._file)
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, name="output", daemon=True)
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        _flush()
        for kept, fd in self._before:
            os.dup2(kept, fd)
            os.close(kept)
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(self._look_s):
            self._shorten()
        self._shorten()

    def _shorten(self) -> None:
        try:
            output.shorten(self._folder)
        except OSError as problem:  # a disk that is full: once there is room
            logging.getLogger(__name__).debug("%s cannot be shortened now: %s", self._folder, problem)


def _by_lines() -> None:
    """Python's streams and C's hand over every line, as on a terminal: what is buffered dies with a kill."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        libc = ctypes.CDLL(None)
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, LINE_BUFFERED, ctypes.c_size_t(0))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).fflush(None)
