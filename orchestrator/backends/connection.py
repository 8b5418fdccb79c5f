"""How does this process get into a Ray? As a driver beside a node of that Ray's on its own machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

from orchestrator.backends import daemon, ray_private
from orchestrator.ground.errors import BackendLost
from orchestrator.study.whereabouts import INSTALLED, SOURCE

NAMESPACE = "orch"  # of the actors on a Ray of our own, where nobody else has any
CONNECT_S = 30.0
# Ray ends a process a minute after the gcs that it is connected to; this process leaves and starts another.
NEVER_ENDED = (ray_private.GCS_PATIENCE, "1000000")  # 11 days


def connect(address: str, token_path: Path | None, namespace: str) -> tuple[Any, bool]:
    """The ray module, connected; and whether that was done here. Without `token_path` Ray's own variables say
    how it is let in."""
    if token_path is not None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_path)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.update([daemon.NO_TASK_EVENTS, NEVER_ENDED])
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a call without a connection starts a Ray of its own
    import ray

    if ray.is_initialized():
        connected = ray.get_runtime_context().gcs_address
        if connected != address:
            raise BackendLost(
                f"This process is connected to the Ray at {connected}; close that backend first."
            )
        return ray, False
    # Ray would try for ever.
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as problem:
        raise BackendLost(f"No Ray answers at {address!r}: {problem}") from problem
    if token_path is not None:
        ray_private.forget_token()
    ray_private.say_to(lambda lines: logging.getLogger(__name__).info("%s", lines))
    in_main = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR,
            configure_logging=False, job_config=ray_private.only_on_path(*_uninstalled()),
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as problem:
        raise BackendLost(f"No Ray answers at {address!r}: {problem}") from problem
    if in_main:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own there
    return ray, True


def _uninstalled() -> list[Path]:
    """Where our packages lie, unless every Python of this environment finds them."""
    return [] if SOURCE.name in INSTALLED else [SOURCE]
