"""Is what people read in plain English? Phrases that readers stumbled over stay out of it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from orchestrator import cli

ROOT = Path(__file__).parents[1]
DOCS = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md")
PARTS = (*(ROOT / "dashboards" / "templates").iterdir(), *(ROOT / "dashboards" / "static").glob("*.js"))
TEMPLATES = tuple(path for path in sorted(PARTS) if path.suffix != ".css")
MESSAGES = (
    "orchestrator/cli",
    "orchestrator/service",
    "orchestrator/engine",
    "orchestrator/readings",
    "orchestrator/api",
    "dashboards",
)
HANDED_ON = ("trainer/terminal/console.py", "trainer/terminal/translate.py", "trainer/data/__main__.py")
# Printed as rules on the report's page.
RULES = tuple(
    ROOT / "dashboards" / "evidence" / f"{name}.py"
    for name in ("verdict", "cells", "contrasts", "attribution", "matrix", "hypergradients")
)

# A pattern, and what to write instead.
STUMBLES: Mapping[str, str] = {
    r"no gain beyond the noise that it could explain": "no gain to explain",
    r"another way of guiding": "variant of guidance; not a control",
    r"[Cc]onditional on one selection by each arm": "Each method searched once; …",
    r"[Tt]he choices again": "Selected configs re-run on fresh seeds",
    r"[Oo]f a setting that nothing chose": "Fixed settings: cost of one run.",
    r"all that was charged; the mean": "Time and runs per search, averaged over columns.",
    r"numbers were obtained otherwise": "Not comparable to the paper: different …",
    r"cost and better nothing": "count toward cost only",
    r"[Rr]ead with care": "Caveats",
    r"What (people asked for|was asked)\b": "Actions; Claim and setup",
    r"\b[Ww]ish(es)?\b": "request, requests",
    r"cannot be meant": "the limit, such as: Trials must be at least 1.",
    r">Leave it<|>Keep it<": "Cancel; Keep running",
    r"token is not known": "Invalid token.",
    r"[Ww]hat runs saves": "Running trials save a checkpoint and stop.",
    r"Left at once": "Stopped. No progress lost. Resume with:",
    r"\bis attached to\b": "If a study with the same name and spec exists, it is resumed.",
    r"Serve everybody": "Start the server: …",
    r"\bSay what\b": "Show …; Check …",
    r"[Rr]uns at a time": "parallel runs",
    r"\bone a core\b": "one per core",
    r"lays a value into": "overrides the base config",
    r"[Tt]he (truth about studies|ledger stays the truth|one truth)": "study database (source of truth)",
    r"\bunless told\b": "default",
    r"by what was measured": "based on measurements",
    r"what it said": "log",
    r"\bas it stands\b": "default config",
    r"the house .* rooms|the rim\b": "Architecture: layers and allowed imports",
    r"may leave out zero where the test does not reject": "The test decides. …",
    r"(?:\d|\}|\df) %{1,2}(?![\w}])": "95%, without a space",
    r"chip-hours over the incumbent's|over the incumbent's": "cost ratio",
    r"\bstands beside\b": "is shown next to",
}
# What only looks like one: a name of the API that is kept, file names of tests.
ALLOWED = ("/studies/{study}/wishes", "test_")


def stumbles(text: str) -> list[str]:
    lines = (line for line in text.splitlines() if not any(each in line for each in ALLOWED))
    kept = " ".join(" ".join(lines).split())
    return [
        f"{found[0]!r} in …{kept[max(0, found.start() - 50) : found.end() + 40]}…: write {instead!r}"
        for pattern, instead in STUMBLES.items()
        if (found := re.search(pattern, kept))
    ]


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """String literals with a space in them, f-strings with {} for their values; no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    skipped = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            text = "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            text = node.value
        else:
            continue
        if " " in text:
            yield node.lineno, text


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    yield path
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and command.context_settings.get("help_option_names") != []:
            yield (*path, name)


@functools.cache
def help_of(path: tuple[str, ...]) -> str:
    return CliRunner().invoke(cli.orch, [*path, "--help"]).output


@pytest.mark.parametrize("path", list(commands(cli.orch)), ids=lambda path: " ".join(("orch", *path)))
def test_the_help_of_every_command_is_plain(path: tuple[str, ...]) -> None:
    assert help_of(path).startswith("Usage: ")
    assert stumbles(help_of(path)) == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_the_docs_are_plain(path: Path) -> None:
    assert stumbles(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_the_pages_are_plain(path: Path) -> None:
    assert stumbles(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("folder", [*MESSAGES, *HANDED_ON])
def test_messages_are_plain(folder: str) -> None:
    place = ROOT / folder
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    assert files
    said = [
        f"{path.relative_to(ROOT)}:{line}: {each}"
        for path in files
        for line, text in literals(path)
        for each in stumbles(text)
    ]
    assert said == []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_the_rules_that_a_report_prints_are_plain(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    assert stumbles(text) == []


def test_a_phrase_is_found_over_line_breaks_and_a_name_of_the_api_is_not_one() -> None:
    assert len(stumbles("the folder; home unless\n  told")) == 1
    assert len(stumbles("an interval at 95 %, and a power of 80 %.")) == 1
    assert stumbles("a 95% interval; `GET /studies/{study}/wishes` still answers") == []
