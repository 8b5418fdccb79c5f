"""In which words is it told how a study stands? By its stored state and the count of its runs under way."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from orchestrator.ledger.records import StudyState, TrialState


class Status(enum.StrEnum):
    WAITING = "waiting"  # for a process that runs it, or for a free worker
    RUNNING = "running"
    PAUSING = "pausing"  # its runs are still saving
    PAUSED = "paused"
    DRAINING = "draining"  # nothing more is launched, and its runs go on to their end
    DRAINED = "drained"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


def status(state: StudyState, running: int) -> Status:
    """`running`: how many of its runs are under way."""
    if state is StudyState.RUNNING and not running:
        return Status.WAITING
    if state is StudyState.PAUSED and running:
        return Status.PAUSING
    if state is StudyState.DRAINED and running:
        return Status.DRAINING
    return Status(state.value)


def stored(shown: Status) -> StudyState:
    """The state in the ledger that a status is told of."""
    told = {
        Status.WAITING: StudyState.RUNNING,
        Status.PAUSING: StudyState.PAUSED,
        Status.DRAINING: StudyState.DRAINED,
    }
    return told.get(shown) or StudyState(shown.value)


def under_way(counts: Mapping[tuple[str, int, TrialState], int]) -> int:
    """Of a study's counts by arm, replicate and state."""
    return sum(n for (_, _, state), n in counts.items() if state is TrialState.RUNNING)
