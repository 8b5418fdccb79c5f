"""What becomes of the memory that a compilation needed? It goes back to the machine when the program is made.

XLA takes several hundred MB of small pieces to compile a training program. glibc keeps them for later, and a
worker that compiles a dozen programs would hold them all.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import jax

LEAST_S = 0.2  # a compilation that took less needed little memory
_BACKEND = "/jax/core/compile/backend_compile_duration"


@functools.cache  # once a process
def give_back_after_compiling() -> None:
    """Each large compilation in this process is followed by glibc's `malloc_trim`; elsewhere by nothing."""
    trim = _malloc_trim()
    if trim is None:
        return

    def compiled(event: str, duration_secs: float, **_: str | int) -> None:  # the name is JAX's
        if event == _BACKEND and duration_secs >= LEAST_S:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(compiled)


def _malloc_trim() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library than glibc
        return None
