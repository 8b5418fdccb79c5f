"""`orch rehearse`: a whole study on a virtual clock. It tries the machinery, and no model is trained."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from orchestrator.cli import foreground, needs
from orchestrator.cli.completion import specs
from orchestrator.cli.output import DONE, NO_RESULT, counted, note, print_json, say
from orchestrator.cli.spec_options import (
    as_json_option,
    read,
    search_option,
    size_option,
    tell_question,
    workers_option,
)
from orchestrator.engine.tick import Tick
from orchestrator.ground.durations import hours, stopwatch
from orchestrator.ground.settings import from_environment
from orchestrator.service import rehearse
from orchestrator.study.spec import StudySpec


@click.command("rehearse")
@click.argument("spec", metavar="NAME|FILE", shell_complete=specs)
@size_option
@search_option
@workers_option
@as_json_option
def command(spec: str, workers: int | None, as_json: bool, **changes: Any) -> int:
    """Run a whole study of trainer.run on a virtual clock, without training a model.

    It shows that the study can run, and what it would propose and count. Nothing is written to the ledger.
    """
    needs.require("run")
    wanted = read(spec, **changes).spec
    tell_question(wanted)
    slots = workers or from_environment().workers
    told = _Told(wanted)
    done = rehearse.rehearse(wanted, slots=slots, on_tick=told)
    told.finish()
    view = done.overview
    if as_json:
        print_json({**view.to_dict(), "virtual_hours": done.virtual_hours, "real_s": done.real_s})
    else:
        foreground.show_overview(view)
        say(
            "",
            f"A rehearsal with {counted(slots, 'parallel run')}: {hours(done.virtual_hours)} on the "
            f"virtual clock, {done.real_s:.1f} s of real time. No model was trained; the numbers say nothing "
            f"about models.",
        )
    return NO_RESULT if view.no_valid_result else DONE


class _Told:
    """One line that is written over on a terminal, or a line every 10 s in a pipe."""

    def __init__(self, spec: StudySpec) -> None:
        self._requested = sum(spec.requested(arm, {}) for arm in spec.arms)
        self._ended = 0
        self._live = sys.stderr.isatty()
        self._every_s = 0.2 if self._live else 10.0
        self._began = self._told = time.monotonic()

    def __call__(self, tick: Tick, virtual_hours: float) -> None:
        self._ended += tick.ended
        now = time.monotonic()
        if now - self._told < self._every_s:
            return
        self._told = now
        line = (
            f"[{stopwatch(now - self._began)}] {self._ended} of {self._requested} runs ended, "
            f"{hours(virtual_hours)} on the virtual clock"
        )
        if self._live:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            note(line)

    def finish(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
