"""What do the processes of a gang say and leave of whole runs, one after the other as in a warm worker?
Run by test_gang_runs.py; prints JSON."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.protocol import Place, Reply, Report, write_resume_note

ROOT = Path(__file__).resolve().parents[3]
DEVICE = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"


class Told:
    """A reporter that answers by the number of the report, if at all."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.reports = answers, list[Report]()

    def __call__(self, report: Report) -> Reply:
        self.reports.append(report)
        return Reply(self.answers.get(str(len(self.reports)), "go"))

    def told(self) -> list[Any]:
        """All but clocks and memory, which are each process's own."""
        own = "peak_memory_bytes"
        return [
            [r.step, r.kind, {k: v for k, v in r.values.items() if k != own}, dict(r.hyper), r.path]
            for r in self.reports
        ]


def one(asked: dict[str, Any], place: Place) -> dict[str, Any]:
    """A run; `answers` are by process, `preempt_at` of one."""
    told = Told(asked.get("answers", {}).get(str(place.process_index), {}))
    folder = Path(asked["folder"])
    if asked.get("checkpoint") and place.process_index == 0:
        write_resume_note(folder, asked["checkpoint"])
    if place.process_count > 1:
        import jax

        jax.experimental.multihost_utils.sync_global_devices("the host has written")
    entrypoint = importlib.import_module(asked.get("entrypoint", "trainer.run"))
    try:
        outcome = entrypoint.run(asked["config"], told, folder, place)
    except ValueError as problem:
        return {"raised": str(problem)}
    made = outcome.to_dict()
    return {**made, "clocks": {"steps": outcome.clocks["steps"]}, "reports": told.told()}


def main() -> None:
    from trainer.models import mesh as meshes

    asked = json.loads(sys.argv[1])
    place = Place(**asked["place"])
    meshes.start_distributed = functools.cache(meshes.start_distributed)  # joined once
    meshes.start_distributed(place)
    print(json.dumps([one(each, place) for each in asked["runs"]]))


def started(runs: Sequence[dict[str, Any]], home: Path, **place: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "XLA_FLAGS": DEVICE, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", __name__, json.dumps({"place": place, "runs": runs})],
        env={**environment, "PYTHONPATH": str(ROOT), "ORCH_HOME": str(home), "HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def finished(*processes: subprocess.Popen[str], timeout_s: float = 300) -> list[list[dict[str, Any]]]:
    """What each of them printed."""
    try:
        said = [process.communicate(timeout=timeout_s) for process in processes]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert not any(p.returncode for p in processes), "\n".join(err[-3000:] for _, err in said)
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def gang(runs: Sequence[dict[str, Any]], homes: Sequence[Path]) -> list[subprocess.Popen[str]]:
    """A process for each home."""
    coordinator = free_address()
    return [
        started(runs, home, process_index=i, process_count=len(homes), coordinator=coordinator)
        for i, home in enumerate(homes)
    ]


if __name__ == "__main__":
    main()
