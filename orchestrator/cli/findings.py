"""How does a study's answer look on a terminal? A headline, two values, a small table, what to do next."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.output import clean, say, table, terminal_width
from orchestrator.ground.errors import ServiceLost

if TYPE_CHECKING:
    from dashboards.evidence.tables import Cell, Row, Table

WIDTH = 100  # of sentences, where the terminal is wider or there is none
INDENT = "  "
MOST_ROWS = 6
NARROW = 36  # columns beside a command
MOST_REMARKS = 3
SIGNS = {"supported": ("✓", "green"), "refuted": ("✗", "red"), "failed": ("✗", "red")}
OTHER = ("•", "yellow")
LARGER = {"smoke": "quick", "quick": "laptop"}
BESIDE = ("sooner", "statements", "contradictions", "notes")  # an older service tells none of them
NOTHING: dict[str, Any] = {
    "headline": None, "explanation": None, "verdict": None, "table": None, "report": None,
}  # fmt: skip


@dataclass(frozen=True)
class Conclusion:
    """What was found. `told`: headline, explanation and verdict, as scripts get them; `report`: where it
    lies, if it could be written."""

    study: str
    status: str
    told: dict[str, Any]
    table: Table
    report: str | None


def conclusion_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Headline, explanation, verdict and what stands beside them, as a service told them."""
    names = ("headline", "explanation", "verdict")
    if not answer.keys() >= set(names):
        raise ServiceLost(
            "The service's answer has no headline: it runs an older release of orch than this one. Update "
            "it, or ask it with its own release."
        )
    return {**{name: answer[name] for name in names}, **{name: answer.get(name, []) for name in BESIDE}}


def found(concluded: Conclusion, *, failed: str = "") -> dict[str, Any]:
    """What the object of a study that has ended says beside its costs. Where nothing worked (`failed` says
    why) there is neither verdict nor table."""
    from dashboards.report.answer import table_dict

    return {
        "study": concluded.study,
        "status": concluded.status,
        **concluded.told,
        **({"verdict": None} if failed else {}),
        "table": None if failed else table_dict(concluded.table),
        "report": concluded.report,
    }


# -- the ending ------------------------------------------------------------------------------------------
def tell(concluded: Conclusion, *, summary: str, verbose: bool = False) -> None:
    """The ending of a study of which some run completed: at most 25 lines. `summary`: what it ran; `verbose`:
    what the claim's condition and its controls say, too."""
    head = concluded.told["headline"]
    _title(head, concluded.study, summary)
    say("", *headline_lines(head))
    say("")
    _show_table(concluded.table, head)
    remarks = head["remarks"][:MOST_REMARKS]
    if remarks:
        say("", *(line for remark in remarks for line in _wrapped(f"! {remark}")))
    if verbose:
        _tell_details(concluded.told)
        tell_rules()
    say("")
    if concluded.report is not None:
        click.echo(f"{INDENT}Report  {_link(concluded.report)}")
    say(*_next(concluded))


def _title(head: Mapping[str, Any], study: str, summary: str) -> None:
    sign, colour = SIGNS.get(head["outcome"], OTHER)
    told = click.style(clean(f"{sign} {head['title']}"), fg=colour, bold=True)
    click.echo(f"{told}    {clean(study)}    {clean(summary)}")


def headline_lines(head: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrapped(head["text"])
    if not head["sides"] or not head["n"]:
        return
    from dashboards.evidence.tables import metric_name
    from orchestrator.study.spec import AVERAGE

    mean = f"{AVERAGE} " if head["column"] == AVERAGE else ""
    metric, n, unit = f"{mean}{metric_name(head['metric'])}", head["n"], head["unit"]
    fresh = f"{metric}, {n} {'fresh ' if unit == 'seed' else ''}{unit}{'s' if n != 1 else ''}"
    values = "   ".join(f"{side['label']} {side['mean']:.3g}" for side in head["sides"])
    rows = [
        (fresh, f"{values}     {'lower' if head['lower_is_better'] else 'higher'} is better"),
        ("difference", head["difference"]),
        ("cost of a search", head["cost"]),
    ]
    wide = max(len(what) for what, _ in rows) + 2
    for what, said in rows:
        if said:
            yield from _wrapped(f"{what:<{wide}}{said}", after=" " * (wide + len(INDENT)))


def _wrapped(text: str, *, after: str = INDENT * 2) -> list[str]:
    """Broken between words at the terminal's width, not within "p = .031"; `after`: before each line but the
    first."""
    lines = textwrap.wrap(
        clean(text).replace("p = .", "p\0=\0."),
        min(terminal_width() or WIDTH, WIDTH),
        initial_indent=INDENT,
        subsequent_indent=after,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


def _link(place: str) -> str:
    """A path, or an address, that a terminal opens with a click."""
    file = Path(place)
    local = file.is_absolute()
    shown = str(file.relative_to(Path.cwd())) if local and file.is_relative_to(Path.cwd()) else place
    if not sys.stdout.isatty():
        return clean(shown)
    return f"\033]8;;{clean(file.as_uri() if local else place)}\033\\{clean(shown)}\033]8;;\033\\"


def _next(concluded: Conclusion) -> list[str]:
    """Commands, and what each is for."""
    name = concluded.study
    commands = []
    if going_on := concluded.told["explanation"]["command"]:
        commands.append((going_on, "the missing seeds" if "--seeds" in going_on else ""))
    preset, _, size = name.rpartition("-")
    if size in LARGER and _is_preset(preset):
        commands.append((f"orch study create {preset} --size {LARGER[size]}", "the same, larger"))
    commands += [
        (f"orch study verdict {name}", "why, controls and rules"),
        ("orch ui", "curves in MLflow"),
    ]
    wide = max(len(command) for command, _ in commands)
    narrow = (terminal_width() or WIDTH) < wide + NARROW  # then what each is for is left out
    return [
        f"{INDENT}{'Next' if i == 0 else '    '}    {command:<{wide}}    {'' if narrow else what}".rstrip()
        for i, (command, what) in enumerate(commands)
    ]


def _is_preset(name: str) -> bool:
    from studies import catalog

    return name in catalog.names()


# -- its table -------------------------------------------------------------------------------------------
def _show_table(made: Table, head: Mapping[str, Any]) -> None:
    from dashboards.evidence.tables import best_in, column_name, metric_name

    if made.by_column:
        _show_average(made, head)
        return
    columns = sorted(made.columns, key=lambda column: column != head["column"])
    shown = _rows_shown(made, head)
    papers = made.paper is not None and any(row.cells[0].paper is not None for row in shown)
    names = [column_name(column) or "value" for column in columns]
    sped = made.speedup_in == head["column"]
    names += ["S"] if sped else []
    header = (metric_name(made.metric), "search", "trials", *names, *(("paper",) if papers else ()))
    grid = []
    for row in shown:
        cells = {cell.column: cell for cell in row.cells}
        texts = [short_cell(cells[column], made.decimals) for column in columns]
        texts += [_speedup(row, columns[0])] if sped else []
        grid.append([*_first(row), *texts, *([_papers(row, columns[0])] if papers else [])])
    best = best_in(made, columns[0])
    lines = table(
        header,
        grid,
        right=set(header[1:]),
        width=(terminal_width() or WIDTH) - len(INDENT),
        spare=_spare(header, columns),
    )
    for i, line in enumerate(lines):
        text = clean(f"{INDENT}{line}")
        if i > 0 and shown[i - 1].name == best:
            value = grid[i - 1][3]
            text = text.replace(value, click.style(value, bold=True), 1)
        click.echo(text)
    _tell_notes(made, shown)


def _show_average(made: Table, head: Mapping[str, Any]) -> None:
    """A line for each column, with the average last: there may be many."""
    from dashboards.evidence.tables import column_name, metric_name

    shown = _rows_shown(made, head)
    header = (metric_name(made.metric), *(row.name for row in shown))
    grid = [
        [column_name(column), *(short_cell(row.cells[i], made.decimals) for row in shown)]
        for i, column in enumerate(made.columns)
    ]
    width = (terminal_width() or WIDTH) - len(INDENT)
    spare = [row.name for row in shown if row.phase == "control"][::-1]
    for line in table(header, grid, right=set(header[1:]), width=width, spare=spare):
        click.echo(clean(f"{INDENT}{line}"))
    _tell_notes(made, shown)


def _tell_notes(made: Table, shown: Sequence[Row]) -> None:
    hidden = len(made.rows) - len(shown)
    few = any(0 < cell.n < 3 for row in shown for cell in row.cells)
    notes = (
        [f"{hidden} more row{'s' if hidden != 1 else ''}: orch study table {made.study}."] if hidden else []
    )
    notes += (
        ["* not run again on fresh seeds."]
        if any(c.source == "search" for r in shown for c in r.cells)
        else []
    )
    notes += ["No ±: fewer than 3 seeds."] if few else []
    say(*(_wrapped(" ".join(notes)) if notes else ()))


def _spare(header: tuple[str, ...], columns: list[str]) -> list[str]:
    """What is left out first on a narrow terminal: the paper, time, trials, then columns but the claim's."""
    last = [name for name in ("paper", "search", "trials") if name in header]
    return [*last, *(["S"] if "S" in header else []), *list(header[4 : 3 + len(columns)])[::-1]]


def _rows_shown(made: Table, head: Mapping[str, Any]) -> list[Row]:
    """The claim's rows and the best one, then those of the search, in the table's order."""
    from dashboards.evidence.tables import best_in
    from dashboards.evidence.wording import label

    sides = {side["label"] for side in head["sides"]}
    best = best_in(made, head["column"])
    wanted = [i for i, row in enumerate(made.rows) if label(row.name) in sides or row.name == best]
    wanted += [i for i, row in enumerate(made.rows) if i not in wanted and row.phase == "search"]
    return [made.rows[i] for i in sorted(wanted[:MOST_ROWS])]


def _first(row: Row) -> list[str]:
    from dashboards.evidence.tables import runs_text
    from orchestrator.ground.durations import hours

    return [row.name, hours(row.hours), runs_text(row)]


def short_cell(cell: Cell, decimals: int) -> str:
    """92.0 ± 1.0."""
    from dashboards.evidence.tables import number_text, value_text

    if cell.interval is None or cell.value is None:
        return value_text(cell, decimals)
    half = max(cell.value - cell.interval.low, cell.interval.high - cell.value)
    return f"{value_text(cell, decimals)} ± {number_text(half, decimals)}"


def _speedup(row: Row, column: str) -> str:
    """Without its interval, which the whole table has."""
    known = next(cell.speedup for cell in row.cells if cell.column == column)
    return "–" if known is None else known.of_run.shown


def _papers(row: Row, column: str) -> str:
    cell = next(cell for cell in row.cells if cell.column == column)
    return "–" if cell.paper is None else f"{cell.paper:.1f}"


# -- the whole verdict -----------------------------------------------------------------------------------
def table_lines(made: Table) -> Iterator[str]:
    from dashboards.evidence import table_forms, tables

    for i, each in enumerate(tables.in_full(made)):
        header, grid = table_forms.header(each), table_forms.grid(each)
        theirs = tuple(name for name in header if name.startswith("paper "))
        yield from ([""] if i else [])
        yield table_forms.title(each)
        yield from table(header, grid, right=set(header[1:]), spare=theirs, width=terminal_width())
        yield from each.notes


def tell_verdict(told: Mapping[str, Any], study: str, status: str, *, verbose: bool = False) -> None:
    """The headline, why, and what the claim, its condition and its controls say."""
    _title(told["headline"], study, status)
    say("", *headline_lines(told["headline"]))
    say("", *_wrapped(told["explanation"]["text"]))
    if told["explanation"]["command"]:
        say(f"{INDENT}Next    {told['explanation']['command']}")
    _tell_details(told)
    if verbose:
        tell_rules()


def tell_rules() -> None:
    from dashboards.report.pages import rules

    say("", *(line for rule in rules() for line in _wrapped(rule)))


def _tell_details(told: Mapping[str, Any]) -> None:
    details = list(detail_lines(told["verdict"], gain=told["headline"]["gain"]))
    details += beside_lines(told)
    say(*(["", *(line for each in details for line in _wrapped(each))] if details else ()))


def beside_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The paper's statements on pretraining; of another study after how many steps its challenger had base's
    last loss."""
    for each in told["statements"]:
        yield f"Paper, {each['where']}: {each['paper']} Here: {each['ours']} {each['judgement']}"
    yield from told["notes"]
    if told["statements"]:
        yield from (f"Note on the paper: {each}" for each in told["contradictions"])
        return
    from dashboards.evidence.wording import label

    head = told["headline"]
    challenger = [side["label"] for side in head["sides"][:1]]
    for each in told["sooner"]:
        if each["column"] == head["column"] and label(each["row"]) in challenger:
            yield each["sentence"]


def detail_lines(judged: Mapping[str, Any], *, gain: bool) -> Iterator[str]:
    """The claim and its condition; the controls where there is a gain that they could explain."""
    from dashboards.evidence.wording import NOT_NEEDED

    if judged["claim"]:
        yield f"Claim: {judged['claim']}"
    if judged["at_least"] is not None:
        yield from (f"In {cell['column']}: {cell['sentence']}" for cell in judged["cells"])
    if judged["condition"]:
        yield judged["condition"]
    if not gain and not judged.get("average") and (judged["controls"] or judged["controls_not_run"]):
        yield NOT_NEEDED
        return
    for control in judged["controls"]:
        yield f"Control ({control['says']}): {control['sentence']}"
    if judged["controls_not_run"]:
        yield f"Controls not run: {', '.join(judged['controls_not_run'])}."
    if judged.get("average"):  # the table has them, and how many are better is told
        return
    for column in judged["columns"][1:]:
        yield f"In {column['column']}: {column['sentence']}"
