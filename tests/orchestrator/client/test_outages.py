"""Is a service that takes no connection given up soon by those who look, and waited for by those who wait?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.client import Client, events, http
from orchestrator.ground import errors


class Waiting:
    """Time that passes only where it is waited."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    found = Waiting()
    for module in (http, events):
        monkeypatch.setattr(module, "time", found)
    return found


NOBODY = "http://127.0.0.1:9"  # refuses every connection


def test_who_only_looks_gives_a_service_up_that_takes_no_connection(waiting: Waiting) -> None:
    told: list[str] = []
    with Client(NOBODY, token="x", wait=waiting, refused_s=2.5, tell=told.append) as client:
        with pytest.raises(errors.ServiceLost, match="cannot be reached: Connection refused"):
            client.version()
        assert 1 < sum(waiting.waits) <= 2.5
    assert told == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.create(preset="eta-sweep"),
        lambda client: client.wait("s1"),
        lambda client: next(client.events("s1")),
    ],
    ids=["create", "wait", "events"],
)
def test_who_waits_is_told_at_once_and_now_and_then_that_it_is_tried_again(
    waiting: Waiting, ask: Callable[[Client], Any]
) -> None:
    told: list[tuple[float, str]] = []

    def tell(text: str) -> None:
        told.append((waiting.now - 100.0, text))

    client = Client(NOBODY, token="x", wait=waiting, refused_s=2.5, tell=tell)
    with client, pytest.raises(errors.ServiceLost):
        ask(client)
    assert sum(waiting.waits) > 50
    assert told[0] == (0.0, f"Cannot reach {NOBODY}; retrying (60 s left).")
    assert 4 <= len(told) <= 6
    assert all(b[0] - a[0] >= 10 for a, b in pairwise(told))
