"""What happens in the worker process? One attempt at a time, in a thread, numbered and written down.

Free of Ray: a backend puts a `Worker` wherever processes come from. Every report becomes an event, goes
into the attempt's journal first and into memory second, and is answered with the current verdict.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from orchestrator.ledger.records import LOADED, Event
from orchestrator.runs import artifacts, ends, provenance
from orchestrator.runs.capture import Capture
from orchestrator.runs.checkout import code_facts
from orchestrator.runs.contract import AttemptKey, Ended, Launch, Progress
from orchestrator.runs.folders import DiskFull, Journal, Storage
from orchestrator.study.spec import Resources
from orchestrator.study.whereabouts import Code, OtherCode, beside, require_same
from trainer.protocol import (
    NotHere,
    Outcome,
    Place,
    Reply,
    Report,
    Reporter,
    Status,
    write_resume_note,
)

BURST_S = 0.02  # after the first word one who waits is told what follows within this time, too


@dataclass(frozen=True)
class State:
    """What a worker tells one who has just found it."""

    pid: int
    last: Launch | None  # what it was given last, and is warm for
    holds: bool  # that attempt still, running or ended


class Worker:
    """Runs attempts one after the other in this process, which stays warm between them."""

    def __init__(
        self,
        *,
        pin: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
        host: str = "",
        end_on_sigterm: bool = False,
        keeps_output: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Before any training code is loaded: `pin`, (which slot, how many cores); `environment`, variables
        to set. `host`: what this machine is called among the others. `keeps_output`: what this process prints
        during an attempt goes into the attempt's folder."""
        if pin is not None:
            _pin(*pin)
        os.environ.update(environment or {})
        self._now = now
        self._host = host
        self._keeps_output = keeps_output
        self._news = threading.Condition()  # an attempt has begun, spoken or ended
        self._attempt: _Attempt | None = None
        self._last: Launch | None = None
        self._refused: AttemptKey | None = None  # what it was asked to begin last, and did not
        self._preempted = False
        self._path: str | None = None  # what was added to sys.path for the last attempt
        if end_on_sigterm:
            _watch_sigterm(self)

    def begin(self, launch: Launch) -> bool:
        """Start an attempt, forgetting one that has ended. False while another is running."""
        current = self._attempt
        if current is not None and current.launch.key == launch.key:
            return True
        if self._preempted or (current is not None and current.running()):
            with self._news:
                self._refused = launch.key
                self._news.notify_all()
            return False
        self._look_in(launch.code)
        attempt = _Attempt(launch, self._now, self._news, self._host, self._keeps_output)
        with self._news:
            self._last, self._attempt, self._refused = launch, attempt, None
            self._news.notify_all()
        attempt.thread.start()
        return True

    def _look_in(self, code: Code | None) -> None:
        """The person's folder on this process's path, for all its threads and children: before what is
        installed where the entrypoint lies there, else behind it."""
        if self._path is not None and self._path in sys.path:
            sys.path.remove(self._path)
        self._path = code.folder if code is not None and (code.first or code.folder not in sys.path) else None
        if code is not None and self._path:
            sys.path.insert(0 if code.first else len(sys.path), self._path)

    def poll(self, key: AttemptKey, *, after: int, wait_s: float = 0.0, begin_s: float = 0.0) -> Progress:
        """What it said after that sequence; with `wait_s` it may take so long until there is something.

        A caller that waits asks from a thread of its own, so that `begin` and `say` are not held up. It may
        then come before the `begin` that was called before it: `begin_s` is how long that one may take.
        """

        def seen() -> Progress:
            attempt = self._find(key)
            return Progress(known=False) if attempt is None else attempt.progress(after)

        def anything() -> bool:
            progress = seen()
            return bool(progress.events) or progress.ended is not None

        with self._news:
            self._news.wait_for(lambda: self._find(key) is not None or self._refused == key, begin_s)
            if wait_s and self._news.wait_for(anything, wait_s):
                self._news.wait_for(lambda: seen().ended is not None, BURST_S)
            return seen()

    def say(self, key: AttemptKey, verdict: Reply) -> None:
        attempt = self._find(key)
        if attempt is not None:
            attempt.verdict = verdict

    def forget(self, key: AttemptKey) -> None:
        """Drop an attempt that has ended."""
        attempt = self._find(key)
        if attempt is not None and not attempt.running():
            self._attempt = None

    def state(self) -> State:
        return State(os.getpid(), self._last, holds=self._attempt is not None)

    def preempt(self) -> None:
        """This machine will be taken: the attempt saves at its next report. Returns once it has ended."""
        self.leave()
        if self._attempt is not None:
            self._attempt.thread.join()

    def leave(self) -> None:
        """The same, without waiting for it."""
        self._preempted = True
        if self._attempt is not None:
            self._attempt.preempted = True

    def _find(self, key: AttemptKey) -> _Attempt | None:
        attempt = self._attempt
        return attempt if attempt is not None and attempt.launch.key == key else None


class _Attempt:
    def __init__(
        self,
        launch: Launch,
        now: Callable[[], float],
        news: threading.Condition,
        host: str,
        keeps_output: bool,
    ) -> None:
        self.launch = launch
        self._host = host
        self._keeps_output = keeps_output
        self.verdict = Reply.GO
        self.preempted = False
        self._answered = Reply.GO  # the last verdict that the run was given
        self.thread = threading.Thread(target=self._train, name="/".join(map(str, launch.key)), daemon=True)
        self._now = now
        self._journal = Journal(launch.folder)
        self._news = news  # its lock guards what others read
        self._events: list[Event] = []
        self._ended: Ended | None = None
        self._unwritten: Exception | None = None  # why the journal could not be written

    def running(self) -> bool:
        return self._ended is None

    def progress(self, after: int) -> Progress:
        with self._news:
            return Progress(known=True, events=tuple(self._events[after:]), ended=self._ended)

    def _train(self) -> None:
        try:
            workdir = prepare(self.launch)
            self._append(started(self.launch, self._now(), self._host))
            printing = Capture(workdir) if self._keeps_output else contextlib.nullcontext()
        except (DiskFull, OSError) as problem:  # the training code never runs
            ended = ends.unwritten(problem)
        else:
            with printing:
                ended = run_entrypoint(self.launch, self._report, workdir)
                _print_end(ended, workdir)
            self._tell_packages()
        if self._unwritten is not None:
            ended = ends.unwritten(self._unwritten)
        if self.preempted or self._answered is Reply.SAVE_AND_STOP:
            ended = as_preempted(ended)
        # A journal that cannot be written has been the end already; and memory holds the end too.
        with contextlib.suppress(DiskFull, OSError):
            self._journal.end(ended)
        self._journal.close()
        with self._news:
            self._ended = ended
            self._news.notify_all()

    def _report(self, report: Report) -> Reply:
        if self._ended is not None or self._unwritten is not None:
            return Reply.STOP
        try:
            self._append(spoken(self.launch, len(self._events) + 1, report, self._now()))
        except (DiskFull, OSError) as problem:  # a reporter never raises: the end will say it
            self._unwritten = problem
            return Reply.STOP
        if len(self._events) == 2:  # its first report: by now it has imported what it trains with
            self._tell_packages()
        saves = self.preempted and self.verdict is Reply.GO
        self._answered = Reply.SAVE_AND_STOP if saves else self.verdict
        return self._answered

    def _tell_packages(self) -> None:
        """What is loaded by now, where that is more than was told."""
        told = [event.payload["packages"] for event in self._events if "packages" in event.payload]
        with contextlib.suppress(Exception):  # no reason for a run to fail
            loaded = provenance.packages()
            if told[-1:] != [loaded]:
                payload, sequence = {"packages": loaded}, len(self._events) + 1
                self._append(Event(*self.launch.key, sequence, LOADED, 0, payload, self._now()))

    def _append(self, event: Event) -> None:
        self._journal.event(event)
        with self._news:
            self._events.append(event)
            self._news.notify_all()


def prepare(launch: Launch) -> Path:
    """The attempt's folder, with `resume.json` in it when there is something to resume: the checkpoint, and
    the folders of earlier attempts, for a run that finds it damaged."""
    workdir = Path(launch.folder)
    workdir.mkdir(parents=True, exist_ok=True)
    if launch.resume_from is not None:
        earlier = [str(folder) for folder in Storage.before(workdir, launch.attempt)]
        write_resume_note(workdir, launch.resume_from, **({"earlier": earlier} if earlier else {}))
    return workdir


def run_entrypoint(launch: Launch, reporter: Reporter, workdir: Path) -> Ended:
    """Whatever the training code does, also sys.exit(), comes back as an end."""
    code = launch.code
    try:
        with beside(code.folder if code is not None and code.first else None):
            try:
                module = importlib.import_module(launch.entrypoint)
                if code is not None:
                    _require_same(launch.entrypoint, module, code)
            except Exception as problem:
                return ends.unable(launch.entrypoint, problem)
            outcome = module.run(launch.config, reporter, workdir, Place())
        if not isinstance(outcome, Outcome):
            raise TypeError(f"{launch.entrypoint}.run returned {outcome!r:.200}; it must return an Outcome.")
        return Ended("outcome", outcome=_plain(outcome))
    except NotHere as problem:
        return ends.elsewhere(problem)
    except BaseException as problem:
        away = isinstance(problem, OSError) and not workdir.is_dir()  # with its mount
        return ends.hindered(problem) if away or ends.of_the_machine(problem) else ends.raised(problem)


def _print_end(ended: Ended, workdir: Path) -> None:
    """What a person looks for at the end of the output: the traceback; named files that are no artifacts."""
    files = () if ended.outcome is None else ended.outcome.files
    notes = [f"orch: {sentence}\n" for sentence in artifacts.checked(workdir, files)[1]]
    with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the training code has closed it
        sys.stderr.write("".join([ended.traceback, *notes]))
        sys.stderr.flush()


def _plain(outcome: Outcome) -> Outcome:
    """The outcome in values that a journal and a ledger can hold, whatever library they came from."""
    if outcome.status not in (allowed := get_args(Status)):
        raise ValueError(f"The run ended as {outcome.status!r:.60}; allowed is one of {', '.join(allowed)}.")
    return Outcome(
        outcome.status,
        _floats(outcome.values),
        _floats(outcome.clocks),
        None if outcome.checkpoint is None else str(outcome.checkpoint),
        _names(outcome.files),
        str(outcome.reason),
    )


def _require_same(entrypoint: str, module: ModuleType, code: Code) -> None:
    """As it was checked; another file's contents are told and not refused where ORCH_OTHER_CODE says so."""
    try:
        require_same(entrypoint, module, code)
    except OtherCode as told:
        if os.environ.get("ORCH_OTHER_CODE") != "tell":
            raise
        sys.stderr.write(f"orch: {told}\n")


def as_preempted(ended: Ended) -> Ended:
    """An attempt that was asked to save and stop is to go on later: its machine is taken, or a pause."""
    if ended.outcome is None or ended.outcome.status != "stopped":
        return ended
    return replace(ended, outcome=replace(ended.outcome, status="preempted"))


def started(launch: Launch, at: float, host: str = "") -> Event:
    """The first event of an attempt: on what it runs. That it cannot be found out fails no attempt. `host`:
    what its backend calls this machine."""
    seed = launch.config.get("seed")
    try:
        code = code_facts(launch.entrypoint, file_of(launch), Path(launch.folder).parent.parent)
        facts = provenance.collect(code=code, **({} if seed is None else {"seed": seed}))
    except Exception as problem:
        facts = {"unknown": f"{problem!r:.500}"}
    facts |= {"host": host} if host else {}
    return Event(*launch.key, sequence=1, kind="started", step=0, payload=facts, at=at)


def file_of(launch: Launch) -> str:
    """The entrypoint's file, as it was checked, or as this process has loaded it."""
    if launch.code is not None:
        return launch.code.file
    return getattr(sys.modules.get(launch.entrypoint), "__file__", None) or ""


def spoken(launch: Launch, sequence: int, report: Report, at: float) -> Event:
    """A report as an event. Numbers of any library become floats; NaN and infinities pass."""
    payload: dict[str, Any] = {
        "values": _floats(report.values),
        "hyper": _floats(report.hyper),
        "clocks": _floats(report.clocks),
    }
    if report.path is not None:
        payload["path"] = str(report.path)
    if report.damaged:
        payload["damaged"] = [str(path) for path in report.damaged]
    step = int(report.step)
    if abs(step) >= 2**63:
        raise ValueError(f"A report's step is {step:.3e}; a database holds whole numbers below 2^63.")
    return Event(*launch.key, sequence=sequence, kind=str(report.kind), step=step, payload=payload, at=at)


def _names(files: Any) -> tuple[str, ...]:
    """Also of a single file, and of none."""
    return (str(files),) if isinstance(files, str | Path) else tuple(map(str, files or ()))


def _floats(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: float(number) for name, number in numbers.items()}


def _pin(slot: int, cores: int) -> None:
    """Keep this process, and all that it starts, on its own cores, one thread of arithmetic on each.

    One pinned process a core beats one process on two threads by 1.7 times (28 against 48 ms a step for
    a 255k-parameter Transformer on two cores).
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(cores)
    if hasattr(os, "sched_setaffinity"):  # Linux only
        allowed = sorted(os.sched_getaffinity(0))
        own = {allowed[(slot * cores + i) % len(allowed)] for i in range(cores)}
        # Calls come in threads that the host has started already, and an attempt's thread starts from one.
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread), own)


def hidden(resources: Resources) -> dict[str, str]:
    """The environment in which training code sees no accelerator that its trial does not ask for."""
    found = {} if resources.gpus else {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    # JAX would fail on a platform that is demanded and not there, and would take a TPU without being told.
    return found if resources.gpus or resources.tpu_chips else {**found, "JAX_PLATFORMS": "cpu"}


def _watch_sigterm(worker: Worker) -> None:
    """On SIGTERM: let the attempt save, then end this process.

    Ray's main thread sits in C++ between calls, where a Python signal handler would wait until the next
    call (for ever, if the engine is down). The wakeup file is written by C's handler at once, whatever
    the main thread does, and a thread of ours reads it.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)  # replaces Ray's, which exits at once
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with reading, writing:
            while signal.SIGTERM not in reading.recv(64):
                pass
            worker.preempt()
            os._exit(0)  # sys.exit() would only end this thread; all that was said is in the journal

    threading.Thread(target=wait, name="sigterm", daemon=True).start()
