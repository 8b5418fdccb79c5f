"""Does this Ray still have what it does not promise? Each test names what would break without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import worker

from orchestrator.backends import ray_private


@pytest.mark.parametrize(
    ("setting", "what_breaks"),
    [
        (ray_private.NO_TASK_EVENTS, "leaving a Ray whose gcs has died takes 5 s"),
        (ray_private.GCS_PATIENCE, "a process ends a minute after its gcs died"),
    ],
)
def test_the_core_knows_our_settings(setting: str, what_breaks: str) -> None:
    core = (Path(ray.__file__).parent / "_raylet.so").read_bytes()
    assert setting.encode() in core, what_breaks


def test_a_start_need_not_wait_for_a_dashboard() -> None:
    source = (Path(ray.__file__).parent / "_private" / "services.py").read_text()
    assert ray_private.DASHBOARD_WAIT in source, "Ray's start takes 1.5 s longer, 5 under load"


def test_what_workers_print_goes_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each worker's death is printed to stdout, where a script reads JSON."""
    monkeypatch.setattr(worker, "print_to_stdstream", worker.print_to_stdstream)
    said: list[Any] = []
    ray_private.say_to(said.append)
    worker.print_to_stdstream({"lines": ["died"]}, ignore_prefix=False)
    assert said == [["died"]]


def test_a_token_is_forgotten() -> None:
    """Else a process that knew one Ray's token is not let in by the next."""
    ray_private.forget_token()
