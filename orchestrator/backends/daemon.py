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

from orchestrator.backends import accelerator_memory, head_state, ray_private
from orchestrator.backends.inherited import inherited
from orchestrator.ground.errors import BackendLost
from orchestrator.runs.provenance import machine
from trainer.protocol import whole

MARK = "ORCH_RAY_DAEMON"
LABEL = "orch-host"  # of a node that has joined: its value is the mark
KEEPS = "keeps.json"  # of a machine that has joined: what it joined, to come back to it
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
# How long a node that has joined waits for a head that is away; Ray's own default is a minute.
HEAD_AWAY_S = 3600
LISTENERS = (  # options of `ray start`
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
)
START_TIMEOUT_S = 120.0  # 3 to 5 s when the machine is idle
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Record:
    """What `daemon.json` holds."""

    address: str
    mark: str
    temp_dir: str
    joined: bool = False  # a node of another's Ray, not one with a head of its own

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


def start(home: str | Path, *, cpus: int, ports: tuple[int, int] | None = None, lasting: bool = False) -> str:
    """The address of the daemon of this home, started unless it runs. Two starters get the same one. `ports`:
    the first and the last that it may listen on. `lasting`: its head keeps on disk what it knows, and comes
    back under the same address, so that machines that have joined it go on meanwhile."""
    with made(home):
        address = find(home)
        if address is not None:
            return address
        end(home)  # what is left of one that died
        if not lasting:
            return launch(home, cpus, ports)
        again = head_state.before(folder(home))
        try:
            address = launch(home, cpus, ports, port=again, variables=head_state.variables(folder(home)))
        except BackendLost:
            if again is None:
                raise
            # Its port is another's by now, or what it knew cannot be read: machines have to join anew.
            head_state.forget(folder(home))
            variables = head_state.variables(folder(home))
            address = launch(home, cpus, ports, variables=variables)
        head_state.keep(folder(home), address)
        return address


def claim(home: str | Path, ledger: str) -> TextIO | None:
    """These workers for studies of this ledger alone, until what is returned is closed or its process dies.

    None while processes of another ledger have them. Those of one ledger share a claim, since only one of
    them leads: who takes over need not wait until the former leader has noticed.
    """
    with made(home):
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
    known = record(home)
    if known is None:
        return None
    names = {name for pid in _marked(known.mark) for name in known.core if name in _command(pid)}
    return known.address if names == set(known.core) else None


def pulse(home: str | Path) -> Callable[[], bool]:
    """Whether the daemon that runs now still does: a look that takes microseconds, where `find` reads all of
    /proc. It is for before each call into Ray, and during one: it would wait for a dead gcs."""
    known = record(home)
    if known is None:
        return lambda: False
    begun = {pid: _began(pid) for pid in _marked(known.mark) if _command(pid) in known.core}

    def beats() -> bool:
        return len(begun) == len(known.core) and all(
            at is not None and _began(pid) == at for pid, at in begun.items()
        )

    return beats


def stop(home: str | Path, *, for_good: bool = True) -> None:
    """End every process of the daemon, and what runs in it; without a daemon, nothing. `for_good`: a head
    forgets what it kept, and a machine that has joined another's Ray does not come back to it."""
    if folder(home).exists() or record(home) is not None:
        with _locked(home):
            if for_good:
                head_state.forget(folder(home))
                (folder(home) / KEEPS).unlink(missing_ok=True)
            end(home)


def launch(
    home: str | Path,
    cpus: int,
    ports: tuple[int, int] | None,
    *,
    port: int | None = None,
    joins: str = "",
    rays_own: bool = False,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Start a head at that port, or a node of the Ray at `joins`, with `variables` in its environment;
    `rays_own`: let in by the variables that Ray reads. In `made`, once nothing of another is left."""
    if not joins and not token_path(home).exists():
        write_token(home, secrets.token_hex(32))
    mark = uuid.uuid4().hex
    temp_dir = _temporary()
    # Written before the start, so that whoever comes after a kill -9 of this process finds what to end.
    _write(home, Record(joins, mark, temp_dir, bool(joins)))
    first = 0 if ports is None else ports[0]
    head = ("--head", "--include-dashboard=false", f"--port={port or first}")
    labels = {**({LABEL: mark} if joins else {}), **accelerator_memory.labels()}
    told = [f"--labels={','.join(f'{name}={value}' for name, value in labels.items())}"] if labels else []
    patience = {ray_private.GCS_PATIENCE: str(HEAD_AWAY_S)} if joins else {}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start",
        *((f"--address={joins}",) if joins else head), *told,
        *_listening(ports),
        f"--num-cpus={cpus}", f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={temp_dir}/{RAYS}",
        "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats",
    ]  # fmt: skip
    given = environment(home)
    if rays_own:
        given = {name: value for name, value in given.items() if not name.startswith("RAY_AUTH_")}
        given |= {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}
    log = folder(home) / "start.log"
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                env={**inherited(os.environ), **OURS, **patience, **given, **(variables or {}), MARK: mark},
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
        end(home)
        raise BackendLost(f"The Ray daemon could not be started: {problem}. Its words are in {log}.")
    address = joins or address_file.read_text().strip()
    _write(home, Record(address, mark, temp_dir, bool(joins)))
    return address


def _listening(ports: tuple[int, int] | None) -> list[str]:
    """Where a node of Ray listens; the first of the ports is its head's."""
    if ports is None:
        return ["--min-worker-port=0", "--max-worker-port=0"]
    named = [f"--{name}={port}" for port, name in enumerate(LISTENERS, start=ports[0] + 1)]
    first = ports[0] + 1 + len(LISTENERS)
    return [*named, f"--min-worker-port={first}", f"--max-worker-port={ports[1]}"]


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


def end(home: str | Path) -> None:
    known = record(home)
    if known is None:
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while pids := _marked(known.mark):
        # Again until none is left: a raylet may have forked a worker since the last look.
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise BackendLost(f"These processes of the Ray daemon cannot be ended: {pids}. End them by hand.")
        time.sleep(0.01)
    shutil.rmtree(known.temp_dir, ignore_errors=True)
    (folder(home) / "daemon.json").unlink(missing_ok=True)


def processes(home: str | Path) -> list[int]:
    """The pids of all that belongs to the daemon of this home, workers included."""
    known = record(home)
    return [] if known is None else _marked(known.mark)


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


def record(home: str | Path) -> Record | None:
    """What is known of the daemon of this machine."""
    here = folder(home)
    # Former releases wrote it into `home/ray` itself, for all machines. One that lives on this machine is
    # taken along; its token stays there too, since its workers were told of that place.
    before = _read(here.parent)
    if before is not None and not (here / "daemon.json").exists() and _marked(before.mark):
        with contextlib.suppress(OSError):  # another process was faster
            here.mkdir(exist_ok=True)
            _write_secret(here / "token", (here.parent / "token").read_text())
            os.replace(here.parent / "daemon.json", here / "daemon.json")
    return _read(here)


def _read(where: Path) -> Record | None:
    try:
        return Record(**json.loads((where / "daemon.json").read_text()))
    except (OSError, ValueError, TypeError):  # none, or another user's
        return None


def _write(home: str | Path, record: Record) -> None:
    with whole(folder(home) / "daemon.json") as file:
        file.write_text(json.dumps(asdict(record)))


def write_token(home: str | Path, token: str) -> None:
    """What lets in to the Ray of this home."""
    _write_secret(token_path(home), token)


def _write_secret(path: Path, token: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token)


@contextlib.contextmanager
def _locked(home: str | Path) -> Iterator[None]:
    """One starter or stopper at a time; the lock goes with its process."""
    with open(folder(home) / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made(home: str | Path) -> Iterator[None]:
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
