"""Who is stopped at a rung, and why?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.ledger.records import StoredEvent
from orchestrator.study.spec import Objective, Rungs


def ranks(values: Sequence[float], *, keep_one_in: int, minimize: bool) -> tuple[int, int]:
    """The rank of the last of these values, from 1, and the last rank that goes on; the values stand in the
    order in which a rung was reached, and of equals the earlier one is better.

    The first to come always goes on, as in the stopping form of asynchronous successive halving: else
    nobody would before `keep_one_in` have come.
    """
    sign = 1 if minimize else -1
    *before, own = (sign * value for value in values)
    return 1 + sum(value <= own for value in before), max(1, len(values) // keep_one_in)


@dataclass(frozen=True)
class Lags:
    """Why a trial is to be stopped, and the last objective that it reported."""

    reason: str
    value: float


@dataclass
class Ladder:
    """What the trials of one lane have reached, by the ledger's events alone.

    A trial is judged once at each rung, at the event that reached it, among those that came before it in
    the ledger's order. So whoever reads the same events, at once or years later, judges alike.
    """

    rungs: Rungs
    objective: Objective
    cursor: int = 0  # the last event that was heard
    _reached: dict[int, dict[str, float]] = field(default_factory=dict)  # rung -> trial -> objective
    _last: dict[str, float] = field(default_factory=dict)
    _reasons: dict[str, str] = field(default_factory=dict)

    def lags(self, trial_id: str) -> Lags | None:
        """None for a trial that may go on."""
        reason = self._reasons.get(trial_id)
        return None if reason is None else Lags(reason, self._last[trial_id])

    def hear(self, stored: Iterable[StoredEvent]) -> None:
        """Events of the lane's trials, in any order but none older than one heard before."""
        for each in sorted(stored, key=lambda s: s.event_id):
            self.cursor = max(self.cursor, each.event_id)
            event = each.event
            value = event.payload.get("values", {}).get(self.objective.metric)
            if value is not None and math.isfinite(value):
                self._last[event.trial_id] = value
                for step in self.rungs.steps:
                    if event.step >= step:
                        self._arrives(event.trial_id, step, value)

    def _arrives(self, trial_id: str, step: int, value: float) -> None:
        there = self._reached.setdefault(step, {})
        if trial_id in there or trial_id in self._reasons:
            return
        there[trial_id] = value
        rank, last = ranks(
            list(there.values()), keep_one_in=self.rungs.keep_one_in, minimize=self.objective.minimizes
        )
        if rank > last:
            self._reasons[trial_id] = (
                f"At the rung of {step} steps its {self.objective.metric} of {value:.6g} was number {rank} "
                f"of {len(there)} so far; the best {last} went on (one in {self.rungs.keep_one_in})."
            )
