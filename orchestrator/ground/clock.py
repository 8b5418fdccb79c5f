"""What time is it? Wall time is written down; monotonic time is what anything waits by."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Unix seconds. May jump; nothing is decided by it."""

    def monotonic(self) -> float:
        """Seconds that never jump."""


class SystemClock:
    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
