"""How does one process serve a team? The API and the engine together, or one of them; SIGTERM ends both.

The API answers at once; the workers start meanwhile, in the engine's thread. When the process ends, trials go
on in their workers, and whoever leads next goes on with them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from orchestrator.ground import keys
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.errors import BadSpec, MoveRefused
from orchestrator.ground.keys import digest
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.service import signals
from orchestrator.service.runner import OFF, Runner

DEFAULT_URL = "http://127.0.0.1:8000"
BACKLOG = 2048  # connections that may wait to be taken
KEEP_ALIVE_S = 75  # longer than clients (5 s) and proxies (60 s): who asks must be the one who hangs up
REQUESTS_END_WITHIN_S = 3  # what is being answered is given so long
ENGINE_ENDS_WITHIN_S = (
    7.0  # since the signal; a tick that asks a search takes seconds; more, and the process leaves it
)
LEAVE_WITHIN_S = 9.0  # all of it; what hangs then (a thread in a locked database) is left
LOOK_S = 0.1  # between two looks at whether to end


@dataclass(frozen=True)
class Address:
    host: str
    port: int


def serve(
    settings: Settings,
    store: Store,
    *,
    address: Address | None,
    engine: bool = True,
    open_: bool = False,
    workers: int | None = None,
    say: Callable[[str], None],
    ready: Callable[[str], None],
) -> None:
    """Until SIGTERM or Ctrl-C. Without an address no API; `ready` is told the URL once it can be called: one
    that signs a browser in, unless the service is `open_` to everybody on this machine."""
    listening = None if address is None else listen(address)
    if listening is not None and open_:
        require_loopback(listening)
    key = "" if listening is None else digest(keys.ensure(settings.home, say=say))
    if open_ and store.tokens():
        say("There are tokens, and as long as there are, --open opens nothing: a token or the key is needed.")
    runner = Runner(settings, store, workers=workers, say=say) if engine else None
    with Ending() as ending:
        threading.Thread(target=_leave_in_time, args=(ending, say), name="leave", daemon=True).start()
        if runner is not None:
            runner.start()
        if listening is None:
            ready("")
            while not ending.asked.wait(LOOK_S):
                ending.heed()
        else:
            _answer(settings, store, listening, runner, ending, ready, key=key, open_=open_)
    if runner is not None:
        say("Ending. Trials go on in their workers.")
        runner.ask_to_end()
        if not runner.join(max(0.0, ENGINE_ENDS_WITHIN_S - ending.since_asked_s())):
            # Its tick takes too long, perhaps in a start of the workers. Nothing depends on its end: the
            # next process goes on from the ledger. Leaving in the usual way would wait for it.
            say("The engine is still at work, and is left.")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def _leave_in_time(ending: Ending, say: Callable[[str], None]) -> None:
    ending.asked.wait()
    time.sleep(LEAVE_WITHIN_S)
    say("Not everything has ended in time; it is left. Nothing is lost.")
    sys.stdout.flush()
    os._exit(0)


# -- where to listen ---------------------------------------------------------------------------------------
def listen(address: Address) -> socket.socket:
    """A socket that listens there. MoveRefused says why not."""
    try:
        [(family, kind, protocol, _, where), *_] = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as problem:
        raise MoveRefused(
            f"Nothing can listen on {address.host}:{address.port} ({problem.strerror}). Name another "
            f"port with --port."
        ) from problem
    return listening


def is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def require_loopback(listening: socket.socket) -> None:
    """What asks nobody for a token is for this machine alone."""
    if is_loopback(listening):
        return
    host = listening.getsockname()[0]
    listening.close()
    raise BadSpec(
        f"{host} can be reached from other machines, and with --open anybody could run studies here. Leave "
        f"--open out, or serve this machine alone, with --host 127.0.0.1."
    )


def url_of(listening: socket.socket) -> str:
    """Where this machine reaches it. What listens everywhere is asked at the loopback."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def link_command(url: str) -> str:
    """What prints a link that signs a browser in to this service, on its machine."""
    return "orch token link" + ("" if url == DEFAULT_URL else f" --server {url}")


# -- the API -----------------------------------------------------------------------------------------------
def _answer(
    settings: Settings,
    store: Store,
    listening: socket.socket,
    runner: Runner | None,
    ending: Ending,
    ready: Callable[[str], None],
    *,
    key: str,
    open_: bool,
) -> None:
    """Answer requests until told to end."""
    import uvicorn

    from orchestrator.api.app import create_app
    from orchestrator.api.deps import Parts
    from orchestrator.api.links import Links
    from orchestrator.api.sessions import first_address
    from orchestrator.api.stream import Tail
    from orchestrator.server import connections

    tail, clock = Tail(store), SystemClock()
    parts = Parts(
        settings=settings,
        store=store,
        clock=clock,
        tail=tail,
        engine=runner.status if runner else lambda: OFF,
        nudge=runner.nudge if runner else lambda: None,
        key=key,
        links=Links(now=clock.monotonic),
        open=open_,
    )
    url = url_of(listening)

    class Server(uvicorn.Server):
        def capture_signals(self) -> Any:
            return nullcontext()  # the signals are ours: the engine ends by them too

    server = Server(
        uvicorn.Config(
            create_app(parts, page=_page(settings, store, url)),
            loop="asyncio",
            http=connections.bounded(proxies=settings.proxies, most=connections.room()),
            ws="none",
            log_config=None,
            access_log=False,  # an audit line tells of every change
            server_header=False,
            proxy_headers=False,  # whom to believe is said in the settings (api/peers.py)
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=REQUESTS_END_WITHIN_S,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    async def run() -> None:
        answering = asyncio.create_task(server.serve([listening]))
        while not server.started and not answering.done():
            await asyncio.sleep(0.01)
        if not answering.done():
            ready(await asyncio.to_thread(first_address, parts, url))
        while not ending.asked.is_set() and not answering.done():
            ending.heed()
            await asyncio.sleep(LOOK_S)
        if runner is not None:
            runner.ask_to_end()  # while requests end
        tail.close()  # or its streams would be waited for
        server.should_exit = True
        await answering

    asyncio.run(run())


def _page(settings: Settings, store: Store, url: str) -> Any:
    """What a browser shows: a router beside the API's."""
    from dashboards.web import routes
    from orchestrator.api import auth, sessions
    from orchestrator.tracking.destination import destination
    from studies import catalog

    return routes.router(
        store,
        presets=[
            routes.Preset(name, catalog.get(name).question, tuple(catalog.sizes(name)))
            for name in catalog.names()
        ],
        slots=settings.workers,
        role_of=auth.role_of,
        signed_in=lambda request: auth.COOKIE in request.cookies,
        enter=sessions.enter,
        link_command=link_command(url),
        runs=settings.runs,
        mlflow=destination(settings),
    )


class Ending(signals.Heeded):
    """Set by the first SIGTERM or Ctrl-C, or by a closed terminal; a second Ctrl-C leaves at once.

    Heeded again and again: Ray puts its own handlers there when the engine's thread connects to it.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._asked_at = 0.0  # monotonic

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            os._exit(130)
        if number == signal.SIGHUP:
            signals.leave_closed_terminal()
        if not self.asked.is_set():
            self._asked_at = time.monotonic()
        self.asked.set()

    def since_asked_s(self) -> float:
        return time.monotonic() - self._asked_at
