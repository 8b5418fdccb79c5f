"""How is a domain error told over HTTP? One translator, to problem+json (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.routing import Match

from orchestrator.ground.errors import (
    BadSpec,
    LedgerBusy,
    LedgerDamaged,
    LedgerTooNew,
    NameTaken,
    OrchError,
    telling,
)

Responses = dict[int | str, dict[str, Any]]  # as FastAPI takes them

RETRY_AFTER_S = 2
AWAY = (LedgerBusy, LedgerDamaged, LedgerTooNew)
MEDIA_TYPE = "application/problem+json"
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

PLAIN = {
    400: ("bad-request", "The request cannot be read"),
    401: ("unauthorized", "A token is needed"),
    403: ("forbidden", "The token does not open this"),
    404: ("not-found", "There is nothing at this address"),
    405: ("method-not-allowed", "This address does not take that verb"),
    413: ("too-large", "The body is too large"),
    422: ("bad-request", "The request cannot be used"),
    429: ("too-many-requests", "Too many requests"),
    500: ("unexpected", "An unexpected error"),
}
SENTENCES = {
    404: "There is nothing at this address. /api/v1/openapi.json lists what there is.",
    405: "This address does not take that verb. The header Allow lists those it takes.",
}


class Problem(BaseModel):
    """What went wrong, and what to do."""

    type: str = Field(description="A name for scripts, such as urn:orch:not-found.")
    title: str
    status: int
    detail: str = Field(description="A sentence for a person.")
    problems: list[str] | None = Field(None, description="Of a spec: a sentence for each mistake.")
    study_id: str | None = Field(None, description="Of a name that is taken: the study that has it.")


def told(*statuses: int) -> Responses:
    """What a route declares: these, and those that every route can answer with."""
    return {status: {"model": Problem} for status in sorted({*statuses, 400, 413, 422, 429, 503})}


def problem(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    name, words = PLAIN.get(status, ("refused", "Refused"))
    content = {
        "type": f"urn:orch:{kind or name}",
        "title": title or words,
        "status": status,
        "detail": detail,
        **{key: value for key, value in more.items() if value is not None},
    }
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def translated(error: OrchError) -> JSONResponse:
    how = telling(error)
    return problem(
        how.status,
        str(error),
        kind=how.kind,
        title=how.title,
        headers={"Retry-After": str(RETRY_AFTER_S)} if how.status == 503 else None,
        problems=error.problems if isinstance(error, BadSpec) else None,
        study_id=error.study_id if isinstance(error, NameTaken) else None,
    )


def unexpected(error: Exception) -> JSONResponse:
    """What nobody foresaw: the traceback goes to the log, and nothing of it to the caller."""
    logging.getLogger("orchestrator.api").error("An unexpected error", exc_info=error)
    return problem(500, "An unexpected error. See the server's log.")


def install(app: FastAPI) -> None:
    async def domain(request: Request, error: Any) -> JSONResponse:
        # An audit line would wait for the same ledger, for as long again.
        request.state.ledger_away = isinstance(error, AWAY)
        return translated(error)

    async def plain(request: Request, error: Any) -> JSONResponse:
        detail = SENTENCES.get(error.status_code) if error.detail in _DEFAULTS else None
        headers = {
            **(error.headers or {}),
            **({"Allow": _verbs(request)} if error.status_code == 405 else {}),
        }
        return problem(error.status_code, detail or str(error.detail), headers=headers)

    async def invalid(_: Request, error: Any) -> JSONResponse:
        sentences = [_sentence(each) for each in error.errors()]
        return problem(422, "\n".join(sentences), problems=sentences)

    app.add_exception_handler(OrchError, domain)
    app.add_exception_handler(AnyHTTPException, plain)  # also those of the router itself
    app.add_exception_handler(RequestValidationError, invalid)


def _verbs(request: Request) -> str:
    """All that the address takes. The router itself tells only those of the first route that fits."""

    def taken(verb: str) -> bool:
        asked = {**request.scope, "method": verb}
        return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(verb for verb in VERBS if taken(verb))


_DEFAULTS = ("Not Found", "Method Not Allowed")


def _sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's findings."""
    where: Sequence[Any] = error["loc"]
    place = ".".join(str(part) for part in where[1:]) or f"the {where[0] if where else 'request'}"
    if error["type"] == "missing":
        return f"{place} is missing. Add it."
    if error["type"] == "extra_forbidden":
        return f"Unknown key {place!r:.80}. Leave it out."
    given = error.get("input")
    shown = f" is {given!r:.60}" if isinstance(given, str | int | float) else ""
    return f"{place:.120}{shown}: {error['msg']}."
