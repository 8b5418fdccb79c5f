"""`orch mlflow …`: sync, status. What is missing in MLflow, and writing it now."""

from __future__ import annotations

import time
from typing import Any

import click

from orchestrator.cli import foreground, needs
from orchestrator.cli.completion import studies
from orchestrator.cli.output import DONE, counted, note, print_json, say, table, terminal_width
from orchestrator.cli.spec_options import as_json_option
from orchestrator.ground.errors import MoveRefused
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState
from orchestrator.readings import states
from orchestrator.tracking.destination import Destination, destination
from orchestrator.tracking.sync import MOST_COUNTED, lag, missing, reports, sync

TELL_EVERY_S = 2.0


@click.group("mlflow")
def command() -> None:
    """Show what is in MLflow, and write what is missing."""


def place_of_mirror() -> Destination:
    """Where studies are mirrored to."""
    place = destination(from_environment())
    if place is None:
        raise MoveRefused("The mirror to MLflow is switched off (ORCH_MLFLOW=off). Unset that to use it.")
    return place


@command.command("sync")
@click.argument("study", required=False, shell_complete=studies)
@as_json_option
def sync_(study: str | None, as_json: bool) -> int:
    """Write to MLflow what is missing there, for one study or all; also what was deleted there."""
    settings, place = from_environment(), place_of_mirror()
    needs.require("mlflow")
    written: dict[str, int] = {}
    told_at = time.monotonic()

    def told(row: StudyRow, reports: int, missing: int) -> None:
        nonlocal told_at
        written[row.name] = reports
        if time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            note(f"{row.name}: {reports:,} of {max(reports, missing):,} reports written")

    with foreground.opened(settings, writing=False) as store:
        rows = store.studies() if study is None else [store.study(study)]
        sync(store, place, rows, told=told)
        owed = missing(store, place, [row.study_id for row in rows])
    if as_json:
        by_study = {row.name: written.get(row.name, 0) for row in rows}
        print_json({"mlflow": place.shown, "written": by_study, "missing": owed})
    else:
        of = "1 study" if len(rows) == 1 else f"{len(rows):,} studies"
        say(f"{counted(sum(written.values()), 'report')} of {of} written to {place.shown}.")
        note("Look at it with: orch ui")
    for name, count in owed.items():
        note(
            f"{reports(count)} of {name} came meanwhile. Write what is missing with: orch mlflow sync {name}"
        )
    return DONE


@command.command()
@as_json_option
def status(as_json: bool) -> int:
    """Show where studies are mirrored to, and how much of each is missing there."""
    settings = from_environment()
    place = destination(settings)
    rows: list[dict[str, Any]] = []
    if place is not None:
        with foreground.opened(settings, writing=False) as store:
            rows = [_row(store, place, study) for study in store.studies()]
    if as_json:
        print_json({"mlflow": None if place is None else place.shown, "studies": rows})
        return DONE
    if place is None:
        say("The mirror to MLflow is switched off (ORCH_MLFLOW=off).")
        return DONE
    say(f"Studies are mirrored to {place.shown}.")
    cells = [(r["study"], r["status"], _missing(r)) for r in rows]
    if rows:
        say(
            "",
            *table(
                ("study", "status", "missing reports"),
                cells,
                right={"missing reports"},
                width=terminal_width(),
            ),
        )
    if any(r["missing"] or r["states_missing"] for r in rows):
        note("Write what is missing with: orch mlflow sync")
    return DONE


def _row(store: Store, place: Destination, study: StudyRow) -> dict[str, Any]:
    missing = lag(store, place, study.study_id)
    owed = bool(store.cursor(place.owed(study.study_id)))
    return {
        "study": study.name,
        "study_id": study.study_id,
        "status": states.status(study.state, len(store.live_attempts(study.study_id))),
        "missing": missing,
        "or_more": missing >= MOST_COUNTED,
        "states_missing": owed and study.state is not StudyState.RUNNING,
    }


def _missing(row: dict[str, Any]) -> str:
    count = f"{row['missing']:,}{'+' if row['or_more'] else ''}"
    return "the last states" if row["states_missing"] and not row["missing"] else count
