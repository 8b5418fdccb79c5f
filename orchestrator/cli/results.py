"""`orch study report|verdict|table`, and the end of a study in the foreground: what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output import DONE, note, print_json, say, table, terminal_width
from orchestrator.cli.target import Conclusion, opened, server_option
from orchestrator.ground.settings import from_environment

if TYPE_CHECKING:
    from dashboards.evidence.tables import Table

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
@server_option
def report_(name: str, out: str | None, slots: int | None, as_json: bool, server: str | None) -> int:
    """Write the whole answer: one HTML file that needs no network, Markdown, tables. Also before the end."""
    with opened(server) as place:
        study = place.study(name)
        folder = Path(out) if out else from_environment().reports / study.name
        concluded = place.report(study, folder, slots=slots)
    if as_json:
        print_json(found(concluded))
    else:
        say(concluded.report or "")
        note(f"{concluded.verdict['answer'].capitalize()}. {concluded.verdict['why']}")
    return DONE


@click.command("verdict")
@click.argument("name")
@as_json_option
@server_option
def verdict_(name: str, as_json: bool, server: str | None) -> int:
    """Say whether the registered claim is supported, refuted or undecided, and what would decide it."""
    with opened(server) as place:
        study = place.study(name)
        judged = place.verdict(study)
    if as_json:
        print_json({"study": study.name, "status": study.state, "verdict": judged})
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
@server_option
def table_(name: str, form: str, metric: str | None, as_json: bool, server: str | None) -> int:
    """Print the results in the shape of the paper's table, its numbers beside them."""
    from dashboards.evidence import tables
    from dashboards.report.answer import table_dict

    with opened(server) as place:
        study = place.study(name)
        made = place.table(study, metric=metric)
    if as_json:
        print_json({"study": study.name, "status": study.state, "table": table_dict(made)})
    elif form == "text":
        say(*table_lines(made))
    else:
        written = {"md": tables.to_markdown, "latex": tables.to_latex, "csv": tables.to_csv}[form](made)
        click.echo(written, nl=False)
    return DONE


# -- the end of a study ----------------------------------------------------------------------------------
def found(concluded: Conclusion) -> dict[str, Any]:
    """What the object of a study that has ended says beside its costs: verdict, table and report."""
    from dashboards.report.answer import table_dict

    return {
        "study": concluded.study,
        "status": concluded.status,
        "verdict": concluded.verdict,
        "table": table_dict(concluded.table),
        "report": concluded.report,
    }


def tell(concluded: Conclusion) -> None:
    """The same for a person: the table in the paper's shape, the verdict, the report's place."""
    say("", *table_lines(concluded.table), "", *verdict_lines(concluded.verdict))
    if concluded.report is not None:
        say("", f"Report: {concluded.report}")


def table_lines(made: Table) -> Iterator[str]:
    from dashboards.evidence import tables

    header = tables.header(made)
    theirs = tuple(name for name in header if name.startswith("paper "))
    yield tables.title(made)
    yield from table(header, tables.grid(made), right=set(header[1:]), spare=theirs, width=terminal_width())
    yield from made.notes


def verdict_lines(judged: Mapping[str, Any]) -> Iterator[str]:
    yield f"Verdict: {judged['answer']}. {judged['why']}"
    if judged["claim"]:
        yield f"Claim: {judged['claim']}"
    if judged["cost_ratio"] is not None:
        limit = "" if judged["cost_limit"] is None else f"; the claim allows {judged['cost_limit']:g}"
        yield f"Cost: {judged['cost_ratio']:.3g} of the incumbent's chip-hours{limit}."
    if judged["condition"]:
        yield judged["condition"]
    if judged["answer"] == "undecided" and judged["contrast"] is not None and judged["more_needed"] != 0:
        more = "over 1,000" if judged["more_needed"] is None else f"{judged['more_needed']}"
        yield f"Still needed: {more} more {judged['contrast']['unit']}s."
    for control in judged["controls"]:
        yield f"Control ({control['says']}): {control['sentence']}"
    if judged["controls_not_run"]:
        yield f"Controls not run: {', '.join(judged['controls_not_run'])}."
    for column in judged["columns"][1:]:
        yield f"In {column['column']}: {column['sentence']}"
