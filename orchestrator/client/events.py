"""How is what trials say heard as they say it? Server-sent events, over connections that may break."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.client.http import BACKOFF_S, Json, Wire
from orchestrator.ground.errors import ServiceLost

SILENCE_S = 60.0  # a stream says something every 15 s


@dataclass(frozen=True)
class Heard:
    """One thing that a trial said."""

    event_id: int
    study_id: str
    trial_id: str
    attempt: int
    kind: str  # started, train, eval, checkpoint, …
    step: int
    at: float  # unix seconds
    payload: Mapping[str, Any]  # values, hyper, clocks; null where a number is not finite


def stream(wire: Wire, path: str, *, after: int | None) -> Iterator[Heard | None]:
    """What is heard, without an end; None whenever the service shows that it is still there.

    A connection that breaks is made anew after the last event, while patience lasts.
    """
    last, tries = after, 0
    lost_at: float | None = None
    while True:
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        try:
            with wire.lines(path, headers=headers, silence_s=SILENCE_S) as lines:
                tries, lost_at = 0, None
                for event_id, data in messages(lines):
                    last = last if event_id is None else event_id
                    yield None if data is None else _heard(json.loads(data))
        except (wire.lost, ServiceLost) as problem:
            lost_at = time.monotonic() if lost_at is None else lost_at
            left_s = lost_at + wire.patience_s - time.monotonic()
            if left_s < 0:
                raise wire.unreachable(problem) from problem
            if isinstance(problem, wire.absent):
                wire.tell_of_retrying(left_s)
        yield None
        wire.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
        tries += 1


def messages(lines: Iterable[str]) -> Iterator[tuple[int | None, str | None]]:
    """The id and data of each server-sent event; no data where only the id moves, or for a heartbeat."""
    event_id: int | None = None
    data: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id" and value.isdecimal():
            event_id = int(value)
        elif field == "data":
            data.append(value)
        elif not line or line.startswith(":"):
            yield event_id, None if line else "\n".join(data) or None
            if not line:
                data = []


def _heard(data: Json) -> Heard:
    return Heard(**{name: data[name] for name in Heard.__dataclass_fields__})


class Ears:
    """A thread that listens, so that whoever waits can look elsewhere meanwhile."""

    def __init__(self, stream: Iterator[Heard | None]) -> None:
        self.over = False
        self._stream = stream
        self._waiting: queue.SimpleQueue[Heard | Exception] = queue.SimpleQueue()
        # A daemon: it notices only at the next word, or heartbeat, that nobody listens any more.
        threading.Thread(target=self._listen, name="ears", daemon=True).start()

    def news(self) -> bool:
        """Whether something has been heard that nobody has taken yet."""
        return not self._waiting.empty()

    def heard(self, *, within_s: float, all_of_it: bool = False) -> Iterator[Heard]:
        """What comes within that time; `all_of_it`: and on, until it is quiet for as long."""
        until = time.monotonic() + within_s
        while True:
            try:
                word = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(word, Exception):
                raise word
            yield word
            if all_of_it:
                until = time.monotonic() + within_s

    def _listen(self) -> None:
        try:
            for word in self._stream:
                if self.over:
                    return
                if word is not None:
                    self._waiting.put(word)
        except Exception as problem:  # told to the one who waits
            self._waiting.put(problem)
