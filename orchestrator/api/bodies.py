"""How is the JSON of a body read? Strictly, as spec files are; the first mistake is refused with 400."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from orchestrator.ground.errors import BadSpec
from orchestrator.ground.strict_json import decoded, mistakes, parsed

SMALL_BYTES = 2**15  # read in the event loop: milliseconds at most
BODY = "The body"


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `strict_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await inner(_Strict(request.scope, request.receive))

        return handler


class _Strict(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            raw = await self.body()
            small = len(raw) <= SMALL_BYTES
            self._json = strict_json(raw) if small else await run_in_threadpool(strict_json, raw)
        return self._json


def strict_json(raw: bytes) -> Any:
    """The value; a 400 with a sentence for what is no strict JSON."""
    try:
        value = parsed(decoded(raw, BODY), BODY)
    except BadSpec as refusal:
        raise HTTPException(400, str(refusal)) from None
    for mistake in mistakes(value, BODY):
        raise HTTPException(400, mistake)
    return value
