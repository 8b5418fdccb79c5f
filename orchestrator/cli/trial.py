"""`orch trial …`: list, show, logs, retry. A trial is named by its id; it may begin with its study's name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from orchestrator.cli.opening import Site, opened, server_option
from orchestrator.cli.output import (
    DONE,
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
from orchestrator.ground.errors import NotFound
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import ENDED, AttemptRow, AttemptState, StoredEvent, StudyState, TrialRow
from orchestrator.readings.overview import code_words, commit_of, event_words, fallback_words
from orchestrator.service.asking import unknown_arm
from orchestrator.study.spec import StudySpec

FOLLOW_S = 0.2  # between two looks for new events
PAGE = 1000


@click.group()
def command() -> None:
    """List and show trials, print their logs, retry failed ones."""


@command.command("list")
@click.argument("name")
@click.option("--arm", help="Only trials of this arm.")
@as_json_option
@server_option
def list_(name: str, arm: str | None, as_json: bool, server: str | None) -> int:
    """List a study's trials, by arm, replicate and index."""
    with opened(server) as site:
        study = site.study(name)
        if arm is not None and (unknown := unknown_arm(StudySpec.stored(study.spec), arm)):
            raise NotFound(unknown)
        rows = site.trials(study, arm=arm)
    told = [
        {"trial": f"{study.name}.{row.arm}.{row.replicate}.{row.index}", **_without_config(row)}
        for row in rows
    ]
    if as_json:
        print_json({"trials": told})
    elif not told:
        note(f"{study.name} has no trials yet{f' in {arm}' if arm else ''}.")
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
@click.argument("trial")
@as_json_option
@server_option
def show(trial: str, as_json: bool, server: str | None) -> int:
    """Show a trial, its result and its attempts."""
    with opened(server) as site:
        row = site.trial(trial)
        attempts = site.attempts(row)
    if as_json:
        print_json(
            {**asdict(row), "attempts": [{**asdict(each), "damaged": each.damaged} for each in attempts]}
        )
        return DONE
    say(f"{row.trial_id}: {row.state}." + (f" {row.reason}" if row.reason else ""))
    facts = {
        "point": pairs(row.point) or "the default config",
        "objective": number(row.value),
        "values": pairs(row.values),
        "seed": row.config.get("seed", ""),
        "run time": hours(run_hours(row.charged)),
        "checkpoint": row.checkpoint or "",
        "code": next(filter(None, map(code_words, reversed(attempts))), ""),
    }
    say(*(f"  {name:<10}  {value}" for name, value in facts.items() if value != ""))
    if attempts:
        header = ("attempt", "state", "began", "run time", "host", "commit", "reason")
        cells = [_attempt_cells(attempt) for attempt in attempts]
        spare = ("commit", "host", "began")
        say("", *table(header, cells, right={"attempt", "run time"}, spare=spare, width=terminal_width()))
    say(*filter(None, map(fallback_words, attempts)))
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
@click.argument("trial")
@click.option("--attempt", type=click.IntRange(min=1), help="Only this attempt.")
@click.option("--follow", is_flag=True, help="Keep printing until the trial ends.")
@server_option
def logs(trial: str, attempt: int | None, follow: bool, server: str | None) -> int:
    """Print the log of a trial, and the traceback of a failed attempt."""
    with opened(server) as site:
        row = site.trial(trial)
        if attempt is not None and attempt > row.attempts:
            raise NotFound(
                f"The trial {row.trial_id} has had {row.attempts} attempts; there is no {attempt}."
            )
        began: dict[int, float] = {}
        for stored in _events(site, row, follow=follow):
            if attempt in (None, stored.event.attempt):
                say(_line(stored, began.setdefault(stored.event.attempt, stored.event.at)))
        for one in site.attempts(row):
            if attempt in (None, one.number) and one.state not in (
                AttemptState.LAUNCHING,
                AttemptState.RUNNING,
            ):
                say(f"attempt {one.number}  {one.state}" + (f"  {one.reason}" if one.reason else ""))
                say(*one.traceback.splitlines())
    return DONE


def _events(site: Site, trial: TrialRow, *, follow: bool) -> Iterator[StoredEvent]:
    """All events, page by page; with `follow` also those to come, until the trial or its study rests."""
    cursor, resting = 0, False
    while True:
        if follow:  # read before the events, so that none of an ended trial is missed
            ended = site.trial(trial.trial_id).state in ENDED
            resting = ended or site.study(trial.study_id).state is not StudyState.RUNNING
        page = site.events(trial, after=cursor, most=PAGE)
        yield from page
        if page:
            cursor = page[-1].event_id
        elif not follow or resting:
            return
        elif follow:
            time.sleep(FOLLOW_S)


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
@click.argument("trial")
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
