"""What is asked of a searcher, and what does it need? The next point, as a pure function of what is known.

A searcher keeps nothing between calls: the same request gives the same point in any process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.ground import extras
from orchestrator.ground.errors import MissingPackage
from orchestrator.study.space import Point as Point
from orchestrator.study.space import Value
from orchestrator.study.spec import Arm, Parameter

SEED_BITS = 63  # so that a seed also fits a database's signed integer


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
    """One method. `uses_history` False promises that finished and pending are never looked at.

    One that has `packages`, names of modules, is asked for a point only where all of them are installed.
    """

    uses_history: bool

    def check(self, arm: Arm) -> list[str]:
        """Sentences on what would go wrong later, such as a space it cannot search."""

    def suggest(self, request: Request) -> dict[str, Value]:
        """A value for each path that its parameter takes: a float, a whole number, or one of its choices."""


# -- seeds -----------------------------------------------------------------------------------------------
def derive_seed(*parts: int | str) -> int:
    """The same parts give the same seed in every process and on every machine; 1 and "1" differ.

    Fit for any number of draws: each is its own hash, nothing is consumed from a shared stream.
    """
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - SEED_BITS)


# -- packages --------------------------------------------------------------------------------------------
def lacking(method: str, packages: Sequence[str]) -> str:
    """The sentence that a method's packages are not installed; "" where they are. Nothing is imported."""
    hint = " (a CPU build of torch is enough)" if "torch" in extras.absent(packages) else ""
    return extras.lacking(f"Method {method!r}", packages, instead=f"{hint}, or choose method 'random'.")


def require(method: str, *packages: str) -> None:
    """Raise MissingPackage with that sentence, instead of an ImportError from somewhere deep."""
    if sentence := lacking(method, packages):
        raise MissingPackage(sentence)
