"""`orch study report|verdict|table`, and the end of a study in the foreground: what was found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import foreground
from orchestrator.cli.showing import DONE, note, print_json, say, table, terminal_width
from orchestrator.ledger import Store
from orchestrator.records import StudyRow
from orchestrator.settings import Settings, from_environment

if TYPE_CHECKING:
    from dashboards.report import Answer
    from dashboards.tables import Table
    from dashboards.verdict import Verdict

FORMS = ("text", "md", "latex", "csv")
NOTHING: dict[str, Any] = {"verdict": None, "table": None, "report": None}

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout."
)


@click.command("report")
@click.argument("name")
@click.option(
    "--out", type=click.Path(file_okay=False), help="The folder; ORCH_HOME/reports/NAME unless told."
)
@click.option(
    "--slots",
    type=click.IntRange(1, 1024),
    help="For the wall clock: runs at a time; ORCH_WORKERS, or one a core.",
)
@as_json_option
def report_(name: str, out: str | None, slots: int | None, as_json: bool) -> int:
    """Write the whole answer: one HTML file that needs no network, Markdown, tables. Also before the end."""
    from dashboards import report

    settings = from_environment()
    with foreground.opened(settings, writing=False) as store:
        study = store.study(name)
        answer = report.gather(store, study.study_id, slots=slots or settings.workers, runs=settings.runs)
        path = report.write(answer, Path(out) if out else folder_of(settings, study))
    if as_json:
        print_json(_found(answer, path))
    else:
        say(str(path))
        note(f"{answer.verdict.answer.capitalize()}. {answer.verdict.why}")
    return DONE


@click.command("verdict")
@click.argument("name")
@as_json_option
def verdict_(name: str, as_json: bool) -> int:
    """Say whether the registered claim is supported, refuted or undecided, and what would decide it."""
    from dashboards import frames, verdict
    from dashboards.report import verdict_dict

    with foreground.opened(from_environment(), writing=False) as store:
        frame = frames.read(store, name)
    judged = verdict.judge(frame)
    if as_json:
        print_json({"study": frame.spec.name, "status": frame.state, "verdict": verdict_dict(judged)})
    else:
        say(*verdict_lines(judged))
    return DONE


@click.command("table")
@click.argument("name")
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="text", show_default=True, help="The form."
)
@click.option("--metric", help="Of the numbers; test BLEU if it was scored, else the objective.")
@as_json_option
def table_(name: str, form: str, metric: str | None, as_json: bool) -> int:
    """Print the results in the shape of the paper's table, its numbers beside them."""
    from dashboards import frames, tables
    from dashboards.report import table_dict

    with foreground.opened(from_environment(), writing=False) as store:
        frame = frames.read(store, name)
    made = tables.table(frame, metric=_known(frames.metrics(frame), metric))
    if as_json:
        print_json({"study": frame.spec.name, "status": frame.state, "table": table_dict(made)})
    elif form == "text":
        say(*table_lines(made))
    else:
        written = {"md": tables.to_markdown, "latex": tables.to_latex, "csv": tables.to_csv}[form](made)
        click.echo(written, nl=False)
    return DONE


def _known(metrics: set[str], metric: str | None) -> str | None:
    if metric is not None and metric not in metrics:
        allowed = ", ".join(sorted(metrics)) or "none yet"
        raise click.UsageError(f"No run reported {metric[:60]!r}. Reported: {allowed}.")
    return metric


def folder_of(settings: Settings, study: StudyRow) -> Path:
    return settings.home / "reports" / study.name


# -- the end of a study in the foreground ----------------------------------------------------------------
def conclude(settings: Settings, store: Store, study: StudyRow) -> tuple[Answer, Path | None]:
    """The answer of a study that has ended, and where its report lies. A full disk takes no result away."""
    from dashboards import report

    answer = report.gather(store, study.study_id, slots=settings.workers, runs=settings.runs)
    try:
        return answer, report.write(answer, folder_of(settings, study))
    except OSError as problem:
        note(
            f"The report could not be written: {problem.strerror or problem}. Once that is mended: "
            f"orch study report {study.name}"
        )
        return answer, None


def found(settings: Settings, store: Store, study: StudyRow) -> dict[str, Any]:
    """What the object of a study that has ended says beside its costs: verdict, table and report."""
    return _found(*conclude(settings, store, study))


def told(settings: Settings, store: Store, study: StudyRow) -> None:
    """The same for a person: the table in the paper's shape, the verdict, the report's path."""
    answer, path = conclude(settings, store, study)
    say("", *table_lines(answer.tables[0]), "", *verdict_lines(answer.verdict))
    if path is not None:
        say("", f"Report: {path}")


def _found(answer: Answer, path: Path | None) -> dict[str, Any]:
    from dashboards import report

    return {
        "study": answer.frame.spec.name,
        "status": answer.frame.state,
        "verdict": report.verdict_dict(answer.verdict),
        "table": report.table_dict(answer.tables[0]),
        "report": None if path is None else str(path),
    }


def table_lines(made: Table) -> Iterator[str]:
    from dashboards import tables

    header = tables.header(made)
    theirs = tuple(name for name in header if name.startswith("paper "))
    yield tables.title(made)
    yield from table(header, tables.grid(made), right=set(header[1:]), spare=theirs, width=terminal_width())
    yield from made.notes


def verdict_lines(judged: Verdict) -> Iterator[str]:
    yield f"Verdict: {judged.answer}. {judged.why}"
    if judged.claim:
        yield f"Claim: {judged.claim}"
    if judged.cost_ratio is not None:
        limit = "" if judged.cost_limit is None else f"; the claim allows {judged.cost_limit:g}"
        yield f"Cost: {judged.cost_ratio:.3g} of the incumbent's chip-hours{limit}."
    if judged.answer == "undecided" and judged.contrast is not None:
        more = "over 1,000" if judged.more_needed is None else f"{judged.more_needed}"
        yield f"Still needed: {more} more {judged.contrast.unit}s."
    for control in judged.controls:
        yield f"Control ({control.says}): {control.sentence}"
    if judged.controls_not_run:
        yield f"Controls not run: {', '.join(judged.controls_not_run)}."
    for column in judged.columns[1:]:
        yield f"In {column.column}: {column.sentence}"
