"""What do clocks and trials come to? Clocks summed, the hours of a run, the best of some trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from orchestrator.ledger.base import Tally
from orchestrator.ledger.records import RESULTS, TrialRow, TrialState
from trainer.protocol import SECONDS


def run_hours(clocks: Mapping[str, float]) -> float:
    """All seconds of a run, whatever they went into, in hours."""
    return sum(clocks.get(name, 0.0) for name in SECONDS) / 3600


def added(*clocks: Mapping[str, float]) -> dict[str, float]:
    """Clocks summed name by name; a reading that is not finite counts as 0."""
    total: dict[str, float] = {}
    for reading in clocks:
        for name, value in reading.items():
            total[name] = total.get(name, 0.0) + (value if math.isfinite(value) else 0.0)
    return total


def wasted_hours(trial: TrialRow) -> float:
    """What an ended trial was charged beyond what led to its result; all of it where it has none, as one that
    was stopped at a rung."""
    useful = run_hours(trial.productive) if trial.state in RESULTS else 0.0
    return max(0.0, run_hours(trial.charged) - useful)


# -- trials that are at hand: for ledgers that hold them in memory ------------------------------------------
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


def rank(trial: TrialRow, *, minimize: bool) -> tuple[float, int, int]:
    """The least is the best; of equals the first."""
    assert trial.value is not None
    return (trial.value if minimize else -trial.value), trial.replicate, trial.index
