"""What can be named in a config or a spec: ours, and what installed packages bring under an entry point.

A package offers an estimator by an entry point in its metadata, and likewise each other kind:

    [project.entry-points."orch.estimators"]
    nearby = "their_package.offered:NEARBY"

What is loaded is a description of the standard library alone: it says where the code is, and is asked for
while a config is checked. The code itself is loaded by `code` when it is used. See docs/extending.md.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:  # loading it costs more than all of trainer.config, and few configs name a stranger
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Descriptions by name, in order: ours first. Names are known without loading a package."""

    def __init__(self, kind: str, of: type[T], ours: Mapping[str, T]) -> None:
        self.group, self.of, self.ours = f"orch.{kind}s", of, dict(ours)

    @functools.cached_property
    def theirs(self) -> dict[str, EntryPoint]:
        """Of installed packages, by name; one of our names stays ours."""
        from importlib.metadata import entry_points

        return {p.name: p for p in entry_points(group=self.group) if p.name not in self.ours}

    def __getitem__(self, name: str) -> T:
        if name not in self.ours and name in self.theirs:
            self.ours[name] = self._loaded(self.theirs[name])
        return self.ours[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.ours or name in self.theirs)

    def __iter__(self) -> Iterator[str]:
        yield from {**self.ours, **self.theirs}

    def __len__(self) -> int:
        return len({*self.ours, *self.theirs})

    def problems(self, name: str, where: str) -> list[str]:
        """What is wrong with the one of this name, which a config names at `where`."""
        try:
            self[name]
        except ValueError as why:
            return [f"{where} is {why}"]
        return []

    def sound(self) -> dict[str, T]:
        """All but those of packages that are broken."""
        found = {}
        for name in self:
            with contextlib.suppress(ValueError):
                found[name] = self[name]
        return found

    def _loaded(self, point: EntryPoint) -> T:
        """ValueError says what is wrong with it, as for any other value of a config."""
        where = f"{point.name!r} ({point.value}, entry point {point.group})"
        try:
            found = point.load()
        except Exception as why:  # a stranger's module may raise anything
            raise ValueError(
                f"{where} cannot be loaded ({type(why).__name__}: {why}). Repair or remove its package."
            ) from why
        if not isinstance(found, self.of):
            allowed = f"{self.of.__module__}.{self.of.__name__}"
            raise ValueError(f"{where} is a {type(found).__name__}. Allowed is a {allowed}.")
        return found


def code(path: str) -> Any:
    """What stands at `module:name`; ValueError where there is nothing."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as why:
        raise ValueError(
            f"{path} cannot be loaded ({type(why).__name__}: {why}). Repair its package."
        ) from why
