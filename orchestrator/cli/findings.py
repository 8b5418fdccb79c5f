"""How is what was found told? The table in the paper's shape, the verdict, the report's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import say, table, terminal_width

if TYPE_CHECKING:
    from dashboards.evidence.tables import Table


@dataclass(frozen=True)
class Conclusion:
    """What was found. `verdict` is as scripts get it; `report`: where it lies, if it could be written."""

    study: str
    status: str
    verdict: dict[str, Any]
    table: Table
    report: str | None


NOTHING: dict[str, Any] = {"verdict": None, "table": None, "report": None}


def found(concluded: Conclusion, *, failed: str = "") -> dict[str, Any]:
    """What the object of a study that has ended says beside its costs: verdict, table and report. Where
    nothing worked (`failed` says why) there is neither verdict nor table."""
    from dashboards.report.answer import table_dict

    return {
        "study": concluded.study,
        "status": concluded.status,
        "verdict": None if failed else concluded.verdict,
        "table": None if failed else table_dict(concluded.table),
        "report": concluded.report,
    }


def tell(concluded: Conclusion) -> None:
    """The same for a person: the table in the paper's shape, the verdict, the report's place."""
    say("", *table_lines(concluded.table), "", *verdict_lines(concluded.verdict, study=concluded.study))
    if concluded.report is not None:
        say("", f"Report: {concluded.report}")


def table_lines(made: Table) -> Iterator[str]:
    from dashboards.evidence import tables

    header = tables.header(made)
    theirs = tuple(name for name in header if name.startswith("paper "))
    yield tables.title(made)
    yield from table(header, tables.grid(made), right=set(header[1:]), spare=theirs, width=terminal_width())
    yield from made.notes


def verdict_lines(judged: Mapping[str, Any], *, study: str = "") -> Iterator[str]:
    """`study`: its name, for the command that adds what is still needed."""
    yield f"Verdict: {judged['answer']}. {judged['why']}"
    if judged["claim"]:
        yield f"Claim: {judged['claim']}"
    if judged["cost_ratio"] is not None:
        limit = "" if judged["cost_limit"] is None else f"; the claim allows {judged['cost_limit']:g}"
        by = judged.get("cost_by") or "chip-hours"  # of an older service
        yield f"Cost: {judged['cost_ratio']:.3g} of the incumbent's, by {by}{limit}."
    if judged["condition"]:
        yield judged["condition"]
    if judged["answer"] == "undecided" and judged["contrast"] is not None and judged["more_needed"] != 0:
        more = "over 1,000" if judged["more_needed"] is None else f"{judged['more_needed']}"
        yield f"Still needed: {more} more {judged['contrast']['unit']}s."
        if study and judged["more_needed"] is not None and judged["contrast"]["unit"] == "seed":
            yield f"To add them: orch study extend {study} --seeds {more}, then orch study resume {study}"
    for control in judged["controls"]:
        yield f"Control ({control['says']}): {control['sentence']}"
    if judged["controls_not_run"]:
        yield f"Controls not run: {', '.join(judged['controls_not_run'])}."
    for column in judged["columns"][1:]:
        yield f"In {column['column']}: {column['sentence']}"
