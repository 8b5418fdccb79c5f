"""`orch ui`: MLflow's own pages on what is mirrored, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import click

from orchestrator.cli.mlflow import place_of_mirror
from orchestrator.cli.output import DONE, note, say
from orchestrator.ground.errors import MirrorLost, NotFound
from orchestrator.server.process import Address, listen, url_of
from orchestrator.service import signals
from orchestrator.tracking.destination import Destination

READY_WITHIN_S = 120.0  # 8 to 24 s where nothing else is at work
ENDS_WITHIN_S = 10.0
# One server process without the job runner takes a third of the time and a quarter of the memory.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@click.command("ui")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="The port.")
def command(host: str, port: int) -> int:
    """Open the MLflow UI on the mirrored studies. Stop it with Ctrl-C."""
    place = place_of_mirror()
    if place.is_server:
        say(f"The studies are on a server, which has its own pages: {place.shown}")
        return DONE
    if place.is_emptied:
        raise NotFound(
            f"Nothing has been mirrored to {place.file} yet. Run a study first; or write what the ledger "
            f"holds with: orch mlflow sync"
        )
    with listen(Address(host, port)) as free:  # and closed again
        url = url_of(free)
    with _server(place, host, port) as server, signals.Heeded():
        try:
            _wait_until_ready(server, url)
            say(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
            note("Ctrl-C ends it.")
            server.wait()
        except KeyboardInterrupt:
            return DONE
    raise MirrorLost(
        f"MLflow's server ended by itself, with exit code {server.returncode}. Its own message is above."
    )


@contextlib.contextmanager
def _server(place: Destination, host: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow ui` in a session of its own, so that all of its processes can be ended."""
    words = ["--backend-store-uri", place.uri, "--host", host, "--port", str(port), "--workers", "1"]
    if place.artifacts is not None:
        words += ["--default-artifact-root", place.artifacts.as_uri()]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", *words],
        env={**ENVIRONMENT, **os.environ},
        stdout=sys.stderr,
        start_new_session=True,
    )
    try:
        yield server
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(ENDS_WITHIN_S)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    note("Starting MLflow's server…")
    give_up_at = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up_at and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except urllib.error.HTTPError:  # it answers
            return
        except OSError:
            time.sleep(0.2)
    if server.poll() is not None:
        raise MirrorLost(
            f"MLflow's server ended at once, with exit code {server.returncode}. Its own message is above."
        )
    raise MirrorLost(f"MLflow's server does not answer within {READY_WITHIN_S:g} s. Try again.")
