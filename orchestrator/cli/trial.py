"""`orch trial …`: list, show, logs, retry. A trial is named by its id; it may begin with its study's name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from orchestrator.cli.completion import arms, study_argument, trial_argument
from orchestrator.cli.opening import Site, opened, server_option
from orchestrator.cli.output import (
    DONE,
    INTERRUPTED,
    note,
    number,
    pairs,
    print_json,
    say,
    table,
    terminal_width,
)
from orchestrator.cli.spec_options import as_json_option
from orchestrator.ground.durations import hours, stopwatch
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import (
    ENDED,
    AttemptRow,
    AttemptState,
    StoredEvent,
    StudyState,
    TrialRow,
    TrialState,
)
from orchestrator.ledger.rules import no_arm
from orchestrator.readings.overview import code_words, commit_of, event_words, fallback_words
from orchestrator.runs.output import Output, attempt_of, gap_words, shown_lines

FOLLOW_S = 0.5  # between two looks for what is new
PAGE = 1000
WRITTEN_OVER = re.compile(r".*\r(?=[^\r])", re.DOTALL)  # of a line that has no end yet


@click.group()
def command() -> None:
    """List and show trials, print their logs, retry failed ones."""


@command.command("list")
@study_argument
@click.option("--arm", shell_complete=arms, help="Only trials of this arm.")
@click.option("--state", type=click.Choice([s.value for s in TrialState]), help="Only trials in this state.")
@as_json_option
@server_option
def list_(name: str, arm: str | None, state: str | None, as_json: bool, server: str | None) -> int:
    """List a study's trials, by arm, replicate and index."""
    with opened(server) as site:
        study = site.study(name)
        arms = [each["name"] for each in study.spec["arms"]]
        if arm is not None and arm not in arms:
            raise no_arm(study.name, arm, arms)
        rows = site.trials(study, arm=arm, state=None if state is None else TrialState(state))
    told = [
        {"trial": f"{study.name}.{row.arm}.{row.replicate}.{row.index}", **_without_config(row)}
        for row in rows
    ]
    if as_json:
        print_json({"trials": told})
    elif not told:
        kind = f"{state} trials" if state else "trials yet"
        note(f"{study.name} has no {kind}{f' in {arm}' if arm else ''}.")
    else:
        header = ("trial", "state", "seed", "value", "run time")
        cells = [
            (
                each["trial"],
                each["state"],
                "" if each["seed"] is None else str(each["seed"]),
                number(each["value"]),
                hours(run_hours(each["charged"])),
            )
            for each in told
        ]
        say(*table(header, cells, right={"seed", "value", "run time"}, width=terminal_width()))
    return DONE


def _without_config(row: TrialRow) -> dict[str, Any]:
    told = {**asdict(row), "seed": row.config.get("seed")}
    del told["config"]
    return told


@command.command()
@trial_argument
@as_json_option
@server_option
def show(trial: str, as_json: bool, server: str | None) -> int:
    """Show a trial, its result and its attempts."""
    with opened(server) as site:
        row = site.trial(trial)
        attempts, files = site.attempts(row), site.artifacts(row)
    if as_json:
        tried = [{**asdict(each), "damaged": each.damaged} for each in attempts]
        print_json({**asdict(row), "attempts": tried, "artifacts": files})
        return DONE
    say(f"{row.trial_id}: {row.state}." + (f" {row.reason}" if row.reason else ""))
    facts = {
        "point": pairs(row.point) or "the default config",
        "objective": number(row.value),
        "values": pairs(row.values),
        "seed": row.config.get("seed", ""),
        "run time": hours(run_hours(row.charged)),
        "checkpoint": site.path_of(row.checkpoint or ""),
        "code": next(filter(None, map(code_words, reversed(attempts))), ""),
    }
    say(*(f"  {name:<10}  {value}" for name, value in facts.items() if value != ""))
    if attempts:
        header = ("attempt", "state", "began", "run time", "host", "commit", "reason")
        cells = [_attempt_cells(attempt) for attempt in attempts]
        spare = ("commit", "host", "began")
        say("", *table(header, cells, right={"attempt", "run time"}, spare=spare, width=terminal_width()))
    say(*filter(None, map(fallback_words, attempts)))
    say(*(f"artifact  {each['name']}  {each['bytes']:,} bytes  {each['where']}" for each in files))
    return DONE


def _attempt_cells(attempt: AttemptRow) -> tuple[str, ...]:
    return (
        str(attempt.number),
        attempt.state,
        datetime.fromtimestamp(attempt.started_at).strftime("%Y-%m-%d %H:%M:%S"),
        hours(run_hours(attempt.clocks)),
        str(attempt.provenance.get("host", "")),
        commit_of(attempt),
        attempt.reason.splitlines()[0] if attempt.reason else "",
    )


@command.command()
@trial_argument
@click.option("--attempt", type=click.IntRange(min=1), help="Only this attempt.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the trial ends.")
@click.option("--tail", type=click.IntRange(1, 10_000), help="Only so many of the last lines of each part.")
@click.option("--only", type=click.Choice(["reports", "output"]), help="Only what it reported, or printed.")
@as_json_option
@server_option
def logs(
    trial: str,
    attempt: int | None,
    follow: bool,
    tail: int | None,
    only: str | None,
    as_json: bool,
    server: str | None,
) -> int:
    """Print what a trial reported and printed, and the traceback of a failed attempt."""
    if as_json and follow:
        raise click.UsageError("--json shows what there is now. Leave out --follow, or --json.")
    with opened(server) as site:
        row = site.trial(trial)
        attempt_of(row.trial_id, row.attempts, attempt)
        log = _Log(site, row, attempt, tail, reports=only != "output", output=only != "reports")
        if as_json:
            print_json(log.as_dict())
            return DONE
        try:
            log.show(follow=follow)
        except KeyboardInterrupt:
            return INTERRUPTED
    return DONE


class _Log:
    """What one trial reported and printed, of one attempt or of all."""

    def __init__(
        self, site: Site, row: TrialRow, attempt: int | None, tail: int | None, *, reports: bool, output: bool
    ) -> None:
        self._site, self._row, self._attempt, self._tail = site, row, attempt, tail
        self._reports, self._output = reports, output
        self._began: dict[int, float] = {}
        self._seen, self._most = (
            0,
            tail,
        )  # the event that was read last; how many are wanted of the first look
        self._printing: dict[int, _Printing] = {}

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"trial_id": self._row.trial_id}
        if self._reports:
            told["reports"] = [{"event_id": e.event_id, **asdict(e.event)} for e in self._events()]
        if self._output:
            told["output"] = [
                {"attempt": number, **asdict(part)}
                for number in self._numbers()
                for part in self._all_of(number)
            ]
        return told

    def show(self, *, follow: bool) -> None:
        resting = not follow
        while not resting:  # asked before it is read, so that nothing of an ended trial is missed
            self._row = self._site.trial(self._row.trial_id)
            held = self._site.study(self._row.study_id).state is not StudyState.RUNNING
            resting = self._row.state in ENDED or (held and self._row.state is not TrialState.RUNNING)
            if not resting:
                self._show_new()
                time.sleep(FOLLOW_S)
        self._show_new()
        for one in self._site.attempts(self._row):
            if self._attempt in (None, one.number):
                self._show_end(one)

    def _show_new(self) -> None:
        if self._reports:
            for stored in self._events():
                say(_line(stored, self._began.setdefault(stored.event.attempt, stored.event.at)))
        if self._output:
            for number in self._numbers():
                self._show_printed(number)

    def _show_printed(self, number: int) -> None:
        printing = self._printing.setdefault(number, _Printing(self._site, self._row, number, self._tail))
        if not printing.over:
            printing.show()
        if number < self._row.attempts:  # it prints no more
            printing.finish()

    def _show_end(self, one: AttemptRow) -> None:
        printing = self._printing.get(one.number)
        if printing is not None:
            printing.finish()
        if one.state not in (AttemptState.LAUNCHING, AttemptState.RUNNING):
            say(f"attempt {one.number}  {one.state}" + (f"  {one.reason}" if one.reason else ""))
            if printing is None or not printing.any:  # else it is the end of what was printed
                say(*one.traceback.splitlines())

    def _numbers(self) -> Iterable[int]:
        return range(1, self._row.attempts + 1) if self._attempt is None else [self._attempt]

    def _events(self) -> list[StoredEvent]:
        """Those that came since it was asked last; at first only the last ones, if so many are wanted."""
        found: list[StoredEvent] = []
        while page := self._site.events(self._row, after=self._seen, most=PAGE):
            found += page
            self._seen = page[-1].event_id
        found = [stored for stored in found if self._attempt in (None, stored.event.attempt)]
        wanted, self._most = self._most, None
        return found if wanted is None else found[-wanted:]

    def _all_of(self, number: int) -> list[Output]:
        first = self._site.output(self._row, number, offset=0, tail=self._tail)
        parts = [first]
        while self._tail is None and parts[-1].next < parts[-1].end:
            parts.append(self._site.output(self._row, number, offset=parts[-1].next, tail=None))
        return [part for part in parts if part.text]


class _Printing:
    """What one attempt prints, line by line."""

    def __init__(self, site: Site, row: TrialRow, number: int, tail: int | None) -> None:
        self._site, self._row, self._number, self._tail = site, row, number, tail
        self._place = 0
        self._rest = ""  # of a line that has no end yet
        self.any = self.over = False

    def show(self) -> None:
        going = True
        while going:
            part = self._site.output(self._row, self._number, offset=self._place, tail=self._tail)
            if part.text and not self.any:
                say(f"attempt {self._number}  output")
                self.any = True
            if part.start > self._place and self._tail is None:
                say(gap_words(part.start - self._place))
            lines, end, self._rest = (self._rest + part.text).rpartition("\n")
            self._rest = WRITTEN_OVER.sub("", self._rest)
            _say_lines(lines + end)
            going = self._place < part.next < part.end
            self._place, self._tail = part.next, None if part.end else self._tail

    def finish(self) -> None:
        _say_lines(self._rest)
        self._rest, self.over = "", True


def _say_lines(text: str) -> None:
    say(*(line.expandtabs() for line in shown_lines(text)))


def _line(stored: StoredEvent, began: float) -> str:
    event = stored.event
    parts = [
        f"attempt {event.attempt}",
        f"{stopwatch(max(0.0, event.at - began)):>7}",
        f"step {event.step:>6}",
        f"{event.kind:<10}",
        event_words(event),
    ]
    return "  ".join(parts).rstrip()


@command.command()
@trial_argument
@as_json_option
@server_option
def retry(trial: str, as_json: bool, server: str | None) -> int:
    """Retry a failed trial from its newest checkpoint."""
    with opened(server) as site:
        row = site.trial(trial)
        study = site.study(row.study_id)
        site.ask(study, "retry", {"trial_id": row.trial_id})
        row = site.trial(row.trial_id)
        led = site.is_led()
    if as_json:
        print_json(asdict(row))
    else:
        say(f"The trial {row.trial_id} is {row.state}.")
    if not led:
        note(f"Run it with: orch study resume {study.name}")
    return DONE
