"""What can be asked of the ledger here? The site of studies that this machine runs.

Its methods are those of `RemoteSite` too: a command says what it wants of a site, and shows what comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import foreground
from orchestrator.cli.findings import Conclusion
from orchestrator.cli.output import note
from orchestrator.cli.progress import InLedger, shown
from orchestrator.engine.checks import programs, require_installed, require_runnable
from orchestrator.engine.tick import Tick
from orchestrator.ground import extras
from orchestrator.ground.clock import SystemClock
from orchestrator.ground.errors import BadSpec, LedgerBusy, MoveRefused, OrchError
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, named
from orchestrator.ledger.records import (
    AttemptRow,
    HostRow,
    StoredEvent,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
    Wish,
)
from orchestrator.readings.hosts import HostLine, hosts
from orchestrator.readings.hosts import host as host_line
from orchestrator.readings.overview import Overview, listed, overview
from orchestrator.runs import artifacts, output, schedules
from orchestrator.runs.folders import Storage
from orchestrator.runs.output import Output
from orchestrator.runs.schedules import LearnedSchedule
from orchestrator.service import asking, creation, drive, host
from orchestrator.service.room import room_on
from orchestrator.study import plan as plans
from orchestrator.study.plan import Plan
from orchestrator.study.spec import StudySpec
from orchestrator.tracking import mapping, pages
from orchestrator.tracking.destination import destination
from trainer.protocol import SCHEDULE

if TYPE_CHECKING:
    from dashboards.evidence.tables import Table
    from dashboards.report.answer import Answer

PAGES_WITHIN_S = 2.0  # what MLflow's server is given to say where a study is
ANSWER_WITHIN_S = 10.0  # what the process that leads is given to answer a request
LOOKS_A_LEADER = 10  # so many looks at a study, 2 s, and then one at whether anybody leads


class LocalSite:
    """The ledger is opened when it is first asked for, and made only for a study that is known to run."""

    def __init__(self, settings: Settings, opening: Callable[[bool], Store]) -> None:
        """`opening` is told whether to make a ledger where none is."""
        self.settings = settings
        self.name = str(settings.home)
        self._opening = opening
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = self._opening(False)
        return self._store

    # -- before a study ------------------------------------------------------------------------------
    def plan(self, spec: StudySpec, *, slots: int | None, refuse_above: float | None) -> Plan:
        from dashboards.evidence import power

        require_runnable(spec)
        rows: list[HostRow] = []
        if spec.resources.hosts > 1:
            with suppress(OrchError):  # there may be no ledger yet
                rows = self.store.hosts()
        number, sentence = room_on(spec.resources, rows, workers=self.settings.workers)
        found = plans.plan(spec, slots=slots or number, notes=[sentence] if sentence else [])
        found = replace(found, programs=programs(spec))
        if spec.claim is not None and (lack := extras.lacking("What the claim can show", ("numpy", "scipy"))):
            found = replace(found, notes=(*found.notes, f"{lack}."))
        else:
            found = replace(found, claim=power.of_claim(spec))
        if refuse_above is not None:
            plans.refuse_above(found, refuse_above)
        return found

    def create(self, spec: StudySpec, *, workers: int | None, refuse_above: float | None) -> creation.Created:
        """A new study, or the equal one of that name. NameTaken by another."""
        if refuse_above is not None:
            self.plan(spec, slots=workers, refuse_above=refuse_above)
        require_runnable(spec)
        require_installed(spec)
        self._store = self._opening(True)
        return creation.create(self._store, spec, clock=SystemClock())

    # -- hosts ---------------------------------------------------------------------------------------
    def hosts(self) -> list[HostLine]:
        return hosts(self.store, self.settings.runs)

    def leads(self) -> bool:
        return self.store.leader() is not None

    def path_of(self, key: str) -> str:
        """Where a checkpoint lies."""
        return Storage(self.settings.runs).path(key)

    def drain_host(self, name: str) -> HostLine:
        self.store.drain_host(name, by=whoami())
        return host_line(self.store, name, self.settings.runs)

    def use_host(self, name: str) -> HostLine:
        self.store.drain_host(name, by="")
        return host_line(self.store, name, self.settings.runs)

    # -- look ----------------------------------------------------------------------------------------
    def listed(self) -> list[dict[str, Any]]:
        """All studies, oldest first; with the answer of each that has completed."""
        from dashboards.report import outcomes

        studies = self.store.studies()
        answers = outcomes.of_studies(self.store, studies, self.settings.home / outcomes.FILE)
        return [{**row, "answer": answers[row["study_id"]]} for row in listed(self.store, studies)]

    def study(self, name: str) -> StudyRow:
        return self.store.study(name)

    def overview(self, study: StudyRow) -> Overview:
        return overview(self.store, self.store.study(study.study_id))

    def requests(self, study: StudyRow) -> list[Wish]:
        return self.store.wishes(study.study_id)

    def running(self, study: StudyRow) -> int:
        """How many of its trials run now."""
        return len(self.store.live_attempts(study.study_id))

    def trials(self, study: StudyRow, *, arm: str | None, state: TrialState | None) -> list[TrialRow]:
        return self.store.trials(study.study_id, arm=arm, states=None if state is None else {state})

    def trial(self, given: str) -> TrialRow:
        return named(self.store, given)

    def attempts(self, trial: TrialRow) -> list[AttemptRow]:
        return self.store.attempts(trial.trial_id)

    def events(self, trial: TrialRow, *, after: int, most: int) -> list[StoredEvent]:
        return self.store.events(after=after, trial_id=trial.trial_id, limit=most)

    def output(self, trial: TrialRow, attempt: int, *, offset: int, tail: int | None) -> Output:
        """What an attempt printed, from that byte on, or its last lines."""
        folder = Storage(self.settings.runs).folder(trial.study_id, trial.trial_id, attempt)
        return output.read(folder, offset=offset) if tail is None else output.tail(folder, lines=tail)

    def artifacts(self, trial: TrialRow) -> list[dict[str, Any]]:
        """The files that its outcome named, and where they lie."""
        storage = Storage(self.settings.runs)
        found = artifacts.of_trial(storage, trial.study_id, trial.trial_id, trial.attempts)
        return [{"name": each.name, "bytes": each.bytes, "where": str(each.path)} for each in found]

    def schedule(self, trial: TrialRow) -> LearnedSchedule:
        storage = Storage(self.settings.runs)
        return schedules.read(storage.latest(trial.study_id, trial.trial_id, trial.attempts, SCHEDULE))

    def charts(self, study: StudyRow) -> str | None:
        """Where a server of MLflow shows its trials; None where none is known, or it does not say."""
        place = destination(self.settings)
        if place is None or place.pages is None:
            return None
        return pages.charts_at(place.pages, mapping.experiment(study), within_s=PAGES_WITHIN_S)

    # -- what was found ------------------------------------------------------------------------------
    def table(self, study: StudyRow, *, metric: str | None) -> Table:
        from dashboards.report.answer import table_of

        return table_of(self.store, study.study_id, metric)[1]

    def verdict(self, study: StudyRow) -> dict[str, Any]:
        from dashboards.report.answer import verdict_of

        return verdict_of(self.store, study.study_id)[1]

    def conclude(self, study: StudyRow) -> Conclusion:
        """Of a study that has ended. A full disk takes no result away."""
        from dashboards.report import files, outcomes
        from dashboards.report.answer import gather

        answer = gather(self.store, study.study_id, slots=self.settings.workers, runs=self.settings.runs)
        outcomes.of_studies(self.store, [study], self.settings.home / outcomes.FILE)  # for the next list
        if lack := extras.lacking("The report", extras.EXTRAS["report"].modules, extras=["report"]):
            note(f"{lack}; then: orch study report {study.name}")
            return _conclusion(answer, None)
        try:
            path = files.write(answer, self.settings.reports / study.name)
        except OSError as problem:
            note(
                f"The report could not be written: {problem.strerror or problem}. Once that is fixed: "
                f"orch study report {study.name}"
            )
            return _conclusion(answer, None)
        return _conclusion(answer, path)

    def report(self, study: StudyRow, folder: Path, *, slots: int | None) -> Conclusion:
        """Written into a folder, also before the end."""
        from dashboards.report import files
        from dashboards.report.answer import gather

        answer = gather(
            self.store, study.study_id, slots=slots or self.settings.workers, runs=self.settings.runs
        )
        return _conclusion(answer, files.write(answer, folder))

    # -- act -----------------------------------------------------------------------------------------
    def ask(self, study: StudyRow, verb: str, detail: Mapping[str, Any]) -> None:
        """Store a request and see it obeyed: by whoever leads, else by this process. MoveRefused carries
        a refusal."""
        clock = SystemClock()
        storage = Storage(self.settings.runs) if verb == "delete" else None
        try:
            request = asking.submit(self.store, study, verb, detail, clock=clock)
        except BadSpec as refusal:  # of an extension
            raise MoveRefused(str(refusal)) from None
        give_up_at = clock.monotonic() + ANSWER_WITHIN_S
        # A request that is gone was for a study that is gone: with it, by a deletion.
        while (found := self.store.asked(request.wish_id)) is not None and found.answer is None:
            if drive.obey_now(self.store, clock=clock, storage=storage):
                continue
            if clock.monotonic() > give_up_at:
                raise LedgerBusy(
                    f"The running process has not answered within {ANSWER_WITHIN_S:g} s. The request to "
                    f"{verb} stands, and it will be obeyed; look with `orch study show {study.name}`."
                )
            time.sleep(0.1)
        if found is not None and found.answer:
            raise MoveRefused(found.answer)

    def let_stop(self, study: StudyRow) -> None:
        """After a request that nobody led: see to runs that outlived their leader until none is left."""
        if not self.store.live_attempts(study.study_id) or self.store.lead(whoami()) is None:
            return
        drains = self.store.study(study.study_id).state is StudyState.DRAINED
        told = "this command waits until they have ended" if drains else "they are told to save and stop"
        note(f"Runs of this study outlived the process that led them; {told}.")
        here = host.open_host(self.settings, self.store)
        try:
            drive.run(here, study.study_id, launch=False)
        finally:
            here.close()

    def is_led(self) -> bool:
        """Whether it is for another process to run the studies there."""
        return foreground.led_by_another(self.store)

    def see_to_the_end(
        self,
        study: StudyRow,
        *,
        workers: int | None,
        as_json: bool,
        extra: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> int:
        """Run it, or follow it where it runs, and show its result. The exit code."""
        return foreground.run_here(
            self,
            self.settings,
            self.store,
            study,
            workers=workers,
            as_json=as_json,
            extra=extra,
            verbose=verbose,
        )

    def watch(self, study: StudyRow) -> None:
        """Follow what another process runs. MoveRefused when none does."""
        if drive.at_rest(self.store, study.study_id) is not None:
            return
        if not self.is_led():  # to watch it would last for ever
            raise MoveRefused(
                f"No process runs {study.name} now, so there is nothing to watch. "
                f"Run it with: orch study resume {study.name}"
            )
        with shown(InLedger(self.store, study), study) as progress:
            looks = missed = 0

            def on_tick(tick: Tick) -> None:
                nonlocal looks, missed
                progress.update()
                looks += 1
                if looks % LOOKS_A_LEADER == 0:
                    missed = 0 if self.is_led() else missed + 1
                if missed == 2:  # not once: between two leaders there is none for a moment
                    raise MoveRefused(
                        f"The process that ran {study.name} has gone. "
                        f"Resume with: orch study resume {study.name}"
                    )

            drive.follow(self.store, study.study_id, lead=False, on_tick=on_tick)

    def hint(self, study: StudyRow) -> str:
        """What to do about a study that is running."""
        if self.is_led():
            return f"Another process runs it. Look with: orch study watch {study.name}"
        return f"No process runs it now. Run it with: orch study resume {study.name}"

    def left_alone(self, study: StudyRow) -> str:
        """What becomes of a study that is created and not followed."""
        return f"Not run. Run it with: orch study resume {study.name}"


def _conclusion(answer: Answer, path: Path | None) -> Conclusion:
    from dashboards.report.answer import concluded_dict

    return Conclusion(
        study=answer.frame.spec.name,
        status=answer.frame.status,
        told=concluded_dict(answer),
        table=answer.tables[0],
        report=None if path is None else str(path),
    )
