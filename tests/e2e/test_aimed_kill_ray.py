"""What do kills of the leader cost that fall between a submit and its beginning, on real Ray? No retry."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.backends import daemon
from orchestrator.backends.ray import RayBackend
from orchestrator.engine.tick import Engine
from orchestrator.ground.clock import SystemClock
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import StudyState, TrialState
from orchestrator.runs.folders import Storage
from orchestrator.service.creation import create
from tests.faults import invariants
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0  # for any one thing; some seconds are usual
KILLS = 3  # as many as losses that fail a trial


def test_three_kills_before_an_attempt_begins_fail_no_trial_and_charge_none(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store, clock = open_ledger(f"sqlite:///{home / 'ledger.db'}"), SystemClock()
    study = create(store, small_study(), clock=clock, new_id=lambda: "s1").study
    try:
        for _ in range(KILLS):
            killed = subprocess.run(
                [sys.executable, "-m", "tests.e2e.aimed_kill", str(home), "s1"],
                cwd=ROOT,
                env={**os.environ, **daemon.environment(home)},
                timeout=WITHIN_S,
                check=False,
            )
            assert killed.returncode == -signal.SIGKILL
            assert [a for a in store.live_attempts("s1") if not a.sequence]
        backend = RayBackend(daemon.find(home) or "", workers=2, token_path=daemon.token_path(home))
        engine = Engine(store, backend, clock=clock, storage=Storage(home / "runs"), who="last")
        give_up_at = time.monotonic() + WITHIN_S
        while store.study(study.study_id).state is StudyState.RUNNING:
            assert time.monotonic() < give_up_at
            if engine.tick().idle:
                time.sleep(0.02)
        backend.close(end_workers=True)
    finally:
        daemon.stop(home)
    invariants.check(store, study.study_id)
    trials = store.trials(study.study_id)
    assert {t.state for t in trials} == {TrialState.COMPLETED}
    assert {(t.attempts, t.losses) for t in trials} == {(1, 0)}
    store.close()
