"""`orch study …`: create, plan, spec, list, show, watch, steer, extend, delete, export.

What was found (report, verdict, table) is in `results.py`.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import foreground, needs, results
from orchestrator.cli.completion import arms, study_argument
from orchestrator.cli.foreground import show_overview, show_result
from orchestrator.cli.opening import Site, opened, server_option
from orchestrator.cli.output import DONE, counted, note, print_json, say, table, terminal_width
from orchestrator.cli.spec_options import (
    as_json_option,
    read,
    refuse_above_option,
    spec_options,
    tell_question,
    verbose_option,
    workers_option,
)
from orchestrator.engine.requests import HELD, more_seeds
from orchestrator.ground import durations, extras
from orchestrator.ground.errors import BadSpec, MissingPackage, MoveRefused, NameTaken
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import Store
from orchestrator.ledger.records import StudyRow, StudyState
from orchestrator.ledger.rules import deletable
from orchestrator.service.creation import Created
from orchestrator.study.spec import StudySpec


@click.group()
def command() -> None:
    """Create, plan, list, watch and control studies; show their results."""


for found in (results.report_, results.verdict_, results.table_):
    command.add_command(found)


# -- create and run --------------------------------------------------------------------------------------
@command.command()
@spec_options
@refuse_above_option
@as_json_option
@workers_option
@click.option(
    "--no-run", is_flag=True, help="Create the study without running it; another process can run it."
)
@verbose_option
@server_option
def create(
    spec: str,
    as_json: bool,
    verbose: bool,
    refuse_above: float | None,
    workers: int | None,
    no_run: bool,
    server: str | None,
    **changes: Any,
) -> int:
    """Create a study and run it to its end.

    If a study with the same name and spec exists, it is resumed. With --server the server
    runs the study and this command follows it; Ctrl-C only stops following.
    """
    if not server:
        needs.require("run")
    asked = read(spec, **changes)
    tell_question(asked.spec, asked.notes)
    with opened(server) as site:
        made = _created(site, asked.spec, workers=workers, refuse_above=refuse_above)
        study = made.study
        if study.state is StudyState.CANCELLED:
            raise MoveRefused(
                f"The study {study.name} was cancelled and cannot go on. Choose another name with --name."
            )
        if made.attached:
            status = site.overview(study).status
            note(f"The study {study.name} exists with this spec and is {status}; resuming it.")
        if study.state in HELD:
            site.ask(study, "resume", {})
        extra = {"created": not made.attached, "attached": made.attached}
        if not no_run:
            return site.see_to_the_end(study, workers=workers, as_json=as_json, extra=extra, verbose=verbose)
        note(site.left_alone(study))
        _show(site, study, as_json=as_json, extra=extra)
        return DONE


def _created(site: Site, wanted: StudySpec, **limits: Any) -> Created:
    try:
        return site.create(wanted, **limits)
    except NameTaken as taken:
        there = StudySpec.stored(site.study(taken.study_id).spec)
        differ = [key for key in StudySpec.model_fields if getattr(there, key) != getattr(wanted, key)]
        taken.add_note(f"Its spec differs from yours in: {', '.join(differ)}.")
        raise


@command.command("plan")
@spec_options
@refuse_above_option
@as_json_option
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    help="Parallel runs, for the wall-clock time (default: ORCH_WORKERS, else one per core).",
)
@server_option
def plan_(
    spec: str,
    as_json: bool,
    refuse_above: float | None,
    slots: int | None,
    server: str | None,
    **changes: Any,
) -> int:
    """Show a study's runs and estimated cost. Nothing is started or written."""
    from orchestrator.study.plan import TABLE_HEADER

    asked = read(spec, **changes)
    tell_question(asked.spec, asked.notes)
    with opened(server) as site:
        planned = site.plan(asked.spec, slots=slots, refuse_above=refuse_above)
    if as_json:
        print_json({**planned.to_dict(), "notes": [*planned.notes, *asked.notes]})
        return DONE
    right = {"runs", "each", "compute time", "chip-hours"}
    spare = ("waits for", "method", "phase", "each", "compute time")
    say(*table(TABLE_HEADER, planned.as_table_rows(), right=right, spare=spare, width=terminal_width()))
    if planned.wall_hours is not None:
        hours = planned.wall_hours
        wall = durations.hours(hours) if hours < 48 else f"{hours / 24:,.0f} days"
        say("", f"Wall clock: about {wall} with {counted(planned.slots, 'parallel run')}.")
    if planned.programs is not None:
        say(f"Programs to compile before that, unless they are kept from an earlier run: {planned.programs}.")
    if planned.claim is not None:
        say(planned.claim.sentence)
    say(*planned.notes)
    return DONE


@command.command("spec")
@spec_options
def spec_(spec: str, **changes: Any) -> int:
    """Print a study's full spec as JSON: save it, edit it, and pass it to `orch study create`.

    Defaults are left out; docs/specs.md lists every key. Nothing is started, and nothing written.
    """
    asked = read(spec, **changes)
    note(*asked.notes)
    text = json.dumps(asked.spec.model_dump(mode="json", exclude_defaults=True), indent=2)
    say(*text.splitlines())
    return DONE


# -- look ------------------------------------------------------------------------------------------------
@command.command("list")
@as_json_option
@server_option
def list_(as_json: bool, server: str | None) -> int:
    """List all studies, with the verdict on the claim of each that has completed."""
    with opened(server) as site:
        rows = site.listed()
    if as_json:
        print_json({"studies": rows})
        return DONE
    if not rows:
        note(f"There are no studies in {site.name}. Create one: orch study create bo-vs-guided")
        return DONE
    cells = [
        (
            row["study"],
            row["status"],
            row.get("answer") or "–",
            f"{row['ended']}/{row['requested']}",
            datetime.fromtimestamp(row["created_at"]).strftime("%Y-%m-%d %H:%M"),
            row["study_id"],
        )
        for row in rows
    ]
    header = ("study", "status", "answer", "ended", "created", "id")
    say(*table(header, cells, right={"ended"}, spare=("id", "created"), width=terminal_width()))
    return DONE


@command.command()
@study_argument
@as_json_option
@server_option
def show(name: str, as_json: bool, server: str | None) -> int:
    """Show the progress of a study, arm by arm."""
    with opened(server) as site:
        study = site.study(name)
        spec = StudySpec.stored(study.spec)
        if not as_json:
            claim = (
                () if spec.claim is None else (f"Claim: {spec.claim.text}", f"Tested: {spec.claim.shows}.")
            )
            say(*filter(None, (spec.question, *claim)))
        _show(site, study, as_json=as_json)
        if not as_json:
            _tell_requests(site, study)
            found = site.charts(study)
            if found is not None:
                say(f"Charts in MLflow: {found}")
    return DONE


def _tell_requests(site: Site, study: StudyRow) -> None:
    for request in site.requests(study):
        at = datetime.fromtimestamp(request.asked_at).strftime("%Y-%m-%d %H:%M:%S")
        answer = "not yet answered" if request.answer is None else request.answer or "done"
        detail = "".join(f" {key} {value}" for key, value in request.detail.items())
        say(f"{at} {request.asked_by} asked to {request.verb}{detail}: {answer}")


def _show(site: Site, study: StudyRow, *, as_json: bool, extra: dict[str, Any] | None = None) -> None:
    view = site.overview(study)
    if as_json:
        print_json({**view.to_dict(), **(extra or {})})
    else:
        show_overview(view)


@command.command()
@study_argument
@as_json_option
@verbose_option
@server_option
def watch(name: str, as_json: bool, verbose: bool, server: str | None) -> int:
    """Follow a study that another process runs, until it ends, is paused or is drained."""
    with opened(server) as site:
        study = site.study(name)
        site.watch(study)
        return show_result(site, site.study(study.study_id), as_json=as_json, verbose=verbose)


# -- steer -----------------------------------------------------------------------------------------------
@command.command()
@study_argument
@as_json_option
@server_option
def pause(name: str, as_json: bool, server: str | None) -> int:
    """Pause a study: running trials save a checkpoint and stop."""
    return _steer(name, "pause", server, as_json=as_json)


@command.command()
@study_argument
@as_json_option
@server_option
def drain(name: str, as_json: bool, server: str | None) -> int:
    """Drain a study: start no more trials, and let running ones end."""
    return _steer(name, "drain", server, as_json=as_json)


@command.command()
@study_argument
@workers_option
@click.option(
    "--no-run", is_flag=True, help="Mark it as resumed without running it; another process can run it."
)
@as_json_option
@verbose_option
@server_option
def resume(
    name: str, workers: int | None, no_run: bool, as_json: bool, verbose: bool, server: str | None
) -> int:
    """Resume a study that was paused or drained, or whose process died."""
    if not server and not no_run:
        needs.require("run")
    with opened(server) as site:
        study = site.study(name)
        site.ask(study, "resume", {})
        if no_run or site.is_led():
            return _answered(site, study, as_json=as_json)
        tell_question(StudySpec.stored(study.spec))
        return site.see_to_the_end(study, workers=workers, as_json=as_json, verbose=verbose)


@command.command()
@study_argument
@as_json_option
@server_option
def cancel(name: str, as_json: bool, server: str | None) -> int:
    """Cancel a study for good: running trials stop, waiting trials are not started."""
    return _steer(name, "cancel", server, as_json=as_json)


def _steer(name: str, verb: str, server: str | None, *, as_json: bool) -> int:
    with opened(server) as site:
        study = site.study(name)
        site.ask(study, verb, {})
        site.let_stop(study)
        return _answered(site, study, as_json=as_json)


@command.command()
@study_argument
@click.option("--seeds", type=click.IntRange(min=1), help="More fresh seeds, for both sides of the claim.")
@click.option("--arm", shell_complete=arms, help="The arm to extend; with --seeds, only this arm gets them.")
@click.option("--trials", type=click.IntRange(min=1), help="More trials of the arm, in each replicate.")
@as_json_option
@server_option
def extend(
    name: str, seeds: int | None, arm: str | None, trials: int | None, as_json: bool, server: str | None
) -> int:
    """Add fresh seeds to the confirmations of a study, or trials to one arm, even if it has ended."""
    if (seeds is None) == (trials is None) or (seeds is None and arm is None):
        raise click.UsageError("Choose what to add: --seeds N, or --arm ARM --trials N.")
    with opened(server) as site:
        study = site.study(name)
        added = more_seeds(StudySpec.stored(study.spec), seeds, arm) if seeds else {str(arm): trials}
        site.ask(study, "extend", added)
        return _answered(site, study, as_json=as_json)


def _answered(site: Site, study: StudyRow, *, as_json: bool) -> int:
    """How the study stands after a request."""
    study = site.study(study.study_id)
    if as_json:
        _show(site, study, as_json=True)
    else:
        say(f"The study {study.name} is {site.overview(study).status}.")
        live = site.running(study)
        if live and study.state is not StudyState.RUNNING:
            what = "go on to their end" if study.state is StudyState.DRAINED else "are still stopping"
            note(f"{live} of its runs {what}.")
    if study.state in HELD:
        note(f"Resume with: orch study resume {study.name}")
    elif study.state is StudyState.RUNNING:
        note(site.hint(study))
    return DONE


@command.command()
@study_argument
@click.option("--yes", is_flag=True, help="Delete it without asking.")
@as_json_option
@server_option
def delete(name: str, yes: bool, as_json: bool, server: str | None) -> int:
    """Delete a study that has ended, and the folders of its runs. It cannot be undone."""
    with opened(server) as site:
        study = site.study(name)
        deletable(study, live=site.running(study) > 0)
        arms = site.overview(study).arms
        trials = sum(sum(line.states.values()) for line in arms)
        attempts = sum(line.attempts for line in arms)
        if not yes:
            _confirm(
                f"{study.name} at {site.name}, {counted(trials, 'trial')} with "
                f"{counted(attempts, 'attempt')}, their reports, and their folders with "
                f"checkpoints, parameters and logs. Reports that were written, and what MLflow has of it, "
                f"stay."
            )
        site.ask(study, "delete", {})
    if as_json:
        told = {"study": study.name, "study_id": study.study_id, "trials": trials, "attempts": attempts}
        print_json({**told, "deleted": True})
    else:
        say(f"The study {study.name} is deleted.")
    return DONE


def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(
            "Deleting cannot be undone, and there is no terminal to ask. Confirm with --yes."
        )
    note(f"To be deleted: {what}")
    if not click.confirm("Delete it for good?", err=True):
        raise MoveRefused("Nothing was deleted.")


# -- export ----------------------------------------------------------------------------------------------
@command.command("export")
@study_argument
@click.option("--to", "form", type=click.Choice(("csv", "json", "optuna")), required=True, help="The form.")
@click.option("--out", type=click.Path(dir_okay=False), help="The file; without it, stdout (not for optuna).")
def export_(name: str, form: str, out: str | None) -> int:
    """Write a study's trials as CSV, as JSON, or as an Optuna storage that optuna-dashboard opens."""
    from orchestrator.readings import exports

    if form == "optuna" and out is None:
        raise click.UsageError("An Optuna storage is a file. Name it: --out FILE.db")
    if form == "optuna" and (lack := extras.lacking("An Optuna storage", ["optuna"])):
        raise MissingPackage(lack)
    with foreground.opened(from_environment(), writing=False) as store:
        store.study(name)
        if form == "optuna":
            exports.to_optuna(store, name, f"sqlite:///{out}")
        elif out is None:
            _write(store, name, form, sys.stdout)
        else:
            folder = Path(out).absolute().parent
            if not folder.is_dir():
                raise BadSpec(f"{out} cannot be written: there is no folder {folder}. Make it first.")
            whole = not os.path.exists(out) or os.path.isfile(out)  # a pipe must not be replaced by a file
            with click.open_file(out, "w", encoding="utf-8", atomic=whole) as file:
                _write(store, name, form, file)
    if out is not None:
        note(f"Written: {out}")
    return DONE


def _write(store: Store, name: str, form: str, file: Any) -> None:
    from orchestrator.readings import exports

    if form == "csv":
        exports.to_csv(store, name, file)
    else:
        json.dump(exports.to_json(store, name), file, indent=1)
        file.write("\n")
