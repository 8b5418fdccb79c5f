"""What does an app answer, asked without a server or a client library?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(app: Any, address: str, **headers: str) -> Answer:
    """GET; `if_none_match="…"` is sent as If-None-Match."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "headers": [
            (k.replace("_", "-").encode(), v.encode()) for k, v in {"host": "127.0.0.1", **headers}.items()
        ],
    }
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    begun, *rest = said
    told = {k.decode().lower(): v.decode() for k, v in begun["headers"]}
    return Answer(begun["status"], told, b"".join(each.get("body", b"") for each in rest))
