"""`orch serve` on real Ray: a study is posted, its server ended in the middle, another goes on with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from orchestrator.backends import daemon
from orchestrator.ground import keys
from orchestrator.ledger import open_ledger
from tests.faults.world import small_study

ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0  # 10 to 15 s on an idle machine, most of it Ray's two starts


class Server:
    def __init__(self, home: Path, within_s: float = WITHIN_S) -> None:
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "serve", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "ORCH_HOME": str(home), "ORCH_WORKERS": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._killer = threading.Timer(within_s, self.process.kill)
        self._killer.start()
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().partition("/login")[0] + "/api/v1"
        self._key = {"Authorization": f"Bearer {(home / keys.FILE).read_text().strip()}"}
        assert self.get("/health/ready")["status"] == "ready"
        self.ready_after_s = time.monotonic() - begun

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=self._key)
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **self._key}
        )
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return json.load(answer)

    def hear(self, after: int, enough: Any) -> list[int]:
        """The ids of the events of the study, until it is enough."""
        request = urllib.request.Request(
            f"{self.url}/studies/small/events", headers={"Last-Event-ID": str(after), **self._key}
        )
        heard: list[int] = []
        with urllib.request.urlopen(request, timeout=WITHIN_S) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    heard.append(json.loads(line[6:])["event_id"])
                    if enough(json.loads(line[6:])):
                        return heard
        raise AssertionError("the stream ended")

    def end(self) -> tuple[float, str]:
        """How long it took, and what it had said."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=WITHIN_S)
        self._killer.cancel()
        assert self.process.returncode == 0, err
        return time.monotonic() - begun, err


def test_a_server_that_is_ended_leaves_its_trials_at_work_and_the_next_goes_on(tmp_path: Path) -> None:
    study = small_study()
    # 40 steps of 50 ms: two seconds a trial, so that some are at work when the server ends
    spec = study.model_copy(update={"base": {**study.base, "rehearsal": {"pace_s": 0.05}}})
    first = second = None
    try:
        first = Server(tmp_path)
        assert first.ready_after_s < 10
        assert first.post("/studies", {"spec": spec.model_dump(mode="json")})["created"] is True
        begun: list[str] = []

        def third_begins(event: Any) -> bool:
            begun.extend([event["trial_id"]] if event["kind"] == "started" else [])
            return len(begun) == 3

        heard = first.hear(0, third_begins)
        took_s, err = first.end()
        assert took_s < 10, err
        assert "Traceback" not in err
        assert "SIGTERM received" not in err  # Ray's own handler was not the one that took it
        assert daemon.find(tmp_path) is not None  # trials go on in their workers

        second = Server(tmp_path)
        ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
        while second.get("/studies/small")["status"] in ("waiting", "running"):
            time.sleep(0.1)
        done = second.get("/studies/small")
        assert (done["status"], done["ended"], done["wasted_hours"]) == ("completed", 8, 0.0)
        assert sum(arm["states"].get("completed", 0) for arm in done["arms"]) == 8
        assert sum(arm["attempts"] for arm in done["arms"]) == 8  # nothing was begun twice
        newest = ledger.newest_event()
        heard += second.hear(heard[-1], lambda event: event["event_id"] == newest)
        assert heard == [stored.event_id for stored in ledger.events()]
        ledger.close()
        took_s, err = second.end()
        assert took_s < 10, err
        assert daemon.processes(tmp_path) == []  # nothing was left to do
    finally:
        for server in (first, second):
            if server is not None:
                server.process.kill()
        daemon.stop(tmp_path)
