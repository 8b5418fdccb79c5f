"""What is asked of a searcher? The next point, as a pure function of what is known.

A searcher keeps nothing between calls: the same request gives the same point in any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.study.spec import Arm, Parameter

Point = Mapping[str, float]  # path -> value


@dataclass(frozen=True)
class Observation:
    """A trial that is known to have ended. Failed ones have neither a value nor `diverged`."""

    index: int
    point: Point
    value: float | None
    diverged: bool = False


@dataclass(frozen=True)
class Request:
    space: tuple[Parameter, ...]
    default: Point  # the base configuration's value at each path
    index: int  # which proposal this is, from 0
    seed: int  # of (study, arm, replicate); the searcher mixes in the index
    startup_trials: int = 1
    minimize: bool = True
    finished: tuple[Observation, ...] = ()  # by index
    pending: tuple[Point, ...] = ()  # by index


class Searcher(Protocol):
    """One method. `uses_history` False promises that finished and pending are never looked at."""

    uses_history: bool

    def check(self, arm: Arm) -> list[str]:
        """Sentences on what would go wrong later: a missing library, a space it cannot search."""

    def suggest(self, request: Request) -> dict[str, float]:
        """A value for each path, inside its range."""
