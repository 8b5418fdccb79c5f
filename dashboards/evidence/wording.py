"""How are the sides of a comparison named, and numbers written, in sentences and tables?"""

from __future__ import annotations

from dashboards.evidence.frames import Frame
from orchestrator.study.spec import Arm

NOT_NEEDED = "Controls: not needed, there is no gain to explain."


def label(row: str) -> str:
    """A row's name without the table's plus."""
    return row.removeprefix("+ ")


def labels(frame: Frame, ours: Arm, theirs: Arm) -> tuple[str, str]:
    """Both by their rows, or by the arms' names where they are in one row."""
    a, b = label(frame.row_of(ours)), label(frame.row_of(theirs))
    return (a, b) if a != b else (ours.name, theirs.name)


def possessive(name: str) -> str:
    return f"{name}'s"


def minus(number: str) -> str:
    """With a real minus sign before a negative number."""
    return f"−{number[1:]}" if number.startswith("-") else number


def signed(value: float, digits: int = 3) -> str:
    """+0.21, −0.04."""
    return minus(f"{value:+.{digits}g}")
