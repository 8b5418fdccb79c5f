"""Where are compiled programs kept, and who compiles one that several processes need at once?

JAX keeps them on disk and finds them by what they compute. Below the given folder each jaxlib, platform and
kind of processor has a folder of its own: a program may use instructions that another machine lacks. The
first process that needs a program compiles it; those that come meanwhile wait, and load it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache, compiler
from jaxlib.version import __version__ as jaxlib_version

WAITED = "/orch/compile/waited_duration"  # an event of jax.monitoring
MADE = b"made\n"
_FOLDER = "jax_compilation_cache_dir"


def keep(folder: Path) -> None:
    """Compiled programs go below this folder, so that another process need not compile them again. Each
    process of a gang has its own: its host may have a disk of its own, and its programs another name."""
    place = folder / f"jaxlib-{jaxlib_version}-{jax.default_backend()}-{_processor()}"
    index = jax.process_index()
    jax.config.update(_FOLDER, str(place / f"process-{index}" if index else place))
    if index:
        compiler._cache_write = _keep_too
    # The small programs of a start cost as much together as the large one.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _keep_too(
    cache_key: str,
    compile_time_secs: float,
    module_name: str,
    backend: Any,
    executable: Any,
    host_callbacks: Sequence[Any],
) -> None:
    """In place of JAX's own, which has the first process alone write, for disks that all share."""
    if not host_callbacks:
        with contextlib.suppress(Exception):  # as JAX's own: a program that is not kept is compiled again
            compilation_cache.put_executable_and_time(
                cache_key, module_name, executable, backend, int(compile_time_secs)
            )


@functools.cache
def _processor() -> str:
    """A name for processors with the same instructions."""
    told = platform.processor()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        else:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
            told = " ".join(sorted(set(re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.M))))
    return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def one_at_a_time(jitted: Any) -> Callable[..., Any]:
    """What `jax.jit` gave, whose programs are each compiled by one process at a time where they are kept."""
    known: set[Any] = set()

    @functools.wraps(jitted)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = jax.tree.flatten((args, kwargs))
        shapes = structure, tuple(jax.typeof(x) if hasattr(x, "shape") else x for x in leaves)
        if shapes not in known:
            # In a gang all compile together. Inside another program nothing is compiled.
            if jax.process_count() == 1 and not any(isinstance(x, jax.core.Tracer) for x in leaves):
                lowered = jitted.lower(*args, **kwargs)  # which the call below finds, as it does the program
                with _turn(lowered):
                    lowered.compile()
            known.add(shapes)
        return jitted(*args, **kwargs)

    return call


@contextlib.contextmanager
def _turn(lowered: Any) -> Iterator[None]:
    """While it lasts, no other process compiles this program; one that has been made keeps nobody waiting.
    The lock ends with the process that holds it. Where files cannot be locked, nobody waits."""
    kept: str | None = getattr(jax.config, _FOLDER)
    if not kept:
        yield
        return
    key = hashlib.sha256(lowered.as_text().encode()).hexdigest()[:24]
    with contextlib.ExitStack() as held:
        file = None
        with contextlib.suppress(OSError):
            Path(kept).mkdir(parents=True, exist_ok=True)
            file = held.enter_context((Path(kept) / f"{key}.turn").open("a+b"))
            if file.seek(0, 2) == 0:
                begun_s = time.monotonic()
                fcntl.flock(file, fcntl.LOCK_EX)
                jax.monitoring.record_event_duration_secs(WAITED, time.monotonic() - begun_s)
                if file.seek(0, 2):  # those that waited load it side by side
                    fcntl.flock(file, fcntl.LOCK_UN)
        yield
        with contextlib.suppress(OSError):
            if file is not None and file.seek(0, 2) == 0:
                file.write(MADE)
                file.flush()
