"""A service on machine A and a second machine B, which has joined it; both mount one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.ground import keys
from tests.faults.world import small_study
from tests.hosts.machines import Machine, Network, until

WORKERS = 2
PACE = {"pace_s": 0.02}  # a step of the rehearsal


class Cluster:
    """A serves, B has joined."""

    def __init__(
        self,
        net: Network,
        home: Path,
        word: str,
        *,
        joined: bool = True,
        programs: Path | None = None,
        **env: str,
    ) -> None:
        """`programs`: where what is compiled is kept, for clusters that come after it too."""
        self.home, self.net = home, net
        if programs is not None:
            (home / "programs").symlink_to(programs)
        self.code = home / "code"  # training code of one's own, on A and B at the same path
        self.code.mkdir()
        self.env = {
            "ORCH_HOME": str(home),
            "ORCH_WORKERS": str(WORKERS),
            "ORCH_MLFLOW": "off",
            "PYTHONPATH": str(self.code),
            **env,
        }
        self.a, self.b = net.machine(f"a{word}"), net.machine(f"b{word}")
        self.serve()
        if joined:
            self.join(self.b)

    def serve(self) -> None:
        words = ("serve", "--host", "0.0.0.0", "--port", "8000")
        with (self.home / "serve.log").open("a") as log:
            self.process = self.a.start(
                sys.executable, "-m", "orchestrator.cli", *words, env=self.env, stdout=log, stderr=log
            )
        self.url = f"http://{self.a.address}:8000"
        until(lambda: self.ready()["engine"] == "leading")

    def signal(self, number: int) -> None:
        """To the service; `process` is what has put it there, and ends when it does."""
        (pid,) = (pid for pid in self.a.pids("python") if b"\0orchestrator.cli\0serve\0" in words_of(pid))
        os.kill(pid, number)
        self.process.wait(60)

    @property
    def key(self) -> str:
        return (self.home / keys.FILE).read_text().strip()

    def ready(self) -> Any:
        try:
            return self.ask("/health/ready")
        except (OSError, urllib.error.URLError):
            return {"engine": "away"}

    def ask(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def join(self, machine: Machine, **env: str) -> None:
        done = self.orch(machine, "join", self.url, "--insecure", **env)
        assert done.returncode == 0, done.stderr
        until(lambda: machine.name in {host["name"] for host in self.ask("/hosts")["items"]}, within_s=15)

    def orch(self, machine: Machine, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return machine.orch(*words, env={**self.env, "ORCH_TOKEN": self.key, **env})

    # -- studies -----------------------------------------------------------------------------------------
    def study(
        self,
        name: str,
        *,
        trials: int = 4,
        steps: int = 1500,
        every: int = 20,
        rehearsal: Mapping[str, Any] = PACE,
        **changes: Any,
    ) -> str:
        saving = {"checkpoint_every_steps": every, "rehearsal": dict(rehearsal)}
        base = {**small_study().base, "steps": steps, **saving}
        arms = [{"name": "base", "method": "fixed", "trials": trials}]
        spec = small_study(name=name, base=base, arms=arms, **changes)
        made = self.ask("/studies", {"spec": spec.model_dump(mode="json", exclude_defaults=True)})
        return str(made["study_id"])

    def tried(self, study: str) -> dict[str, list[Any]]:
        trials = self.ask(f"/studies/{study}/trials")["items"]
        return {t["trial_id"]: self.ask(f"/trials/{t['trial_id']}")["tried"] for t in trials}

    def begun(self, study: str, number: int) -> dict[str, str]:
        """Where so many trials run, once they do and have saved."""

        def places() -> dict[str, str]:
            found = {
                trial: tried[0]["provenance"]["host"]
                for trial, tried in self.tried(study).items()
                if tried and tried[0]["provenance"] and tried[0]["saved_clocks"]
            }
            return found if len(found) >= number else {}

        return dict(until(places))

    def done(self, study: str, *, within_s: float = 240.0) -> dict[str, list[Any]]:
        until(lambda: self.ask(f"/studies/{study}")["status"] == "completed", within_s=within_s)
        return self.tried(study)

    def host(self, machine: Machine) -> Any:
        return next((h for h in self.ask("/hosts")["items"] if h["name"] == machine.name), {"state": "gone"})

    def close(self) -> None:
        for each in (self.b, self.a):
            each.end()
        self.process.wait(30)


def words_of(pid: int) -> bytes:
    """Its command line; nothing where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
