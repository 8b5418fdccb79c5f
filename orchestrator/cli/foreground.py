"""What happens when a study runs in the foreground? Ctrl-C, the result, and requests to whoever leads."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Protocol

import click

from orchestrator.cli import findings
from orchestrator.cli.output import (
    DONE,
    INTERRUPTED,
    NO_RESULT,
    arms_table,
    counted,
    note,
    print_json,
    say,
    summary,
    terminal_width,
    what_it_took,
)
from orchestrator.cli.progress import InLedger, shown
from orchestrator.engine.tick import Tick
from orchestrator.ground.errors import REFUSED, BadSpec, LedgerBusy, MoveRefused
from orchestrator.ground.identity import whoami
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.records import StudyRow, StudyState, Wish
from orchestrator.readings.overview import Overview
from orchestrator.service import asking, drive, host, signals
from orchestrator.service.host import Host
from orchestrator.study.resources import Resources
from orchestrator.study.spec import StudySpec
from orchestrator.tracking.background import Mirror, NoMirror, mirror


@contextlib.contextmanager
def opened(settings: Settings, *, writing: bool = True) -> Iterator[Store]:
    """The ledger. One that is only read is not made: where none is, an empty one is shown."""
    file = settings.ledger_file
    absent = file is not None and not file.exists()
    try:
        store = open_ledger("memory://" if absent and not writing else settings.ledger)
    except OSError as problem:
        raise LedgerBusy(
            f"The ledger cannot be opened: {problem}. Name a folder that can be written in ORCH_HOME."
        ) from problem
    with contextlib.closing(store):
        yield store


def led_by_another(store: Store) -> bool:
    """Whether another process leads on this ledger, and so runs its studies."""
    for _ in range(3):  # a command holds the lead for some milliseconds, who runs studies for long
        if store.lead(whoami()) is not None:
            store.release()
            return False
        time.sleep(0.05)
    return True


# -- Ctrl-C ----------------------------------------------------------------------------------------------
class Interrupts(signals.Heeded):
    """The first Ctrl-C (or SIGTERM, or a closed terminal) is a request, noted and no more; the second Ctrl-C
    leaves at once."""

    def __init__(self) -> None:
        self.asked = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGHUP:
            signals.leave_closed_terminal()
        self.asked = True


class Shown(Protocol):
    """Whoever knows how a study stands, and what it found."""

    def overview(self, study: StudyRow) -> Overview: ...

    def conclude(self, study: StudyRow) -> findings.Conclusion: ...


class _Left(Exception):
    """The person stopped watching; whoever leads goes on."""


# -- running ---------------------------------------------------------------------------------------------
def run_here(
    site: Shown,
    settings: Settings,
    store: Store,
    study: StudyRow,
    *,
    workers: int | None,
    as_json: bool,
    extra: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> int:
    """Run a study to its rest, as the leader or beside one, and show its result. The exit code."""
    mirrored = mirror(settings, store, study.study_id, say=note)
    with Interrupts() as interrupts:
        try:
            if drive.at_rest(store, study.study_id) is None:
                _run(
                    settings,
                    store,
                    study,
                    workers=workers,
                    fresh=bool(extra and extra.get("created")),
                    interrupts=interrupts,
                    mirrored=mirrored,
                )
        except _Left:
            note(f"Another process runs {study.name}. To pause it: orch study pause {study.name}")
            raise click.Abort from None
        except KeyboardInterrupt:
            note(f"Stopped. No progress lost. Resume with: orch study resume {study.name}")
            raise click.Abort from None
        study = store.study(study.study_id)
        code = show_result(
            site, study, as_json=as_json, extra=extra, interrupted=interrupts.asked, verbose=verbose
        )
        _finish(mirrored, interrupts)
        return code


def _finish(mirrored: Mirror | NoMirror, interrupts: Interrupts) -> None:
    """Give the mirror its time, unless the person does not want to wait."""
    asked_before = interrupts.asked  # that one paused the study
    try:
        sentences = mirrored.finish(leave=lambda: interrupts.asked and not asked_before)
    except KeyboardInterrupt:
        sentences = mirrored.finish(within_s=0)
    note(*sentences)


def _run(
    settings: Settings,
    store: Store,
    study: StudyRow,
    *,
    workers: int | None,
    fresh: bool,
    interrupts: Interrupts,
    mirrored: Mirror | NoMirror,
) -> None:
    if store.lead(whoami()) is None:
        note("Another process runs the studies of this ledger; this one watches.")
        with shown(InLedger(store, study), study, fresh=fresh) as progress:

            def watch(tick: Tick) -> None:
                if interrupts.asked:
                    raise _Left
                progress.update()

            if drive.follow(store, study.study_id, lead=True, on_tick=watch) is not None:
                return
        note("That process has ended; this one takes over.")
        fresh = False  # what has ended so far has been told
    if lacks := host.lacking(settings, StudySpec.stored(study.spec).resources):
        raise BadSpec(
            f"A trial of {study.name} {lacks}. Run the study where there are enough (orch study resume "
            f"{study.name}), or ask for less in a new one: --gpus, --resources."
        )
    note("Starting the workers…")
    here = host.open_host(settings, store, workers=workers)
    try:
        _require_room(here, study)
        pausing: list[Wish] = []
        told = {""}
        with shown(InLedger(store, study), study, fresh=fresh) as progress:

            def on_tick(tick: Tick) -> None:
                if interrupts.asked and not pausing:
                    # Asked again at the next tick; of a study that has just ended there is nothing to ask.
                    with contextlib.suppress(LedgerBusy, MoveRefused):
                        pausing.append(asking.submit(store, study, "pause", {}, clock=here.clock))
                        note(
                            "Pausing: running trials save a checkpoint and stop. Ctrl-C again stops at once."
                        )
                if tick.live:
                    mirrored.begin()
                why = tick.unrunnable.get(study.study_id, "")
                if why not in told and (tick.live or study.study_id in tick.passing):
                    note(f"No new runs are started for now; running trials continue. {why}")
                    told.add(why)
                progress.update()

            drive.run(here, study.study_id, on_tick=on_tick)
    finally:
        here.close()
    _tell_of_others(store, study)


def _require_room(host: Host, study: StudyRow) -> None:
    """A trial that fits on no worker would be waited for for ever."""
    resources = StudySpec.stored(study.spec).resources
    room = host.engine.backend.slots(resources)
    if 0 < room < host.workers:
        note(
            f"Room for {counted(room, 'parallel run')}, not {host.workers}. If a smaller Ray is "
            f"already running: orch down, then resume."
        )
    if not room:
        raise BadSpec(
            f"No worker here can hold a trial of {study.name}: it needs {_needs(resources)}. Ask for less in "
            f"the spec's resources, or run it where there is more (`orch serve`, and `orch join` on each "
            f"other host); `orch rehearse` needs none."
        )


def _needs(resources: Resources) -> str:
    parts = [f"{resources.cpus:g} cpus"]
    parts += [f"{resources.gpus:g} gpus"] if resources.gpus else []
    parts += [f"{resources.tpu_chips} TPU chips"] if resources.tpu_chips else []
    return " and ".join(parts) + (f" on each of {resources.hosts} hosts" if resources.hosts > 1 else "")


def _tell_of_others(store: Store, study: StudyRow) -> None:
    """One leader runs all studies of its ledger; when it goes, it may leave some at work."""
    for other in store.studies({StudyState.RUNNING}):
        if other.study_id != study.study_id:
            note(
                f"The study {other.name} has not ended. Unless another process runs it: "
                f"orch study resume {other.name}"
            )


def show_result(
    site: Shown,
    study: StudyRow,
    *,
    as_json: bool,
    extra: Mapping[str, Any] | None = None,
    interrupted: bool = False,
    verbose: bool = False,
) -> int:
    """Of a study that has ended, the answer; what to do next. `verbose`: arms, controls and rules too. The
    exit code."""
    view = site.overview(study)
    ended = study.state is StudyState.COMPLETED
    if as_json:
        found = findings.found(site.conclude(study), failed=view.failure) if ended else findings.NOTHING
        print_json({**view.to_dict(), **(extra or {}), **found})
    elif view.failure:
        path = site.conclude(study).report
        say(summary(view), *([f"Report: {path}"] if path else []))
    elif ended:
        if verbose:
            show_overview(view)
            say("")
        findings.tell(site.conclude(study), summary=what_it_took(view), verbose=verbose)
    else:
        say(summary(view))
    if study.state is StudyState.PAUSED:
        note(f"Paused. Resume with: orch study resume {study.name}")
        return INTERRUPTED if interrupted else REFUSED
    if study.state is StudyState.DRAINED:
        note(f"Drained. Resume with: orch study resume {study.name}")
        return REFUSED
    if study.state is StudyState.CANCELLED:
        note(f"The study {study.name} was cancelled.")
        return REFUSED
    if view.failure:
        note(*_after_failure(view))
        return NO_RESULT
    note(*(f"Not all runs of {line.arm} were started. {line.stopped}" for line in view.arms if line.stopped))
    return DONE


def _after_failure(view: Overview) -> Iterator[str]:
    """What can be done about a study of which no run completed."""
    if view.failed_trial:
        yield f"Log of a failed run: orch trial logs {view.failed_trial}"
        yield (
            f"If the cause is not in the spec, fix it and retry a run: orch trial retry "
            f"{view.failed_trial}, then orch study resume {view.name}"
        )
    yield (
        f"To change the spec, create it under another name (--name), or under this one after: orch study "
        f"delete {view.name}"
    )


def show_overview(view: Overview) -> None:
    say(summary(view), "", *arms_table(view, width=terminal_width()))
