"""Does the study of tasks after pretraining have the same table when it is killed in either of its halves?

Its leading process and a worker are killed (-9), each while a model is pretrained and while one is tuned.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from orchestrator.backends import daemon
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.records import AttemptRow, AttemptState
from orchestrator.runs.folders import read_journal
from orchestrator.study.canonical import canonical
from orchestrator.study.spec import Arm, Phase, StudySpec
from studies import catalog, t5
from tests.dashboards.answers import without_costs
from tests.e2e.test_kill_ray import awaited
from tests.faults import invariants

ROOT = Path(__file__).parents[2]
WITHIN_S = 1200.0  # for a whole study, and for any one thing to happen in it
ONE = ("pretrain-base", "base-figures")
CLAIMED = (  # what the claim compares: two pretrainings, and two tasks from either
    "pretrain-base",
    f"pretrain-{t5.LEARNED}",
    *(f"{side}-{task}" for task in t5.TASKS["smoke"].names for side in ("base", "guided")),
)
STEPS, SAVED = 400, 50  # of a run: some seconds, so that it can be hit in its middle

Victim = Literal["leader", "worker"]
Blow = tuple[Phase, Victim]
FOUR: Sequence[Blow] = (
    ("prepare", "leader"),
    ("prepare", "worker"),
    ("search", "leader"),
    ("search", "worker"),
)
TWO: Sequence[Blow] = (("prepare", "worker"), ("search", "leader"))


def _spec(path: Path, names: Sequence[str], seeds: int) -> StudySpec:
    """`t5` at its smallest, with these of its arms."""
    smoke = catalog.get("t5", "smoke")
    base, arms = {**smoke.base, **_cadence()}, tuple(_lasting(smoke.arm(name), seeds) for name in names)
    changes = {"name": "t5", "base": base, "arms": arms, "claim": smoke.claim if names == CLAIMED else None}
    spec = StudySpec.model_validate(smoke.model_copy(update=changes).model_dump(mode="json"))
    path.write_text(canonical(spec))
    return spec


def _lasting(arm: Arm, seeds: int) -> Arm:
    config = {**arm.config, **{name: n for name, n in _cadence().items() if name in arm.config}}
    return arm.model_copy(update={"trials": seeds, "config": config})


def _cadence() -> dict[str, int]:
    return {"steps": STEPS, "eval_every_steps": STEPS // 2, "checkpoint_every_steps": SAVED}


@contextmanager
def _orch(home: Path, *arguments: str, workers: int = 2) -> Iterator[subprocess.Popen[bytes]]:
    with (home.parent / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": str(workers)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _ledger(home: Path, process: subprocess.Popen[bytes]) -> Iterator[Store]:
    awaited(lambda: (home / "ledger.db").exists() or None, process, within_s=WITHIN_S)
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    try:
        yield store
    finally:
        store.close()


def _in_its_middle(store: Store, spec: StudySpec, phase: Phase) -> AttemptRow | None:
    """An attempt of such an arm that has saved, and has more to train than is between two checkpoints."""
    for attempt in store.live_attempts():
        events = [e.event for e in store.events(trial_id=attempt.trial_id)]
        steps = [e.step for e in events if e.attempt == attempt.number]
        arm = spec.arm(store.trial(attempt.trial_id).arm)
        if arm.phase == phase and SAVED <= max(steps, default=0) < STEPS - SAVED:
            return attempt
    return None


def _struck(home: Path, store: Store, spec: StudySpec, leader: int, blow: Blow) -> AttemptRow | None:
    """Kill the leader, or the worker of an attempt, while that attempt is in its middle. It is stopped first:
    what had ended meanwhile goes on, and is not hit."""
    phase, victim = blow
    found = _in_its_middle(store, spec, phase)
    if found is None:
        return None
    study_id = store.trial(found.trial_id).study_id
    folder = home / "runs" / study_id / found.trial_id / f"attempt-{found.number}"
    (pid,) = [a.provenance["pid"] for a in store.attempts(found.trial_id) if a.key == found.key]
    assert pid in daemon.processes(home)
    struck = leader if victim == "leader" else pid
    os.kill(struck, signal.SIGSTOP)
    if read_journal(folder, *found.key)[1] is not None:
        os.kill(struck, signal.SIGCONT)
        return None
    os.kill(struck, signal.SIGKILL)
    return found


def _disturbed(home: Path, spec: StudySpec, create: Sequence[str], blows: Sequence[Blow]) -> dict[str, Any]:
    """The report of a study that goes on after each of the blows, one after the other."""
    words, left, lost = create, iter(blows), list[AttemptRow]()
    while True:
        with _orch(home, *words) as leader, _ledger(home, leader) as store:
            for blow in left:
                hit = awaited(
                    lambda blow=blow, leader=leader, store=store: _struck(
                        home, store, spec, leader.pid, blow
                    ),
                    leader,
                    within_s=WITHIN_S,
                )
                if blow[1] == "leader":
                    assert leader.wait(WITHIN_S) == -signal.SIGKILL
                    break
                lost.append(hit)
            else:
                told = _answer(home, leader)
                invariants.check(store, store.study(spec.name).study_id)
                for each in lost:
                    _it_went_on(store, each)
                return told
        words = ("study", "resume", spec.name)


def _answer(home: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The report of a study that runs to its end, cost columns aside."""
    assert process.wait(WITHIN_S) == 0, (home.parent / "said").read_text()[-2000:]
    return without_costs(json.loads((home / "reports/t5/answer.json").read_text()))


def _it_went_on(store: Store, lost: AttemptRow) -> None:
    """The same run, from its newest checkpoint, as the attempt behind the one whose worker was killed."""
    attempts = {a.number: a for a in store.attempts(lost.trial_id)}
    now, following = attempts[lost.number], attempts[lost.number + 1]
    assert (now.state, following.state) == (AttemptState.LOST, AttemptState.COMPLETED)
    events = [e.event for e in store.events(trial_id=lost.trial_id)]
    newest = [e for e in events if e.kind == "checkpoint" and e.attempt == lost.number][-1]
    assert following.resumed_from == newest.payload["path"]
    assert following.clocks["steps"] == STEPS - newest.step


@pytest.mark.fault(1, 4, real=True)
@pytest.mark.parametrize(
    ("arms", "seeds", "blows"),
    [
        pytest.param(ONE, 1, TWO, id="one-task", marks=pytest.mark.slow),
        pytest.param(CLAIMED, 3, FOUR, id="whole-table", marks=pytest.mark.slow),
    ],
)
def test_killed_in_pretraining_and_in_fine_tuning_it_has_the_table_of_an_undisturbed_study(
    arms: Sequence[str], seeds: int, blows: Sequence[Blow], tmp_path: Path
) -> None:
    spec = _spec(tmp_path / "t5.json", arms, seeds)
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    create = ("study", "create", str(tmp_path / "t5.json"))
    try:
        with _orch(calm, *create) as process:
            undisturbed = _answer(calm, process)
        for warm in ("programs", "data"):  # to be quick; the same text and programs would be made anew
            shutil.copytree(calm / warm, stormy / warm)
        disturbed = _disturbed(stormy, spec, create, blows)
    finally:
        for home in (calm, stormy):
            daemon.stop(home)
    (table,) = undisturbed["tables"]
    compared = [cell for cell in table["cells"] if cell["row"] in ("base", "α+β1")]
    assert len(compared) == (6 if arms == CLAIMED else 1)  # two rows over two tasks and their average
    assert all(cell["n"] == seeds and cell["value"] > 0 for cell in compared)
    assert {cell["low"] is None for cell in compared} == {seeds < 3}  # an interval, of three seeds
    assert disturbed["tables"] == undisturbed["tables"]
    assert disturbed["verdict"] == undisturbed["verdict"]
    for answer in (undisturbed, disturbed):
        answer.pop("versions")  # of packages too that made rows, which the other home found ready
    assert disturbed == undisturbed
