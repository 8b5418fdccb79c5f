"""A call that is on its way when the gcs dies does not hang, and the process connects to the next Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.backends import daemon

ROOT = Path(__file__).parents[3]

# In a process of its own: one process has one connection to Ray.
SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from orchestrator.backends import daemon
from orchestrator.runs.contract import Launch
from orchestrator.backends.ray import RayBackend
from orchestrator.ground.errors import BackendLost

home = Path(sys.argv[1])

def connected():
    address = daemon.start(home, cpus=1)
    token, alive = daemon.token_path(home), daemon.pulse(home)
    return RayBackend(address, workers=1, token_path=token, alive=alive)

backend, said = connected(), []
job = Launch("a", 1, "orchestrator.rehearsal", {}, "shape", str(home / "attempt-1"))
calls = {"submit": lambda: backend.submit(job), "actors": backend.actors}
(gcs,) = [pid for pid in daemon.processes(home) if daemon._command(pid) == "gcs_server"]
os.kill(gcs, signal.SIGSTOP)  # from here on no call is answered
for name, call in calls.items():
    def run(call=call):
        try:
            call()
            said.append("answered")
        except BackendLost as problem:
            said.append(str(problem))
    calls[name] = threading.Thread(target=run, name=name, daemon=True)
    calls[name].start()
for thread in calls.values():
    thread.join(0.5)
    assert thread.is_alive(), thread.name
os.kill(gcs, signal.SIGKILL)
killed = time.monotonic()
for thread in calls.values():
    thread.join(30)
    assert not thread.is_alive(), thread.name
assert time.monotonic() - killed < 5
backend.close(end_workers=False)
again = connected()
print(*said, again.actors(), sep="\\n")
again.close(end_workers=True)
"""


@pytest.mark.fault(8, real=True)
def test_calls_that_are_on_their_way_when_the_gcs_dies_are_given_up_at_once(tmp_path: Path) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        )  # fmt: skip
    finally:
        daemon.stop(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["The workers' Ray has gone. Studies go on once it is back."] * 2 + [
        "[]"
    ]
