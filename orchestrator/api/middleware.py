"""What happens to every request before and after its route? Rates, sizes, headers, the audit line."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from orchestrator.api.bodies import BODY
from orchestrator.api.deps import Parts
from orchestrator.api.errors import VERBS, problem, unexpected
from orchestrator.api.peers import client_of
from orchestrator.ground.strict_json import MOST_BYTES, too_large

Message = MutableMapping[str, Any]
MOST_CLIENTS = 10_000
BURST_S = 5  # a client that was quiet may ask for so many seconds' worth at once
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass
class _Bucket:
    left: float
    at: float


class Buckets:
    """A token bucket a client: so many requests a second, and `burst_s` times as many after a rest."""

    def __init__(self, rate_per_s: float, *, now: Callable[[], float], burst_s: float = BURST_S) -> None:
        self._rate, self._most, self._now = rate_per_s, rate_per_s * burst_s, now
        self._burst_s = burst_s
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, client: str) -> float:
        """Takes one; how long to wait if there is none."""
        now = self._now()
        bucket = self._buckets.get(client)
        if bucket is None:
            self._forget_rested(now)
            bucket = self._buckets[client] = _Bucket(self._most, now)
        bucket.left = min(self._most, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self._rate
        bucket.left -= 1
        return 0.0

    def _forget_rested(self, now: float) -> None:
        """A full bucket is as good as none."""
        if len(self._buckets) >= MOST_CLIENTS:
            self._buckets = {c: b for c, b in self._buckets.items() if now - b.at < self._burst_s}


class Guard:
    """The middleware around all routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})  # the route puts the caller there
        exchange = _Exchange(scope, receive, send)
        refusal = _refusal(scope, exchange.parts)
        exchange.looked_at = refusal is None
        if refusal is not None:
            await refusal(scope, receive, exchange.send)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:  # in the middle of a body: nobody is there to be answered
            return
        except Exception as error:
            if exchange.started:
                raise
            await unexpected(error)(scope, receive, exchange.send)


def _refusal(scope: Any, parts: Parts) -> Any:
    wait_s = scope["app"].state.buckets.wait_s(client_of(scope, parts.settings.proxies))
    if wait_s:
        return problem(
            429,
            f"More than {parts.settings.requests_per_s} requests a second. Wait {wait_s:.2g} s. "
            f"Whoever runs the service allows more with ORCH_REQUESTS_PER_S.",
            headers={"Retry-After": str(max(1, round(wait_s + 0.5)))},
        )
    if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
        return problem(400, "The address holds a null character. Take it out.")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return problem(413, too_large(BODY))
    return None


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.parts: Parts = scope["app"].state.parts
        self._taken = 0
        self.started = False
        self.looked_at = True  # by a route, or the search for one

    async def receive(self) -> Message:
        """Counted: what a header says of the length may be missing, or a lie."""
        message: Message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > MOST_BYTES:
            raise HTTPException(413, too_large(BODY))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            verb = self._scope["method"]  # a client may invent some; they count as one
            self._scope["app"].state.counts[verb if verb in VERBS else "other", message["status"]] += 1
            audit = self._scope["app"].state.audit
            await audit.tell(self._scope, message["status"], looked_at=self.looked_at)
            there = {name.lower() for name, _ in message.get("headers", ())}
            extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await self._send(message)
