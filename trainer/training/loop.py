"""When does a run train, evaluate, save and stop? Cadence only; a step is `trainer.training.step`'s.

Steps are trained in chunks of up to `chunk_steps`, which end where an evaluation or a checkpoint is due: one
program for all lengths.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from trainer.models import meeting
from trainer.protocol import FALLBACK, Outcome, Place, Reply, Report, Reporter, Status, resume_note
from trainer.training import checkpoint, together
from trainer.training.checkpoint import Snapshot
from trainer.training.chosen import Chosen, better
from trainer.training.clocks import Clocks, peak_memory_bytes
from trainer.training.state import TrainState
from trainer.training.trajectory import MOST_POINTS, Trajectory

CHUNK_STEPS = 50  # at most: a verdict is heard at a chunk's end, and SIGTERM has some 30 s
_BY_FIRMNESS = (Reply.GO, Reply.SAVE_AND_STOP, Reply.STOP)
_log = logging.getLogger("trainer")


class Batches(Protocol):
    """Data as a pure function of a cursor, which is a JSON value."""

    def chunk(self, cursor: Any, steps: int) -> tuple[Any, Any, int]:
        """Batches with the steps as their first axis, the cursor after them, and how many tokens."""
        ...


@dataclass(frozen=True)
class Cadence:
    steps: int
    eval_every_steps: int
    checkpoint_every_steps: int
    chunk_steps: int = CHUNK_STEPS  # at most
    points: int = MOST_POINTS  # of the trajectory, in the reports
    diverged_at: float = 10.0  # times the first loss

    def next_length(self, step: int) -> int:
        """How long the chunk that starts here is; 0 after the last step."""
        due = (every - step % every for every in (self.eval_every_steps, self.checkpoint_every_steps))
        return min(self.steps - step, self.chunk_steps, *due)


@dataclass(frozen=True)
class Job:
    """What is trained. `scan` is that of `trainer.training.step`, the other parts as their names say."""

    scan: Callable[[TrainState, Any, jax.Array], tuple[TrainState, Mapping[str, Any]]]
    state: TrainState  # before the first step
    batches: Batches
    cursor: Any  # before the first step
    evaluate: Callable[[Any], Mapping[str, float]]  # of the parameters, on the dev split
    cadence: Cadence
    seed: int
    fingerprint: str
    params_of: Callable[[TrainState], Any] = lambda state: state.params  # those to evaluate
    put: Callable[[Any], Any] = jax.device_put  # a chunk of batches onto the devices
    flops_of: Callable[[Any], float] = lambda batches: 0.0  # of training on a chunk, by formula
    groups: Sequence[str] = ()  # the names of parameter groups, where hyperparameters have one number each
    score: Callable[[Any], Mapping[str, float]] = lambda params: {}  # of what the run ends with, once
    told: Callable[[Any], Mapping[str, float]] = lambda cursor: {}  # of the last cursor, at the end
    choose_by: str = ""  # a value of `evaluate`: the run ends with the parameters that have most of it


@dataclass(frozen=True)
class Host:
    """Who is told, where files go, and what else a test replaces."""

    reporter: Reporter
    workdir: Path
    place: Place = field(default_factory=Place)
    clocks: Clocks = field(default_factory=Clocks)
    unix_s: Callable[[], float] = time.time
    save: Callable[..., Path] = checkpoint.save


def train(job: Job, host: Host) -> Outcome:
    """Train to the end, or to where the host or the numbers end it. Goes on from `resume.json`."""
    with (
        meeting.telling_who_is_gone(host.place),
        host.clocks.hearing_compiles(),
        ThreadPoolExecutor(1, thread_name_prefix="batches") as pool,
    ):
        return _Run(job, host, _Prefetch(job, pool)).to_the_end()


class _Prefetch:
    """The next chunk of batches, made and put on the devices by a thread while the last one is trained on."""

    def __init__(self, job: Job, pool: ThreadPoolExecutor) -> None:
        self._job, self._pool = job, pool
        self._next: tuple[Any, int, Future[Any]] | None = None

    def take(self, cursor: Any, steps: int, *, then: int) -> tuple[Any, Any, int]:
        """These steps' batches, and a start on the `then` steps after them."""
        if self._next is None:
            self._next = cursor, steps, self._pool.submit(self._make, cursor, steps)
        known_cursor, known_steps, future = self._next
        assert (known_cursor, known_steps) == (cursor, steps)
        batches, after, tokens = future.result()
        self._next = (after, then, self._pool.submit(self._make, after, then)) if then else None
        return batches, after, tokens

    def _make(self, cursor: Any, steps: int) -> tuple[Any, Any, int]:
        batches, after, tokens = self._job.batches.chunk(cursor, steps)
        return self._job.put(batches), after, tokens


class _Run:
    def __init__(self, job: Job, host: Host, prefetch: _Prefetch) -> None:
        self.job, self.host, self.prefetch = job, host, prefetch
        self.cadence, self.clocks = job.cadence, host.clocks
        self.key = jax.random.key(job.seed)
        self.trajectory = Trajectory(job.cadence.steps, groups=job.groups, most=job.cadence.points)
        self.state, self.cursor, self.step = job.state, job.cursor, 0
        self.values: dict[str, float] = {}  # the last finite ones
        self.best: Chosen | None = None
        self.saved: str | None = None
        self.saved_step = -1
        self.notes: list[str] = []
        self.slowest_s = 0.0  # a chunk, or what followed it
        together.require_same(job.fingerprint)
        self._resume()

    def to_the_end(self) -> Outcome:
        while self.step < self.cadence.steps:
            if self._must_leave():
                self._save()
                return self._ended("preempted", "The machine is about to be taken away.")
            begun_s = self.host.unix_s()
            ended = self._chunk()
            self.slowest_s = max(self.slowest_s, self.host.unix_s() - begun_s)
            if ended is not None:
                return ended
        with self.clocks.on("eval_s"):
            self.values |= together.of_first(_numbers(self.job.score(self._ends_with())))
            self.values |= self.job.told(self.cursor)
        self._say("final", {**self.values, "peak_memory_bytes": peak_memory_bytes()})
        return self._ended("completed")

    def _ends_with(self) -> Any:
        """The last parameters, or those of the evaluation that was the best, with its values."""
        last, best = self.job.params_of(self.state), self.best
        if best is None:
            return last
        self.values |= best.values
        del self.values[self.job.choose_by]
        self.values |= {"chosen_score": best.by, "chosen_step": float(best.step)}
        return best.params(last)

    def _chunk(self) -> Outcome | None:
        """One chunk, and all that is due after it. The outcome, if the run ends here."""
        first = self.step
        self._train()
        trouble = self._diverged(first)
        verdict = self._tell(first, self.step if trouble is None else trouble[0])
        if trouble is not None:
            return self._ended("diverged", trouble[1])
        # Asked to save, it first says all that is due here: a later attempt will not say it again.
        if verdict is not Reply.STOP and self._due(self.cadence.eval_every_steps):
            with self.clocks.on("eval_s"):
                params = self.job.params_of(self.state)
                values = together.of_first(_numbers(self.job.evaluate(params)))
            bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
            if bad:
                return self._ended("diverged", f"At the evaluation after step {self.step} {', '.join(bad)}.")
            verdict = _firmer(verdict, self._say("eval", values))
            self.values |= values
            if by := self.job.choose_by:
                self.best = better(self.best, self.step, values[by], values, params)
            del params  # of a vector, a copy of them all
        if verdict is Reply.SAVE_AND_STOP or (
            verdict is Reply.GO and self._due(self.cadence.checkpoint_every_steps)
        ):
            verdict = _firmer(verdict, self._save())
        if verdict is Reply.GO or self._all_done():
            return None
        # All processes have heard the same verdict; the machine of any may be the one that is taken.
        taken = verdict is Reply.SAVE_AND_STOP and together.greatest(self.host.place.preempt_at is not None)
        return self._ended("preempted" if taken else "stopped")

    def _train(self) -> None:
        length = self.cadence.next_length(self.step)
        after = self.cadence.next_length(self.step + length)
        with self.clocks.on("train_s"):  # waiting for batches is part of training
            batches, self.cursor, tokens = self.prefetch.take(self.cursor, length, then=after)
            self.state, metrics = self.job.scan(self.state, batches, self.key)
            metrics = jax.tree.map(np.asarray, metrics)
        self.clocks.count(steps=length, tokens=tokens, flops=self.job.flops_of(batches))
        self.trajectory.append(metrics)
        self.step += length

    def _diverged(self, first: int) -> tuple[int, str] | None:
        """Which step of the chunk was the first bad one, and what was bad; notes the last good loss."""
        losses = self.trajectory.curve("loss")
        limit = self.cadence.diverged_at * losses[0] if losses[0] > 0 else math.inf
        bad = np.flatnonzero(~(losses[first:] <= limit) | ~np.isfinite(losses[first:]))
        at = first + int(bad[0]) if bad.size else self.step
        if at > 0:
            self.values["train_loss"] = float(losses[at - 1])
        if not bad.size:
            return None
        loss = float(losses[at])
        if math.isfinite(loss):
            why = f", above {self.cadence.diverged_at:g} times the first one ({losses[0]:.6g})"
        else:
            why = ""
        return at, f"The training loss of step {at + 1} is {loss:.6g}{why}."

    # -- talking -----------------------------------------------------------------------------------------

    def _tell(self, first: int, end: int) -> Reply:
        """The planned points of the chunk; at least its end, so that a verdict is heard."""
        verdict = Reply.GO
        points = self.trajectory.points(first, end)
        for point in points:
            values, hyper = self.trajectory.at(point)
            report = Report(point + 1, "train", values, hyper, self.clocks.reading())
            verdict = _firmer(verdict, self._report(report))
        if end > first and (not points or points[-1] != end - 1):
            values = {"train_loss": float(self.trajectory.curve("loss")[end - 1])}
            report = Report(end, "train", values, {}, self.clocks.reading())
            verdict = _firmer(verdict, self._report(report))
        return self._agreed(verdict)

    def _say(self, kind: str, values: Mapping[str, float], path: str | None = None) -> Reply:
        _, hyper = self.trajectory.at(self.step - 1) if self.step else ({}, {})
        report = Report(self.step, kind, values, hyper, self.clocks.reading(), path)
        return self._agreed(self._report(report))

    def _report(self, report: Report) -> Reply:
        """In a gang every process makes the same reports; the first one's are those that are kept."""
        return self.host.reporter(report)

    def _agreed(self, verdict: Reply) -> Reply:
        """The firmest that a process of the gang has heard, so that all stop at one step."""
        return _BY_FIRMNESS[together.greatest(_BY_FIRMNESS.index(verdict))]

    def _must_leave(self) -> bool:
        """Will the machine of any process be gone before another chunk is trained and saved?"""
        at = self.host.place.preempt_at
        gone = at is not None and self.host.unix_s() + 1.5 * self.slowest_s >= at
        return bool(together.greatest(gone))

    # -- remembering -------------------------------------------------------------------------------------

    def _due(self, every_steps: int) -> bool:
        return self.step % every_steps == 0 or self.step == self.cadence.steps

    def _all_done(self) -> bool:
        return self.step == self.cadence.steps and self.saved_step == self.step

    def _save(self) -> Reply:
        if self.saved_step == self.step:
            return Reply.GO
        snapshot = Snapshot(
            step=self.step,
            state=self.state.kept(),
            seed=self.job.seed,
            fingerprint=self.job.fingerprint,
            cursor=self.cursor,
            clocks=self.clocks.to_checkpoint(),
            values=self.values,
            curves=self.trajectory.to_checkpoint(),
            chosen=self.best.told() if self.best else None,
            chosen_params=self.best.arrays if self.best else None,
        )
        path = None
        try:
            path = str(self.host.save(self.host.workdir, snapshot))
        except checkpoint.Unwritten as problem:  # the next one may find room
            self._note(problem.strerror or str(problem))
        if not together.of_first(path is not None):
            return Reply.GO
        self.saved, self.saved_step = path, self.step
        return self._say("checkpoint", {}, path)

    def _resume(self) -> None:
        told = meeting.first("to resume", resume_note(self.host.workdir))
        if told is None:
            return
        path, forked = Path(told["checkpoint"]), told.get("fork")
        earlier = [Path(folder) for folder in told.get("earlier", ())]
        restored = checkpoint.restore(
            path,
            self.state.kept(),
            fingerprint=self.job.fingerprint if forked is None else None,
            earlier=earlier,
        )
        if restored is None:
            self.notes.append(f"{path} was damaged, and the run started anew.")
            self._fell_back(None, checkpoint.candidates(path, earlier))
            return
        snapshot = restored.snapshot
        state = snapshot.state._replace(settings=self.job.state.settings)
        if forked is not None:
            state = _fork(state, self.job.state, forked)
        for leaf in jax.tree.leaves(self.job.state.kept()):  # used up, as a step would: else it is held twice
            leaf.delete()
        self.state, self.cursor, self.step = state, snapshot.cursor, snapshot.step
        self.values = dict(snapshot.values or {})
        if self.job.choose_by and snapshot.chosen is not None:
            self.best = Chosen(**snapshot.chosen, arrays=snapshot.chosen_params or {})
        self.trajectory.from_checkpoint(snapshot.curves or {})
        self.clocks.from_checkpoint(snapshot.clocks or {})
        self.saved, self.saved_step = str(restored.path), snapshot.step
        if restored.damaged:
            self.notes.append(restored.note)
            self._fell_back(self.saved, restored.damaged)

    def _fell_back(self, path: str | None, damaged: Sequence[Path]) -> None:
        # A verdict that answers this is the answer to the next report too.
        self._report(Report(self.step, FALLBACK, path=path, damaged=tuple(map(str, damaged))))

    def _note(self, sentence: str) -> None:
        _log.warning(sentence)
        self.notes.append(sentence)

    def _ended(self, status: Status, reason: str = "") -> Outcome:
        files: list[str] = []
        if self.step:
            for point in self.trajectory.last_points():
                values, hyper = self.trajectory.at(point)
                self._report(Report(point + 1, "train", values, hyper, self.clocks.reading()))
        if self.step and self.host.place.process_index == 0:
            try:
                files = self.trajectory.write(self.host.workdir)
            except OSError as problem:
                self._note(f"The trajectory could not be written: {problem}.")
        # A completed run's checkpoint is its result: an older one is not.
        kept = self.saved if status != "completed" or self.saved_step == self.step else None
        sentences = " ".join(each for each in (reason, *self.notes) if each)
        return Outcome(status, dict(self.values), self.clocks.reading(), kept, tuple(files), sentences)


def _fork(state: TrainState, begun: TrainState, names: Sequence[str]) -> TrainState:
    """Another run's state to go on from, with this run's numbers, and these hyperparameters as it begins
    with them: how a population passes parameters on, and a rollout tries other values. The rest, what
    learned among it, stays as it was."""
    own = {name: begun.raw[name] for name in names if name in begun.raw}
    return state._replace(raw={**state.raw, **jax.tree.map(lambda leaf: jax.device_put(np.array(leaf)), own)})


def _numbers(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _firmer(one: Reply, other: Reply) -> Reply:
    """STOP over SAVE_AND_STOP over GO: a verdict that was heard is not forgotten."""
    return max(one, other, key=_BY_FIRMNESS.index)
