"""What survives kill -9 on real Ray? The leading process, then a worker in mid-trial (faults 1 and 4)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orchestrator.backends import daemon
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import AttemptRow, AttemptState, StudyState, TrialState
from orchestrator.runs.folders import read_journal
from orchestrator.service.creation import ask
from orchestrator.study.canonical import canonical
from tests.faults import invariants
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0  # for any one thing to happen; 5 s is usual, most of it Ray's start
TRIALS, STEPS, PACE_S = 4, 40, 0.1  # 4 s a trial with a checkpoint every second: 16 s of work

Seen = TypeVar("Seen")


def _spec(path: Path) -> Path:
    study = small_study(
        name="kill",
        arms=[
            {
                "name": "random",
                "method": "random",
                "trials": TRIALS,
                "space": [{"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}],
            }
        ],
    )
    base = {**study.base, "steps": STEPS, "checkpoint_every_steps": 10, "rehearsal": {"pace_s": PACE_S}}
    path.write_text(canonical(study.model_copy(update={"base": base})))
    return path


@contextmanager
def _orch(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with (home.parent / "said").open("a") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2"},
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def awaited(
    look: Callable[[], Seen | None], process: subprocess.Popen[Any], *, within_s: float = WITHIN_S
) -> Seen:
    """What `look` finds, as soon as it does; an error when the process has ended or the time is up."""
    give_up_at = time.monotonic() + within_s
    while (seen := look()) is None:
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.02)
    return seen


def _training(store: Store, *, step: int) -> list[AttemptRow] | None:
    """The two attempts under way, once both have trained so far."""
    live = store.live_attempts()
    steps = [max((s.event.step for s in store.events(trial_id=a.trial_id)), default=0) for a in live]
    return live if len(live) == 2 and min(steps) >= step else None


@contextmanager
def _ledger(home: Path, process: subprocess.Popen[str]) -> Iterator[Store]:
    def made() -> bool | None:
        return (home / "ledger.db").exists() or None

    awaited(made, process)
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    try:
        yield store
    finally:
        store.close()


def _done(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    (line,) = out.splitlines()
    return json.loads(line)


@pytest.mark.fault(1, 4, real=True)
def test_killed_processes_lose_no_trial_and_repeat_none(tmp_path: Path) -> None:
    """The leader is killed and its workers train on; then one of the workers is."""
    home, spec = tmp_path / "home", _spec(tmp_path / "kill.json")
    create = ("study", "create", str(spec), "--json")
    try:
        with _orch(home, *create) as leader, _ledger(home, leader) as store:
            cut = awaited(lambda: _training(store, step=10), leader)
            leader.kill()
            leader.wait()
            study = store.study("kill")
            assert study.state is StudyState.RUNNING
            _the_workers_train_on(home, store, cut)

            with _orch(home, *create) as second:
                # Collected and not repeated: attempt 1 of each is the one that completes.
                awaited(lambda: _all_over(store, cut), second)
                attempts = [a for one in cut for a in store.attempts(one.trial_id)]
                assert [(a.number, a.state) for a in attempts] == [(1, AttemptState.COMPLETED)] * 2

                victim = awaited(lambda: _training(store, step=10), second)[0]
                pid = store.attempts(victim.trial_id)[0].provenance["pid"]
                assert pid in daemon.processes(home)
                os.kill(pid, signal.SIGKILL)
                seen = _done(second)

            assert (seen["attached"], seen["status"], seen["ended"]) == (True, "completed", TRIALS)
            assert seen["arms"][0]["states"] == {"completed": TRIALS}
            invariants.check(store, study.study_id)
            _the_victim_went_on(store, victim.trial_id)
            others = {t.trial_id: t.attempts for t in store.trials(study.study_id)}
            assert others.pop(victim.trial_id) == 2
            assert set(others.values()) == {1}
            assert daemon.processes(home) == []
    finally:
        daemon.stop(home)


@pytest.mark.slow  # half a minute; on a virtual clock in tests/orchestrator/engine/test_draining.py
@pytest.mark.fault(1, 16, real=True)
def test_a_study_that_drains_goes_on_draining_after_a_kill(tmp_path: Path) -> None:
    """Its runs end in their workers, the next process collects them, and launches nothing."""
    home, spec = tmp_path / "home", _spec(tmp_path / "kill.json")
    try:
        with _orch(home, "study", "create", str(spec), "--json") as leader, _ledger(home, leader) as store:
            cut = awaited(lambda: _training(store, step=10), leader)
            study = store.study("kill")
            ask(store, study, "drain", {}, clock=SystemClock())
            awaited(lambda: store.study("kill").state is StudyState.DRAINED or None, leader)
            leader.kill()
            leader.wait()
            assert {a.key for a in store.live_attempts()} == {a.key for a in cut}
            _the_workers_train_on(home, store, cut)
            with _orch(home, "study", "drain", "kill", "--json") as second:
                assert _done(second)["status"] == "drained"
            assert store.live_attempts() == []
            found = [(t.trial_id, t.state, t.attempts) for t in store.trials(study.study_id)]
            assert found == [(a.trial_id, TrialState.COMPLETED, 1) for a in cut]

            with _orch(home, "study", "resume", "kill", "--json") as last:
                seen = _done(last)
            assert (seen["status"], seen["ended"]) == ("completed", TRIALS)
            invariants.check(store, study.study_id)
            assert {t.attempts for t in store.trials(study.study_id)} == {1}
    finally:
        daemon.stop(home)


def _all_over(store: Store, attempts: list[AttemptRow]) -> bool | None:
    live = {a.key for a in store.live_attempts()}
    return all(a.key not in live for a in attempts) or None


def _the_workers_train_on(home: Path, store: Store, cut: list[AttemptRow]) -> None:
    """With nobody to report to, their journals still grow to the end."""
    give_up_at = time.monotonic() + WITHIN_S
    for attempt in cut:
        study_id = store.trial(attempt.trial_id).study_id
        folder = home / "runs" / study_id / attempt.trial_id / f"attempt-{attempt.number}"
        while read_journal(folder, *attempt.key)[1] is None:
            assert time.monotonic() < give_up_at, "it does not train on"
            time.sleep(0.02)
    assert {a.key for a in store.live_attempts()} == {a.key for a in cut}  # nobody has heard of it yet


def _the_victim_went_on(store: Store, trial_id: str) -> None:
    """The same trial from its newest checkpoint, as attempt 2; both attempts are charged."""
    lost, last = store.attempts(trial_id)
    assert (lost.state, last.state) == (AttemptState.LOST, AttemptState.COMPLETED)
    saved = [s.event for s in store.events(trial_id=trial_id) if s.event.kind == "checkpoint"]
    newest = [e for e in saved if e.attempt == 1][-1]
    assert last.resumed_from == newest.payload["path"]
    first_step = min(
        s.event.step for s in store.events(trial_id=trial_id) if s.event.attempt == 2 and s.event.step
    )
    assert newest.step < first_step <= newest.step + 10
    trial = store.trial(trial_id)
    assert run_hours(lost.clocks) > 0
    assert run_hours(trial.charged) > run_hours(last.clocks)
    assert last.clocks["steps"] == STEPS - newest.step
