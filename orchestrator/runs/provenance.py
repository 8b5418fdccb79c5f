"""On what did an attempt run? Versions, commit, host, devices, threads and seeds, as plain JSON."""

from __future__ import annotations

import functools
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.ground.release import VERSION

PACKAGES = (
    "flax", "jax", "jaxlib", "numpy", "optax", "optuna", "ray", "sacrebleu", "scipy",
    "tensorflow-datasets", "torch",
)  # fmt: skip
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")
ACCELERATORS = (
    "CUDA_VISIBLE_DEVICES",
    "TPU_VISIBLE_CHIPS",
    "TPU_NAME",
    "TPU_ACCELERATOR_TYPE",
    "JAX_PLATFORMS",
)


def collect(**seeds: int) -> dict[str, Any]:
    """All that is recorded with an attempt. What cannot change within a process is looked up once."""
    return {
        **_constant(),
        "pid": os.getpid(),
        "git": _git(_here()),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": _environment(THREADS),
        "devices": _devices(),
        "seeds": seeds,
    }


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted since; no reason for a trial to fail
        return "/"


@functools.cache
def _constant() -> dict[str, Any]:
    return {
        "packages": {"orch": VERSION, **{name: _version(name) for name in PACKAGES}},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "machine": machine(),
    }


def machine() -> str:
    """What stays as it is for as long as a process can live, and whose processes are seen by one another:
    the kernel's boot and the PID namespace (a container's). Host names change, and two machines may share
    one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return socket.gethostname()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _git(folder: str) -> dict[str, Any] | None:
    """Commit and dirtiness of the checkout that this code lies in, else of the working directory."""
    for place in (str(Path(__file__).parent), folder):
        commit = _ask_git(place, "rev-parse", "HEAD")
        if commit is not None:
            changes = _ask_git(place, "status", "--porcelain")
            return {"commit": commit, "dirty": None if changes is None else bool(changes)}  # None: not known
    return None


def _ask_git(folder: str, *words: str) -> str | None:
    # --no-optional-locks: a look at the status must not get in the way of the person's own git.
    command = ["git", "--no-optional-locks", "-C", folder, *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()  # a file may have any bytes as its name


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
