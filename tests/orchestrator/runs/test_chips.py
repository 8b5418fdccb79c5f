"""Does a worker begin on a TPU chip only once the process before it is gone? With real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs import chips, hardware
from orchestrator.runs.chips import ChipLocks
from orchestrator.runs.contract import Launch, Progress
from orchestrator.runs.worker import Worker
from orchestrator.study.resources import Resources
from trainer.protocol import Reply

QUICK = {"seed": 1, "steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20}
ROOT = Path(__file__).parents[3]
HOLDS = (
    "import subprocess, sys\nfrom orchestrator.runs.chips import ChipLocks\n"
    "locks = ChipLocks([int(chip) for chip in sys.argv[1].split(',')])\nassert locks.holder() == ''\n"
    "child = subprocess.Popen(['sleep', '600']) if len(sys.argv) > 2 else None\n"
    "print(child.pid if child else 'held', flush=True)\nsys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that holds chips, and returns once it does."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(hardware, "there", lambda pattern: pattern.startswith("accel"))
    monkeypatch.setattr(chips, "folder", lambda: tmp_path / f"orch-chips-{socket.gethostname()}")
    begun: list[subprocess.Popen[str]] = []

    def start(numbers: str, *more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, numbers, *more],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def job(tmp_path: Path) -> Launch:
    folder = str(tmp_path / "a" / "attempt-1")
    return Launch("a", 1, "orchestrator.rehearsal", QUICK, "shape", folder, resources=Resources(tpu_chips=2))


def on_chips(*numbers: str, within_s: float = 60.0) -> Worker:
    return Worker(held=lambda: {"TPU": numbers}, chips_within_s=within_s, host="tpu-host")


def until(worker: Worker, job: Launch, done: Callable[[Progress], Any]) -> Progress:
    deadline = time.monotonic() + 60
    while not done(progress := worker.poll(job.key, after=0, wait_s=0.1)):
        assert time.monotonic() < deadline, progress
    return progress


def test_it_waits_for_the_process_before_and_goes_on_once_that_is_killed(holder: Any, job: Launch) -> None:
    before = holder("0,1")
    assert said(before) == "held"
    worker = on_chips("1", "2")
    assert worker.begin(job)
    waits = until(worker, job, lambda p: p.waits)
    assert waits.waits == f"It waits for TPU chip 1, which process {before.pid} holds."
    assert [event.kind for event in waits.events] == ["started"]  # so it has begun, for the engine
    before.send_signal(signal.SIGKILL)
    progress = until(worker, job, lambda p: p.ended)
    assert progress.ended is not None
    assert (progress.ended.how, progress.waits) == ("outcome", "")
    assert ChipLocks([2]).holder() == f"TPU chip 2, which process {os.getpid()} holds"


def test_one_that_never_goes_is_named_and_the_attempt_is_the_machine_s_trouble(
    holder: Any, job: Launch
) -> None:
    before = holder("3")
    said(before)
    worker = on_chips("3", within_s=0.25)
    worker.begin(job)
    progress = until(worker, job, lambda p: p.ended)
    assert progress.ended is not None
    assert progress.ended.how == "lost"
    assert progress.ended.reason == (
        f"Trouble of the machine {socket.gethostname()}, not of the code: after 0.25 s it still waited for "
        f"TPU chip 3, which process {before.pid} holds. End that process, if it is none of a trial's."
    )
    assert [event.kind for event in progress.events] == ["started"]
    before.kill()  # the same worker may be asked again
    before.wait()
    again = Launch("a", 2, job.entrypoint, job.config, "shape", job.folder.replace("-1", "-2"))
    worker.begin(again)
    ended = until(worker, again, lambda p: p.ended).ended
    assert ended is not None
    assert ended.how == "outcome"


def test_what_training_code_starts_does_not_hold_the_chips_after_it(holder: Any) -> None:
    before = holder("0", "with a child")
    child = int(said(before))
    try:
        before.kill()
        before.wait()
        assert ChipLocks([0]).holder() == ""
        os.kill(child, 0)  # it lives
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(("told", "status"), [(Reply.STOP, "stopped"), (Reply.SAVE_AND_STOP, "preempted")])
def test_while_it_waits_it_can_be_told_to_stop(holder: Any, job: Launch, told: Reply, status: str) -> None:
    said(holder("0"))
    worker = on_chips("0")
    worker.begin(job)
    until(worker, job, lambda p: p.waits)
    worker.say(job.key, told)
    ended = until(worker, job, lambda p: p.ended).ended
    assert ended is not None
    assert ended.outcome is not None
    assert ended.outcome.status == status


def test_one_that_waits_for_a_chip_keeps_no_later_one_from_others(holder: Any) -> None:
    """Else two that are each given the other's chip would wait for each other."""
    before = holder("0")
    said(before)
    waits, other = ChipLocks([1, 0]), ChipLocks([1])
    assert waits.holder() == f"TPU chip 0, which process {before.pid} holds"
    assert other.holder() == ""


def test_where_there_is_no_chip_nothing_is_locked(holder: Any, job: Launch, monkeypatch: Any) -> None:
    """On a Ray that only says so: its nodes on one machine all have a chip of that number."""
    said(holder("0"))
    monkeypatch.setattr(hardware, "there", lambda pattern: False)
    worker = on_chips("0")
    worker.begin(job)
    ended = until(worker, job, lambda p: p.ended).ended
    assert ended is not None
    assert ended.how == "outcome"


def test_without_a_folder_for_the_locks_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert ChipLocks([0, 1], tmp_path / "file").holder() == ""
