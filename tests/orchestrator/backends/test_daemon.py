"""Does the Ray daemon outlive its starter, and does `stop` end all of it and nothing else?"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.contract import Launch

PACED = {
    "seed": 1, "steps": 40_000, "eval_every_steps": 10, "checkpoint_every_steps": 20,
    "rehearsal": {"pace_s": 0.002},
}  # fmt: skip

STARTER = """
import sys, threading
from orchestrator.backends import daemon
print(daemon.start(sys.argv[1], cpus=1), flush=True)
threading.Event().wait(120)
"""
ENGINE = """
import sys, threading
from orchestrator.backends import daemon
from orchestrator.runs.contract import Launch
from orchestrator.backends.ray import RayBackend
home, folder = sys.argv[1:]
backend = RayBackend(daemon.find(home), workers=1, token_path=daemon.token_path(home))
backend.submit(Launch("a", 1, "orchestrator.rehearsal", {config!r}, "shape", folder))
while not backend.poll({{("a", 1): 0}})[("a", 1)].events:
    threading.Event().wait(0.01)
print("running", flush=True)
threading.Event().wait(120)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    # Longer than a unix socket's path may be.
    made = tmp_path / ("a-folder-with-a-long-name-" * 4) / "home"
    yield made
    daemon.stop(made)


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}"):
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z" or time.monotonic() > deadline:
            break
        threading.Event().wait(0.01)
    return not os.path.exists(f"/proc/{pid}") or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_one_daemon_for_two_starters_that_outlives_kill_9_of_them_and_of_its_engine(home: Path) -> None:
    daemon.folder(home).mkdir(parents=True)
    (daemon.folder(home) / "daemon.json").write_text(
        '{"address": "1.2.3.4:5", "mark": "of-last-week", "temp_dir": ""}'
    )
    assert daemon.find(home) is None  # a stale record

    starters = [python(STARTER, home), python(STARTER, home)]
    addresses = {first_line(starter) for starter in starters}
    end(*starters)  # by SIGKILL
    assert addresses == {daemon.find(home)}
    assert (daemon.token_path(home).stat().st_mode & 0o777) == 0o600

    engine = python(ENGINE.format(config=PACED), home, home / "attempt-1")
    assert first_line(engine) == "running"
    end(engine)
    backend = RayBackend(daemon.find(home) or "", workers=1, token_path=daemon.token_path(home))
    key = ("a", 1)
    try:
        assert backend.attempts() == [key]
        assert backend.submit(Launch(*key, "orchestrator.rehearsal", PACED, "shape", str(home / "attempt-1")))
        heard = 0
        deadline = time.monotonic() + 60
        while heard < 300:  # more than it can have said before: it goes on
            assert time.monotonic() < deadline
            heard = len(backend.poll({key: 0})[key].events)
    finally:
        backend.close(end_workers=False)

    processes = daemon.processes(home)
    assert len(processes) >= 4  # the head, the raylet, its agents, a worker
    daemon.stop(home)
    assert all(gone(pid) for pid in processes)
    assert daemon.find(home) is None
    assert sorted(p.name for p in daemon.folder(home).iterdir()) == ["lock", "start.log", "token"]


@pytest.mark.fault(8, real=True)
def test_a_daemon_that_lost_its_raylet_is_not_found_and_stop_ends_the_rest(home: Path) -> None:
    daemon.start(home, cpus=1)
    processes = daemon.processes(home)
    raylet = next(pid for pid in processes if "raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_text())
    bystander = python("import threading; print(1, flush=True); threading.Event().wait(120)")
    beats = daemon.pulse(home)
    assert beats()
    os.kill(raylet, signal.SIGKILL)
    assert gone(raylet)
    assert not beats()
    assert not daemon.pulse(home)()
    assert daemon.find(home) is None
    daemon.stop(home)
    assert all(gone(pid) for pid in processes)
    assert bystander.poll() is None
    end(bystander)


@pytest.fixture
def mark() -> Iterator[str]:
    """Of processes that are named as a daemon's, and do nothing."""
    made = uuid.uuid4().hex
    sleep = shutil.which("sleep") or ""
    environment = {**os.environ, daemon.MARK: made}
    processes = [subprocess.Popen([name, "120"], executable=sleep, env=environment) for name in daemon.CORE]
    yield made
    for process in processes:
        process.kill()
        process.wait()


def write_down(mark: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"address": "127.0.0.1:1", "mark": mark, "temp_dir": str(folder / "none")}
    (folder / "daemon.json").write_text(json.dumps(record))
    (folder / "token").write_text("word")


def test_another_machine_on_the_same_home_neither_finds_nor_loses_what_runs_here(
    home: Path, mark: str
) -> None:
    """The other machine is a PID namespace of its own, as a container is: our processes are not in its
    /proc."""
    elsewhere = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This system lets nobody make a PID namespace.")
    write_down(mark, daemon.folder(home))
    program = "import sys; from orchestrator.backends import daemon; h = sys.argv[1]; " + (
        "print(daemon.find(h)); daemon.claim(h, 'ours').close(); daemon.stop(h); print(daemon.processes(h))"
    )
    command = [*elsewhere, sys.executable, "-c", program, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "[]"]
    assert daemon.find(home) == "127.0.0.1:1"
    assert len(daemon.processes(home)) == 2


def test_a_daemon_of_a_former_release_is_found_and_ended_if_it_lives_on_this_machine(
    home: Path, mark: str
) -> None:
    write_down("of-another-machine", home / "ray")
    assert daemon.find(home) is None
    daemon.stop(home)
    assert (home / "ray" / "daemon.json").exists()  # it may live there

    write_down(mark, home / "ray")
    processes = daemon.processes(home)
    assert len(processes) == 2
    assert daemon.find(home) == "127.0.0.1:1"
    assert daemon.token_path(home).read_text() == "word"
    assert (daemon.token_path(home).stat().st_mode & 0o777) == 0o600
    assert (home / "ray" / "token").exists()  # its workers were told of that place
    daemon.stop(home)
    assert all(gone(pid) for pid in processes)
    assert not (home / "ray" / "daemon.json").exists()


def test_without_a_daemon_there_is_nothing_to_find_or_to_stop(home: Path) -> None:
    assert daemon.find(home) is None
    daemon.stop(home)
    assert not home.exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", ""])
def test_an_address_where_no_ray_answers_is_said_in_a_sentence(address: str) -> None:
    with pytest.raises(BackendLost) as lost:
        RayBackend(address, workers=1)
    assert str(lost.value).startswith(f"No Ray answers at {address!r}: ")
