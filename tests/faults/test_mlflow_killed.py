"""Row 10, with a real server: MLflow is killed under a study, stays away to its end, and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.tracking.destination import destination
from orchestrator.tracking.sync import lag
from tests.faults import invariants, mirrored
from tests.faults.serving import WITHIN_S, Service, awaited, service, settings_of
from tests.faults.world import small_study

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.fault(10, real=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PACE_S = 0.3  # a step: 12 s a trial, so that the mirror has begun long before the end
ACROSS_A_WAIT_S = 150.0  # the mirror's longest wait is a minute


class Mlflow:
    """A server of its own over a SQLite file, on a port that stays its."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words, *store, *artifacts],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

        def answers() -> bool | None:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "said").read_text()[-2000:]
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                return answer.status == 200 or None

        awaited(answers, what="MLflow's start")

    def kill(self) -> None:
        """All of its processes, which are a session of their own."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(WITHIN_S)
            self._process = None


@pytest.fixture
def mlflow(tmp_path: Path) -> Iterator[Mlflow]:
    there = Mlflow(tmp_path / "mlflow")
    there.start()
    try:
        yield there
    finally:
        there.kill()


def _whole(there: Service, study_id: str) -> None:
    place = destination(settings_of(there))
    assert place is not None
    with there.ledger() as store:
        awaited(lambda: lag(store, place, study_id) == 0 or None, within_s=ACROSS_A_WAIT_S, what="the mirror")
        # The cursor is there; the last tags follow within a look of the mirror's.
        awaited(lambda: _agrees(there, study_id, place.uri), within_s=30, what="MLflow's agreement")
        mirrored.check(store, study_id, mirrored.look(place.uri, study_id))


def _agrees(there: Service, study_id: str, uri: str) -> bool | None:
    with there.ledger() as store:
        try:
            mirrored.check(store, study_id, mirrored.look(uri, study_id))
        except (AssertionError, KeyError):
            return None
    return True


def test_a_server_that_is_killed_under_a_study_and_comes_back_after_it_has_all_of_it_once(
    mlflow: Mlflow, tmp_path: Path
) -> None:
    base = {**small_study().base, "rehearsal": {"pace_s": PACE_S}}
    environ = {"ORCH_MLFLOW": "on", "MLFLOW_TRACKING_URI": mlflow.url}
    with service(tmp_path / "home", environ=environ) as there:
        there.start()
        there.leads()
        study_id = there.create(small_study(base=base))
        place = destination(settings_of(there))
        assert place is not None
        with there.ledger() as store:
            awaited(lambda: store.cursor(place.cursor(study_id)) or None, what="the mirror's first words")
        mlflow.kill()
        assert there.runs(study_id)
        there.to_the_end(study_id)
        with there.ledger() as store:
            invariants.check(store, study_id)
            assert {t.attempts for t in store.trials(study_id)} == {1}
            assert lag(store, place, study_id) > 0
        time.sleep(5)  # it stays away for a while after the end, too
        assert there.ask("/health/ready")["engine"] == "leading"
        mlflow.start()
        _whole(there, study_id)
        there.end()
