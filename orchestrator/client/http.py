"""How does a request reach a service, and its answer come back? Repeated where safe, and translated."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.ground import keys
from orchestrator.ground.errors import (
    TELLINGS,
    BadSpec,
    MissingPackage,
    NameTaken,
    NotAllowed,
    OrchError,
    ServiceLost,
)
from orchestrator.ground.release import DISTRIBUTION
from orchestrator.ground.settings import home_of

if TYPE_CHECKING:
    import httpx

LOG = logging.getLogger("orchestrator.client")
Json = dict[str, Any]

PREFIX = "/api/v1"
TIMEOUT_S = 60.0  # a report of a large study takes seconds
CONNECT_S = 5.0  # a machine that is not there does not even refuse
PATIENCE_S = 60.0  # how long a service that does not answer is asked again
TELL_FROM_S, TELL_EVERY_S = (
    5.0,
    10.0,
)  # from which patience on it is said that it is asked again, and how often
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0)
MOST_WAIT_S = 30.0  # whatever the service says
AGAIN = frozenset({429, 502, 503, 504})  # the same request may go through later
MADE_APART = (
    BadSpec,
    NameTaken,
    OrchError,
)  # with more to them than a sentence, or with no kind of their own
# What is raised for a problem of this kind.
KINDS: Mapping[str, Callable[[str], OrchError]] = {
    **{told.kind: error for error, told in reversed(TELLINGS) if error not in MADE_APART},
    "unauthorized": NotAllowed,
    "forbidden": NotAllowed,
}


class Wire:
    """The connections to one service."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_s: float | None,
        timeout_s: float,
        wait: Callable[[float], None],
        refused_s: float | None = None,
        tell: Callable[[str], None] = LOG.warning,
    ) -> None:
        """`refused_s`: the patience with a service that takes no connection, if it is another."""
        try:
            import httpx
        except ImportError:
            raise MissingPackage(
                f"The client of a service needs httpx, which is not installed. Install it: pip install "
                f"{DISTRIBUTION}"
            ) from None
        self.url = _checked(url or os.environ.get("ORCH_URL") or "")
        token = _fit_for_a_header(token or os.environ.get("ORCH_TOKEN") or "")
        self._key_file: Path | None = None  # where the key is looked for, in place of a token
        if not token and _is_loopback(self.url):
            home = home_of(os.environ)
            self._key_file = home / keys.FILE
            token = keys.read(home) or ""
        self._has_token = bool(token)
        self.patience_s = PATIENCE_S if patience_s is None else patience_s
        self.wait = wait
        self.lost: type[Exception] = httpx.TransportError
        self.absent: tuple[type[Exception], ...] = (httpx.ConnectError, httpx.ConnectTimeout)
        self._refused_s = self.patience_s if refused_s is None else refused_s
        self._told = _Told(tell)
        self._timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        self._http = httpx.Client(
            base_url=self.url + PREFIX,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=self._timeout,
            trust_env=not _is_loopback(self.url),  # no proxy leads to this machine
        )

    def close(self) -> None:
        self._http.close()

    def patient(self) -> Wire:
        """The same connections, with the whole patience also where none is taken."""
        made = copy.copy(self)
        made._refused_s = self.patience_s
        return made

    def ask(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        key: str | None = None,
    ) -> httpx.Response:
        """The answer. What may be repeated (a GET; with a key also a POST) is, while patience lasts."""
        headers = {} if key is None else {"Idempotency-Key": key}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else _written(body)
        params = {name: value for name, value in (query or {}).items() if value is not None}
        began, tries = time.monotonic(), 0
        while True:
            patience_s, absent = self.patience_s, False
            may_repeat = verb == "GET" or key is not None
            wait_s = BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]
            try:
                response = self._http.request(verb, path, params=params, headers=headers, content=content)
            except self.lost as problem:
                failure: OrchError = self.unreachable(problem)
                absent = isinstance(problem, self.absent)
                patience_s = self._refused_s if absent else self.patience_s
            else:
                if response.is_success:
                    return response
                failure = self.translated(response, body)
                if response.status_code not in AGAIN:
                    raise failure
                may_repeat |= response.status_code == 429  # it was not even looked at
                wait_s = max(wait_s, _retry_after_s(response))
            left_s = began + patience_s - time.monotonic()
            if not may_repeat or wait_s > left_s:
                raise failure
            if absent:
                self.tell_of_retrying(left_s)
            self.wait(wait_s)
            tries += 1

    def save(self, path: str, file: Path) -> None:
        """The body of an answer into a file, however large it is."""
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    raise self.translated(response, None)
                with file.open("wb") as opened:
                    for piece in response.iter_bytes():
                        opened.write(piece)
        except self.lost as problem:
            raise self.unreachable(problem) from problem

    @contextmanager
    def lines(self, path: str, *, headers: Mapping[str, str], silence_s: float) -> Iterator[Iterator[str]]:
        """The lines of an answer that goes on; ServiceLost where it may be asked for again."""
        import httpx

        timeout = httpx.Timeout(self._timeout.write, read=silence_s, connect=self._timeout.connect)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                failure = self.translated(response, None)
                raise ServiceLost(str(failure)) if response.status_code in AGAIN else failure
            yield response.iter_lines()

    def read(self, response: httpx.Response) -> Json:
        """What an answer says. ServiceLost for one that no service of orch gives, such as a sign-in page."""
        try:
            found: Json = response.json()
        except ValueError:
            raise self._stranger(response) from None
        return found

    def _stranger(self, response: httpx.Response) -> ServiceLost:
        return ServiceLost(
            f"What answers at {self.url} is not orch ({response.status_code} to "
            f"{response.request.method} {response.request.url.path}). Is the address right?"
        )

    def unreachable(self, problem: Exception) -> ServiceLost:
        if isinstance(problem, ServiceLost):
            return problem
        why = re.sub(r"^\[Errno -?[0-9]+\] ", "", str(problem)) or type(problem).__name__
        return ServiceLost(
            f"The service at {self.url} cannot be reached: {why}. "
            f"Check the address, or start the service there: orch serve"
        )

    def tell_of_retrying(self, left_s: float) -> None:
        self._told.tell(self.url, left_s)

    def translated(self, response: httpx.Response, asked: Json | None) -> OrchError:
        """The domain error that an answer tells of."""
        try:
            told = response.json()
            kind, detail = str(told["type"]).removeprefix("urn:orch:"), str(told["detail"])
        except (ValueError, KeyError, TypeError):
            return self._stranger(response)
        if kind == "name-taken":
            taken = NameTaken(_name_in(asked or {}), str(told.get("study_id")))
            taken.args = (detail,)
            return taken
        if response.status_code in (400, 413, 422) and kind not in KINDS:
            return BadSpec(told.get("problems") or detail)
        if response.status_code >= 500 and kind not in KINDS:
            return ServiceLost(f"The service at {self.url} failed: {detail}")
        if kind == "unauthorized":
            detail += self._about_the_key()
        return KINDS.get(kind, OrchError)(detail)

    def _about_the_key(self) -> str:
        if self._key_file is None:
            return ""
        tried = "was sent, since" if self._has_token else "would be sent, and cannot be read;"
        return (
            f" The key in {self._key_file} {tried} ORCH_TOKEN is not set. Set ORCH_HOME to the folder of the "
            f"service that answers at {self.url}, or ORCH_TOKEN to a token."
        )


class _Told:
    """What has been said of a service that cannot be reached: by several threads, now and then."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._next_at = tell, 0.0

    def tell(self, url: str, left_s: float) -> None:
        now = time.monotonic()
        if left_s >= TELL_FROM_S and now >= self._next_at:
            self._next_at = now + TELL_EVERY_S
            self._tell(f"Cannot reach {url}; retrying ({left_s:.0f} s left).")


# -- words -----------------------------------------------------------------------------------------------
def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSpec(
            f"The service's address is {url[:80]!r}. Allowed: http://host:port or https://host. Give it "
            f"as an argument, or in ORCH_URL."
        )
    return url.rstrip("/")


def _fit_for_a_header(token: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise BadSpec(
            "The token holds characters that no token has. Give it as `orch token create` printed it."
        )
    return token


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _name_in(asked: Json) -> str:
    preset = asked.get("preset") or {}
    return str(asked.get("name") or (asked.get("spec") or {}).get("name") or preset.get("name"))


def _written(body: Json) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as problem:
        raise BadSpec(f"This cannot be written as JSON: {problem}.") from None


def _retry_after_s(response: httpx.Response) -> float:
    said = response.headers.get("Retry-After", "")
    return min(float(said), MOST_WAIT_S) if said.isdecimal() else 0.0
