"""Does a worker number, write down and answer every report, and end as it should?"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.contract import Ended, Launch, Progress
from orchestrator.runs.folders import read_journal
from orchestrator.runs.hardware import hidden
from orchestrator.runs.worker import Worker
from orchestrator.study.resources import Resources
from trainer.protocol import Reply

QUICK = {"seed": 1, "steps": 40, "eval_every_steps": 10, "checkpoint_every_steps": 20}
PACED = {**QUICK, "steps": 4000, "rehearsal": {"pace_s": 0.005}}


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launch]:
    def make(trial: str = "a", config: dict[str, Any] = QUICK, **more: Any) -> Launch:
        folder = str(tmp_path / trial / "attempt-1")
        return Launch(
            trial, 1, more.pop("entrypoint", "orchestrator.rehearsal"), config, "shape", folder, **more
        )

    return make


@pytest.fixture
def entrypoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Callable[[str], str]:
    """Writes a training program whose `run` has the given lines, and returns its name."""

    def write(*lines: str) -> str:
        name = f"program_{abs(hash(request.node.name))}"
        head = "import sys\nfrom trainer.protocol import *\ndef run(config, reporter, workdir, place):\n"
        (tmp_path / f"{name}.py").write_text(head + "".join(f"    {line}\n" for line in lines))
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return write


def until(worker: Worker, launch: Launch, done: Callable[[Progress], bool]) -> Progress:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        progress = worker.poll(launch.key, after=0)
        if done(progress):
            return progress
        threading.Event().wait(0.002)
    raise AssertionError(f"not there after 30 s: {worker.poll(launch.key, after=0)}")


def to_the_end(worker: Worker, launch: Launch) -> tuple[Progress, Ended]:
    progress = until(worker, launch, lambda p: p.ended is not None)
    assert progress.ended is not None
    return progress, progress.ended


def test_the_journal_holds_what_memory_holds(launch: Any) -> None:
    worker, job = Worker(now=lambda: 12.5), launch()
    assert worker.begin(job)
    progress, ended = to_the_end(worker, job)
    assert read_journal(job.folder, *job.key) == (progress.events, ended)
    assert read_journal(job.folder, *job.key, after=4) == (progress.events[4:], ended)
    assert [e.sequence for e in progress.events] == list(range(1, len(progress.events) + 1))
    assert {e.at for e in progress.events} == {12.5}


def test_a_report_is_in_the_journal_before_it_is_answered(launch: Any, entrypoint: Any) -> None:
    name = entrypoint(
        "reporter(Report(1, 'eval', {'loss': 2.0}))",
        "seen = (workdir / 'events.jsonl').read_text().count('eval')",
        "return Outcome('completed', {'seen': seen})",
    )
    worker, job = Worker(), launch(entrypoint=name)
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert ended.outcome is not None
    assert ended.outcome.values == {"seen": 1.0}


def test_a_torn_last_line_is_not_read(launch: Any) -> None:
    worker, job = Worker(), launch()
    worker.begin(job)
    progress, _ = to_the_end(worker, job)
    journal = Path(job.folder) / "events.jsonl"
    whole = journal.read_bytes()
    for cut in range(1, 60):
        journal.write_bytes(whole[:-cut])
        assert read_journal(job.folder, *job.key) == (progress.events, None)
    two_lines_short = b"".join(whole.splitlines(keepends=True)[:-2])
    journal.write_bytes(two_lines_short[:-1])
    assert read_journal(job.folder, *job.key) == (progress.events[:-2], None)
    journal.unlink()
    assert read_journal(job.folder, *job.key) == ((), None)


def test_an_attempt_that_is_begun_anew_begins_its_journal_afresh(launch: Any) -> None:
    first, again, job = Worker(), Worker(), launch()
    first.begin(job)
    to_the_end(first, job)
    journal = Path(job.folder) / "events.jsonl"
    journal.write_bytes(journal.read_bytes()[:-200])  # the machine went down: it has no end, and a torn line
    again.begin(job)
    progress, ended = to_the_end(again, job)
    assert [e.sequence for e in progress.events] == list(range(1, len(progress.events) + 1))
    assert read_journal(job.folder, *job.key) == (progress.events, ended)


def test_nan_and_infinity_are_passed_on_as_they_are(launch: Any, entrypoint: Any) -> None:
    name = entrypoint(
        "reporter(Report(1, 'train', {'a': float('nan'), 'b': float('inf')}))",
        "return Outcome('diverged', {})",
    )
    worker, job = Worker(), launch(entrypoint=name)
    worker.begin(job)
    progress, _ = to_the_end(worker, job)
    for events in (progress.events, read_journal(job.folder, *job.key)[0]):
        assert math.isnan(events[1].payload["values"]["a"])
        assert events[1].payload["values"]["b"] == math.inf


def test_an_attempt_whose_surroundings_cannot_be_told_runs_all_the_same(
    launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(**seeds: int) -> dict[str, Any]:
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid continuation byte")

    monkeypatch.setattr("orchestrator.runs.provenance.collect", collect)
    worker, job = Worker(), launch()
    worker.begin(job)
    progress, ended = to_the_end(worker, job)
    assert ended.how == "outcome"
    assert progress.events[0].payload["unknown"].startswith("UnicodeDecodeError(")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sys.exit(3)", "SystemExit: 3"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_the_training_code_raises_is_an_end(
    launch: Any, entrypoint: Any, line: str, reason: str
) -> None:
    worker, job = Worker(), launch(entrypoint=entrypoint(line))
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert (ended.how, ended.reason) == ("raised", reason)
    assert line in ended.traceback
    assert worker.begin(launch("next"))


def test_a_run_that_returns_no_outcome_is_told_so(launch: Any, entrypoint: Any) -> None:
    name = entrypoint("return {'loss': 1}")
    worker, job = Worker(), launch(entrypoint=name)
    worker.begin(job)
    assert to_the_end(worker, job)[1].reason == (
        f"TypeError: {name}.run returned {{'loss': 1}}; it must return an Outcome."
    )


def test_one_attempt_at_a_time(launch: Any) -> None:
    worker, first, second = Worker(), launch("first", PACED), launch("second")
    assert worker.state().last is None
    assert worker.begin(first)
    assert worker.begin(first)
    assert not worker.begin(second)
    worker.forget(first.key)  # it runs: nothing is forgotten
    assert (worker.state().last, worker.state().holds) == (first, True)
    worker.say(second.key, Reply.STOP)  # not his
    worker.say(first.key, Reply.STOP)
    to_the_end(worker, first)
    assert worker.begin(second)
    assert worker.poll(first.key, after=0) == Progress(known=False)
    to_the_end(worker, second)
    worker.forget(second.key)
    assert (worker.state().last, worker.state().holds) == (second, False)


def test_the_checkpoint_to_resume_from_is_laid_into_the_folder(launch: Any, tmp_path: Path) -> None:
    first = launch("first")
    worker = Worker()
    worker.begin(first)
    saved = to_the_end(worker, first)[0].events[5].payload["path"]
    second = launch("second", resume_from=saved)
    worker.begin(second)
    events = to_the_end(worker, second)[0].events
    assert json.loads((Path(second.folder) / "resume.json").read_text()) == {"checkpoint": saved}
    assert [e.step for e in events if e.kind == "eval"] == [30, 40]


def test_a_run_is_told_where_earlier_attempts_lie_and_says_what_it_fell_back_to(
    launch: Any, entrypoint: Any, tmp_path: Path
) -> None:
    program = entrypoint(
        "reporter(Report(4, FALLBACK, path='c1', damaged=('c3', 'c2')))",
        "reporter(Report(0, FALLBACK, damaged=('c1',)))",
        "return Outcome('completed')",
    )
    earlier = [tmp_path / "a" / f"attempt-{number}" for number in (3, 1)]  # the second one left nothing
    for folder in earlier:
        folder.mkdir(parents=True)
    given = replace(
        launch(entrypoint=program, resume_from="c3"), attempt=4, folder=str(tmp_path / "a" / "attempt-4")
    )
    worker = Worker()
    worker.begin(given)
    _, used, anew = to_the_end(worker, given)[0].events
    note = json.loads((Path(given.folder) / "resume.json").read_text())
    assert note == {"checkpoint": "c3", "earlier": list(map(str, earlier))}
    numbers = {"values": {}, "hyper": {}, "clocks": {}}
    assert (used.kind, used.step) == ("fallback", 4)
    assert used.payload == {**numbers, "path": "c1", "damaged": ["c3", "c2"]}
    assert anew.payload == {**numbers, "damaged": ["c1"]}


@pytest.mark.fault(12)
def test_a_full_disk_ends_the_attempt_with_a_sentence(launch: Any) -> None:
    job = launch()
    journal = Path(job.folder) / "events.jsonl"
    journal.parent.mkdir(parents=True)
    journal.symlink_to("/dev/full")
    worker = Worker()
    worker.begin(job)
    progress, ended = to_the_end(worker, job)
    assert progress.events == ()
    assert ended == Ended(
        "unwritten",
        reason=f"The disk is full: an event could not be written to {journal}. "
        f"Make room there; the trial goes on from its last checkpoint.",
    )


def test_a_folder_that_cannot_be_made_is_no_fault_of_the_run(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file where the trial's folder would be")
    worker, job = Worker(), launch("a")
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert ended.how == "unwritten"
    assert ended.reason.startswith("The run's folder cannot be written ([Errno ")


def test_a_run_whose_folder_has_gone_is_no_failure_of_its_code(launch: Any, entrypoint: Any) -> None:
    """With the mount that it lies on."""
    lines = ["import shutil", "shutil.rmtree(workdir)", "(workdir / 'made.txt').write_text('')"]
    worker, job = Worker(), launch("own", entrypoint=entrypoint(*lines))
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert ended.how == "unwritten"
    assert ended.reason.startswith("The run could not write its files (FileNotFoundError: ")


def raised_inside(problem: str, why: str) -> list[str]:
    """The lines of a program whose write fails in a library that says it in its own way."""
    return [
        "try:",
        f"    raise {problem}",
        "except OSError as problem:",
        f"    raise ValueError('could not save'){why}",
    ]


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "ESTALE"])
@pytest.mark.parametrize("why", ["bare", " from problem", ""])
def test_a_disk_that_training_code_cannot_write_to_is_no_failure_of_the_code(
    launch: Any, entrypoint: Any, number: str, why: str
) -> None:
    said = f"OSError: [Errno {getattr(errno, number)}] no room"
    lines = [f"raise OSError({getattr(errno, number)}, 'no room')"]
    if why != "bare":
        said, lines = "ValueError: could not save", raised_inside(lines[0].removeprefix("raise "), why)
    worker, job = Worker(), launch("own", entrypoint=entrypoint(*lines))
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert ended.how == "unwritten"
    assert ended.reason == (
        f"The run could not write its files ({said}). Mend that; it goes on from its last checkpoint."
    )
    assert "no room" in ended.traceback


@pytest.mark.parametrize(
    "lines",
    [
        ["raise PermissionError(13, 'Permission denied')"],
        raised_inside("OSError(28, 'No space left on device')", " from None"),
    ],
    ids=["another trouble", "hidden on purpose"],
)
def test_any_other_error_of_training_code_is_a_failure_of_the_code(
    launch: Any, entrypoint: Any, lines: list[str]
) -> None:
    worker, job = Worker(), launch("own", entrypoint=entrypoint(*lines))
    worker.begin(job)
    assert to_the_end(worker, job)[1].how == "raised"


def test_preemption_saves_at_the_next_report_and_takes_no_more_work(launch: Any) -> None:
    worker, job = Worker(), launch("a", PACED)
    worker.begin(job)
    heard = len(until(worker, job, lambda p: len(p.events) > 2).events)
    worker.preempt()
    progress, ended = to_the_end(worker, job)
    assert ended.outcome is not None
    assert ended.outcome.status == "preempted"
    assert Path(ended.outcome.checkpoint or "nothing").is_file()
    assert len(progress.events) <= heard + 4  # one chunk: train, eval, checkpoint; one was on its way
    assert not worker.begin(launch("b"))


PROGRAM = """
import sys, threading
from orchestrator.runs.contract import Launch
from orchestrator.runs.worker import Worker
worker = Worker(end_on_sigterm=True)
worker.begin(Launch("a", 1, "orchestrator.rehearsal", {config!r}, "shape", sys.argv[1]))
threading.Event().wait(60)
"""


@pytest.mark.fault(7, real=True)
def test_sigterm_lets_a_process_save_and_then_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "attempt-1"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM.format(config=PACED), str(folder)])
    deadline = time.monotonic() + 30
    while len(read_journal(folder, "a", 1)[0]) < 4:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    events, ended = read_journal(folder, "a", 1)
    assert ended is not None
    assert ended.outcome is not None
    assert ended.outcome.status == "preempted"
    assert events[-1].kind == "checkpoint"
    assert os.path.exists(events[-1].payload["path"])


def test_an_outcome_s_own_types_become_plain_ones(launch: Any, entrypoint: Any) -> None:
    name = entrypoint(
        "return Outcome('completed', {'loss': True}, {}, checkpoint=workdir, files=(workdir,), reason=3)"
    )
    worker, job = Worker(), launch(entrypoint=name)
    worker.begin(job)
    outcome = to_the_end(worker, job)[1].outcome
    assert outcome is not None
    assert (outcome.values, outcome.reason) == ({"loss": 1.0}, "3")
    assert (outcome.checkpoint, outcome.files) == (job.folder, (job.folder,))
    assert read_journal(job.folder, *job.key)[1] == Ended("outcome", outcome=outcome)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "return Outcome('finished', {}, {})",
            "ValueError: The run ended as 'finished'; "
            "allowed is one of completed, diverged, stopped, preempted.",
        ),
        (
            "reporter(Report(10**30, 'train'))",
            "ValueError: A report's step is 1.000e+30; a database holds whole numbers below 2^63.",
        ),
    ],
)
def test_what_no_ledger_could_hold_fails_the_attempt_alone(
    launch: Any, entrypoint: Any, line: str, reason: str
) -> None:
    worker, job = Worker(), launch(entrypoint=entrypoint(line))
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert (ended.how, ended.reason) == ("raised", reason)


@pytest.mark.parametrize(
    ("held", "seen"),
    [
        (Resources(), {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}),
        (Resources(tpu_chips=4), {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}),
        (Resources(gpus=0.5), {}),
        (Resources(gpus=2), {}),
    ],
)
def test_what_a_trial_does_not_ask_for_is_hidden(held: Resources, seen: dict[str, str]) -> None:
    assert hidden(held) == seen


@pytest.mark.parametrize(
    ("files", "kept"), [("'a.txt'", ("a.txt",)), ("None", ()), ("['a', 'b']", ("a", "b"))]
)
def test_an_outcome_may_name_one_file_none_or_several(
    launch: Any, entrypoint: Any, files: str, kept: tuple[str, ...]
) -> None:
    worker, job = Worker(), launch(entrypoint=entrypoint(f"return Outcome('completed', files={files})"))
    worker.begin(job)
    ended = to_the_end(worker, job)[1]
    assert ended.outcome is not None
    assert ended.outcome.files == kept


@pytest.mark.parametrize(
    ("problem", "how"),
    [
        (RuntimeError("Unable to initialize backend 'tpu': UNAVAILABLE: The TPU is already in use"), "lost"),
        (RuntimeError("CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"), "lost"),
        (RuntimeError("shapes do not match"), "raised"),
        (ValueError("Unable to initialize backend"), "raised"),  # the code's own word
    ],
)
def test_an_accelerator_that_is_busy_or_missing_is_the_machine_s_trouble(
    launch: Callable[..., Launch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
    how: str,
) -> None:
    name = f"accelerated_{abs(hash(str(problem)))}"
    (tmp_path / f"{name}.py").write_text(
        f"def run(config, reporter, workdir, place):\n    raise {type(problem).__name__}({str(problem)!r})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    job, worker = launch("a", {}, entrypoint=name), Worker()
    worker.begin(job)
    while (progress := worker.poll(job.key, after=0, wait_s=0.2)).ended is None:
        pass
    assert progress.ended.how == how
    if how == "lost":
        assert progress.ended.reason.startswith("Trouble of the machine ")
