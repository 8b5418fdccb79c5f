"""`orch study …`: create, plan, list, show, watch, pause, resume, cancel, extend, export.

What was found (report, verdict, table) is in `answer.py`.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from orchestrator import service
from orchestrator.checks import programs, require_runnable
from orchestrator.cli import answer, foreground
from orchestrator.cli.asking import as_json_option, read, spec_options, tell_question, workers_option
from orchestrator.cli.progress import shown
from orchestrator.cli.showing import DONE, note, print_json, say, table, terminal_width
from orchestrator.clock import SystemClock
from orchestrator.engine import Tick
from orchestrator.errors import BadSpec, MoveRefused, NameTaken
from orchestrator.ledger import Store
from orchestrator.overview import overview
from orchestrator.records import ENDED, StudyRow, StudyState
from orchestrator.settings import from_environment
from orchestrator.spec import StudySpec

LOOKS_A_LEADER = 10  # so many looks at a study, 2 s, and then one at whether anybody leads


@click.group()
def command() -> None:
    """Create, plan, list, watch and steer studies; see what they found."""


for found in (answer.report_, answer.verdict_, answer.table_):
    command.add_command(found)


# -- create and run --------------------------------------------------------------------------------------
@command.command()
@spec_options
@workers_option
@click.option("--no-run", is_flag=True, help="Write the study down and leave it to others to run.")
def create(
    spec: str, as_json: bool, refuse_above: float | None, workers: int | None, no_run: bool, **changes: Any
) -> int:
    """Create a study and run it to its end. An equal one of that name is attached to, and goes on."""
    settings = from_environment()
    wanted = read(spec, **changes)
    tell_question(wanted)
    if refuse_above is not None:
        _refuse_above(wanted, refuse_above, slots=workers or settings.workers)
    require_runnable(wanted)  # also before a ledger is made for it
    with foreground.opened(settings) as store:
        made = _created(store, wanted)
        study = made.study
        if study.state is StudyState.CANCELLED:
            raise MoveRefused(
                f"The study {study.name} was cancelled and cannot go on. Choose another name with --name."
            )
        if made.attached:
            note(f"The study {study.name} exists with this spec and is {study.state}: attached to it.")
        if study.state is StudyState.PAUSED:
            foreground.wished(store, study, "resume", {})
        extra = {"created": not made.attached, "attached": made.attached}
        if not no_run:
            return foreground.run_here(settings, store, study, workers=workers, as_json=as_json, extra=extra)
        note(f"Not run. Run it with: orch study resume {study.name}")
        _show(store, store.study(study.study_id), as_json=as_json, extra=extra)
        return DONE


def _created(store: Store, wanted: StudySpec) -> service.Created:
    try:
        return service.create(store, wanted, clock=SystemClock())
    except NameTaken as taken:
        there = StudySpec.model_validate(store.study(taken.study_id).spec)
        differ = [key for key in StudySpec.model_fields if getattr(there, key) != getattr(wanted, key)]
        taken.add_note(f"Its spec differs from yours in: {', '.join(differ)}.")
        raise


def _refuse_above(spec: StudySpec, chip_hours: float, *, slots: int) -> None:
    from orchestrator.plan import plan, refuse_above

    refuse_above(plan(spec, slots=slots), chip_hours)


@command.command("plan")
@spec_options
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    help="Runs at a time, for the wall clock; ORCH_WORKERS, or one a core.",
)
def plan_(spec: str, as_json: bool, refuse_above: float | None, slots: int | None, **changes: Any) -> int:
    """Say what a study would run and cost. Nothing is started, and nothing written."""
    from orchestrator.plan import TABLE_HEADER, plan
    from orchestrator.plan import refuse_above as check_cost

    wanted = read(spec, **changes)
    tell_question(wanted)
    require_runnable(wanted)
    planned = plan(wanted, slots=slots or from_environment().workers)
    if refuse_above is not None:
        check_cost(planned, refuse_above)
    if as_json:
        print_json({**planned.to_dict(), "programs": programs(wanted)})
        return DONE
    right = {"runs", "each", "run time", "chip-hours"}
    spare = ("waits for", "method", "phase", "each", "run time")
    say(*table(TABLE_HEADER, planned.as_table_rows(), right=right, spare=spare, width=terminal_width()))
    if planned.wall_hours is not None:
        say("", f"Wall clock: about {_wall(planned.wall_hours)} with {planned.slots} runs at a time.")
    say(f"Programs to compile before that, unless they are kept from an earlier run: {programs(wanted)}.")
    say(*planned.notes)
    return DONE


def _wall(hours: float) -> str:
    from orchestrator.cli.showing import hours as spelt

    return spelt(hours) if hours < 48 else f"{hours / 24:,.0f} days"


# -- look ------------------------------------------------------------------------------------------------
@command.command("list")
@as_json_option
def list_(as_json: bool) -> int:
    """List all studies."""
    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        rows = [_listed(store, study) for study in store.studies()]
    if as_json:
        print_json({"studies": rows})
        return DONE
    if not rows:
        note(f"There are no studies in {settings.home}. Create one: orch study create bo-vs-guided")
        return DONE
    cells = [
        (
            row["study"],
            row["status"],
            f"{row['ended']}/{row['requested']}",
            datetime.fromtimestamp(row["created_at"]).strftime("%Y-%m-%d %H:%M"),
            row["study_id"],
        )
        for row in rows
    ]
    header = ("study", "status", "ended", "created", "id")
    say(*table(header, cells, right={"ended"}, spare=("id", "created"), width=terminal_width()))
    return DONE


def _listed(store: Store, study: StudyRow) -> dict[str, Any]:
    """From counts alone: a list must not grow slow with the trials of its studies."""
    spec = StudySpec.model_validate(study.spec)
    requested = (
        (arm.trials + study.extra_trials.get(arm.name, 0)) * spec.replicates_of(arm) for arm in spec.arms
    )
    ended = sum(n for (_, _, state), n in store.counts(study.study_id).items() if state in ENDED)
    return {
        "study": study.name,
        "study_id": study.study_id,
        "status": study.state,
        "ended": ended,
        "requested": sum(requested),
        "created_at": study.created_at,
    }


@command.command()
@click.argument("name")
@as_json_option
def show(name: str, as_json: bool) -> int:
    """Show how a study stands, arm by arm."""
    with foreground.opened(from_environment(), writing=False) as store:
        study = store.study(name)
        spec = StudySpec.model_validate(study.spec)
        if not as_json:
            say(*filter(None, (spec.question, f"Claim: {spec.claim.text}" if spec.claim else "")))
        _show(store, study, as_json=as_json)
        if not as_json:
            _tell_wishes(store, study)
    return DONE


def _tell_wishes(store: Store, study: StudyRow) -> None:
    for wish in store.wishes(study.study_id):
        at = datetime.fromtimestamp(wish.asked_at).strftime("%Y-%m-%d %H:%M:%S")
        answer = "not yet answered" if wish.answer is None else wish.answer or "done"
        detail = "".join(f" {key} {value}" for key, value in wish.detail.items())
        say(f"{at} {wish.asked_by} asked to {wish.verb}{detail}: {answer}")


def _show(store: Store, study: StudyRow, *, as_json: bool, extra: dict[str, Any] | None = None) -> None:
    view = overview(store, study)
    if as_json:
        print_json({**view.to_dict(), **(extra or {})})
    else:
        foreground.show_overview(view)


@command.command()
@click.argument("name")
@as_json_option
def watch(name: str, as_json: bool) -> int:
    """Follow a study that another process runs, until it ends or is paused."""
    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        study = store.study(name)
        if service.at_rest(store, study.study_id) is None:
            if not foreground.led_by_another(store):  # to watch it would last for ever
                raise MoveRefused(
                    f"No process runs {study.name} now, so there is nothing to watch. "
                    f"Run it with: orch study resume {study.name}"
                )
            with shown(store, study) as progress:
                looks = missed = 0

                def on_tick(tick: Tick) -> None:
                    nonlocal looks, missed
                    progress.update()
                    looks += 1
                    if looks % LOOKS_A_LEADER == 0:
                        missed = 0 if foreground.led_by_another(store) else missed + 1
                    if missed == 2:  # not once: between two leaders there is none for a moment
                        raise MoveRefused(
                            f"The process that ran {study.name} has gone. "
                            f"Go on with: orch study resume {study.name}"
                        )

                service.follow(store, study.study_id, lead=False, on_tick=on_tick)
        return foreground.show_result(settings, store, store.study(study.study_id), as_json=as_json)


# -- steer -----------------------------------------------------------------------------------------------
@command.command()
@click.argument("name")
@as_json_option
def pause(name: str, as_json: bool) -> int:
    """Pause a study: what runs saves a checkpoint and stops."""
    return _steer(name, "pause", as_json=as_json)


@command.command()
@click.argument("name")
@workers_option
@click.option("--no-run", is_flag=True, help="Let it go on, and leave it to others to run.")
@as_json_option
def resume(name: str, workers: int | None, no_run: bool, as_json: bool) -> int:
    """Go on with a study that was paused, or whose process has died."""
    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        study = store.study(name)
        foreground.wished(store, study, "resume", {})
        if no_run or foreground.led_by_another(store):
            return _answered(store, study, as_json=as_json)
        tell_question(StudySpec.model_validate(study.spec))
        return foreground.run_here(settings, store, study, workers=workers, as_json=as_json)


@command.command()
@click.argument("name")
@as_json_option
def cancel(name: str, as_json: bool) -> int:
    """End a study for good: what runs is stopped, what waits is not begun."""
    return _steer(name, "cancel", as_json=as_json)


def _steer(name: str, verb: str, *, as_json: bool) -> int:
    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        study = store.study(name)
        foreground.wished(store, study, verb, {})
        foreground.let_stop(settings, store, study)
        return _answered(store, study, as_json=as_json)


@command.command()
@click.argument("name")
@click.option("--arm", required=True, help="The arm that gets more trials.")
@click.option("--trials", type=click.IntRange(min=1), required=True, help="How many more, in each replicate.")
@as_json_option
def extend(name: str, arm: str, trials: int, as_json: bool) -> int:
    """Add trials to one arm of a study, also of one that has ended."""
    with foreground.opened(from_environment(), writing=False) as store:
        study = store.study(name)
        foreground.wished(store, study, "extend", {arm: trials})
        return _answered(store, study, as_json=as_json)


def _answered(store: Store, study: StudyRow, *, as_json: bool) -> int:
    """How the study stands after a wish."""
    study = store.study(study.study_id)
    if as_json:
        _show(store, study, as_json=True)
    else:
        say(f"The study {study.name} is {study.state}.")
        live = len(store.live_attempts(study.study_id))
        if live and study.state is not StudyState.RUNNING:
            note(f"{live} of its runs are still stopping.")
    if study.state is StudyState.PAUSED:
        note(f"Go on with: orch study resume {study.name}")
    elif study.state is StudyState.RUNNING and foreground.led_by_another(store):
        note(f"Another process runs it. Look with: orch study watch {study.name}")
    elif study.state is StudyState.RUNNING:
        note(f"No process runs it now. Run it with: orch study resume {study.name}")
    return DONE


# -- export ----------------------------------------------------------------------------------------------
@command.command("export")
@click.argument("name")
@click.option("--to", "form", type=click.Choice(("csv", "json", "optuna")), required=True, help="The form.")
@click.option("--out", type=click.Path(dir_okay=False), help="The file; without it, stdout (not for optuna).")
def export_(name: str, form: str, out: str | None) -> int:
    """Write a study's trials as CSV, as JSON, or as an Optuna storage that optuna-dashboard opens."""
    from orchestrator import export

    if form == "optuna" and out is None:
        raise click.UsageError("An Optuna storage is a file. Name it: --out FILE.db")
    with foreground.opened(from_environment(), writing=False) as store:
        store.study(name)
        if form == "optuna":
            export.to_optuna(store, name, f"sqlite:///{out}")
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
    import json

    from orchestrator import export

    if form == "csv":
        export.to_csv(store, name, file)
    else:
        json.dump(export.to_json(store, name), file, indent=1)
        file.write("\n")
