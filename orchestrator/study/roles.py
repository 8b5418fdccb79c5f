"""What does an arm control for, and which row of the paper's tables is it, where its spec does not say?

Specs had no `control` and no `role` at first: there the words of an arm's row and name tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ControlKind = Literal[
    "random", "replay", "constant-mean", "matched-decay", "bo-schedule", "longer", "default-rate",
    "beta1", "blind-course", "other",
]  # fmt: skip
RowRole = Literal["base", "bo", "guided", "guided-bo", "alpha", "beta1", "alpha+beta1", "other"]

# No words tell of beta1 and blind-course, which came later: a spec states them.
WORDS: Mapping[ControlKind, tuple[str, ...]] = {
    "random": ("random",),
    "replay": ("replay",),
    "constant-mean": ("constant", "mean"),
    "matched-decay": ("decay",),
    "bo-schedule": ("bo-schedule", "schedule parameters"),
    "longer": ("longer",),
    "default-rate": ("rate x", "fifth", "five times", "default lr"),
}
ROWS: Mapping[str, RowRole] = {
    "base": "base",
    "+ BO": "bo",
    "guided": "guided",
    "+ BO (η̂)": "guided-bo",
    "alpha": "alpha",
    "beta1": "beta1",
    "alpha+beta1": "alpha+beta1",
}


def controls_named(text: str) -> frozenset[ControlKind]:
    """By the words in a text; several where it has words of several, "other" where it has none."""
    found = frozenset(control for control, words in WORDS.items() if any(word in text for word in words))
    return found or frozenset({"other"})


def role_named(row: str) -> RowRole:
    return ROWS.get(row, "other")
