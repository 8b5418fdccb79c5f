"""Where does an entrypoint lie: in the person's own folder, or among what is installed?

The person's folder is the current one; a worker, which stands elsewhere, is told it. A name that is found
both there and among what is installed is refused with both paths.

`sys.path` is not changed. A finder looks in the folder for the thread that asks an entrypoint, while it asks.
No other thread, and no later import of ours, can meet a person's `json.py`. To insert the folder for a moment
under a lock would show it to all threads, and would lose imports that stand inside functions. A process for
each question would cost its start each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from orchestrator.ground.errors import BadSpec

OURS = ("dashboards", "orchestrator", "studies", "trainer")
SOURCE = Path(__file__).parents[2]  # where they lie
INSTALLED = frozenset({"site-packages", "dist-packages"})  # the names of folders that pip installs into

_asked: ContextVar[str | None] = ContextVar("asked", default=None)


class OtherCode(BadSpec):
    """An entrypoint's file is another on this machine."""


@dataclass(frozen=True)
class Code:
    """What an entrypoint was checked as: whoever runs it is to load the same."""

    folder: str  # the person's, in which other modules of theirs are looked for too
    first: bool  # the entrypoint lies there, so that its siblings come before what is installed
    file: str  # the entrypoint's own
    digest: str = ""  # of what is in it; "": nobody looked


@dataclass(frozen=True)
class Whereabouts:
    """Of a module's topmost package."""

    folder: str | None  # the person's, where it lies there
    origin: str | None  # its file, or the folder of one that has no __init__.py; None: it is nowhere


def located(name: str) -> Whereabouts:
    """Where the module of that dotted name would be loaded from. BadSpec when that is not one place."""
    invalidate_caches()  # a file may have been written a moment ago
    folder = here()
    own = None if folder is None else _in_folder(name, folder)
    other = _installed(name, folder)
    if own is None or folder is None:
        return Whereabouts(None, other)
    if other is not None and not _same(own, other):
        raise BadSpec(
            f"The entrypoint {name[:80]!r} is found in two places: {_place(own)}, in the folder that orch "
            f"was called from, and {_place(other)}, which is installed. Rename the first, or call orch from "
            f"another folder."
        )
    for taken in OURS:
        its = _in_folder(taken, folder)
        ours = str(SOURCE / taken / "__init__.py")
        if its is not None and not _same(its, ours):
            raise BadSpec(
                f"The entrypoint {name[:80]!r} lies beside {_place(its)}, which has the name of a package of "
                f"orch, {_place(ours)}. It would import one in place of the other. Rename {_place(its)}."
            )
    return Whereabouts(folder, own)


def require_same(name: str, module: ModuleType, code: Code) -> None:
    """BadSpec unless the module is the one that was checked."""
    file = getattr(module, "__file__", None) or ""
    if code.file and not _same(file, code.file):
        raise BadSpec(
            f"The entrypoint {name[:80]!r} was checked as {code.file}, and the worker has loaded {file}. End "
            f"the workers with: orch down. Then resume the study."
        )
    if code.digest and digest(file) not in ("", code.digest):
        raise OtherCode(
            f"The entrypoint {name[:80]!r} was checked with other contents than {file} has on this machine. "
            f"Put the same files on all hosts, or let each run its own with ORCH_OTHER_CODE=tell."
        )


def digest(file: str) -> str:
    """Of a file's contents; "" for one that cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def require_from_there(name: str, where: Whereabouts) -> None:
    """BadSpec when this process holds another module of that name, loaded while it stood elsewhere."""
    top = name.partition(".")[0]
    held = getattr(sys.modules.get(top), "__spec__", None)
    places = [] if held is None else [held.origin or "", *(held.submodule_search_locations or ())]
    if where.origin and held is not None and not any(_same(place, where.origin) for place in places):
        raise BadSpec(
            f"The entrypoint {name[:80]!r} lies at {_place(where.origin)}, and this process has loaded "
            f"another {top}, from {_place(places[0])}. Call orch anew."
        )


@contextlib.contextmanager
def beside(folder: str | None) -> Iterator[None]:
    """While this thread asks code in that folder, what it imports is looked for there first."""
    if folder is not None and _Beside not in sys.meta_path:
        at = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(at, _Beside)
    before = _asked.set(folder)
    try:
        yield
    finally:
        _asked.reset(before)


class _Beside:
    """What `sys.path` would find with the asked folder in front of it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        folder = _asked.get()
        return None if folder is None or path is not None else PathFinder.find_spec(name, [folder, *sys.path])


def here() -> str | None:
    """The person's folder."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it has been deleted
        return None


def _in_folder(name: str, folder: str) -> str | None:
    """Where the topmost package of that name lies in a folder. A folder without `__init__.py` and without
    Python of its own may be anything; it counts where the module itself is in it."""
    top, _, rest = name.partition(".")
    spec = PathFinder.find_spec(top, [folder])
    if spec is None or spec.origin is not None:
        return None if spec is None else spec.origin
    within = [Path(place) for place in spec.submodule_search_locations or ()]
    module = Path(*rest.split(".")) if rest else Path("__init__")
    for place in within:
        if next(place.glob("*.py"), None) or (place / module).is_dir() or (place / f"{module}.py").is_file():
            return str(place)
    return None


def _installed(name: str, folder: str | None) -> str | None:
    """Where it is found without the person's folder, be that on the path or not."""
    elsewhere = [p for p in sys.path if folder is None or not _same(p or os.curdir, folder)]
    for finder in sys.meta_path:
        if finder is PathFinder:
            found = next(filter(None, (_in_folder(name, place) for place in elsewhere)), None)
        elif finder is _Beside or not hasattr(finder, "find_spec"):
            continue
        else:
            spec = finder.find_spec(name.partition(".")[0], None)
            found = None if spec is None else spec.origin
        if found is not None:
            return found
    return None


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _place(origin: str) -> str:
    """A package is named by its folder."""
    path = Path(origin)
    return str(path.parent if path.name == "__init__.py" else path)
