"""Have all processes of a gang come, before JAX waits for them?

JAX ends a process by an abort, without an exception, where the coordinator cannot be reached or another one
does not come in time. So they call the roll first, at the port that its coordination service will have.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import NoReturn

from trainer.protocol import PeerLost, Place

_ONE_S = 5.0  # for one answer
_AGAIN_S = 0.1  # between two tries
_ALL_HERE = b"all\n"


def call_the_roll(place: Place, *, within_s: float) -> None:
    """All processes ask together. PeerLost says who has not come."""
    assert place.coordinator is not None
    host, _, port = place.coordinator.rpartition(":")
    until = time.monotonic() + within_s
    if place.process_index == 0:
        _listen(place, int(port), until, within_s)
    else:
        _answer(place, host.strip("[]"), int(port), until, within_s)


def _listen(place: Place, port: int, until: float, within_s: float) -> None:
    came: dict[int, socket.socket] = {}
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as problem:
        raise PeerLost(
            f"Process 0 of {place.process_count} on {socket.gethostname()} cannot be reached at "
            f"{place.coordinator}: {os.strerror(problem.errno or 0)}. Name a port that is free there."
        ) from problem
    gone_on: set[int] = set()
    with server, contextlib.ExitStack() as opened:
        while len(gone_on) < place.process_count - 1:
            server.settimeout(max(0.001, until - time.monotonic()))
            try:
                connection = opened.enter_context(server.accept()[0])
            except TimeoutError:
                _give_up(place, came, gone_on, within_s)
            told = _told(connection)
            if told is not None and 0 < told < place.process_count:
                came[told] = connection
            came = {index: one for index, one in came.items() if not _has_left(one)}
            if len(came.keys() | gone_on) == place.process_count - 1:
                gone_on |= {index for index, one in came.items() if _goes_on(one)}
                came = {}


def _told(connection: socket.socket) -> int | None:
    """Which process this is; None where somebody else has called."""
    connection.settimeout(_ONE_S)
    try:
        return int(connection.makefile("rb").readline(100))
    except (OSError, ValueError):
        return None


def _goes_on(connection: socket.socket) -> bool:
    """Told that all are here, does it say so too? It closes first: who does keeps the port for a while."""
    connection.settimeout(_ONE_S)
    try:
        connection.sendall(_ALL_HERE)
        return connection.makefile("rb").read(100) == _ALL_HERE
    except OSError:
        return False


def _has_left(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _give_up(place: Place, came: dict[int, socket.socket], gone_on: set[int], within_s: float) -> NoReturn:
    here = came.keys() | gone_on
    late = [f"process {index}" for index in range(1, place.process_count) if index not in here]
    sentence = (
        f"Of {place.process_count} processes {' and '.join(late)} did not come to {place.coordinator} within "
        f"{within_s:g} s. Look there first."
    )
    for connection in came.values():
        with contextlib.suppress(OSError):
            connection.sendall(f"{sentence}\n".encode())
    raise PeerLost(sentence)


def _answer(place: Place, host: str, port: int, until: float, within_s: float) -> None:
    us = f"Process {place.process_index} of {place.process_count} on {socket.gethostname()}"
    problem: object = "no answer"
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(left, _ONE_S)) as connection:
                connection.sendall(f"{place.process_index}\n".encode())
                connection.settimeout(max(0.001, until + _ONE_S - time.monotonic()))
                answer = connection.makefile("rb").readline(10_000)
                if answer == _ALL_HERE:
                    connection.sendall(_ALL_HERE)
                    return
        except OSError as error:
            problem = error.strerror or error
            time.sleep(_AGAIN_S)
            continue
        if answer:
            raise PeerLost(answer.decode(errors="replace").strip())
        time.sleep(_AGAIN_S)  # it has ended, or is yet to listen
    raise PeerLost(
        f"{us} did not reach the coordinator at {place.coordinator} within {within_s:g} s: {problem}. "
        f"Look into process 0 first, then whether this host reaches that port."
    )
