"""Who asks, and may they? Bearer tokens, the key of the home; for browsers a session in a cookie."""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from orchestrator.api.deps import Here, Parts
from orchestrator.ground.errors import OrchError
from orchestrator.ground.keys import digest
from orchestrator.ledger.records import Role

COOKIE = "orch_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
KEY_HOLDER = "local key"  # no token can have this name: it holds a space

_bearer = HTTPBearer(
    auto_error=False,
    description="A token of `orch token create`, or the key in the service's home.",
    scheme_name="bearer",
)
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, description="A browser's session, by POST /session.", scheme_name="cookie"
)


@dataclass(frozen=True)
class Caller:
    name: str  # the token's; told in audit lines and requests
    role: Role
    by: Literal["token", "session", "nobody"]
    digest: str = ""  # of the token or the key


def caller(
    request: Request,
    parts: Here,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Caller:
    """Who asks. 401 for one who is not known."""
    return known(request, parts, bearer.credentials if bearer else None, cookie)


def known(request: Request, parts: Parts, secret: str | None, cookie: str | None) -> Caller:
    """Who asks. Whose name is found is kept for the audit line, also where they are refused."""
    found = _found(request, parts, secret, cookie)
    request.state.caller = found  # a connection of somebody known is not cut off
    return found


def _found(request: Request, parts: Parts, secret: str | None, cookie: str | None) -> Caller:
    if secret is not None:
        return of_digest(request, parts, digest(secret), "token")
    guarded = is_guarded(parts)
    if guarded and cookie is not None:  # where nothing is asked for, a stale cookie must lock nobody out
        found = _of_session(request, parts, cookie)
        require_same_origin(request, required=True)
        return found
    if guarded:
        raise _unauthorized("A token is needed. Send it as `Authorization: Bearer …`.")
    _require_local_name(request)
    require_same_origin(request, required=False)
    request.state.who = "local"
    return Caller("local", Role.ADMIN, "nobody")


def is_guarded(parts: Parts) -> bool:
    """Whether a token is asked for. A service that was opened asks for one as soon as there is one."""
    return not parts.open or bool(parts.store.tokens())


def of_digest(request: Request, parts: Parts, found: str, by: Literal["token", "session"]) -> Caller:
    """Whose token, or key, it is. 401 for one that is not known, or not valid any more."""
    if parts.key and hmac.compare_digest(found, parts.key):
        request.state.who = KEY_HOLDER
        return Caller(KEY_HOLDER, Role.ADMIN, by, found)
    token = parts.store.token(found)
    if token is None:
        raise _unauthorized("Invalid token.")
    if not token.valid(parts.clock.time()):
        how = "was revoked" if token.revoked_at is not None else "has expired"
        request.state.who = f"{token.name} (the token {how})"
        raise _unauthorized(f"The token {token.name!r} {how}. Make one with: orch token create")
    request.state.who = token.name
    return Caller(token.name, token.role, by, found)


def _of_session(request: Request, parts: Parts, cookie: str) -> Caller:
    session = parts.store.session(digest(cookie))
    if session is None or not session.valid(parts.clock.time()):
        raise _unauthorized("The session has ended. Sign in again.")
    return of_digest(request, parts, session.token, "session")


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _require_local_name(request: Request) -> None:
    """A page elsewhere may make its own name lead to this machine, but not send another name."""
    named = request.headers.get("host", "")
    if not LOCAL.fullmatch(named.lower()):
        raise HTTPException(
            403, f"The host {named!r:.80} is not this machine. Use http://127.0.0.1, or make a token."
        )


def require_same_origin(request: Request, *, required: bool) -> None:
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


def _credentials(request: Request) -> tuple[str | None, str | None]:
    bearer = request.headers.get("authorization", "")
    secret = bearer[7:] if bearer[:7].lower() == "bearer " else None
    return secret, request.cookies.get(COOKIE)


def role_of(request: Request) -> str | None:
    """For pages: what the caller may do; None for one who is not known."""
    try:
        found = known(request, request.app.state.parts, *_credentials(request))
    except HTTPException as refused:
        if refused.status_code != 401:
            raise
        return None
    return str(found.role)


def name_of(request: Request) -> str | None:
    """For an audit line of a request that was refused before anybody asked whose it is."""
    with contextlib.suppress(HTTPException, OrchError):
        known(request, request.app.state.parts, *_credentials(request))
    found: str | None = getattr(request.state, "who", None)
    return found
