"""How far is one study in MLflow, and what is still to be written? `advance` writes it.

Events are passed on in order; the ledger's cursor moves once a page of them is written. What has no event
(how a trial ended) is compared: a trial's run carries as tags what was told of it last. All that is kept in
memory is a reading of the two: after any trouble it is dropped, and made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.ground.errors import MirrorDeleted
from orchestrator.ledger import Store, costs, paging
from orchestrator.ledger.records import ENDED, LOADED, AttemptRow, StoredEvent, StudyRow, StudyState, TrialRow
from orchestrator.readings import states
from orchestrator.runs import artifacts
from orchestrator.runs.folders import Storage, is_large
from orchestrator.study.spec import StudySpec
from orchestrator.tracking import mapping, pages
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.store import Experiment, MlflowStore, Run, precedence
from trainer.protocol import SCHEDULE

MOST_ARTIFACT_BYTES = 50_000_000  # of the files of one trial
OF_WHAT = ("orch.kind", "orch.arm")  # by these tags a study's own run and those of its arms are told apart


@dataclass
class _Told:
    """A trial's run, and what of the trial's state it has been told."""

    run_id: str
    told: tuple[str, str] = ("", "")  # state, attempts
    status: str = ""
    params: bool = False
    attached: str = ""  # the fingerprint of its schedule
    deleted: bool = False

    @classmethod
    def of(cls, run: Run) -> _Told:
        told = (run.tags.get("orch.state", ""), run.tags.get("orch.attempts", ""))
        attached = run.tags.get(mapping.ATTACHED + SCHEDULE, "")
        return cls(run.run_id, told, run.status, bool(told[0]), attached, run.deleted)


class StudyMirror:
    """One study, from one ledger into one MLflow. For one thread; MirrorLost, MirrorDeleted, LedgerBusy."""

    def __init__(
        self,
        ledger: Store,
        sink: MlflowStore,
        place: Destination,
        study_id: str,
        *,
        restore: bool = False,
    ) -> None:
        """`restore`: bring back what a person deleted in MLflow, instead of leaving it deleted."""
        self._ledger, self._sink, self._place = ledger, sink, place
        self._study_id = study_id
        self._name = place.cursor(study_id)
        study = ledger.study(study_id)
        self._spec = StudySpec.stored(study.spec)
        self._experiment = self._find_experiment(study, restore=restore)
        found, anew = self._find_runs(study, restore=restore)
        tags, params = mapping.study_tags(study, self._spec), mapping.study_params(self._spec)
        self._parent = self._found_or_made(found, study, study.name, tags, params)
        self._arms = {
            arm.name: self._found_or_made(
                found, study, arm.name, mapping.arm_tags(study, arm), mapping.arm_params(arm)
            )
            for arm in self._spec.arms
        }
        self._arm_status: dict[str, str] = {}
        self._tallied: dict[str, int] = {}  # arm -> ended runs when it was last counted; "": the study
        self._trials = {
            run.tags.get("orch.trial_id", ""): _Told.of(run)
            for run in found
            if run.tags.get("orch.kind") == "trial"
        }
        self._attached = dict(self._parent.tags)
        self._reports: dict[str, mapping.Reports] = {}  # of trials that are not told to have ended
        self._ended: dict[str, TrialRow] = {}  # without their configs
        rows = ledger.trials(study_id)
        self._open = {t.trial_id for t in rows if t.trial_id in self._trials and not self._is_told(t)}
        self._note_ended(rows)
        self.settled = False  # the study is at rest, and its last event and its trials' states are told
        self._cursor = ledger.cursor(self._name)
        if self._cursor and (anew or self._has_gaps(rows)):
            self._cursor = 0
            ledger.move_cursor(self._name, 0)

    # -- finding what is there ------------------------------------------------------------------------
    def _find_experiment(self, study: StudyRow, *, restore: bool) -> Experiment:
        found = self._sink.experiment(
            mapping.experiment(study), folder=study.study_id, tags=pages.experiment_tags(self._spec)
        )
        if found.deleted and not restore:
            raise _deleted(study)
        if found.deleted:
            self._sink.restore(found)
            found = replace(found, deleted=False)
        return found

    def _find_runs(self, study: StudyRow, *, restore: bool) -> tuple[list[Run], bool]:
        """One run for each thing: a create that succeeded and looked failed may have left two.

        And whether all must be told again: one was brought back, or the one left may know a part only.
        """
        runs: dict[tuple[str, str], Run] = {}
        there = self._sink.runs(self._experiment, study.study_id)
        parents = {run.tags.get("mlflow.parentRunId") for run in there}
        twice = False
        for run in sorted(there, key=lambda r: (r.run_id not in parents, precedence(r))):
            kind = run.tags.get("orch.kind", "")
            of = run.tags.get("orch.trial_id" if kind == "trial" else "orch.arm", "")
            kept = runs.setdefault((kind, of), run)
            if kept is not run and not run.deleted:
                if kept.deleted:
                    runs[kind, of] = run
                else:
                    self._sink.delete_run(run.run_id)
                    twice = True
        gone = [place for place, run in runs.items() if run.deleted]
        if restore:
            for place in gone:
                self._sink.restore_run(runs[place].run_id)
                runs[place] = replace(runs[place], deleted=False)
        elif ("study", "") in gone:
            raise _deleted(study)
        return list(runs.values()), twice or (restore and bool(gone))

    def _found_or_made(
        self, found: Iterable[Run], study: StudyRow, name: str, tags: dict[str, str], params: dict[str, str]
    ) -> Run:
        """The run of the study, which is made first, or of one of its arms, below it."""
        same = (run for run in found if all(run.tags.get(tag) == tags.get(tag) for tag in OF_WHAT))
        run = next(same, None) or self._sink.create_run(
            self._experiment,
            title=name,
            at_ms=mapping.milliseconds(study.created_at),
            tags=tags,
            parent=self._parent.run_id if "orch.arm" in tags else None,
        )
        if "orch.state" not in run.tags and not run.deleted:  # just made; or a kill came before its params
            self._sink.write(run.run_id, params=params)
        return run

    def _has_gaps(self, rows: Iterable[TrialRow]) -> bool:
        """Whether a trial without a run has said something that counts as passed on: the store is another
        than the cursor was made for, or was emptied. All is told again; what is there is not doubled."""
        for trial in rows:
            if trial.attempts and trial.trial_id not in self._trials:
                first = self._ledger.events(trial_id=trial.trial_id, limit=1)
                if first and first[0].event_id <= self._cursor:
                    return True
        return False

    # -- writing what is new ---------------------------------------------------------------------------
    def advance(self, going_on: Callable[[int], bool] = lambda reports: True) -> bool:
        """Write all that is new. `going_on` is asked after each step, and told how many events it passed on;
        its False ends this early, and is what comes back."""
        self.settled = False
        rests = self._rests()  # asked first: what a study says while it is written here is for the next time
        for page in paging.pages(self._ledger, after=self._cursor, study_id=self._study_id):
            self._pass_on(page)
            self._cursor = page[-1].event_id
            self._ledger.move_cursor(self._name, self._cursor)
            if not going_on(len(page)):
                return False
        for trial_id in sorted(self._open):
            self._tell(self._ledger.trial(trial_id))
            if not going_on(0):
                return False
        if not self._compare(going_on):
            return False
        self._count()
        self._conclude()
        self.settled = rests and not self._open and not self._missing()
        return True

    def _rests(self) -> bool:
        """Whether nothing more is said in this study unless somebody sets it running again."""
        at_rest = self._ledger.study(self._study_id).state is not StudyState.RUNNING
        return at_rest and not self._ledger.live_attempts(self._study_id)

    def _missing(self) -> bool:
        """Whether the ledger holds events that were not passed on."""
        return bool(self._ledger.events(after=self._cursor, study_id=self._study_id, limit=1))

    def _pass_on(self, page: list[StoredEvent]) -> None:
        points: dict[str, list[mapping.Measurement]] = {}
        tags: dict[str, dict[str, str]] = {}
        for stored in page:
            event = stored.event
            points.setdefault(event.trial_id, []).extend(self._reports_of(event.trial_id).points(event))
            if event.kind in ("started", LOADED):
                for attempt in self._ledger.attempts(event.trial_id):
                    if attempt.number == event.attempt:
                        told = mapping.provenance_tags(attempt.provenance)
                        tags.setdefault(event.trial_id, {}).update(told)
        for trial_id, said in points.items():
            trial = self._ledger.trial(trial_id)
            state = self._goes_on(trial)
            self._write(trial, said, tags=tags.get(trial_id, {}) | state)
            if state:
                self._trials[trial_id].told = (str(trial.state), str(trial.attempts))
            self._open.add(trial_id)

    def _reports_of(self, trial_id: str) -> mapping.Reports:
        """What of a trial's reports was told."""
        if trial_id not in self._reports:
            self._reports[trial_id] = reports = mapping.Reports()
            for stored in paging.events(self._ledger, trial_id=trial_id):
                if stored.event_id > self._cursor:
                    break
                reports.points(stored.event)
        return self._reports[trial_id]

    def _run_of(self, trial: TrialRow) -> _Told:
        """A trial's run, made if there is none."""
        run = self._trials.get(trial.trial_id)
        if run is None:
            made = self._sink.create_run(
                self._experiment,
                title=mapping.trial_name(trial),
                at_ms=mapping.milliseconds(trial.created_at),
                tags=mapping.trial_tags(trial),
                parent=self._arms[trial.arm].run_id,
            )
            run = self._trials[trial.trial_id] = _Told.of(made)
        return run

    def _write(
        self, trial: TrialRow, points: Sequence[mapping.Measurement], *, tags: Mapping[str, str]
    ) -> None:
        """And its params, where it lacks them: it is new, or a kill came after it was made."""
        run = self._run_of(trial)
        if not run.deleted:
            params = {} if run.params else mapping.trial_params(trial)
            self._sink.write(run.run_id, points, params=params, tags=tags)
            run.params = True

    # -- trials' states --------------------------------------------------------------------------------
    def _is_told(self, trial: TrialRow) -> bool:
        told = self._trials.get(trial.trial_id)
        return told is not None and told.told == (str(trial.state), str(trial.attempts))

    def _tell(self, trial: TrialRow) -> None:
        """Its state, and of each attempt that has ended what it took."""
        run = self._run_of(trial)
        if not self._is_told(trial):
            attempts = self._ledger.attempts(trial.trial_id)
            over, reports = trial.state in ENDED, self._reports_of(trial.trial_id)
            if over and reports.heard < max(
                ((a.number, a.sequence) for a in attempts if a.sequence), default=(0, 0)
            ):
                return  # it ended after its events were read: told with the last of them
            if over and not run.deleted:
                self._attach_artifacts(trial, run)
                ended_ms = mapping.milliseconds(trial.ended_at or trial.created_at)
                self._sink.set_status(run.run_id, mapping.STATUS[trial.state], ended_ms=ended_ms)
                run.status = mapping.STATUS[trial.state]
                points = reports.rest() + mapping.result_points(self._spec, trial, attempts)
                self._write(trial, points, tags=self._state(trial, attempts))
            elif not over:
                self._write(trial, (), tags=self._goes_on(trial))
            run.told = (str(trial.state), str(trial.attempts))
        self._note_ended([trial])
        if trial.state in ENDED:
            self._open.discard(trial.trial_id)
            self._reports.pop(trial.trial_id, None)

    def _goes_on(self, trial: TrialRow) -> dict[str, str]:
        """The tags of a trial that has not ended, where they differ from what was told."""
        run = self._run_of(trial)
        if trial.state in ENDED or run.deleted or self._is_told(trial):
            return {}
        if run.status != mapping.STATUS[trial.state]:
            self._sink.set_status(run.run_id, mapping.STATUS[trial.state], ended_ms=None)
            run.status = mapping.STATUS[trial.state]
        return self._state(trial, self._ledger.attempts(trial.trial_id))

    def _state(self, trial: TrialRow, attempts: Sequence[AttemptRow]) -> dict[str, str]:
        said = mapping.state_tags(trial.state, attempts=trial.attempts, reason=trial.reason)
        return mapping.attempt_tags(attempts) | said

    def _note_ended(self, rows: Iterable[TrialRow]) -> None:
        for trial in rows:
            if trial.state in ENDED and self._is_told(trial):
                self._ended[trial.trial_id] = replace(trial, config={})
            else:
                self._ended.pop(trial.trial_id, None)

    def _compare(self, going_on: Callable[[int], bool]) -> bool:
        """Trials that ended, or are tried again, without an event to tell of it. False: interrupted."""
        counts = self._ledger.counts(self._study_id)
        if sum(n for (_, _, state), n in counts.items() if state in ENDED) == len(self._ended):
            return True
        for trial in self._ledger.trials(self._study_id):
            known = trial.state in ENDED or trial.trial_id in self._trials
            if known and not self._is_told(trial):
                self._tell(trial)
                if not going_on(0):
                    return False
        return True

    # -- arms and the study ----------------------------------------------------------------------------
    def _count(self) -> None:
        """The counts of arms in which something has ended, and of the study."""
        by_arm: dict[str, list[TrialRow]] = {name: [] for name in self._arms}
        for trial in self._ended.values():
            by_arm[trial.arm].append(trial)
        for name, ended in by_arm.items():
            if ended and self._tallied.get(name) != len(ended) and not self._arms[name].deleted:
                points = mapping.tally(self._spec, ended, best_among=ended)
                self._sink.write(self._arms[name].run_id, points)
            self._tallied[name] = len(ended)
        all_ended = list(self._ended.values())
        if all_ended and self._tallied.get("") != len(all_ended):
            searched = [t for t in all_ended if self._spec.arm(t.arm).phase == "search"]
            points = mapping.tally(self._spec, all_ended, best_among=searched)
            self._sink.write(self._parent.run_id, points + mapping.phase_points(self._spec, all_ended))
        self._tallied[""] = len(all_ended)

    def _conclude(self) -> None:
        """The states of the arms and of the study; once it is over, its files."""
        study = self._ledger.study(self._study_id)
        over = study.state in (StudyState.COMPLETED, StudyState.CANCELLED)
        status, total = mapping.STUDY_STATUS[study.state], 0
        for arm in self._spec.arms:
            wanted = self._spec.requested(arm, study.extra_trials)
            total += wanted
            done = self._tallied[arm.name] >= wanted
            own = "FINISHED" if done else status
            self._set_status(self._arms[arm.name], arm.name, own, wanted, study, word=own.lower())
        running = 0 if over else len(self._ledger.live_attempts(self._study_id))
        self._set_status(self._parent, "", status, total, study, word=states.status(study.state, running))
        if over and not self._open:
            self._attach_schedules()
            report = self._place.reports / study.name
            if _written_since(report, study.created_at):  # else of a deleted study that had the name
                self.attach(report)

    def _set_status(
        self, run: Run, name: str, status: str, requested: int, study: StudyRow, *, word: str
    ) -> None:
        said = f"{status} {requested} {study.state} {word}"
        if run.deleted or self._arm_status.get(name) == said:
            return
        ended = [t.ended_at or t.created_at for t in self._ended.values() if name in ("", t.arm)]
        ended_ms = mapping.milliseconds(max(ended)) if ended and status in ("FINISHED", "KILLED") else None
        self._sink.set_status(run.run_id, status, ended_ms=ended_ms)
        self._sink.write(
            run.run_id,
            # the step is the number itself: asked for more, a study has one more point
            [mapping.measurement("runs/requested", requested, study.created_at, requested)],
            tags=mapping.state_tags(word, reason=study.reason),
        )
        self._arm_status[name] = said

    # -- files -----------------------------------------------------------------------------------------
    def attach(self, path: Path) -> None:
        """A file, or all of a folder, at the study's run; again only once something in it has changed."""
        tag, printed = mapping.key(mapping.ATTACHED + path.name), _fingerprint(path)
        if printed and self._attached.get(tag) != printed:
            self._sink.artifact(self._parent.run_id, path)
            self._sink.write(self._parent.run_id, tags={tag: printed})
            self._attached[tag] = printed

    def _attach_artifacts(self, trial: TrialRow, run: _Told) -> None:
        """The files that its outcome named, in that order, up to so many bytes in all. Not what `keep` may
        delete at any moment, and not the schedule, which has a rule of its own."""
        storage, left = Storage(self._place.runs), MOST_ARTIFACT_BYTES
        for each in artifacts.of_trial(storage, trial.study_id, trial.trial_id, trial.attempts):
            if each.bytes <= left and each.name != SCHEDULE and not is_large(each.name):
                self._sink.artifact(run.run_id, each.path, folder=each.name.rpartition("/")[0] or None)
                left -= each.bytes

    def _attach_schedules(self) -> None:
        """The learned schedules of each arm's best trial, and of confirmations."""
        for arm in self._spec.arms:
            ended = [t for t in self._ended.values() if t.arm == arm.name]
            best = costs.best(ended, minimize=self._spec.objective.minimizes)
            for trial in ended if arm.phase == "confirm" else [best] if best is not None else []:
                self._attach_schedule(trial)

    def _attach_schedule(self, trial: TrialRow) -> None:
        run, storage = self._trials[trial.trial_id], Storage(self._place.runs)
        # the newest attempt's: what one writes begins with what it resumed from
        file = storage.latest(trial.study_id, trial.trial_id, trial.attempts, SCHEDULE) / SCHEDULE
        printed = _fingerprint(file)
        if printed and not run.deleted and run.attached != printed:
            self._sink.artifact(run.run_id, file)
            self._sink.write(run.run_id, tags={mapping.ATTACHED + SCHEDULE: printed})
            run.attached = printed


def _deleted(study: StudyRow) -> MirrorDeleted:
    return MirrorDeleted(
        f"The study {study.name} was deleted in MLflow, so it is mirrored no more. To have it there again "
        f"(stop orch serve first, which writes there alone): orch mlflow sync {study.name}"
    )


def _written_since(folder: Path, at: float) -> bool:
    return any(path.is_file() and path.stat().st_mtime >= at for path in folder.rglob("*"))


def _fingerprint(path: Path) -> str:
    """Of the names and the contents below a path; "" for none."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16] if files else ""
