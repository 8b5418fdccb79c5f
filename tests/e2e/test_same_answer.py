"""Does a study of real models end in the same answer when it is killed and interrupted on the way?"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backends import daemon
from orchestrator.ledger import open_ledger
from orchestrator.ledger.records import ENDED
from orchestrator.study.canonical import canonical
from orchestrator.study.spec import StudySpec
from studies import parts
from tests.dashboards.answers import without_costs

ROOT = Path(__file__).parents[2]
WITHIN_S = 240.0  # for a whole study; about 20 s where nothing else runs


def _spec(path: Path) -> Path:
    """Plain and guided runs of a model too small to learn, each arm's choice confirmed."""
    alpha = {"path": "optimizer.alpha", "low": 0.1, "high": 10, "scale": "log"}
    eta = {"path": "guidance.eta", "values": [0.01, 0.1]}
    guided = {"guidance": {"estimator": "held-out", "learn": ["alpha", "beta1"]}}
    searches: list[dict[str, Any]] = [
        {"name": "random", "method": "random", "space": [alpha], "trials": 3},
        {"name": "guided", "method": "grid", "space": [eta], "trials": 2, "config": guided},
    ]
    confirming = [
        {
            "name": f"confirm-{arm['name']}",
            "method": "fixed",
            "trials": 2,
            "after": {"arm": arm["name"]},
            "fresh_seeds": True,
            "phase": "confirm",
            "row": arm["name"],
        }
        for arm in searches
    ]
    spec = {
        "name": "storm",
        "entrypoint": "trainer.run",
        "base": {**parts.sizes()["smoke"].base, "checkpoint_every_steps": 10, "score": {"dev_sentences": 8}},
        "arms": [*searches, *confirming],
        "objective": {"metric": "dev_loss", "targets": [5.0]},
        "claim": {
            "text": "Guided.",
            "challenger": "guided",
            "incumbent": "random",
            "metric": "dev_loss",
        },
    }
    path.write_text(canonical(StudySpec.model_validate(spec)))
    return path


def _orch(home: Path, *arguments: str, workers: int = 2) -> subprocess.Popen[bytes]:
    with (home.parent / "said").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "ORCH_HOME": str(home),
                "ORCH_WORKERS": str(workers),
                "MLFLOW_TRACKING_URI": "",
            },
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def _cut(home: Path, arguments: Sequence[str], how: signal.Signals, *, ended: int) -> int:
    """Run until so many trials have ended, then send the signal. The exit code."""
    process = _orch(home, *arguments)
    try:
        give_up_at = time.monotonic() + WITHIN_S
        while _ended(home) < ended:
            assert process.poll() is None, "it ended before it could be disturbed"
            assert time.monotonic() < give_up_at, "it did not come so far"
            time.sleep(0.05)
        process.send_signal(how)
        return process.wait(WITHIN_S)
    finally:
        process.kill()
        process.wait()


def _ended(home: Path) -> int:
    if not (home / "ledger.db").exists():
        return 0
    store = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    try:
        return sum(len(store.trials(s.study_id, states=ENDED)) for s in store.studies())
    finally:
        store.close()


def _to_the_end(home: Path, *arguments: str, workers: int = 2) -> dict[str, Any]:
    process = _orch(home, *arguments, workers=workers)
    try:
        assert process.wait(WITHIN_S) == 0, (home.parent / "said").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()
    answer: dict[str, Any] = json.loads((home / "reports/storm/answer.json").read_text())
    return without_costs(answer)


@pytest.mark.fault(1, real=True)
def test_kill_9_and_ctrl_c_on_the_way_change_nothing_but_the_costs(tmp_path: Path) -> None:
    spec = _spec(tmp_path / "storm.json")
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    create = ("study", "create", str(spec))
    try:
        undisturbed = _to_the_end(calm, *create, workers=1)  # two would compile the same at the same time
        for warm in ("programs", "data"):  # to be quick; the same text and programs would be made anew
            shutil.copytree(calm / warm, stormy / warm)
        assert _cut(stormy, create, signal.SIGKILL, ended=1) == -signal.SIGKILL
        assert _cut(stormy, ("study", "resume", "storm"), signal.SIGINT, ended=4) == 130
        assert _ended(stormy) < 9
        disturbed = _to_the_end(stormy, "study", "resume", "storm")
    finally:
        for home in (calm, stormy):
            daemon.stop(home)
    assert undisturbed["status"] == "completed"
    assert undisturbed["verdict"]["contrast"]["n"] == 2
    assert (undisturbed.pop("slots"), disturbed.pop("slots")) == (1, 2)  # what hours are stated at
    undisturbed["versions"].pop("babel")  # made the text, which the other found: it did not load that
    assert disturbed == undisturbed
