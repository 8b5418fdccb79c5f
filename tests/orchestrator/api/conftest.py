"""The service, called in this process as a server would call it: over memory and over a SQLite file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.app import build, furnish
from orchestrator.api.deps import Parts
from orchestrator.api.links import Links
from orchestrator.api.stream import Tail
from orchestrator.engine.tick import Engine
from orchestrator.ground.keys import digest
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.records import Role, StudyRow, Token
from orchestrator.service.runner import OFF
from tests.faults.world import World, small_study, world

KEY = "orch_the-key-in-the-home-of-the-service"


@dataclass(frozen=True)
class Said:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Asking:
    """A client of an ASGI application."""

    app: Any
    runner: asyncio.Runner
    headers: dict[str, str] = field(default_factory=dict)
    client: str = "127.0.0.1"

    def __call__(self, verb: str, path: str, body: Any = None, **headers: str) -> Said:
        return self.runner.run(self.ask(verb, path, body, **headers))

    def by(self, token: str) -> Asking:
        return replace(self, headers={"authorization": f"Bearer {token}"})

    async def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> Said:
        """`body`: bytes as they are, an iterable of them in pieces, anything else as JSON."""
        pieces = list(body) if isinstance(body, list) and body and isinstance(body[0], bytes) else None
        if pieces is None:
            pieces = [body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()]
        said: list[Any] = []

        async def receive() -> Any:
            if not pieces:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            said.append(message)

        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.app(self._scope(verb, path, body is not None, named), receive, send)
        start, *rest = said
        return Said(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(message["body"] for message in rest),
        )

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[asyncio.Queue[bytes]]:
        """The pieces of an answer that goes on until it is left."""
        pieces: asyncio.Queue[bytes] = asyncio.Queue()
        left = asyncio.Event()
        asked = False

        async def receive() -> Any:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                pieces.put_nowait(message["body"])

        named = {name.replace("_", "-"): value for name, value in headers.items()}
        task = asyncio.create_task(self.app(self._scope("GET", path, False, named), receive, send))
        try:
            yield pieces
        finally:
            left.set()
            await task

    def _scope(self, verb: str, path: str, has_body: bool, headers: Mapping[str, str]) -> dict[str, Any]:
        where, _, query = path.partition("?")
        given = {"host": "127.0.0.1:8000", **self.headers}
        if has_body:
            given["content-type"] = "application/json"
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": verb,
            "scheme": "http",
            "path": where,
            "raw_path": where.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in {**given, **headers}.items()],
            "client": (self.client, 50000),
            "server": ("127.0.0.1", 8000),
        }


@dataclass
class Service:
    """A service over simulated machines. `led`: an engine obeys whatever is asked for, at once."""

    parts: Parts
    place: World
    engine: Engine
    ask: Asking  # as the command line on the service's machine does, with the key of its home
    led: bool = True

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def anybody(self) -> Asking:
        """Asks without a token or a key."""
        return replace(self.ask, headers={})

    def nudge(self) -> None:
        if self.led:
            self.engine.tick()

    def created(self, **changes: Any) -> str:
        """The id of a new study."""
        said = self.ask("POST", "/api/v1/studies", {"spec": spec(**changes)})
        assert said.status == 201, said.body
        study_id: str = said.json["study_id"]
        return study_id

    def ran(self, **changes: Any) -> StudyRow:
        """A study that has ended."""
        return self.place.drive(self.engine, self.created(**changes))

    def token(self, role: Role | str, *, name: str | None = None, expires_at: float | None = None) -> str:
        secret = f"secret-of-{name or role}"
        now = self.parts.clock.time()
        self.store.add_token(Token(name or str(role), digest(secret), Role(role), now, expires_at))
        return secret


def spec(**changes: Any) -> dict[str, Any]:
    return small_study(**changes).model_dump(mode="json")


Make = Callable[..., Service]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def app() -> Any:
    """Built once, and furnished anew for every test: to build it takes as long as several tests."""
    return build()


@pytest.fixture
def make(tmp_path: Path, runner: asyncio.Runner, app: Any) -> Iterator[Make]:
    """Makes a service over a ledger: memory, sqlite, or that at an address."""
    stores: list[Store] = []

    def make_one(ledger: str = "memory", *, open_: bool = False, **settings: Any) -> Service:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/ledger.db"}.get(ledger, ledger)
        store = open_ledger(url)
        stores.append(store)
        place = world(tmp_path / "runs", store=store)
        made: list[Service] = []
        parts = Parts(
            settings=Settings(tmp_path, url, 2, **settings),
            store=store,
            clock=place.clock,
            tail=Tail(store, pace_s=0.001),
            engine=lambda: OFF,
            nudge=lambda: made[0].nudge(),
            key=digest(KEY),
            links=Links(now=place.clock.monotonic),
            open=open_,
            answer_within_s=0.0,
        )
        furnish(app, parts)
        made.append(Service(parts, place, place.engine(), Asking(app, runner).by(KEY)))
        return made[0]

    yield make_one
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "sqlite"])
def service(request: pytest.FixtureRequest, make: Make) -> Service:
    return make(request.param)
