"""`orch study report|verdict|table`: what was found."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import needs
from orchestrator.cli.completion import study_argument
from orchestrator.cli.findings import found, table_lines, tell_verdict
from orchestrator.cli.opening import opened, server_option
from orchestrator.cli.output import DONE, NO_RESULT, note, print_json, say, summary
from orchestrator.cli.spec_options import as_json_option
from orchestrator.ground.settings import from_environment

FORMS = ("text", "md", "latex", "csv")


@click.command("report")
@study_argument
@click.option("--out", type=click.Path(file_okay=False), help="The folder (default: ORCH_HOME/reports/NAME).")
@click.option(
    "--slots",
    type=click.IntRange(1, 1024),
    help="Parallel runs, for the wall-clock time (default: ORCH_WORKERS, else one per core).",
)
@as_json_option
@server_option
def report_(name: str, out: str | None, slots: int | None, as_json: bool, server: str | None) -> int:
    """Write the report: one HTML file that needs no network, Markdown, and tables. Also before the end."""
    if not server:
        needs.require("report")
    with opened(server) as site:
        study = site.study(name)
        folder = Path(out) if out else from_environment().reports / study.name
        concluded = site.report(study, folder, slots=slots)
        failure = site.overview(study).failure
    if as_json:
        print_json(found(concluded, failed=failure))
        return DONE
    say(concluded.report or "")
    note(failure or f"{concluded.told['headline']['title']}. {concluded.told['headline']['text']}")
    return DONE


@click.command("verdict")
@study_argument
@as_json_option
@click.option("--verbose", is_flag=True, help="Also print the rules of the verdict.")
@server_option
def verdict_(name: str, as_json: bool, verbose: bool, server: str | None) -> int:
    """Show whether the claim is supported, why, what would change that, and the controls."""
    with opened(server) as site:
        study = site.study(name)
        told, view = site.verdict(study), site.overview(study)
    if as_json:
        print_json({"study": study.name, "status": view.status, **told})
    elif view.failure:
        say(summary(view))
        return NO_RESULT
    else:
        tell_verdict(told, study.name, view.status, verbose=verbose)
    return DONE


@click.command("table")
@study_argument
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="text", show_default=True, help="The form."
)
@click.option(
    "--metric",
    help="The metric to print (default: test BLEU or test score if known, else the objective).",
)
@as_json_option
@server_option
def table_(name: str, form: str, metric: str | None, as_json: bool, server: str | None) -> int:
    """Print the results in the layout of the paper's table, next to the paper's numbers."""
    from dashboards.evidence import csv_tables, latex, table_forms
    from dashboards.report.answer import table_dict

    with opened(server) as site:
        study = site.study(name)
        made, view = site.table(study, metric=metric), site.overview(study)
    if as_json:
        print_json({"study": study.name, "status": view.status, "table": table_dict(made)})
    elif view.failure:
        note(summary(view))
        return NO_RESULT
    elif form == "text":
        say(*table_lines(made))
    else:
        written = {"md": table_forms.to_markdown, "latex": latex.to_latex, "csv": csv_tables.to_csv}[form](
            made
        )
        click.echo(written, nl=False)
    return DONE
