"""What happens in the worker process? One attempt at a time, in a thread, numbered and written down.

Free of Ray: a backend puts a `Worker` wherever processes come from. Every report becomes an event, goes
into the attempt's journal first and into memory second, and is answered with the current verdict.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.ledger.records import LOADED, Event
from orchestrator.runs import artifacts, ends, hardware, provenance
from orchestrator.runs.capture import Capture
from orchestrator.runs.chips import WITHIN_S, ChipLocks
from orchestrator.runs.contract import AttemptKey, Ended, Launch, Progress
from orchestrator.runs.folders import DiskFull, Journal
from orchestrator.runs.running import as_preempted, prepare, run_entrypoint, spoken, started
from orchestrator.study.resources import Resources
from orchestrator.study.whereabouts import Code
from trainer.protocol import (
    ALONE,
    Outcome,
    Place,
    Reply,
    Report,
)

FIRST_S = 30.0  # for the first process of a gang to begin, once another of it has spoken
HEARD_S = 5.0  # before a process of a gang goes: for its end to be asked for, and its last reply
WAITS_S = 0.5  # between two answers of one that waits for a TPU chip
ASK_AGAIN_S = 0.2  # whether a TPU chip is free by now
BURST_S = 0.02  # after the first word one who waits is told what follows within this time, too


@dataclass(frozen=True)
class State:
    """What a worker tells one who has just found it."""

    pid: int
    last: Launch | None  # what it was given last, and is warm for
    holds: bool  # that attempt still, running or ended
    place: Place = ALONE  # in the gang of that attempt


class First(Protocol):
    """The first process of a gang, as the others reach it."""

    def reply(self, key: AttemptKey, number: int) -> Reply:
        """What the attempt's report of that number was answered with; it may be still to come."""

    def leave(self) -> None: ...


class Worker:
    """Runs attempts one after the other in this process, which stays warm between them."""

    def __init__(
        self,
        *,
        pin: tuple[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
        resources: Resources | None = None,
        held: Callable[[], hardware.Held] = dict,
        chips_within_s: float = WITHIN_S,
        host: str = "",
        end_on_sigterm: bool = False,
        keeps_output: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Before any training code is loaded: `pin`, (which slot, how many cores); `environment`, variables
        to set. `resources`: of all its attempts; `held`: the accelerators that this process was given for
        them; None: the environment is left as it is. `host`: what this machine is called among the others.
        `keeps_output`: what this process prints during an attempt goes into the attempt's folder."""
        if pin is not None:
            _pin(*pin)
        os.environ.update(environment or {})
        has = held()
        if resources is not None:
            hardware.settle(os.environ, resources, has)
        locks = ChipLocks(hardware.chips(has, os.environ) if hardware.has_tpu() else ())
        self._on = _Machine(host, has, locks, chips_within_s, keeps_output)
        self._now = now
        self._news = threading.Condition()  # an attempt has begun, spoken or ended
        self._attempt: _Attempt | None = None
        self._last: Launch | None = None
        self._place = ALONE
        self._refused: AttemptKey | None = None  # what it was asked to begin last, and did not
        self._preempted = False
        self._path: str | None = None  # what was added to sys.path for the last attempt
        if end_on_sigterm:
            _watch_sigterm(self)

    def begin(self, launch: Launch, place: Place = ALONE, first: First | None = None) -> bool:
        """Start an attempt, forgetting one that has ended. False while another is running. `first`: of a
        gang, for the others in it."""
        current = self._attempt
        if current is not None and current.launch.key == launch.key:
            return True
        if self._preempted or (current is not None and current.running()):
            with self._news:
                self._refused = launch.key
                self._news.notify_all()
            return False
        self._look_in(launch.code)
        attempt = _Attempt(launch, place, first, self._now, self._news, self._on)
        with self._news:
            self._last, self._place, self._attempt, self._refused = launch, place, attempt, None
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
            if seen().waits:  # to be heard of before it counts as hung
                wait_s = min(wait_s, WAITS_S)
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
        return State(os.getpid(), self._last, holds=self._attempt is not None, place=self._place)

    def free_port(self) -> int:
        """One that nobody listens at on this machine."""
        with socket.socket() as tried:
            tried.bind(("", 0))
            return int(tried.getsockname()[1])

    def reply(self, key: AttemptKey, number: int) -> Reply:
        """For the others of its gang: what its report of that number was answered with. It waits for that
        report; of an attempt that ends without it, STOP."""
        with self._news:  # the others may have begun before it
            self._news.wait_for(lambda: self._find(key) is not None or self._refused == key, FIRST_S)
        attempt = self._find(key)
        if attempt is None:
            return Reply.STOP
        with self._news:
            self._news.wait_for(lambda: len(attempt.replies) >= number or not attempt.running())
            attempt.followed[number] += 1
            self._news.notify_all()
            return attempt.replies[number - 1] if len(attempt.replies) >= number else Reply.STOP

    def preempt(self) -> None:
        """This machine will be taken: the attempt saves at its next report. Returns once it has ended."""
        self.leave()
        if self._attempt is not None:
            self._attempt.thread.join()
            with self._news:  # of a gang each end is heard from memory: it has no journal of its own
                self._news.wait_for(lambda: self._attempt is None or self._attempt.all_heard(), HEARD_S)

    def leave(self) -> None:
        """The same, without waiting for it."""
        self._preempted = True
        if self._attempt is not None:
            self._attempt.leave()

    def _find(self, key: AttemptKey) -> _Attempt | None:
        attempt = self._attempt
        return attempt if attempt is not None and attempt.launch.key == key else None


@dataclass(frozen=True)
class _Machine:
    """What all attempts of this process share."""

    host: str
    held: hardware.Held
    chips: ChipLocks
    chips_within_s: float
    keeps_output: bool


class _Attempt:
    def __init__(
        self,
        launch: Launch,
        place: Place,
        first: First | None,
        now: Callable[[], float],
        news: threading.Condition,
        on: _Machine,
    ) -> None:
        self.launch, self._place, self._first, self._on = launch, place, first, on
        self.verdict = Reply.GO
        self.preempted = False
        self.heard = place.process_count == 1  # its end, by whoever asks
        self.replies: list[Reply] = []  # in a gang: to each of its reports
        self.followed: Counter[int] = Counter()  # how many of the others have had the reply of that number
        self._answered = Reply.GO  # the last verdict that the run was given
        self.thread = threading.Thread(target=self._train, name="/".join(map(str, launch.key)), daemon=True)
        self._now = now
        self._journal = Journal(launch.folder) if first is None else None
        self._news = news  # its lock guards what others read
        self._events: list[Event] = []
        self._waits = ""  # for a TPU chip: until it is had no training code runs
        self._ended: Ended | None = None
        self._unwritten: Exception | None = None  # why the journal could not be written

    def running(self) -> bool:
        return self._ended is None

    def progress(self, after: int) -> Progress:
        with self._news:
            said = tuple(self._events[after:])
            if self._ended is not None and not self.heard:
                self.heard = True
                self._news.notify_all()
            waits, reports = self._waits, len(self.replies)
            return Progress(known=True, events=said, ended=self._ended, waits=waits, reports=reports)

    def all_heard(self) -> bool:
        """Whether its end is known, and the others of its gang have been answered all that it was."""
        others = 0 if self._first is not None else self._place.process_count - 1
        return self.heard and (not self.replies or self.followed[len(self.replies)] >= others)

    def leave(self) -> None:
        """Its machine will be taken: it saves at its next report, and so does all its gang."""
        self.preempted = True
        if self._first is not None:
            self._first.leave()

    def _train(self) -> None:
        try:
            workdir = prepare(self.launch)
            if self._journal is not None:
                self._append(started(self.launch, self._now(), self._on.host, self._on.held))
            printing = self._printing(workdir)
        except (DiskFull, OSError) as problem:  # the training code never runs
            ended = ends.unwritten(problem)
        else:
            with printing:
                ended = self._without_chips() or run_entrypoint(
                    self.launch, self._report, workdir, self._place
                )
                _print_end(ended, workdir)
            if self._journal is not None:
                self._tell_packages()
        if self._unwritten is not None:
            ended = ends.unwritten(self._unwritten)
        if self.preempted or self._answered is Reply.SAVE_AND_STOP:
            ended = as_preempted(ended)
        # A journal that cannot be written has been the end already; and memory holds the end too. What one
        # of a gang ends with but a result may come of what befell another: that is not for it to say.
        if self._journal is not None:
            with contextlib.suppress(DiskFull, OSError):
                if self._place.process_count == 1 or ended.how == "outcome":
                    self._journal.end(ended)
            self._journal.close()
        with self._news:
            self._ended = ended
            self._news.notify_all()

    def _without_chips(self) -> Ended | None:
        """The end of an attempt whose TPU chips another process still uses; None once they are its own."""
        began = time.monotonic()
        while holder := self._on.chips.holder():
            if time.monotonic() - began >= self._on.chips_within_s:
                return ends.busy(holder, self._on.chips_within_s)
            if self.preempted or self.verdict is not Reply.GO:
                self._answered = self.verdict
                return Ended("outcome", Outcome("stopped", {}, {}, self.launch.resume_from))
            with self._news:
                self._waits = f"It waits for {holder}."
                self._news.wait(ASK_AGAIN_S)
        self._waits = ""
        return None

    def _printing(self, workdir: Path) -> contextlib.AbstractContextManager[None]:
        """What it prints goes into its folder; what the others of a gang print, into folders in it."""
        if not self._on.keeps_output:
            return contextlib.nullcontext()
        if self._first is not None:
            workdir = workdir / f"process-{self._place.process_index}"
            workdir.mkdir(exist_ok=True)
        return Capture(workdir)

    def _report(self, report: Report) -> Reply:
        verdict = self._recorded(report) if self._first is None else self._of_first(self._first)
        self._answered = verdict
        with self._news:
            if self._first is None:
                self.replies.append(verdict)
            self._news.notify_all()
        return verdict

    def _of_first(self, first: First) -> Reply:
        """In a gang one process reports, and all are answered the same."""
        with self._news:
            self.replies.append(Reply.GO)  # counted as it is made
        try:
            return first.reply(self.launch.key, len(self.replies))
        except Exception:  # it is gone: so will this one be
            return Reply.STOP

    def _recorded(self, report: Report) -> Reply:
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
        return Reply.SAVE_AND_STOP if saves else self.verdict

    def _tell_packages(self) -> None:
        """What is loaded by now, where that is more than was told."""
        told = [event.payload["packages"] for event in self._events if "packages" in event.payload]
        with contextlib.suppress(Exception):  # no reason for a run to fail
            loaded = provenance.packages()
            if told[-1:] != [loaded]:
                payload, sequence = {"packages": loaded}, len(self._events) + 1
                self._append(Event(*self.launch.key, sequence, LOADED, 0, payload, self._now()))

    def _append(self, event: Event) -> None:
        if self._journal is not None:
            self._journal.event(event)
        with self._news:
            self._events.append(event)
            self._news.notify_all()


def _print_end(ended: Ended, workdir: Path) -> None:
    """What a person looks for at the end of the output: the traceback; named files that are no artifacts."""
    files = () if ended.outcome is None else ended.outcome.files
    notes = [f"orch: {sentence}\n" for sentence in artifacts.checked(workdir, files)[1]]
    with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the training code has closed it
        sys.stderr.write("".join([ended.traceback, *notes]))
        sys.stderr.flush()


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
