"""`orch serve`, and `orch join` as another machine would call it: one study on both hosts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.ground import keys
from tests.e2e.test_serve_ray import Server
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 240.0  # 20 s on an idle machine


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A serves; B has a home of its own, as every machine has its own folder for its Ray."""
    a, b = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    yield a, b
    daemon.stop(b)
    daemon.stop(a)


@pytest.fixture(scope="module")
def server(homes: tuple[Path, Path]) -> Iterator[Server]:
    made = Server(homes[0], within_s=2 * WITHIN_S)
    yield made
    made.end()


def orch(home: Path, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCH_", "RAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *words],
        cwd=ROOT,
        env={**kept, "ORCH_HOME": str(home), "ORCH_WORKERS": "2", "ORCH_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)


def url_of(server: Server) -> str:
    return server.url.removesuffix("/api/v1")


def workers_of(home: Path) -> set[int]:
    return set(daemon.processes(home))


def test_a_host_joins_serves_and_leaves_with_nothing_lost(server: Server, homes: tuple[Path, Path]) -> None:
    a, b = homes
    key = (a / keys.FILE).read_text().strip()
    until(lambda: server.get("/health/ready")["engine"] == "leading")
    joined = orch(b, "join", url_of(server), token=key)
    assert joined.returncode == 0, joined.stderr
    assert joined.stdout == f"Joined {url_of(server)} with 2 workers. To leave: orch down\n"
    assert orch(b, "join", url_of(server), token=key).stdout == joined.stdout  # again changes nothing

    base = {**small_study().base, "steps": 1500, "rehearsal": {"pace_s": 0.02}}
    arms = [{"name": "base", "method": "fixed", "trials": 4}]
    study = small_study(base=base, arms=arms).model_dump(mode="json", exclude_defaults=True)
    server.post("/studies", {"spec": study})

    def pids() -> dict[str, int]:
        found = {}
        for trial in server.get("/studies/small/trials")["items"]:
            for attempt in server.get(f"/trials/{trial['trial_id']}")["tried"]:
                if attempt["provenance"]:
                    found[f"{trial['trial_id']}/{attempt['number']}"] = attempt["provenance"]["pid"]
        return found

    until(lambda: len(pids()) == 4)
    there = {key for key, pid in pids().items() if pid in workers_of(b)}
    assert len(there) == 2
    until(
        lambda: (
            [(host["state"], host["places"], len(host["at_work"])) for host in server.get("/hosts")["items"]]
            == [("in use", 2, 2)] * 2
        )
    )
    seen = server.get("/hosts")["items"]
    told = json.loads(orch(a, "hosts", "--json").stdout)
    assert told["led"]
    assert [host["name"] for host in told["hosts"]] == [host["name"] for host in seen]
    asked = json.loads(orch(a, "doctor", "--cluster", "--json").stdout)
    assert asked.get("ok"), asked
    assert len(asked["checks"]) == 2

    left = orch(b, "down")
    assert left.returncode == 0, left.stderr
    assert left.stdout == f"Stopped the workers of {b}.\n"
    until(lambda: server.get("/studies/small")["status"] == "completed")
    for name in there:
        trial = name.partition("/")[0]
        attempts = server.get(f"/trials/{trial}")["tried"]
        assert [each["state"] for each in attempts] == ["preempted", "completed"], attempts
        assert attempts[1]["resumed_from"]


@pytest.mark.slow  # test_gcs_dies.py has what is called while a head dies, tests/hosts the same on machines
def test_the_head_dies_and_the_other_host_trains_on(server: Server, homes: tuple[Path, Path]) -> None:
    """What runs beside the head is lost with it and retried; what runs on B is found again, and goes on."""
    a, b = homes
    key = (a / keys.FILE).read_text().strip()
    until(lambda: server.get("/health/ready")["engine"] == "leading")
    assert orch(b, "join", url_of(server), token=key).returncode == 0
    base = {**small_study().base, "steps": 1500, "rehearsal": {"pace_s": 0.02}}
    arms = [{"name": "base", "method": "fixed", "trials": 4}]
    study = small_study(name="headless", base=base, arms=arms).model_dump(mode="json", exclude_defaults=True)
    server.post("/studies", {"spec": study})

    def tried() -> dict[str, list[Any]]:
        trials = server.get("/studies/headless/trials")["items"]
        return {t["trial_id"]: server.get(f"/trials/{t['trial_id']}")["tried"] for t in trials}

    until(lambda: sum(bool(each and each[0]["provenance"]) for each in tried().values()) == 4)
    of_b = {trial for trial, each in tried().items() if each[0]["provenance"]["pid"] in workers_of(b)}
    assert len(of_b) == 2
    address = daemon.find(a)
    for pid in daemon.processes(a):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: server.get("/studies/headless")["status"] == "completed")
    assert daemon.find(a) == address
    for trial, attempts in tried().items():
        states = [each["state"] for each in attempts]
        assert states == (["completed"] if trial in of_b else ["lost", "completed"]), (trial, attempts)
    assert orch(b, "down").returncode == 0


def test_who_may_not_join_is_told_why(server: Server, homes: tuple[Path, Path], tmp_path: Path) -> None:
    refused = orch(tmp_path, "join", url_of(server), token="orch_" + "x" * 43)
    assert (refused.returncode, refused.stderr) == (3, "orch: Invalid token.\n")
    plain = orch(tmp_path, "join", "http://10.255.255.1:8000", token="t")
    assert plain.returncode == 2
    assert "is not encrypted" in plain.stderr
    nobody = orch(tmp_path, "join", "http://127.0.0.1:9", token="t")
    assert nobody.returncode == 6
    assert json.loads(orch(tmp_path, "doctor", "--json").stdout)  # nothing was started or written down
    assert daemon.find(tmp_path) is None
