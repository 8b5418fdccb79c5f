"""What English prose is there without a download? The docstrings of Python's library and four packages.

Read from their source files, and nothing is imported; so it is there under `python -OO` as well. It changes
with the versions of those packages, so what was collected is kept.
"""

from __future__ import annotations

import ast
import inspect
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from trainer.data.kept import Kept, kept

VERSION = 1  # raised whenever other paragraphs come out of the same files
PACKAGES = ("numpy", "scipy", "jax", "flax")
# Tests have few docstrings and much data; site-packages lies inside the library's folder.
NOT_IN = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo"}
FEWEST_WORDS, MOST_WORDS = 8, 250
# Of the characters. The median paragraph of numpy and scipy has 0.80; the sixth of them that is below 0.75
# has most of the formulas, ranges and citations.
LEAST_LETTERS = 0.75

ROLE = re.compile(r":[\w:+-]+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`")  # :func:`name` in the docstrings' markup
UNDERLINE = re.compile(r"^\s*[-=~]{3,}\s*$", re.MULTILINE)  # of a heading: a list of parameters follows
PROSE = re.compile(r"[A-Z\"'(].*[.!?][\"')]?$")


def paragraphs(*, home: Path) -> Kept[str]:
    """Each once, in an order that the packages' files give; collected in seconds, then kept under `home`."""
    versions = [f"prose {VERSION}, python {platform.python_version()}"]
    roots = [Path(sysconfig.get_paths()["stdlib"])]
    for package in PACKAGES:
        if (root := _folder(package)) is not None:
            roots.append(root)
            versions.append(f"{package} {_version(package)}")
    return kept(home / "prose", "docstrings", made_with=", ".join(versions), make=lambda: collect(*roots))


def collect(*roots: Path) -> list[str]:
    """The paragraphs of prose in the docstrings of all Python files under these folders, without repeats."""
    found: dict[str, str] = {}
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if NOT_IN.isdisjoint(path.relative_to(root).parts):
                for paragraph in prose_of(path):
                    found.setdefault(paragraph.casefold(), paragraph)
    return list(found.values())


def prose_of(path: Path) -> Iterator[str]:
    for docstring in _docstrings(path):
        for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
            if (paragraph := _prose(block)) is not None:
                yield paragraph


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # templates and files for other versions
        return
    rooms: list[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = [tree]
    while rooms:
        room = rooms.pop()
        docstring = ast.get_docstring(room, clean=False)
        if docstring is not None:
            yield docstring
        if not isinstance(room, ast.FunctionDef | ast.AsyncFunctionDef):  # inside those there are few
            rooms += [
                node
                for node in reversed(room.body)
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            ]


def _prose(block: str) -> str | None:
    """The paragraph in one line without markup; None where it is a list, a table, code or a fragment."""
    if any(line.startswith((" ", "\t")) for line in block.splitlines()) or ">>>" in block or "::" in block:
        return None
    if UNDERLINE.search(block):
        return None
    text = " ".join(ROLE.sub(r"\1", block).replace("`", "").replace("*", "").split())
    letters = sum(character.isalpha() for character in text)
    if not FEWEST_WORDS <= len(text.split()) <= MOST_WORDS or letters < LEAST_LETTERS * len(text):
        return None
    return text if PROSE.match(text) else None


def _folder(package: str) -> Path | None:
    """Of an installed package, without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
