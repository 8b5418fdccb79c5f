"""What did this attempt spend its seconds on, and what did it do in them?

Every second is on exactly one clock. What JAX reports as tracing and compiling goes to `compile_s`, whoever
caused it: training, an evaluation, the first use of anything; so does waiting for a program that another
process compiles. A warm process so shows none.

A run on CPUs may have to wait for a core. Those seconds are no training: they go to
`other_s`, so that what a step costs does not depend on what else the machine does.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from trainer.models.programs import WAITED
from trainer.protocol import COUNTS, SECONDS

_COMPILING = "/jax/core/compile/"  # jaxpr_trace_, jaxpr_to_mlir_module_ and backend_compile_duration


class Clocks:
    """The totals of this attempt, and apart from them those of the attempts before it."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._totals = dict.fromkeys((*SECONDS, *COUNTS), 0.0)
        self._on = "other_s"
        self._since = now()
        self._cpu: Callable[[], float] | None = None
        self._cpu_since = 0.0
        self._compiled: list[tuple[float, float]] = []  # intervals since the last switch, disjoint
        self.earlier: dict[str, float] = dict.fromkeys(self._totals, 0.0)

    @contextlib.contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Seconds go to this clock; afterwards again to the one before."""
        if name not in SECONDS:
            raise ValueError(f"There is no clock {name!r}. Allowed: {', '.join(SECONDS)}.")
        before = self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def without_waits(self, cpu: Callable[[], float] = time.process_time) -> None:
        """From here on, what this process spent without a core goes to `other_s`: for runs on cores alone."""
        self._switch(self._on)
        self._cpu, self._cpu_since = cpu, cpu()

    def count(self, **more: float) -> None:
        """Add to steps, tokens or flops."""
        for name, number in more.items():
            if name not in COUNTS:
                raise ValueError(f"Nothing counts {name!r}. Allowed: {', '.join(COUNTS)}.")
            self._totals[name] += number

    def compiled(self, last_s: float) -> None:
        """The seconds that end now went into compiling. What was told of a part of them counts once."""
        end = self._now()
        start = max(end - last_s, self._since)
        inside = [(a, b) for a, b in self._compiled if b > start]
        self._compiled = [(a, b) for a, b in self._compiled if b <= start]
        self._compiled.append((min([start, *(a for a, _ in inside)]), end))

    @contextlib.contextmanager
    def hearing_compiles(self) -> Iterator[None]:
        """While it lasts, this thread's compiling is put on its clock."""
        thread = threading.get_ident()

        def hear(event: str, duration_secs: float, **_: str | int) -> None:  # the name is JAX's
            if event.startswith((_COMPILING, WAITED)) and threading.get_ident() == thread:
                self.compiled(duration_secs)

        jax.monitoring.register_event_duration_secs_listener(hear)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(hear)

    def reading(self) -> dict[str, float]:
        """This attempt's totals, up to now."""
        self._switch(self._on)
        return dict(self._totals)

    def to_checkpoint(self) -> dict[str, float]:
        """The sum over this attempt and all before it."""
        return {name: number + self.earlier[name] for name, number in self.reading().items()}

    def from_checkpoint(self, saved: Mapping[str, float]) -> None:
        """This attempt goes on from a checkpoint of an earlier one; its own totals stay its own."""
        self.earlier = {name: float(saved.get(name, 0.0)) for name in self._totals}

    def _switch(self, name: str) -> str:
        now = self._now()
        compile_s = sum(b - a for a, b in self._compiled)
        self._totals["compile_s"] += compile_s
        inside = now - self._since - compile_s
        waited = self._waited_share(now - self._since) * inside
        self._totals[self._on] += inside - waited
        self._totals["other_s"] += waited
        self._compiled, self._since = [], now
        before, self._on = self._on, name
        return before

    def _waited_share(self, wall_s: float) -> float:
        """The part of the seconds since the last switch in which none of this process's threads had a core.

        A lower bound where several threads compute at once: their CPU seconds add up.
        """
        if self._cpu is None:
            return 0.0
        cpu = self._cpu()
        worked_s, self._cpu_since = cpu - self._cpu_since, cpu
        return max(0.0, 1 - worked_s / wall_s) if wall_s > 0 else 0.0


def peak_memory_bytes() -> int:
    """The most that this process has held: on its devices where they say, else in the machine's memory.

    A reading and no clock, since attempts do not add up. It is the process's, so in a warm worker it is
    that of the largest trial so far.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    on_devices = sum(each.get("peak_bytes_in_use", 0) for each in stats)
    if on_devices:
        return int(on_devices)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
