"""How does a browser sign in, and out? By a token in a form, or by a link that works once."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from orchestrator.api import auth
from orchestrator.api.auth import COOKIE, Caller, Reader, is_guarded, require_same_origin
from orchestrator.api.deps import Here, Parts
from orchestrator.api.errors import told
from orchestrator.api.links import LINK_S
from orchestrator.api.peers import is_https
from orchestrator.ground.keys import digest, new_secret
from orchestrator.ledger.records import Session

SESSION_S = 30 * 86_400.0  # the longest; one ends with its token before that
MOST_FORM_BYTES = 4096


def first_address(parts: Parts, url: str) -> str:
    """What whoever starts the service opens in a browser."""
    return url + (parts.links.path(parts.key) if is_guarded(parts) else "/")


def enter(request: Request) -> Response | None:
    """Take the browser that follows a link in; None where the link does not work any more.

    For pages: it is a GET, so what it changes is said to the audit here.
    """
    parts: Parts = request.app.state.parts
    credential = parts.links.redeem(request.query_params.get("key", ""))
    if credential is None:
        return None
    try:
        found = auth.of_digest(request, parts, credential, "session")
    except HTTPException:  # its token was revoked meanwhile
        return None
    request.state.audited = True
    return _taken_in(request, parts, found)


# -- the API -------------------------------------------------------------------------------------------------
router = APIRouter(tags=["session"])
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "properties": {"token": {"type": "string", "maxLength": 200}},
                    "required": ["token"],
                },
                "example": {"token": "orch_…"},
            }
        },
    }
}


class Link(BaseModel):
    """Where a browser signs in."""

    path: str = Field(description="On this service; it holds a key that works once.")
    expires_in_s: float | None = Field(description="Null: the service is open, and asks for no key.")


@router.post(
    "/session", summary="Sign a browser in", status_code=303, responses=told(401, 403), openapi_extra=_FORM
)
async def create_session(request: Request, parts: Here) -> Response:
    """Begin a session with a token (form field `token`), in a cookie; then on to the first page."""
    require_same_origin(request, required=False)
    form = parse_qs((await request.body()).decode("utf-8", "replace")[:MOST_FORM_BYTES])
    secret = form.get("token", [""])[0].strip()
    if not secret:
        raise HTTPException(422, "The form field `token` is missing. Give the token there.")

    def begin() -> Response:
        return _taken_in(request, parts, auth.of_digest(request, parts, digest(secret), "session"))

    return await run_in_threadpool(begin)


@router.post(
    "/session/links",
    summary="Create a link that signs a browser in",
    status_code=201,
    response_model=Link,
    responses=told(401, 403),
)
def create_session_link(parts: Here, who: Reader) -> Any:
    """A link that signs a browser in once, with the token that asks for it."""
    if who.by == "session":
        raise HTTPException(403, "A link is made with a token, and a browser's session is none.")
    if who.by == "nobody":
        return {"path": "/", "expires_in_s": None}
    return {"path": parts.links.path(who.digest), "expires_in_s": LINK_S}


@router.delete("/session", summary="Sign a browser out", status_code=204, responses=told(403))
def delete_session(request: Request, parts: Here) -> Response:
    """End the browser's session: its cookie opens nothing any more, wherever it was copied to."""
    require_same_origin(request, required=False)
    cookie = request.cookies.get(COOKIE)
    if cookie is not None:
        auth.name_of(request)  # for the audit line, while it is known
        parts.store.end_session(digest(cookie))
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _taken_in(request: Request, parts: Parts, who: Caller) -> Response:
    """On to the first page, with a session that ends with its token."""
    key, now = new_secret(), parts.clock.time()
    token = parts.store.token(who.digest)  # None: the key of the home, which does not expire
    ends = now + SESSION_S
    if token is not None and token.expires_at is not None:
        ends = min(ends, token.expires_at)
    before = request.cookies.get(COOKIE)
    if before is not None:
        parts.store.end_session(digest(before))
    parts.store.add_session(Session(digest(key), who.digest, now, ends))
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE,
        key,
        max_age=max(1, round(ends - now)),
        httponly=True,
        samesite="strict",
        secure=is_https(request.scope, parts.settings.proxies),
    )
    return response
