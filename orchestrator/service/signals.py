"""Which signals ask a process to end, and where does it speak once its terminal is closed?"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Self


def ending() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM, and the SIGHUP of a terminal that is closed; not where `nohup` has it ignored."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Heeded:
    """What asks the process to end is heeded while the block runs."""

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in ending()}
        self.heed()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def heed(self) -> None:
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # as by Ctrl-C


def leave_closed_terminal() -> None:
    """What is said from now on goes nowhere if it went to a terminal that is closed, where writing fails."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream)
