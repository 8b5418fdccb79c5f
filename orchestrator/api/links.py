"""Which links sign a browser in? Each works once, and not for long."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from orchestrator.ground.keys import digest, new_secret

PAGE = "/login"  # of the live page: it redeems a link's key
LINK_S = 600.0  # how long a link works, if nobody uses it
MOST_LINKS = 20  # of one token


@dataclass(frozen=True)
class _Link:
    digest: str  # of the key in the link
    credential: str  # the digest of the token, or of the home's key, that it was made with
    until: float


class Links:
    """The links that can still be used. In memory alone: none survives the process, nor its own use."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now, self._lock = now, threading.Lock()
        self._links: list[_Link] = []

    def path(self, credential: str) -> str:
        """The address of a fresh link, on the service. Of a token's links beyond MOST_LINKS the oldest works
        no more."""
        key, now = new_secret(), self._now()
        with self._lock:
            alive = [link for link in self._links if now < link.until]
            own = [link for link in alive if link.credential == credential]
            for link in own[: max(0, len(own) - MOST_LINKS + 1)]:
                alive.remove(link)
            self._links = [*alive, _Link(digest(key), credential, now + LINK_S)]
        return f"{PAGE}?{urlencode({'key': key})}"

    def redeem(self, key: str) -> str | None:
        """What the link with this key was made with, once; None for one that does not work any more."""
        asked, found = digest(key), None
        with self._lock:
            for link in self._links:  # all of them, so that the time tells nothing
                if hmac.compare_digest(link.digest, asked) and self._now() < link.until:
                    found = link
            self._links = [link for link in self._links if link is not found]
        return None if found is None else found.credential
