"""An entrypoint of a person's own, written for one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str], str]
SOUND = "def check(c): return []\ndef shape_key(c): return ''\ndef run(*a): pass\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Write:
    """Writes a module with this text, and returns its name."""

    def write(text: str) -> str:
        name = f"module_{abs(hash(request.node.name))}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return write
