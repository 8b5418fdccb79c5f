"""`orch ui`: MLflow's own pages on what is mirrored, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO

import click

from orchestrator.cli import needs
from orchestrator.cli.completion import studies
from orchestrator.cli.mlflow import place_of_mirror
from orchestrator.cli.output import DONE, note, say
from orchestrator.ground.errors import MirrorLost, NotFound
from orchestrator.server.process import Address, listen, url_of
from orchestrator.service import signals
from orchestrator.tracking import pages
from orchestrator.tracking.destination import Destination

READY_WITHIN_S = 120.0  # 8 to 24 s where nothing else is at work
ENDS_WITHIN_S = 10.0
ANSWERS_WITHIN_S = 10.0  # once it is ready
SHOWN_OF_LOG, SHOWN_LINES = 4000, 12  # where the server ends by itself
# One server process without the job runner takes a third of the time and a quarter of the memory.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@click.command("ui")
@click.argument("name", required=False, shell_complete=studies)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="The port.")
def command(name: str | None, host: str, port: int) -> int:
    """Open the MLflow UI on the trials of a study (default: the newest). Stop it with Ctrl-C."""
    place = place_of_mirror()
    if place.is_server:
        say(f"The studies are on a server, which has its own pages: {place.shown}")
        return DONE
    needs.require("mlflow")
    if place.is_emptied:
        raise NotFound(
            f"Nothing has been mirrored to {place.file} yet. Run a study first; or write what the ledger "
            f"holds with: orch mlflow sync"
        )
    with listen(Address(host, port)) as free:  # and closed again
        url = url_of(free)
    with tempfile.TemporaryFile() as log, _server(place, host, port, log) as server, signals.Heeded():
        try:
            _wait_until_ready(server, url, log)
            note("MLflow's server runs until Ctrl-C.")
            say(_begins_at(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", url, name))
            server.wait()
        except KeyboardInterrupt:
            return DONE
        raise MirrorLost(f"MLflow's server ended by itself, {_last_words(server, log)}")


def _begins_at(shown: str, url: str, name: str | None) -> str:
    """The charts of that study's trials, or of the newest study's; else MLflow's home. `url`: where this
    machine asks the server that browsers find at `shown`."""
    found = pages.charts_at(url, None if name is None else f"orch/{name}", within_s=ANSWERS_WITHIN_S)
    if found is None and name is not None:
        note(
            f"MLflow has no study {name!r}. Names are those of `orch study list`; what is missing is "
            f"written with: orch mlflow sync {name}"
        )
    return shown if found is None else shown + found.removeprefix(url)


@contextlib.contextmanager
def _server(place: Destination, host: str, port: int, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow ui` in a session of its own, so that all of its processes can be ended."""
    words = ["--backend-store-uri", place.uri, "--host", host, "--port", str(port), "--workers", "1"]
    if place.artifacts is not None:
        words += ["--default-artifact-root", place.artifacts.as_uri()]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", *words],
        env={**ENVIRONMENT, **os.environ},
        stdout=log,
        stderr=log,
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


def _last_words(server: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """The exit code of a server that has ended, and the end of its log."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - SHOWN_OF_LOG))
    lines = log.read().decode(errors="replace").strip().splitlines()
    return f"with exit code {server.returncode}. Its log ends with:\n" + "\n".join(lines[-SHOWN_LINES:])


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
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
        raise MirrorLost(f"MLflow's server ended at once, {_last_words(server, log)}")
    raise MirrorLost(f"MLflow's server does not answer within {READY_WITHIN_S:g} s. Try again.")
