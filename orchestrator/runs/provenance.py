"""On what did an attempt run? Its code, packages, host, devices, threads and seeds, as plain JSON."""

from __future__ import annotations

import functools
import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.ground.release import VERSION
from orchestrator.runs.checkout import distributions, look
from orchestrator.study.resources import Resources
from orchestrator.study.whereabouts import SOURCE

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")
ACCELERATORS = (
    "CUDA_VISIBLE_DEVICES",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "TPU_VISIBLE_CHIPS",
    "TPU_NAME",
    "TPU_ACCELERATOR_TYPE",
    "JAX_PLATFORMS",
)


def collect(*, code: Mapping[str, Any] | None = None, **seeds: int) -> dict[str, Any]:
    """All that is recorded with an attempt. What cannot change within a process is looked up once. `code`:
    what is known of the entrypoint's (checkout.py)."""
    return {
        **_constant(),
        "code": dict(code or {}),
        "packages": packages(),
        "pid": os.getpid(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": _environment(THREADS),
        "devices": _devices(),
        "seeds": seeds,
    }


def of_accelerators(resources: Resources, held: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Which GPUs and TPU chips of its host an attempt was given, and how much of each; nothing where none."""
    found = {kind: list(numbers) for kind, numbers in held.items() if numbers}
    return {"accelerators": found, "share": min(resources.gpus or 1.0, 1.0)} if found else {}


def of_hosts() -> dict[str, str]:
    """The versions that must be the same on all hosts of one Ray."""
    return {"python": platform.python_version(), "ray": _version("ray") or "none", "orch": VERSION}


def packages() -> dict[str, str]:
    """The distributions of all modules that this process has loaded, with their versions."""
    tops = {name.partition(".")[0] for name in tuple(sys.modules)}
    names = {name for top in tops for name in distributions().get(top, ())}
    return {name: version for name in sorted(names, key=str.lower) if (version := _version(name))}


@functools.cache
def _constant() -> dict[str, Any]:
    return {
        "orch": _orch(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "machine": machine(),
    }


def code_told(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an attempt's provenance says of the code that it ran. Attempts of before were told the commit of
    orch instead, as `git`."""
    code = facts.get("code", facts.get("git")) or {}
    return code if isinstance(code, Mapping) else {"commit": code}


def machine() -> str:
    """What stays as it is for as long as a process can live, and whose processes are seen by one another:
    the kernel's boot and the PID namespace (a container's). Host names change, and two machines may share
    one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return socket.gethostname()


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _orch() -> dict[str, Any]:
    """Which release of orch ran it; its commit, where it is a checkout."""
    found: dict[str, Any] = {"version": VERSION}
    if (SOURCE / ".git").exists():
        ours = look(Path(__file__)).facts
        found |= {key: ours[key] for key in ("commit", "dirty") if key in ours}
    return found


def _environment(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _devices() -> dict[str, Any]:
    """What JAX sees if the training code has loaded it; this file never does (1.3 s, and it takes a TPU)."""
    jax = sys.modules.get("jax")
    try:
        found = None if jax is None else [str(device) for device in jax.devices()]
    except RuntimeError as problem:  # its platform cannot be started: the training code will say it better
        found = [str(problem)]
    return {"jax": found, **_environment(ACCELERATORS)}
