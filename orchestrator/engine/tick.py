"""What happens next? One `tick`: lead, obey, collect, decide, launch.

No threads and no sleeps: the clock, the ports and the search are given to it. Every write says what is
intended before it is acted on, and every write may be repeated, so a restart is nothing but the next tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from orchestrator.engine.blocked import Unrunnable
from orchestrator.engine.endings import ending
from orchestrator.engine.hosts import Hosts
from orchestrator.engine.in_flight import InFlight
from orchestrator.engine.lanes import Course, Lane
from orchestrator.engine.orphans import Elsewhere, never_taken
from orchestrator.engine.requests import obey_all, stop_waiting
from orchestrator.engine.sharing import in_full
from orchestrator.engine.skipping import not_started
from orchestrator.engine.trials import next_trial
from orchestrator.engine.waits import Waits, reason_to_wait
from orchestrator.ground.clock import Clock
from orchestrator.ground.errors import BackendLost, BadSpec, Fenced, LedgerBusy
from orchestrator.ledger import Store
from orchestrator.ledger.base import Ending
from orchestrator.ledger.records import (
    ENDED,
    NOT_ENDED,
    AttemptRow,
    AttemptState,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    study_of,
)
from orchestrator.ledger.rules import heard
from orchestrator.runs.contract import AttemptKey, Backend, Ended, Progress
from orchestrator.runs.folders import NotWritten, Storage
from orchestrator.study.entrypoint import find_entrypoint
from orchestrator.study.resources import Resources
from orchestrator.study.space import Point
from trainer.protocol import Reply

AWAY = (LedgerBusy, BackendLost, Fenced)  # no fault of a study: the whole tick is made again


@dataclass(frozen=True)
class Tick:
    """What one tick did. `idle`: there is nothing to do until a worker or a person says something new."""

    leading: bool
    launched: int = 0
    ended: int = 0
    live: int = 0
    open_studies: int = 0
    unrunnable: Mapping[str, str] = field(default_factory=dict)  # study -> why this process cannot launch it
    passing: frozenset[str] = frozenset()  # those of them whose trouble may pass by itself

    @property
    def idle(self) -> bool:
        return self.launched == 0 and self.ended == 0


class Engine:
    """The only writer of trials, attempts and events."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        *,
        clock: Clock,
        storage: Storage,
        who: str,
        entrypoint: Callable[[str], Any] = find_entrypoint,
    ) -> None:
        self.store = store
        self.backend = backend
        self.clock = clock
        self.storage = storage
        self.who = who
        self._entrypoint = entrypoint
        self._epoch: int | None = None  # of the readings; None: they are to be made anew
        self._led: int | None = None  # the newest epoch of ours
        self._courses: dict[str, Course] = {}
        self._in_flight = InFlight(store, backend, clock=clock, storage=storage, entrypoint=entrypoint)
        self._hosts = Hosts(store, backend, clock)
        self._unrunnable = Unrunnable(clock)
        self._waits = Waits()
        self._elsewhere = Elsewhere(storage, clock)

    def tick(self, *, launch: bool = True) -> Tick:
        """One round. Any error leaves the ledger whole and the next tick starts from what it holds.

        Without `launch` only wishes are obeyed and news collected: nothing new begins.
        """
        epoch = self.store.lead(self.who)
        if epoch is None:
            self._forget_readings()
            return Tick(leading=False)
        try:
            if epoch != self._led:
                self._take_over(epoch)
            if epoch != self._epoch:
                self._forget_readings()
                self._drop_orphans()
                self._epoch = epoch
            for study_id in obey_all(self.store, epoch, clock=self.clock, storage=self.storage):
                self._courses.pop(study_id, None)
                self._unrunnable.discard(study_id)
            studies = {s.study_id: s for s in self.store.studies(NOT_ENDED)}
            self._unrunnable.keep_only(studies)
            self._hosts.look(epoch)
            if self._hosts.grew:  # what fitted nowhere may fit now
                self._unrunnable.clear()
            ended = self._collect(epoch, studies)
            running = [study for study in studies.values() if study.state is StudyState.RUNNING]
            drained = [study for study in studies.values() if study.state is StudyState.DRAINED]
            self._waits.keep_only({study.study_id for study in running})
            ready = drained + (self._waits.in_turn(running) if launch else [])
            launched = sum(self._try_to_advance(epoch, study) for study in ready)
            return Tick(
                True,
                launched=launched,
                ended=ended,
                live=len(self._in_flight),
                open_studies=len(running),
                unrunnable=self._unrunnable.sentences(),
                passing=self._unrunnable.passing(),
            )
        except BaseException:
            self._forget_readings()
            raise

    def _take_over(self, epoch: int) -> None:
        """What was heard and handed out while we led before may have been another's since."""
        if self._led is not None and epoch != self._led + 1:  # epochs are given out one by one
            self.backend.renew()
            self._in_flight.clear()
        self._in_flight.hear_anew()
        self._unrunnable.clear()
        self._elsewhere.clear()
        self._led = epoch

    def _forget_readings(self) -> None:
        """What was read may not be what is written: read it anew."""
        self._courses.clear()
        self._hosts.forget()
        self._epoch = None

    def _drop_orphans(self) -> None:
        """Attempts that the backend still holds and the ledger has ended: zombies."""
        live = {attempt.key for attempt in self.store.live_attempts()}
        for key in self.backend.attempts():
            if key not in live:
                self.backend.kill(key, "its attempt was given up")
                self.backend.forget(key)

    # -- collect ------------------------------------------------------------------------------------
    def _collect(self, epoch: int, studies: dict[str, StudyRow]) -> int:
        live = self.store.live_attempts()
        self._in_flight.keep_only({attempt.key for attempt in live})
        if not live:
            return 0
        news = self.backend.poll({attempt.key: attempt.sequence for attempt in live})
        for study_id in {study_of(attempt.trial_id) for attempt in live} - studies.keys():
            studies[study_id] = self.store.study(study_id)  # cancelled, and not yet at rest
        for attempt in live:
            if attempt.key not in news or not news[attempt.key].known:
                spec = self._course(studies[study_of(attempt.trial_id)]).spec
                news[attempt.key] = self._elsewhere.progress(attempt, hang_after_s=spec.retries.hang_after_s)
        news = in_full(live, news, self.storage)
        self._hosts.hear(news)
        self._say_gathering(epoch, studies, live, news)
        live = [a for a in live if not self._submitted_again(studies[study_of(a.trial_id)], a, news)]
        over: list[tuple[AttemptRow, TrialRow]] = []
        with self.store.together(epoch):
            said = [self.storage.keyed(event) for attempt in live for event in news[attempt.key].events]
            if said:
                self.store.append(epoch, said)
            spoke = {event.trial_id for event in said}
            for study_id in {study_of(trial) for trial in spoke}:
                self._course(studies[study_id]).climb(self.store, spoke)
            for attempt in live:
                trial = self._hear(epoch, studies[study_of(attempt.trial_id)], attempt, news[attempt.key])
                if trial is not None:
                    over.append((attempt, trial))
        for attempt, trial in over:  # only what is written is forgotten
            self.backend.forget(attempt.key)
            self._take_in(attempt, trial)
        return len(over)

    def _say_gathering(
        self,
        epoch: int,
        studies: Mapping[str, StudyRow],
        live: Sequence[AttemptRow],
        news: Mapping[AttemptKey, Progress],
    ) -> None:
        """What a trial of several hosts waits for, while none of its study's runs."""
        told: dict[str, str] = {}
        for attempt in live:
            study_id, waits = study_of(attempt.trial_id), news[attempt.key].waits
            told[study_id] = waits if told.get(study_id, waits) else ""
        for study_id, sentence in told.items():
            study = studies[study_id]
            if self._course(study).spec.resources.hosts > 1 and study.state is StudyState.RUNNING:
                self._say_waits(epoch, study, sentence)

    def _hear(self, epoch: int, study: StudyRow, attempt: AttemptRow, progress: Progress) -> TrialRow | None:
        """Its events are written; now what else is to be done. Its trial when that was the end of it."""
        if never_taken(attempt, progress) and study.state is not StudyState.RUNNING:
            return self._never_begun(epoch, study, attempt)
        attempt = reduce(heard, progress.events, attempt)
        if progress.ended is not None:
            return self._end(epoch, study, attempt, progress.ended, progress.host)
        if attempt.state is AttemptState.LAUNCHING and attempt.sequence:  # its worker has said that it began
            self.store.attempt_running(epoch, attempt.trial_id, attempt.number)
        limit_s = self._course(study).spec.retries.hang_after_s
        self._in_flight.watch(attempt, news=bool(progress.events or progress.waits), limit_s=limit_s)
        self._tell(study, attempt)
        return None

    def _submitted_again(
        self, study: StudyRow, attempt: AttemptRow, news: dict[AttemptKey, Progress]
    ) -> bool:
        """Intended by us or by a leader before, and begun by no worker: submit it under its number, and hear
        of it later. One that so many workers did not begin is lost."""
        progress = news[attempt.key]
        if not never_taken(attempt, progress) or study.state is not StudyState.RUNNING:
            return False
        if progress.waits:
            self._in_flight.given_back(attempt.key)
        if reason := self._in_flight.never_begins(attempt, progress):
            news[attempt.key] = Progress(known=True, ended=Ended("lost", reason=reason))
            return False
        if progress.known:
            self.backend.forget(attempt.key)  # it holds a slot for a worker that is gone
        if not self._unrunnable.rests(study.study_id):
            try:
                spec = self._course(study).spec
                self._in_flight.submit(spec, self.store.trial(attempt.trial_id), attempt)
            except AWAY:
                raise
            except Exception as problem:
                self._unrunnable.add(study.study_id, problem)
        return True

    def _never_begun(self, epoch: int, study: StudyRow, attempt: AttemptRow) -> TrialRow:
        """Begun by no worker, and its study goes on no more."""
        cancelled = study.state is StudyState.CANCELLED
        unbegun = Ending(
            AttemptState.PREEMPTED,
            TrialState.STOPPED if cancelled else TrialState.WAITING,
            self.clock.time(),
            reason=f"The study was {study.state} before it began.",
        )
        return self.store.end_attempt(epoch, *attempt.key, unbegun)

    def _end(self, epoch: int, study: StudyRow, attempt: AttemptRow, ended: Ended, host: str) -> TrialRow:
        if not self._hosts.others(host):
            if ended.how == "unwritten":
                self._unrunnable.add(study.study_id, NotWritten(ended.reason))
            if ended.how == "unable":  # nowhere else either: it is the code's
                ended = replace(ended, how="raised")
        made = ending(
            ended,
            spec=self._course(study).spec,
            study_state=study.state,
            trial=self.store.trial(attempt.trial_id),
            attempt=attempt,
            lags=self._course(study).lags(attempt.trial_id),
            at=self.clock.time(),
        )
        if made.checkpoint is not None:
            made = replace(made, checkpoint=self.storage.key(made.checkpoint))
        if "hosts" in attempt.provenance:
            made = replace(made, host=host)
        return self.store.end_attempt(epoch, *attempt.key, made)

    def _take_in(self, attempt: AttemptRow, trial: TrialRow) -> None:
        """An attempt's end is written: the readings follow."""
        self._in_flight.over(attempt.key)
        course = self._courses.get(trial.study_id)
        if course is None:
            return
        lane = course.lane(trial)
        if trial.state in ENDED:
            best_before = lane.best
            lane.ended_as(trial)
            useless = lane.useless(trial, best_before)
            if useless is not None:
                for number in range(1, useless.attempts + 1):
                    self.storage.discard(self.storage.folder(trial.study_id, useless.trial_id, number))
        else:
            lane.waits(trial)

    def _tell(self, study: StudyRow, attempt: AttemptRow) -> None:
        if study.state is StudyState.CANCELLED or self._course(study).lags(attempt.trial_id) is not None:
            self.backend.say(attempt.key, Reply.STOP)
        elif study.state is StudyState.PAUSED:
            self.backend.say(attempt.key, Reply.SAVE_AND_STOP)

    # -- decide and launch --------------------------------------------------------------------------
    def _course(self, study: StudyRow) -> Course:
        course = self._courses.get(study.study_id)
        if course is None:
            trials = self.store.trials(study.study_id)
            course = Course.read(study, trials)
            course.climb(self.store, {trial.trial_id for trial in trials if trial.attempts})
            self._courses[study.study_id] = course
        return course

    def _try_to_advance(self, epoch: int, study: StudyRow) -> int:
        """A study that this process cannot launch is left alone; the others on this ledger go on."""
        if self._unrunnable.rests(study.study_id):
            return 0
        try:
            launched = self._advance(epoch, study)
        except AWAY:
            raise
        except Exception as problem:  # whatever its files and its entrypoint come up with is its own trouble
            self._unrunnable.add(study.study_id, problem)
            self._waits.ends(study.study_id)
            self._courses.pop(study.study_id, None)
            return 0
        self._unrunnable.discard(study.study_id)
        return launched

    def _advance(self, epoch: int, study: StudyRow) -> int:
        """Launch what fits; end the study when nothing is left to do."""
        course = self._course(study)
        if course.done:
            self.store.move_study(epoch, study.study_id, study.state, StudyState.COMPLETED)
            self._courses.pop(study.study_id)
            return 0
        if study.state is StudyState.DRAINED:
            return 0
        self._skip(epoch, study, course)
        self._entrypoint(course.spec.entrypoint)  # it must be found before a launch is written down
        slots = self.backend.slots(course.spec.resources)
        if not slots:
            raise BadSpec(
                f"A trial of it asks for {course.spec.resources.words}, and none such fits: there are "
                f"{self.backend.room()}. Run it where there is more, or make a new study that asks for less."
            )
        ahead = self._waits.ahead(study.study_id)
        chosen = self._chosen(epoch, study, course, ahead)
        if chosen:
            self.storage.require_room(study.study_id)
        self._launch(epoch, chosen, ahead)
        return len(chosen)

    def _chosen(
        self, epoch: int, study: StudyRow, course: Course, ahead: Sequence[Resources]
    ) -> list[tuple[Lane, TrialRow, bool]]:
        """The next trials that there is room for now. A study that finds none waits for its turn."""
        wanted = course.spec.resources
        free = self.backend.free(wanted, ahead) - self._in_flight.on_their_way()
        chosen: list[tuple[Lane, TrialRow, bool]] = []
        while (lane := course.next_lane()) is not None:
            spent = course.budget_spent()
            if spent is not None:
                self._end_by_budget(epoch, study, course, spent)
                break
            if len(chosen) >= free:
                if chosen:
                    self._waits.ends(study.study_id)
                self._waits.begins(study.study_id, wanted)
                stands = not chosen and not any(lane.running for lane in course.lanes.values())
                why = reason_to_wait(wanted, self._hosts.rows, self._hosts.used_by_others)
                self._say_waits(epoch, study, why if stands else "")
                return chosen
            chosen.append(self._choose(study, lane))
        self._waits.ends(study.study_id)
        self._say_waits(epoch, study, "")
        return chosen

    def _say_waits(self, epoch: int, study: StudyRow, sentence: str) -> None:
        if sentence != study.waits:
            self.store.study_waits(epoch, study.study_id, sentence)

    def _end_by_budget(self, epoch: int, study: StudyRow, course: Course, sentence: str) -> None:
        """Nothing is launched any more; once nothing runs, the study is complete."""
        if any(lane.running for lane in course.lanes.values()):
            return
        stop_waiting(self.store, epoch, study.study_id, self.clock, reason=sentence)
        self.store.move_study(epoch, study.study_id, study.state, StudyState.COMPLETED, reason=sentence)
        self._courses.pop(study.study_id)

    def _skip(self, epoch: int, study: StudyRow, course: Course) -> None:
        """What is not to be started is written down as stopped."""
        for lane in course.lanes.values():
            if not not_started(course, lane):
                continue
            with self.store.together(epoch):
                while why := not_started(course, lane):
                    if not lane.waiting:
                        lane.added(self.store.add_trial(epoch, self._new_trial(lane, {}, study.study_id)))
                    trial = self.store.move_trial(
                        epoch,
                        lane.waiting[0].trial_id,
                        TrialState.WAITING,
                        TrialState.STOPPED,
                        at=self.clock.time(),
                        reason=why,
                    )
                    lane.waiting.pop(0)
                    lane.ended_as(trial)

    def _choose(self, study: StudyRow, lane: Lane) -> tuple[Lane, TrialRow, bool]:
        """A lane's next trial, and whether it is new: one that waits, else the next that it proposes."""
        new = not lane.waiting
        if new:
            point = lane.searcher.suggest(lane.request())  # takes its time, so nothing is locked yet
            lane.added(self._new_trial(lane, point, study.study_id))
        return lane, lane.waiting.pop(0), new

    def _launch(
        self, epoch: int, chosen: Sequence[tuple[Lane, TrialRow, bool]], ahead: Sequence[Resources]
    ) -> None:
        """Write down these trials and their attempts, then submit them."""
        if not chosen:
            return
        intended: list[tuple[Lane, TrialRow, AttemptRow]] = []
        with self.store.together(epoch):
            for lane, wanted, new in chosen:
                trial = self.store.add_trial(epoch, wanted) if new else wanted
                attempt = AttemptRow(
                    trial_id=trial.trial_id,
                    number=trial.attempts + 1,
                    state=AttemptState.LAUNCHING,
                    started_at=self.clock.time(),
                    resumed_from=trial.checkpoint,
                )
                intended.append((lane, trial, self.store.start_attempt(epoch, attempt)))
        for lane, trial, attempt in intended:
            self._in_flight.submit(lane.spec, trial, attempt, ahead)

    def _new_trial(self, lane: Lane, point: Point, study_id: str) -> TrialRow:
        return next_trial(
            lane, point, study_id, storage=self.storage, entrypoint=self._entrypoint, at=self.clock.time()
        )
