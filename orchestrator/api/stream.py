"""How do many listeners hear of new events, when only one of us asks the ledger?

One task follows the event stream and hands each event, encoded once, to those who listen. A listener joins at
the tail's place, reads what is older from the ledger itself, and goes on with what was handed to it: without
a gap and without a double, since event ids are given out and committed in order.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from fastapi.concurrency import run_in_threadpool

from orchestrator.ground.errors import LedgerBusy, LedgerDamaged
from orchestrator.ledger import Store
from orchestrator.ledger.codec import finite
from orchestrator.ledger.records import StoredEvent

PACE_S = 0.25  # between two looks while somebody listens
PAGE = 500
MOST_WAITING = 2000  # events of one listener; one that is slower than that is let go, and comes back
HEARTBEAT_S = 15.0  # proxies close a connection on which nothing is said for a minute
LIFETIME_S = 900.0  # then the listener comes back by itself, and its token is looked at again
HEARTBEAT = b": still here\n\n"
GREETING = b"retry: 1000\n\n"


def encoded(stored: StoredEvent) -> bytes:
    """One event in the words of server-sent events."""
    event = stored.event
    data = {
        "event_id": stored.event_id,
        "study_id": stored.study_id,
        "trial_id": event.trial_id,
        "attempt": event.attempt,
        "kind": event.kind,
        "step": event.step,
        "at": event.at,
        "payload": finite(event.payload),
    }
    kind = "".join(c for c in event.kind if c.isprintable()) or "event"  # an entrypoint's own word
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"id: {stored.event_id}\nevent: {kind}\ndata: {text}\n\n".encode()


@dataclass(eq=False)
class Listener:
    study_id: str | None
    after: int = 0  # may lie ahead of the tail, which looks only every so often
    waiting: deque[bytes] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False  # too slow, or the server ends

    def hand(self, said: bytes) -> None:
        if len(self.waiting) >= MOST_WAITING:
            self.end()
        else:
            self.waiting.append(said)
            self.news.set()

    def end(self) -> None:
        self.over = True
        self.waiting.clear()
        self.news.set()


class Tail:
    """The one follower of a process, and those who listen to it. All of it happens in the event loop."""

    def __init__(self, store: Store, *, pace_s: float = PACE_S) -> None:
        self._store = store
        self._pace_s = pace_s
        self._place: int | None = None  # every listener has been handed all up to this event
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._listeners)

    async def listen(
        self, *, study_id: str | None = None, after: int | None = None, lifetime_s: float = LIFETIME_S
    ) -> AsyncGenerator[bytes, None]:
        """What is said after that event; from now on without one."""
        listener = Listener(study_id, after or 0)
        loop = asyncio.get_running_loop()
        leave_at = loop.time() + lifetime_s
        try:
            place = await self._join(listener)
            yield GREETING
            if after is not None:
                async with aclosing(self._older(study_id, after, place)) as older:
                    async for said in older:
                        yield said
                        if loop.time() >= leave_at:  # to a slow reader one piece may take minutes
                            return
            while not listener.over and loop.time() < leave_at:
                while listener.waiting:
                    yield listener.waiting.popleft()
                    if loop.time() >= leave_at:
                        return
                listener.news.clear()
                if listener.over:
                    return
                try:
                    async with asyncio.timeout(min(HEARTBEAT_S, max(0.0, leave_at - loop.time()))):
                        await listener.news.wait()
                except TimeoutError:
                    yield HEARTBEAT
        except (LedgerBusy, LedgerDamaged):  # the listener comes back
            return
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """The server ends: so do all streams."""
        self._closed = True
        for listener in self._listeners:
            listener.end()
        if self._task is not None:
            self._task.cancel()

    async def _join(self, listener: Listener) -> int:
        if self._closed:
            listener.over = True
            return 0
        if self._place is None:
            newest = await run_in_threadpool(self._store.newest_event)
            self._place = newest if self._place is None else self._place  # another may have asked meanwhile
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())
        self._listeners.add(listener)
        return self._place

    async def _older(self, study_id: str | None, after: int, place: int) -> AsyncGenerator[bytes, None]:
        while after < place:
            page = await run_in_threadpool(self._store.events, after=after, study_id=study_id, limit=PAGE)
            for stored in page:
                if stored.event_id > place:
                    return
                yield encoded(stored)
            if len(page) < PAGE:
                return
            after = page[-1].event_id

    async def _follow(self) -> None:
        """The task: while anybody listens."""
        try:
            while self._listeners:
                if await self._step() < PAGE:
                    await asyncio.sleep(self._pace_s)
        finally:  # whatever it was: nobody goes on waiting for what will not come
            self._place = None
            for listener in self._listeners:
                listener.end()

    async def _step(self) -> int:
        """Hand on what is new, a page at most; how much that was."""
        assert self._place is not None
        try:
            page = await run_in_threadpool(self._store.events, after=self._place, limit=PAGE)
        except (LedgerBusy, LedgerDamaged):  # it is asked again; nothing is lost
            return 0
        for stored in page:
            said = encoded(stored)
            for listener in self._listeners:
                if listener.study_id in (None, stored.study_id) and stored.event_id > listener.after:
                    listener.hand(said)
            self._place = stored.event_id
        return len(page)
