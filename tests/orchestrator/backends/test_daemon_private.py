"""What can others and training code learn from the Ray daemon's processes and files? Do all of them end?"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.backends import daemon
from orchestrator.backends.inherited import inherited
from orchestrator.backends.ray import RayBackend
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.contract import Launch

SECRETS = {
    "ORCH_LEDGER": "postgresql://ada:sesame-in-ledger@host/orch",
    "ORCH_TOKEN": "orch_sesame-in-token",
    "PGPASSWORD": "sesame-in-pg",
    "PGPASSFILE": "/home/ada/sesame-in-passfile",
    "POSTGRES_PASSWORD": "sesame-in-compose",
    "MLFLOW_TRACKING_URI": "https://ada:sesame-in-mlflow@host",
    "MLFLOW_TRACKING_PASSWORD": "sesame-in-tracking",
    "REPORTING_DB": "mysql+pymysql://ada:sesame-in-address@host/x",
    "BACKUP_OF_PASSWORD": "sesame-in-ledger",
    "BACKUP_COMMAND": "pg_dump --password sesame-in-ledger",
}
HARMLESS = {
    "HTTPS_PROXY": "http://ada:needed@proxy:3128",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=false",
    "HF_HOME": "/data/hf",
    "PATH": "/usr/bin",
}
ENDED_WITHIN_S = 20.0


def test_what_one_logs_in_with_is_not_inherited_and_the_rest_is() -> None:
    assert inherited({**SECRETS, **HARMLESS, "ORCH_HOME": "/data", "RAY_ADDRESS": "1.2.3.4:5"}) == {
        **HARMLESS,
        "ORCH_HOME": "/data",
    }


@pytest.mark.parametrize(
    "ledger",
    [
        "postgresql://ada:p%40ss-word@host/orch",
        "postgresql://ada@host/orch?password=p%40ss-word",
        "postgresql+psycopg://host/orch?user=ada&sslpassword=p@ss-word",
    ],
)
def test_the_ledger_s_password_is_found_wherever_its_address_has_it(ledger: str) -> None:
    assert inherited({"ORCH_LEDGER": ledger, "COPY": "p@ss-word", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_a_short_password_takes_no_path_along() -> None:
    assert inherited({"ORCH_LEDGER": "postgresql://orch:orch@db/orch", "PATH": "/opt/orch/bin"}) == {
        "PATH": "/opt/orch/bin"
    }


def test_a_temporary_folder_too_long_for_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(daemon.tempfile, "gettempdir", lambda: "/" + "t" * 40)
    monkeypatch.setattr(
        daemon.tempfile,
        "mkdtemp",
        lambda **asked: made.append(asked["dir"]) or "{dir}/{prefix}x".format(**asked),
    )
    assert daemon._temporary() == "/tmp/orch-ray-x"
    assert made == ["/tmp"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    daemon.stop(tmp_path / "home")


def holding(folder: str) -> set[int]:
    """The processes that were told of a folder or have a file open in it: found without their environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                files = [os.readlink(file) for file in (entry / "fd").iterdir()]
            except OSError:
                continue
            if folder.encode() in words or any(file.startswith(folder) for file in files):
                found.add(int(entry.name))
    return found


def worker_has_run(home: Path, folder: Path) -> tuple[int, dict[str, str]]:
    """The pid of a worker, and the environment that its training code saw."""
    backend = RayBackend(daemon.find(home) or "", workers=1, token_path=daemon.token_path(home))
    key = ("a", 1)
    try:
        backend.submit(Launch(*key, "tests.orchestrator.backends.says_environment", {}, "shape", str(folder)))
        give_up_at = time.monotonic() + 60
        while (progress := backend.poll({key: 0})[key]).ended is None:
            assert time.monotonic() < give_up_at
            threading.Event().wait(0.01)
        assert progress.ended.how == "outcome", progress.ended
        return int(progress.events[0].payload["pid"]), json.loads((folder / "environment.json").read_text())
    finally:
        backend.close(end_workers=False)


def test_no_process_of_the_daemon_holds_a_secret_and_none_outlives_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as starting:
        for name, value in SECRETS.items():
            starting.setenv(name, value)
        daemon.start(home, cpus=1)
    record = daemon.record(home)
    assert record is not None
    pid, seen = worker_has_run(home, tmp_path / "attempt-1")
    assert seen["ORCH_HOME"] == str(home)

    processes = set(daemon.processes(home))
    assert holding(record.temp_dir) <= processes  # the agents too, whose titles overwrote the mark
    assert len(processes) >= 6
    assert pid in processes
    assert not [name for name, value in seen.items() if name in SECRETS or "sesame" in value]
    for each in processes:
        assert b"sesame" not in Path(f"/proc/{each}/environ").read_bytes()
        assert b"sesame" not in Path(f"/proc/{each}/cmdline").read_bytes()

    outer = Path(record.temp_dir)
    assert stat.S_IMODE(outer.stat().st_mode) == 0o700
    sockets = list(outer.rglob("sockets/*"))
    assert {path.name for path in sockets} == {"raylet", "plasma_store"}
    assert max(len(os.fsencode(path)) for path in sockets) <= daemon.SOCKET_BYTES

    daemon.stop(home)
    give_up_at = time.monotonic() + ENDED_WITHIN_S
    while any(alive(each) for each in processes):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    assert holding(record.temp_dir) == set()
    assert not outer.exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_temporary_folder_that_fits_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "SOCKET_BYTES", 80)
    monkeypatch.setattr(daemon.tempfile, "gettempdir", lambda: "/var/tmp/of-a-job")
    most = 80 - daemon.SOCKET_IN_SESSION - len("/orch-ray-12345678/r")
    with pytest.raises(BackendLost) as lost:
        daemon._temporary()
    assert str(lost.value) == (
        "The Ray daemon could not be started: the path of the temporary folder is too long for Ray's "
        f"sockets, '/var/tmp/of-a-job'. Name one of {most} bytes at most in TMPDIR."
    )
