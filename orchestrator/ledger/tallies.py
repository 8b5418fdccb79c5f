"""What do trials come to that are at hand? The plain way, for ledgers that hold them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from orchestrator.ledger.base import Tally
from orchestrator.ledger.costs import added
from orchestrator.ledger.records import TrialRow, TrialState
from trainer.protocol import SECONDS


def tally(trials: Sequence[TrialRow]) -> Tally:
    charged = added(*(t.charged for t in trials))
    productive = added(*(t.productive for t in trials))
    return Tally(
        trials=len(trials),
        attempts=sum(t.attempts for t in trials),
        steps=charged.get("steps", 0.0),
        charged_s=sum(charged.get(name, 0.0) for name in SECONDS),
        productive_s=sum(productive.get(name, 0.0) for name in SECONDS),
        losses=sum(t.losses for t in trials),
        failures=sum(t.failures for t in trials),
    )


def best(trials: Iterable[TrialRow], *, minimize: bool) -> TrialRow | None:
    """The completed one with the best value; of equals the first."""
    valid = [t for t in trials if t.state is TrialState.COMPLETED and t.value is not None]
    return min(valid, key=partial(rank, minimize=minimize), default=None)


class Valued(Protocol):
    """What a trial and a reading of one have."""

    @property
    def value(self) -> float | None: ...
    @property
    def replicate(self) -> int: ...
    @property
    def index(self) -> int: ...


def rank(trial: Valued, *, minimize: bool) -> tuple[float, int, int]:
    """The least is the best; of equals the first."""
    assert trial.value is not None
    return (trial.value if minimize else -trial.value), trial.replicate, trial.index
