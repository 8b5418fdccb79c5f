"""A call into Ray whose answer cannot come is left, and whoever asked goes on."""

from __future__ import annotations

import threading

import pytest

from orchestrator.backends import asking
from orchestrator.ground.errors import BackendLost


def test_what_a_call_returns_or_raises_is_its_askers() -> None:
    assert asking.ask(lambda: 3, alive=lambda: True) == 3
    with pytest.raises(ValueError, match="taken"):
        asking.ask(lambda: int("taken"), alive=lambda: True)


def test_a_call_that_hangs_is_left_once_its_ray_has_gone() -> None:
    never, looks = threading.Event(), iter([True, True, False])
    with pytest.raises(BackendLost) as caught:
        asking.ask(never.wait, alive=lambda: next(looks))
    never.set()
    assert str(caught.value) == asking.GONE
    assert not list(looks)


def test_and_after_its_time_where_that_ray_lives_and_says_nothing() -> None:
    never = threading.Event()
    with pytest.raises(BackendLost) as caught:
        asking.ask(never.wait, alive=lambda: True, within_s=1.0)
    never.set()
    assert str(caught.value) == "Ray did not answer within 1 s."
