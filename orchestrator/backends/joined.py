"""How does a machine become a node of another's Ray, stay one, and leave it?

A node that the head has given up, as after a cut, ends itself. So a process of ours stays beside it and joins
anew, until `orch down` ends both. Before the node leaves, Ray is told that it drains: its trials save, and go
on on other hosts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.backends import daemon, ray_private
from orchestrator.backends.asking import ask
from orchestrator.backends.daemon import LABEL, Record, folder
from orchestrator.ground.errors import BackendLost, MoveRefused
from trainer.protocol import whole

LOOK_S = 0.2
HEAD_LOOKS_S, HEAD_ANSWERS_S = 2.0, 10.0
KEEPER_LOOKS_S, KEEPER_WAITS_S = 2.0, 30.0  # whether its node lives; after it could not join


def join(
    home: str | Path,
    address: str,
    *,
    cpus: int,
    token: str | None = None,
    ports: tuple[int, int] | None = None,
    stays: bool = False,
) -> str:
    """Make this machine a node of the Ray at `address`, unless it is one, or has its head. `token`: that
    Ray's; None: this process's environment says it by Ray's own variables. `stays`: who calls this calls
    `keep` next."""
    with daemon.made(home):
        known = daemon.record(home)
        if known is not None and daemon.find(home) is not None:
            if known.address == address:
                return address
            what = f"joined the Ray at {known.address}" if known.joined else "run a Ray of their own"
            raise MoveRefused(
                f"The workers of {home} on this machine {what}, and so cannot join the Ray at {address}. End "
                f"them with `orch down`, or name another folder in ORCH_HOME."
            )
        daemon.end(home)
        if token is not None:
            daemon.write_token(home, token)
        rays_own = token is None
        found = daemon.launch(home, cpus, ports, joins=address, rays_own=rays_own)
        with whole(folder(home) / daemon.KEEPS) as file:
            file.write_text(json.dumps({"address": address, "cpus": cpus, "ports": ports, "own": rays_own}))
    if not stays:
        _keep_apart(home)
    return found


def node_of(home: str | Path) -> Record | None:
    """The node of another's Ray that this machine is for this home; None where it is none."""
    known = daemon.record(home)
    return known if known is not None and known.joined and daemon.find(home) is not None else None


def is_kept(home: str | Path) -> bool:
    """Whether this machine joins that Ray again when its node has ended."""
    return (folder(home) / daemon.KEEPS).exists()


def pulse(home: str | Path, address: str, *, now: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """Whether the node of this machine lives and the head at `address` takes connections, asked every few
    seconds: calls into a Ray without a head would not come back."""
    node, (host, _, port) = daemon.pulse(home), address.rpartition(":")
    looked_at, answers = -math.inf, True

    def beats() -> bool:
        nonlocal looked_at, answers
        if not node():
            return False
        if now() - looked_at >= HEAD_LOOKS_S:
            try:
                socket.create_connection((host, int(port)), timeout=HEAD_ANSWERS_S).close()
                answers = True
            except OSError:
                answers = False
            looked_at = now()
        return answers

    return beats


# -- staying ---------------------------------------------------------------------------------------------
def _keep_apart(home: str | Path) -> None:
    """In a process of its own."""
    with (folder(home) / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.backends.joined", str(Path(home).absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    keeper.returncode = 0  # it outlives this process, which does not wait for it


def keep(home: Path, *, wait: Callable[[float], None] = time.sleep) -> None:
    """Join anew whenever the node has ended, until nobody wants that any more. One process a home does so."""
    with (folder(home) / "keeper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        alive = daemon.pulse(home)
        while is_kept(home):
            wait(KEEPER_LOOKS_S)
            if alive():
                continue
            try:
                _rejoin(home)
            except BackendLost as problem:
                print(f"{time.strftime('%F %T')} {problem}", flush=True)
                wait(KEEPER_WAITS_S)
            alive = daemon.pulse(home)


def _rejoin(home: Path) -> None:
    with daemon.made(home):
        try:
            wanted = json.loads((folder(home) / daemon.KEEPS).read_text())
        except FileNotFoundError:  # `orch down` came between
            return
        if daemon.find(home) is None:
            daemon.end(home)  # what is left of it: workers outlive their raylet for a moment
            ports = tuple(wanted["ports"]) if wanted["ports"] else None
            daemon.launch(home, wanted["cpus"], ports, joins=wanted["address"], rays_own=wanted["own"])
            print(f"{time.strftime('%F %T')} Joined {wanted['address']} again.", flush=True)


# -- leaving ---------------------------------------------------------------------------------------------
def leave(
    home: str | Path,
    *,
    within_s: float,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Whether all its trials have ended in time. BackendLost where its Ray cannot be asked."""
    known = node_of(home)
    if known is None:
        return True
    os.environ.update(daemon.environment(home))
    ray_private.forget_token()
    alive = daemon.pulse(home)
    accepted = ask(
        lambda: ray_private.drain(known.address, LABEL, known.mark, within_s=within_s), alive=alive
    )
    if not accepted:
        raise BackendLost(
            f"The Ray at {known.address} does not let this machine leave. End its workers with --force."
        )
    deadline = now() + within_s
    while at_work(home):
        if now() > deadline:
            return False
        wait(LOOK_S)
    return True


def at_work(home: str | Path) -> int:
    """How many of our workers live here. Ray names their processes after the actor's class."""
    return sum(daemon.titled(pid).startswith("ray::Worker") for pid in daemon.processes(home))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        keep(Path(sys.argv[1]))
