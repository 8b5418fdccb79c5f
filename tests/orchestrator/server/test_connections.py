"""Does a server go on answering those who are known while others hold its connections? On real sockets."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.ground.errors import MoveRefused
from orchestrator.server import connections
from tests.orchestrator.server.test_process import WITHIN_S, _get
from tests.orchestrator.server.test_process import served as served

HALF_OPEN = 1200
Served = tuple[subprocess.Popen[str], str]


def connected(url: str, said: bytes) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=WITHIN_S)
    with contextlib.suppress(OSError):  # cut off already
        made.sendall(said)
    return made


@contextlib.contextmanager
def listening(url: str) -> Iterator[socket.socket]:
    """An event stream of somebody known."""
    with connected(
        url, b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n"
    ) as made:
        heard = b""
        while b"retry: 1000" not in heard:
            heard += made.recv(4096)
        yield made


def is_open(made: socket.socket) -> bool:
    made.settimeout(0.0)
    try:
        return made.recv(4096) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_1200_half_open_requests_end_neither_the_server_nor_a_stream_of_one_who_is_known(
    served: Served,
) -> None:
    process, url = served
    with contextlib.ExitStack() as held:
        streams = [
            held.enter_context(listening(url)) for _ in range(70)
        ]  # more than an unknown peer may have
        half_open = [held.enter_context(connected(url, b"GET / HTTP/1.1\r\nX-A: ")) for _ in range(HALF_OPEN)]
        assert _get(f"{url}/api/v1/studies") == {"items": [], "next": None}
        give_up_at = time.monotonic() + WITHIN_S
        while sum(map(is_open, half_open)) > connections.MOST_UNKNOWN:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        assert all(map(is_open, streams))
        assert process.poll() is None


@pytest.mark.slow
def test_headers_and_bodies_that_never_come_are_not_waited_for(served: Served) -> None:
    process, url = served
    headers = connected(url, b"GET /api/v1/studies HTTP/1.1\r\nX-A: ")
    silent = connected(url, b"")
    body = connected(
        url,
        b"POST /api/v1/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
    )
    begun = time.monotonic()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            while True:
                headers.sendall(b"x")
                time.sleep(0.5)

    threading.Thread(target=trickle, daemon=True).start()
    limits = (
        (headers, connections.HEADERS_WITHIN_S),
        (silent, connections.HEADERS_WITHIN_S),
        (body, connections.BODY_WITHIN_S),
    )
    for made, limit_s in limits:
        made.settimeout(WITHIN_S)
        with contextlib.suppress(ConnectionResetError):
            assert made.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert limit_s - 2 < time.monotonic() - begun < limit_s + 15
        made.close()
    assert _get(f"{url}/api/v1/studies") == {"items": [], "next": None}
    process.terminate()
    _, err = process.communicate(timeout=WITHIN_S)
    assert "Traceback" not in err


def test_the_limit_on_open_files_is_raised_and_one_that_is_too_low_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(connections.resource, "setrlimit", lambda _, new: limits.append(new))
    assert connections.room() == 1000
    assert limits[-1] == (4096, 4096)
    limits.append((600, 600))
    assert connections.room() == 600 - connections.FILES_BESIDE
    limits.append((256, 256))
    with pytest.raises(MoveRefused) as caught:
        connections.room()
    assert str(caught.value) == (
        "This process may open 256 files, and the service needs 384 at least. Raise the limit: `ulimit -n "
        "4096` before it, or LimitNOFILE=4096 in its systemd unit."
    )


def test_addresses_are_counted_as_hosts_and_proxies_are_known() -> None:
    assert connections._counted("::ffff:10.0.0.7") == connections._counted("10.0.0.7") == "10.0.0.7/32"
    assert connections._counted("2001:db8::1") == connections._counted("2001:db8::2") == "2001:db8::/64"
    door = connections.Door((connections.ipaddress.ip_network("10.0.0.0/8"),))
    assert door._is_proxy("10.0.0.7/32")
    assert not door._is_proxy("2001:db8::/64")
