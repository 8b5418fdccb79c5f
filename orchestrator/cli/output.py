"""How are things shown on a terminal? Tables, the one JSON object, errors as sentences and exit codes.

The ledger may hold names and reasons that somebody else wrote: nothing of it reaches a terminal before
`clean` has taken the control characters out. What is shown needs the standard library and click only.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import textwrap
import traceback
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.ground.durations import hours
from orchestrator.ground.errors import (
    NOT_FOUND,
    REFUSED,
    TAKEN,
    UNEXPECTED,
    UNREACHABLE,
    USAGE,
    BadSpec,
    OrchError,
    telling,
)
from orchestrator.ledger.codec import finite
from orchestrator.study.point import value_text

if TYPE_CHECKING:
    from orchestrator.readings.overview import ArmLine, Overview

DONE, NO_RESULT, INTERRUPTED = 0, 7, 130
EXIT_CODES = (
    (DONE, "done"),
    (UNEXPECTED, "an unexpected error, or a check that failed"),
    (USAGE, "a wrong option, a spec that cannot be run, or a package that is not installed"),
    (REFUSED, "not allowed in the current state; or the study was paused, drained or cancelled"),
    (TAKEN, "another study has that name"),
    (NOT_FOUND, "no study, arm, trial or preset of that name"),
    (UNREACHABLE, "the workers, the ledger, MLflow or the service cannot be reached"),
    (NO_RESULT, "no run of the study completed"),
    (INTERRUPTED, "interrupted (Ctrl-C)"),
)

# What is no error of ours.
OTHERS: tuple[tuple[type[Exception], str, int], ...] = (
    (click.UsageError, "usage", USAGE),
    (click.Abort, "interrupted", INTERRUPTED),
    (click.ClickException, "usage", USAGE),
    (OSError, "system", UNEXPECTED),
)
MOST_PROBLEMS = 20  # shown as text; with --json all are told
# raised by `orch` and `orch study` alone, with the help as its message; before click 8.2 just shown
HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


# -- errors ----------------------------------------------------------------------------------------------
def exit_code(error: Exception) -> int:
    return _kind(error)[1]


def _kind(error: Exception) -> tuple[str, int]:
    """What scripts are told, and the exit code."""
    if isinstance(error, OrchError):
        told = telling(error)
        return told.kind, told.exit_code
    return next(
        ((kind, code) for known, kind, code in OTHERS if isinstance(error, known)), ("unexpected", UNEXPECTED)
    )


def show_error(error: Exception, *, as_json: bool) -> None:
    """Sentences on stderr, or one object on stdout. A traceback only for what nobody foresaw."""
    kind, _ = _kind(error)
    if kind == "unexpected":
        traceback.print_exception(error)
    problems = _problems(error)
    if as_json:
        print_json({"error": {"kind": kind, "problems": problems}})
    elif isinstance(error, HELP):
        note(*str(error).splitlines())
    else:
        shown, more = problems[:MOST_PROBLEMS], len(problems) - MOST_PROBLEMS
        note(*(f"orch: {text}" if i == 0 else text for i, text in enumerate(shown)))
        if more > 0:
            note(f"And {counted(more, 'more problem')}.")


def _problems(error: Exception) -> list[str]:
    """The sentences of an error, and what was found out about it on the way up."""
    if isinstance(error, click.Abort):
        return ["Interrupted."]
    if isinstance(error, HELP):
        return ["No command was given.", f"See `{error.ctx.command_path} --help`."]
    if isinstance(error, click.ClickException):
        usage = isinstance(error, click.UsageError) and error.ctx is not None
        hint = [f"See `{error.ctx.command_path} --help`."] if usage and error.ctx else []  # type: ignore[attr-defined]
        return [_usage(error), *hint]
    if isinstance(error, OrchError):
        sentences = error.problems if isinstance(error, BadSpec) else str(error).splitlines()
        return [*sentences, *getattr(error, "__notes__", ())]
    if isinstance(error, OSError):
        where = f": {_cut(str(error.filename))}" if error.filename is not None else ""
        return [f"The system refused this ({error.strerror or error}){where}."]
    return [f"An unexpected error: {type(error).__name__}: {error}"]


def _usage(error: click.ClickException) -> str:
    """click's own sentence, or one that says what is allowed where click's does not."""
    if isinstance(error, click.BadOptionUsage) and error.ctx is None:  # nothing follows the option
        return f"{error.format_message()} Write it like {error.option_name} VALUE."
    if isinstance(error, click.BadParameter) and error.param is not None:
        kind = error.param.type
        given, refused, _ = error.message.partition(" is not ")
        if refused and isinstance(kind, click.IntRange | click.FloatRange):
            words = "whole number" if isinstance(kind, click.IntRange) else "number"
            ends = f"from {kind.min} to {kind.max}" if kind.max is not None else f"of at least {kind.min}"
            return f"{error.param.opts[0]} is {given}. Allowed is a {words} {ends}."
    return error.format_message()


def _cut(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


# -- words -----------------------------------------------------------------------------------------------
def clean(text: object) -> str:
    """One line that a terminal can only show: control, format and direction characters are spelt out."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text)
    )


def note(*lines: str) -> None:
    """Say something that is not the result: stderr, a line each; on a terminal broken between words."""
    wide = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    for line in map(clean, lines):
        # not click.echo, which would write past the picture that rich keeps on the screen, and into it
        shown = line if wide is None else textwrap.fill(line, wide, break_long_words=False)
        with contextlib.suppress(OSError):  # nobody reads it: no reason to stop a study
            print(shown, file=sys.stderr, flush=True)


def say(*lines: str) -> None:
    """A part of the result: stdout, a line each."""
    for line in lines:
        click.echo(clean(line))


def print_json(data: object) -> None:
    """The one object on stdout. ASCII only, so fit for terminals; NaN, which JSON lacks, is null."""
    click.echo(json.dumps(finite(data), allow_nan=False))


def number(value: float | None) -> str:
    """Five digits: enough to tell two losses apart."""
    return "" if value is None else f"{value:.5g}".replace("-", "−", 1 if value < 0 else 0)


def counted(count: int, what: str) -> str:
    """1 trial, 2 trials."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def pairs(values: Any) -> str:
    """A dict of values on one line: loss 2.1, dev_loss 2.2; of a point also tied true, name adam."""
    return ", ".join(
        f"{k} {number(v) if isinstance(v, float) else value_text(v)}" for k, v in dict(values).items()
    )


# -- tables ----------------------------------------------------------------------------------------------
def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    spare: Sequence[str] = (),
    width: int | None = None,
) -> list[str]:
    """Aligned lines. Columns named in `spare` are left out, first to last, until `width` is kept."""
    grid = [list(header), *([clean(cell) for cell in row] for row in rows)]
    for name in spare:
        if width is None or _breadth(grid) <= width:
            break
        at = grid[0].index(name)
        grid = [row[:at] + row[at + 1 :] for row in grid]
    widths = [max(cells(row[i]) for row in grid) for i in range(len(grid[0]))]
    to_right = [name in right for name in grid[0]]
    lines = []
    for row in grid:
        padded = (
            " " * (w - cells(cell)) + cell if r else cell + " " * (w - cells(cell))
            for cell, w, r in zip(row, widths, to_right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return lines


def _breadth(grid: list[list[str]]) -> int:
    columns = range(len(grid[0]))
    return sum(max(cells(row[i]) for row in grid) for i in columns) + 2 * (len(grid[0]) - 1)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: η̂ is two characters and one cell."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def terminal_width() -> int | None:
    """None in a pipe: there nothing has to be left out."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


ARMS_HEADER = ("arm", "phase", "row", "column", "ended", "best", "compute time", "chip-hours", "waste")


def arms_table(view: Overview, *, width: int | None) -> list[str]:
    """What each arm has cost and found. Waste: the share of its hours that led to no result."""
    return table(
        ARMS_HEADER,
        [_arm_row(line) for line in view.arms],
        right={"ended", "best", "compute time", "chip-hours", "waste"},
        spare=("column", "row", "phase", "waste"),
        width=width,
    )


def _arm_row(line: ArmLine) -> tuple[str, ...]:
    return (
        line.arm,
        line.phase,
        line.row,
        line.column,
        f"{line.ended}/{line.requested}",
        number(line.best),
        hours(line.run_hours),
        f"{line.chip_hours:.3g}",
        f"{line.wasted_hours / line.run_hours:.0%}" if line.run_hours else "",
    )


def what_it_took(view: Overview) -> str:
    """157 runs, 13.3 min of compute time."""
    return f"{counted(view.ended, 'run')}, {hours(sum(line.run_hours for line in view.arms))} of compute time"


def summary(view: Overview) -> str:
    """One line on a whole study: how it stands, what it counts, its best, its cost."""
    if view.failure:
        return f"✗ {view.name}: {view.failure[0].lower()}{view.failure[1:]}"
    parts = [f"{view.name}: {view.status}", f"{view.ended} of {view.requested} runs ended"]
    phases = ("prepare", "search", "confirm", "control")
    of_each = [f"{view.count(phase)} {phase}" for phase in phases if view.count(phase)]
    if len(of_each) > 1:
        parts[-1] += f" ({', '.join(of_each)})"
    counts = (
        (sum(line.failures for line in view.arms), "failed in the training code"),
        (sum(line.given_up for line in view.arms), "failed as their workers were lost"),
        (sum(line.states.get("diverged", 0) for line in view.arms), "diverged"),
    )
    parts += [f"{n} {what}" for n, what in counts if n]
    parts.append(f"{hours(sum(line.run_hours for line in view.arms))} of compute time")
    return ", ".join(parts) + "." + "".join(f" {said}" for said in (view.reason, view.waits) if said)
