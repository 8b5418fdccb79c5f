"""Which rows do the ledger's suites write, how do they look at all of it, and on what do they run?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.ground.errors import OrchError
from orchestrator.ledger import Ending, Store
from orchestrator.ledger.records import (
    AttemptRow,
    AttemptState,
    Event,
    HostRow,
    HostState,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    trial_id,
)

Opener = Callable[[], Store]
T0, T1 = trial_id("s1", "bo", 0, 0), trial_id("s1", "bo", 0, 1)
DONE = Ending(
    AttemptState.COMPLETED,
    TrialState.COMPLETED,
    at=30.0,
    value=0.5,
    values={"loss": 0.5},
    checkpoint="last",
    clocks={"train_s": 7.0},
    charged={"train_s": 9.0},
    productive={"train_s": 6.0},
)
LOST = Ending(
    AttemptState.LOST,
    TrialState.WAITING,
    at=20.0,
    reason="worker died",
    charged={"train_s": 2.0},
)
FAILED = Ending(AttemptState.FAILED, TrialState.FAILED, at=25.0, reason="it raised", traceback="Traceback …")


def study(study_id: str = "s1", **changes: Any) -> StudyRow:
    row = StudyRow(study_id, f"name-{study_id}", {"arms": []}, "hash", StudyState.RUNNING, created_at=1.0)
    return replace(row, **changes)


def trial(index: int = 0, **changes: Any) -> TrialRow:
    row = TrialRow(
        trial_id("s1", "bo", 0, index),
        "s1",
        "bo",
        0,
        index,
        {"x": 0.1},
        {"seed": 1},
        TrialState.WAITING,
        created_at=2.0,
    )
    return replace(row, **changes)


def attempt(trial: str = T0, number: int = 1, **changes: Any) -> AttemptRow:
    return replace(AttemptRow(trial, number, AttemptState.LAUNCHING, started_at=10.0), **changes)


def event(sequence: int, *, of: str = T0, number: int = 1, kind: str = "train", **payload: Any) -> Event:
    return Event(of, number, sequence, kind, step=10 * sequence, payload=payload, at=100.0 + sequence)


def host(name: str, **changes: Any) -> HostRow:
    row = HostRow(name, "10.0.0.1", {"CPU": 2.0}, 2, HostState.IN_USE, since=50.0)
    return replace(row, **changes)


def of_slice(name: str, number: int, kind: str = "v3-16") -> dict[str, str]:
    """The labels of a host of a TPU slice."""
    labels = {"ray.io/tpu-slice-name": name, "ray.io/tpu-pod-type": kind}
    return {**labels, "ray.io/tpu-worker-id": str(number)}


def led(ledger: Store) -> int:
    epoch = ledger.lead("engine")
    assert epoch is not None
    return epoch


def with_live_attempt(ledger: Store) -> int:
    """Study s1, its trials 0 (attempt 1 is launching) and 1 (waiting); the leader's epoch."""
    epoch = led(ledger)
    ledger.create_study(study())
    ledger.add_trial(epoch, trial(0))
    ledger.add_trial(epoch, trial(1))
    ledger.start_attempt(epoch, attempt())
    return epoch


def everything(ledger: Store) -> Any:
    """All that can be read."""
    studies = ledger.studies()
    trials = [t for s in studies for t in ledger.trials(s.study_id)]
    return (
        studies,
        trials,
        [ledger.attempts(t.trial_id) for t in trials],
        ledger.live_attempts(),
        ledger.events(limit=10_000),
        [ledger.counts(s.study_id) for s in studies],
        [ledger.wishes(s.study_id) for s in studies],
        ledger.open_wishes(),
        ledger.hosts(),
    )


class OpenedLedger:
    """A suite of the ledger's contract. It is given the fixture `opener`: each call of what that returns
    opens one more ledger onto the same truth, which was empty when the test began."""

    @pytest.fixture
    def ledger(self, opener: Opener) -> Store:
        return opener()


def refusal(error: type[OrchError], act: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)
