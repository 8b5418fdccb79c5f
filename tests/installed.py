"""How is a package installed for one test? Its modules and its metadata lie in a folder on the path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer.config.registry import Registry


def write_package(folder: Path, modules: Mapping[str, str], entry_points: str) -> None:
    """A distribution `beside`: modules by file name, and its entry_points.txt."""
    info = folder / "beside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for name, source in modules.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(source)


@contextmanager
def installed(folder: Path, registry: Registry[Any]) -> Iterator[None]:
    """As long as it lasts, what that folder offers can be named."""
    ours = dict(registry.ours)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        registry.__dict__.pop("theirs", None)
        yield
    registry.__dict__.pop("theirs", None)
    registry.ours = ours
