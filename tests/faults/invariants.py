"""What must hold after every fault? I1 to I5 and I7, read from the ledger alone.

Their MLflow halves are in `mirrored.py`. I6 (no stray workers) is asked of the backend.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from orchestrator.ledger import Store
from orchestrator.ledger.costs import added, run_hours
from orchestrator.ledger.records import (
    ENDED,
    LIVE_ATTEMPT,
    LOADED,
    AttemptState,
    StudyState,
    TrialRow,
    TrialState,
)
from orchestrator.study.configs import training_seed
from orchestrator.study.spec import StudySpec


def check(store: Store, study_id: str) -> None:
    """All invariants of a study that has ended."""
    study = store.study(study_id)
    spec = StudySpec.model_validate(study.spec)
    trials = store.trials(study_id)
    assert study.state is StudyState.COMPLETED
    no_trial_is_lost(spec, trials, dict(study.extra_trials))
    for trial in trials:
        one_final_state(store, trial)
        the_seconds_add_up(store, trial)
    no_point_is_written_twice(store, study_id)


def no_trial_is_lost(spec: StudySpec, trials: list[TrialRow], extra: dict[str, int]) -> None:
    """I1 and I4: exactly the requested trials exist, each identity once, and all have ended."""
    wanted = {
        (arm.name, replicate, index)
        for arm in spec.arms
        for replicate in range(spec.replicates_of(arm))
        for index in range(arm.trials + extra.get(arm.name, 0))
    }
    assert Counter((t.arm, t.replicate, t.index) for t in trials) == Counter(wanted)
    assert all(t.state in ENDED for t in trials)
    for trial in trials:
        arm = spec.arm(trial.arm)
        assert trial.config["seed"] == training_seed(spec, arm, trial.replicate, trial.index)


def one_final_state(store: Store, trial: TrialRow) -> None:
    """I2: one final state, that of its last attempt, and no attempt is left alive."""
    attempts = store.attempts(trial.trial_id)
    assert [a.number for a in attempts] == list(range(1, trial.attempts + 1))
    assert not [a for a in attempts if a.state in LIVE_ATTEMPT]
    finals = [a for a in attempts if a.state in (AttemptState.COMPLETED, AttemptState.DIVERGED)]
    if trial.state in (TrialState.COMPLETED, TrialState.DIVERGED):
        assert len(finals) == 1
        assert finals[0] == attempts[-1]
        assert str(finals[0].state) == str(trial.state)
    else:
        assert not finals


def no_point_is_written_twice(store: Store, study_id: str) -> None:
    """I3: each (trial, attempt, sequence) once, without gaps; each (trial, attempt, step, kind) once."""
    sequences: dict[tuple[str, int], list[int]] = {}
    steps: Counter[tuple[str, int, int, str]] = Counter()
    after, last = 0, -1
    while last != after:
        last = after
        for stored in store.events(after=after, study_id=study_id, limit=1000):
            event = stored.event
            assert stored.event_id > after
            after = stored.event_id
            sequences.setdefault((event.trial_id, event.attempt), []).append(event.sequence)
            if event.kind != LOADED:  # packages, and no point
                steps[event.trial_id, event.attempt, event.step, event.kind] += 1
    for numbers in sequences.values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert not [point for point, times in steps.items() if times > 1]


def the_seconds_add_up(store: Store, trial: TrialRow) -> None:
    """I5, the ledger's half: a trial is charged what its attempts' last clocks say, lost ones too."""
    assert not [a for a in store.attempts(trial.trial_id) if a.state in LIVE_ATTEMPT]
    the_seconds_add_up_so_far(store, trial)


def the_seconds_add_up_so_far(store: Store, trial: TrialRow) -> None:
    attempts = [a for a in store.attempts(trial.trial_id) if a.state not in LIVE_ATTEMPT]
    summed = added(*(a.clocks for a in attempts))
    assert math.isclose(run_hours(trial.charged), run_hours(summed), rel_tol=1e-9)
    assert run_hours(trial.productive) <= run_hours(trial.charged) * (1 + 1e-9)


def report(store: Store, study_id: str) -> list[dict[str, Any]]:
    """I7: what a report rests on, cost columns aside. Equal to that of an undisturbed run."""
    return [
        {
            "trial": (t.arm, t.replicate, t.index),
            "point": dict(t.point),
            "config": dict(t.config),
            "state": str(t.state),
            "value": t.value,
            "values": dict(t.values),
        }
        for t in store.trials(study_id)
    ]
