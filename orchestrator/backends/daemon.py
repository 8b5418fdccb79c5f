"""How do workers outlive the engine? By a Ray of its own that nobody's death takes along.

A Ray that is started inside a driver dies with it, detached actors included. So `start` runs
`ray start --head` apart, and writes down under `home/ray/`, in a folder of this machine's own, where it is.
Its ports listen on every address of the machine whatever its flags say: the token in that folder is what
protects it.

Every process of a daemon carries a mark of its own in its environment. By that, and never by name, the
daemon is recognised as alive and ended: other Rays may run on this machine. Ray's agents and workers change
their titles, which would overwrite the environment that others see; SPT_NOENV keeps them from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.backends import ray_private
from orchestrator.ground.errors import BackendLost, MoveRefused
from orchestrator.runs.provenance import machine
from trainer.protocol import whole

MARK = "ORCH_RAY_DAEMON"
LABEL = "orch-host"  # of a node that has joined: its value is the mark
RAYS = "r"  # Ray's own folder, in one that is closed to others: Ray opens its own to everybody
CORE = ("gcs_server", "raylet")  # without either, no Ray
OBJECT_STORE_BYTES = 80_000_000  # nothing large passes through it; 75 MB is the least that Ray takes
SOCKET_BYTES = 107  # the most that a unix socket's path may have
SOCKET_IN_SESSION = len("/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store")
# Nobody reads them; and who leaves a Ray whose gcs has died would try for 5 s to send the last of them.
NO_TASK_EVENTS = (ray_private.NO_TASK_EVENTS, "0")
OURS = {
    "SPT_NOENV": "1",
    NO_TASK_EVENTS[0]: NO_TASK_EVENTS[1],
    # There is none, and Ray would wait for it: 1.5 s, 5 under load. It says in the log that it failed.
    ray_private.DASHBOARD_WAIT: "0",
}
START_TIMEOUT_S = 120.0  # 3 to 5 s when the machine is idle
STOP_TIMEOUT_S = 20.0

# Of the service's environment its workers inherit all but what one logs in with: training code is other
# people's, and a Ray hands its own environment to every worker.
KEPT = ("ORCH_HOME",)  # of orch's own, the one that a worker reads
# A Ray's own variables (an address, a running Ray's ids) are for another Ray. libpq reads PG…, MLflow's
# client MLFLOW_TRACKING_…, and the containers of databases take their passwords by these names.
OTHERS = re.compile(
    r"ORCH_|RAY_|PG|POSTGRES|MYSQL|MARIADB|MLFLOW_TRACKING_|MLFLOW_BACKEND_|MLFLOW_REGISTRY_|DATABASE_URL",
    re.IGNORECASE,
)
# The address of a database with a login in it; that of a web proxy is needed to download text.
DATABASE = re.compile(r"(?!https?:|socks)[\w.+-]+://[^/?#\s]*:[^@\s]*@", re.IGNORECASE)
SECRET_PARAMETER = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
ADDRESSES = ("ORCH_LEDGER", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class _Record:
    """What `daemon.json` holds."""

    address: str
    mark: str
    temp_dir: str
    joined: bool = False  # a node of another machine's Ray, not one with a head of its own

    @property
    def core(self) -> tuple[str, ...]:
        """Its processes without which there is no such node."""
        return CORE[1:] if self.joined else CORE


def folder(home: str | Path) -> Path:
    """Where the daemon of this machine is written down. Others may mount the home, whose processes we cannot
    see, nor they ours."""
    return Path(home).absolute() / "ray" / machine()


def token_path(home: str | Path) -> Path:
    return folder(home) / "token"


def environment(home: str | Path) -> dict[str, str]:
    """What a process must have in its environment before it imports Ray, to be let in; and its home, since
    a worker stands in another folder."""
    return {
        "ORCH_HOME": str(Path(home).absolute()),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path(home)),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def start(home: str | Path, *, cpus: int) -> str:
    """The address of the daemon of this home, started unless it runs. Two starters get the same one."""
    with _made(home):
        address = find(home)
        if address is not None:
            return address
        _end(home)  # what is left of one that died
        return _start(home, cpus)


def join(home: str | Path, address: str, *, cpus: int, token: str | None = None) -> str:
    """Make this machine a node of the Ray at `address`, unless it is one. `token`: that Ray's; None: this
    process's environment says it by Ray's own variables."""
    with _made(home):
        record = _record(home)
        if record is not None and find(home) is not None:
            if record.joined and record.address == address:
                return address
            what = f"joined the Ray at {record.address}" if record.joined else "run a Ray of their own"
            raise MoveRefused(
                f"The workers of {home} on this machine {what}, and so cannot join the Ray at {address}. End "
                f"them with `orch down`, or name another folder in ORCH_HOME."
            )
        _end(home)
        if token is not None:
            _write_token(token_path(home), token)
        return _start(home, cpus, joins=address, rays_own=token is None)


def claim(home: str | Path, ledger: str) -> TextIO | None:
    """These workers for studies of this ledger alone, until what is returned is closed or its process dies.

    None while processes of another ledger have them. Those of one ledger share a claim, since only one of
    them leads: who takes over need not wait until the former leader has noticed.
    """
    with _made(home):
        file = (folder(home) / "engine.lock").open("a+")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                if file.read() != ledger:
                    file.close()
                    return None
            else:  # nobody has them: from now on they are this ledger's
                file.truncate(0)
                file.write(ledger)
                file.flush()
            fcntl.flock(file, fcntl.LOCK_SH)  # does not wait: none is exclusive outside of these lines
        except BaseException:
            file.close()
            raise
        return file


def find(home: str | Path) -> str | None:
    """The address of the daemon that runs for this home, or None."""
    record = _record(home)
    if record is None:
        return None
    names = {name for pid in _marked(record.mark) for name in record.core if name in _command(pid)}
    return record.address if names == set(record.core) else None


def joined(home: str | Path) -> _Record | None:
    """The node of another machine's Ray that this machine is for this home; None where it is none."""
    record = _record(home)
    return record if record is not None and record.joined and find(home) is not None else None


def pulse(home: str | Path) -> Callable[[], bool]:
    """Whether the daemon that runs now still does: a look that takes microseconds, where `find` reads all of
    /proc. It is for before each call into Ray, and during one: it would wait for a dead gcs."""
    record = _record(home)
    if record is None:
        return lambda: False
    begun = {pid: _began(pid) for pid in _marked(record.mark) if _command(pid) in record.core}

    def beats() -> bool:
        return len(begun) == len(record.core) and all(
            at is not None and _began(pid) == at for pid, at in begun.items()
        )

    return beats


def stop(home: str | Path) -> None:
    """End every process of the daemon, and what runs in it. Without a daemon, nothing."""
    if folder(home).exists() or _record(home) is not None:
        with _locked(home):
            _end(home)


def _start(home: str | Path, cpus: int, *, joins: str = "", rays_own: bool = False) -> str:
    """`joins`: the address of the Ray whose node this becomes; `rays_own`: let in by the variables that Ray
    reads."""
    if not joins and not token_path(home).exists():
        _write_token(token_path(home), secrets.token_hex(32))
    mark = uuid.uuid4().hex
    temp_dir = _temporary()
    # Written before the start, so that whoever comes after a kill -9 of this process finds what to end.
    _write(home, _Record(joins, mark, temp_dir, bool(joins)))
    head = ("--head", "--port=0", "--include-dashboard=false")
    joined = (f"--address={joins}", f"--labels={LABEL}={mark}")
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start",
        *(joined if joins else head),
        "--min-worker-port=0", "--max-worker-port=0",
        f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={temp_dir}/{RAYS}",
        "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats",
    ]  # fmt: skip
    ours = environment(home)
    if rays_own:
        ours = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}
        ours |= {"ORCH_HOME": str(Path(home).absolute()), "RAY_USAGE_STATS_ENABLED": "0"}
    log = folder(home) / "start.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                env={**inherited(os.environ), **OURS, **ours, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the starter's terminal is not for it
                timeout=START_TIMEOUT_S,
                check=False,
            )
            problem = f"it ended with status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"it was not up after {START_TIMEOUT_S:.0f} s"
    address_file = Path(temp_dir) / RAYS / "ray_current_cluster"
    if not problem and not address_file.exists():
        problem = f"it did not write its address to {address_file}"
    if problem:
        _end(home)
        raise BackendLost(f"The Ray daemon could not be started: {problem}. Its words are in {log}.")
    address = joins or address_file.read_text().strip()
    _write(home, _Record(address, mark, temp_dir, bool(joins)))
    return address


def _temporary() -> str:
    """A folder for Ray's files that nobody else can look into: what Ray makes inside it is open to everybody,
    its sockets among it. Not under home, for the sake of the sockets' paths."""
    most = SOCKET_BYTES - SOCKET_IN_SESSION - len(f"/orch-ray-12345678/{RAYS}")
    for parent in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(parent)) <= most:
            return tempfile.mkdtemp(prefix="orch-ray-", dir=parent)  # mode 0700
    raise BackendLost(
        f"The Ray daemon could not be started: the path of the temporary folder is too long for Ray's "
        f"sockets, {tempfile.gettempdir()!r}. Name one of {most} bytes at most in TMPDIR."
    )


def _end(home: str | Path) -> None:
    record = _record(home)
    if record is None:
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while pids := _marked(record.mark):
        # Again until none is left: a raylet may have forked a worker since the last look.
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise BackendLost(f"These processes of the Ray daemon cannot be ended: {pids}. End them by hand.")
        time.sleep(0.01)
    shutil.rmtree(record.temp_dir, ignore_errors=True)
    (folder(home) / "daemon.json").unlink(missing_ok=True)


def processes(home: str | Path) -> list[int]:
    """The pids of all that belongs to the daemon of this home, workers included."""
    record = _record(home)
    return [] if record is None else _marked(record.mark)


def _marked(mark: str) -> list[int]:
    """The live processes that were started with this mark; a zombie has no environment any more."""
    word = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def titled(pid: int) -> str:
    """What a process runs, or what it calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""


def _command(pid: int) -> str:
    """The file name of what a process runs."""
    return Path(titled(pid)).name


def _began(pid: int) -> str | None:
    """When a process began, in ticks of the machine, so that another with its pid is told apart; None for one
    that has ended, also where nobody has asked for its status yet."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


def _record(home: str | Path) -> _Record | None:
    """What is known of the daemon of this machine."""
    here = folder(home)
    # Former releases wrote it into `home/ray` itself, for all machines. One that lives on this machine is
    # taken along; its token stays there too, since its workers were told of that place.
    before = _read(here.parent)
    if before is not None and not (here / "daemon.json").exists() and _marked(before.mark):
        with contextlib.suppress(OSError):  # another process was faster
            here.mkdir(exist_ok=True)
            _write_token(here / "token", (here.parent / "token").read_text())
            os.replace(here.parent / "daemon.json", here / "daemon.json")
    return _read(here)


def _read(where: Path) -> _Record | None:
    try:
        return _Record(**json.loads((where / "daemon.json").read_text()))
    except (OSError, ValueError, TypeError):  # none, or another user's
        return None


def _write(home: str | Path, record: _Record) -> None:
    with whole(folder(home) / "daemon.json") as file:
        file.write_text(json.dumps(asdict(record)))


def _write_token(path: Path, token: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)


@contextlib.contextmanager
def _locked(home: str | Path) -> Iterator[None]:
    """One starter or stopper at a time; the lock goes with its process."""
    with open(folder(home) / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _made(home: str | Path) -> Iterator[None]:
    """The same, in a folder that is made where there is none."""
    try:
        folder(home).mkdir(parents=True, exist_ok=True)
        with _locked(home):
            yield
    except OSError as problem:
        raise BackendLost(
            f"The Ray daemon could not be started: {problem}. It needs to write in {folder(home)}; name a "
            f"folder that can be written in ORCH_HOME."
        ) from problem


# -- what the workers inherit ----------------------------------------------------------------------------
def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the Ray daemon, and so of its workers."""
    secrets = {environ.get("ORCH_TOKEN", ""), *_passwords(environ)} - {""}
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT
        or not (OTHERS.match(name) or DATABASE.match(value) or value in secrets or _holds(value, secrets))
    }


def _passwords(environ: Mapping[str, str]) -> Iterator[str]:
    """Those in the addresses of the ledger and of MLflow's store, as written and as meant."""
    for name in ADDRESSES:
        try:
            address = urlsplit(environ.get(name, ""))
            found = [address.password or ""]
        except ValueError:  # no address at all
            continue
        found += [value for key, value in parse_qsl(address.query) if SECRET_PARAMETER.search(key)]
        for password in found:
            yield from (password, unquote(password))


def _holds(value: str, secrets: set[str]) -> bool:
    """A long secret is found anywhere in a value; a short one might be part of a path."""
    return any(secret in value for secret in secrets if len(secret) >= 8)
