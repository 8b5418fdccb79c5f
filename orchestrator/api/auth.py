"""Who asks, and may they? Bearer tokens, kept as their hashes; for browsers the same token in a cookie."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.errors import told
from orchestrator.api.parts import Here, Parts
from orchestrator.records import Role, Token

COOKIE = "orch_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
# Behind a proxy the loopback is everybody. One that says nothing of itself cannot be told from a person here.
PROXY_HEADERS = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
)
MOST_FORM_BYTES = 4096

_bearer = HTTPBearer(auto_error=False, description="A token of `orch token create`.", scheme_name="bearer")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, description="The same, by POST /session.", scheme_name="cookie"
)


@dataclass(frozen=True)
class Caller:
    name: str  # the token's; told in audit lines and wishes
    role: Role
    by: Literal["token", "cookie", "nobody"]


def digest(secret: str) -> str:
    """A plain hash is right for 256 random bits: nobody can guess those, however fast they try."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    return f"orch_{secrets.token_urlsafe(32)}"


def caller(
    request: Request,
    parts: Here,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Caller:
    """Who asks. 401 for one who is not known."""
    found = known(request, parts, bearer.credentials if bearer else None, cookie)
    request.state.caller = found  # for the audit line
    return found


def known(request: Request, parts: Parts, secret: str | None, cookie: str | None) -> Caller:
    if secret is not None:
        return _of(parts, secret, "token")
    guarded = not parts.loopback or bool(parts.store.tokens())
    if guarded and cookie is not None:  # where no token can be had, a stale cookie must not lock anybody out
        _require_same_origin(request, required=True)
        return _of(parts, cookie, "cookie")
    if guarded:
        raise _unauthorized("A token is needed. Send it as `Authorization: Bearer …`.")
    if _through_a_proxy(request):
        raise _unauthorized(
            "A proxy stands before this service, and it has no tokens: anybody could use it. "
            "Make one with: orch token create NAME --role admin"
        )
    _require_local_name(request)
    _require_same_origin(request, required=False)
    return Caller("local", Role.ADMIN, "nobody")


def _of(parts: Parts, secret: str, by: Literal["token", "cookie"]) -> Caller:
    token = parts.store.token(digest(secret))
    if token is None:
        raise _unauthorized("This token is not known here.")
    if not token.valid(parts.clock.time()):
        how = "was revoked" if token.revoked_at is not None else "has expired"
        raise _unauthorized(f"The token {token.name!r} {how}. Make one with: orch token create")
    return Caller(token.name, token.role, by)


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _through_a_proxy(request: Request) -> bool:
    """HTTP/1.0 is what nginx speaks to those behind it, unless told otherwise; browsers and curl do not."""
    said = any(name in request.headers for name in PROXY_HEADERS)
    return said or request.scope.get("http_version") == "1.0"


def _require_local_name(request: Request) -> None:
    """A page elsewhere may make its own name lead to this machine, but not send another name."""
    named = request.headers.get("host", "")
    if not LOCAL.fullmatch(named.lower()):
        raise HTTPException(
            403, f"The host {named!r:.80} is not this machine. Use http://127.0.0.1, or make a token."
        )


def _require_same_origin(request: Request, *, required: bool) -> None:
    """Of a write that a browser may send by itself: it must come from our own page."""
    origin = request.headers.get("origin")
    if request.method in SAFE or (origin is None and not required):
        return
    if origin not in {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")}:
        raise HTTPException(403, f"A change was asked for from another page ({origin!r:.80}), and refused.")


def needs(role: Role) -> Callable[[Caller], Caller]:
    """A dependency: the caller, if the role covers it."""

    def allowed(caller: Annotated[Caller, Depends(caller)]) -> Caller:
        if not caller.role.covers(role):
            raise HTTPException(
                403, f"The token {caller.name!r} has the role {caller.role}; this needs {role}."
            )
        return caller

    return allowed


Reader = Annotated[Caller, Depends(needs(Role.READ))]
Runs = Annotated[Caller, Depends(needs(Role.RUN))]
Admin = Annotated[Caller, Depends(needs(Role.ADMIN))]


def role_of(request: Request) -> str | None:
    """For pages: what the caller may do; None for one who is not known."""
    bearer = request.headers.get("authorization", "")
    secret = bearer[7:] if bearer[:7].lower() == "bearer " else None
    try:
        found = known(request, request.app.state.parts, secret, request.cookies.get(COOKIE))
    except HTTPException as refused:
        if refused.status_code != 401:
            raise
        return None
    request.state.caller = found  # a connection of somebody known is not cut off
    return str(found.role)


# -- sessions of browsers ----------------------------------------------------------------------------------
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
                }
            }
        },
    }
}


@router.post("/session", status_code=303, responses=told(401, 403), openapi_extra=_FORM)
async def sign_in(request: Request, parts: Here) -> Response:
    """Take a token (form field `token`) into a cookie that counts as it; then on to the first page."""
    _require_same_origin(request, required=False)
    form = parse_qs((await request.body()).decode("utf-8", "replace")[:MOST_FORM_BYTES])
    secret = form.get("token", [""])[0].strip()
    if not secret:
        raise HTTPException(422, "The form field `token` is missing. Give the token there.")
    found = await run_in_threadpool(_of, parts, secret, "cookie")
    token = await run_in_threadpool(parts.store.token, digest(secret))
    request.state.caller = found
    response = RedirectResponse("/", 303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=_left_s(token, parts),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def _left_s(token: Token | None, parts: Parts) -> int | None:
    """None: until the browser is closed."""
    if token is None or token.expires_at is None:
        return None
    return max(1, round(token.expires_at - parts.clock.time()))


@router.delete("/session", status_code=204, responses=told(403))
def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    _require_same_origin(request, required=False)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
