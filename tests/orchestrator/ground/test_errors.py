"""Is an error told alike at a terminal, over HTTP, and at a terminal through a service?"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.api.errors import translated
from orchestrator.cli.output import exit_code
from orchestrator.client.http import Wire
from orchestrator.ground import errors

ALL: list[Any] = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.OrchError) and error is not errors.OrchError
]


def made(kind: Any) -> errors.OrchError:
    found: errors.OrchError = kind("small", "s1") if kind is errors.NameTaken else kind("A sentence.")
    return found


@pytest.mark.parametrize("kind", ALL)
def test_a_service_in_between_changes_no_exit_code(kind: Any) -> None:
    error = made(kind)
    said = translated(error)
    answer = httpx.Response(said.status_code, content=bytes(said.body))
    wire = Wire("http://127.0.0.1:1", "x", patience_s=0.0, timeout_s=1.0, wait=lambda s: None)
    with_service = wire.translated(answer, {"name": "small"})
    assert exit_code(with_service) == exit_code(error)
    assert str(with_service) == str(error)
