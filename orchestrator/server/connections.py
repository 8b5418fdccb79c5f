"""How much may a peer hold of a server before it has said who it is? Connections, and time for a request.

Each connection has a deadline for the headers of a request and one for its body. Of those on which nobody
has been recognised yet there are so many for one address, and so many in all. Where there is no room the one
that has waited longest is cut off, not the newcomer: a request takes milliseconds, so who has something to
ask gets through while others hold connections open. One on which a caller was recognised counts for no
address, so the event streams of a signed-in browser stay.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.ground.errors import MoveRefused
from orchestrator.ground.settings import Network

HEADERS_WITHIN_S = 10.0  # since the connection was made, or the first byte of a further request came
BODY_WITHIN_S = 30.0  # since its headers: a body has 1 MiB at most
MOST = 1000  # connections in all
MOST_UNKNOWN = 64  # of one address, on which nobody was recognised: a browser opens 6
OPEN_FILES = 65_536  # what the limit is raised to, where the system allows that
FILES_BESIDE = 256  # open files of a service beside its connections: databases, logs, Ray's sockets
LEAST_CONNECTIONS = 128
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
FULL = LATE.replace(b"408 Request Timeout", b"503 Service Unavailable\r\nretry-after: 2")


def room(most: int = MOST) -> int:
    """How many connections there is room for, the limit on open files raised. MoveRefused for too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return most
    if soft < FILES_BESIDE + LEAST_CONNECTIONS:
        raise MoveRefused(
            f"This process may open {soft} files, and the service needs {FILES_BESIDE + LEAST_CONNECTIONS} "
            f"at least. Raise the limit: `ulimit -n 4096` before it, or LimitNOFILE=4096 in its systemd unit."
        )
    return min(most, soft - FILES_BESIDE)


@dataclass
class Door:
    """Who is connected: the same for all connections of a server."""

    proxies: Sequence[Network] = ()
    most: int = MOST
    most_unknown: int = MOST_UNKNOWN
    _unknown: dict[str, dict[Bounded, None]] = field(default_factory=dict)  # address -> the oldest first
    _all: dict[Bounded, None] = field(default_factory=dict)

    def admit(self, connection: Bounded) -> bool:
        """Whether there is room for it, which may be made."""
        self._all[connection] = None
        address = connection.address
        if not self._is_proxy(address):
            of_address = self._unknown.setdefault(address, {})
            of_address[connection] = None
            if len(of_address) > self.most_unknown:
                for known in [c for c in of_address if c.known()]:
                    del of_address[known]
            if len(of_address) > self.most_unknown:
                self._cut_one_of(of_address, but=connection)
        if len(self._all) <= self.most:
            return True
        return self._cut_one_of((c for c in self._all if not c.known()), but=connection)

    def leave(self, connection: Bounded) -> None:
        self._all.pop(connection, None)
        of_address = self._unknown.get(connection.address, {})
        of_address.pop(connection, None)
        if not of_address:
            self._unknown.pop(connection.address, None)

    def _cut_one_of(self, candidates: Iterable[Bounded], *, but: Bounded) -> bool:
        """Who asks nothing goes before one whose request is being answered."""
        others = [c for c in candidates if c is not but]
        cut = next((c for c in others if not c.answering()), next(iter(others), None))
        if cut is None:
            return False
        self.leave(cut)
        cut.transport.abort()
        return True

    def _is_proxy(self, address: str) -> bool:
        if not self.proxies:
            return False
        parsed = ipaddress.ip_network(address)
        return any(proxy.version == parsed.version and parsed.subnet_of(proxy) for proxy in self.proxies)  # type: ignore[arg-type]


class Bounded(H11Protocol):
    """A connection with deadlines, that a `Door` may cut off."""

    def __init__(self, *given: Any, door: Door, **named: Any) -> None:
        super().__init__(*given, **named)
        self._door = door
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for = ""  # headers, a body, or nothing
        self._known = False
        self.address = ""

    def known(self) -> bool:
        """Whether a request on it was one of somebody who is known here."""
        if not self._known and self.cycle is not None:
            self._known = self.cycle.scope.get("state", {}).get("caller") is not None
        return self._known

    def answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = _counted(self.client[0] if self.client else "")
        self._wait("headers", HEADERS_WITHIN_S)
        if not self._door.admit(self):
            self._door.leave(self)
            transport.write(FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait("", 0.0)
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.known()  # of the last request, before the next takes its place
        if not self._waits_for and (self.cycle is None or self.cycle.response_complete):
            self._wait("headers", HEADERS_WITHIN_S)
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        self.known()
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """What the peer owes us now, by h11's word on it."""
        state = str(self.conn.their_state)
        if state == "SEND_BODY":
            if self._waits_for != "body":
                self._wait("body", BODY_WITHIN_S)
        elif (
            state != "IDLE" or not self.conn.trailing_data[0]
        ):  # between requests uvicorn's keep-alive counts
            self._wait("", 0.0)
        elif self._waits_for != "headers":
            self._wait("headers", HEADERS_WITHIN_S)

    def _wait(self, what: str, within_s: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._waits_for = what
        if what:
            self._deadline = self.loop.call_later(within_s, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(LATE)
        self.transport.close()


def _counted(host: str) -> str:
    """What is counted as one address: an IPv6 host has a whole /64 to choose from."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "0.0.0.0/32"  # a unix socket
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = 32 if address.version == 4 else 64
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))


def bounded(*, proxies: Sequence[Network], most: int) -> Any:
    """What uvicorn makes of each connection: all of one server's come through one door."""
    return partial(Bounded, door=Door(proxies, most))
