"""How is a table written as text: for a terminal, or in Markdown?"""

from __future__ import annotations

from dashboards.evidence.tables import Cell, Row, Table, cell_text, column_name, one_line
from dashboards.evidence.tables import in_full as in_full
from dashboards.evidence.tables import runs_text as runs_text
from dashboards.evidence.tables import spread_text as spread_text
from dashboards.evidence.tables import value_text as value_text
from orchestrator.ground import durations


def speedup_header(made: Table) -> list[str]:
    """S, and of which column where there are several; nothing in a table without speed-ups."""
    if made.speedup_in is None:
        return []
    return ["S" if len(made.columns) == 1 else f"S, {column_name(made.speedup_in)}"]


def speedup_texts(made: Table, row: Row) -> list[str]:
    if made.speedup_in is None:
        return []
    (known,) = (cell.speedup for cell in row.cells if cell.column == made.speedup_in)
    return ["–" if known is None else known.of_run.words]


def paper_texts(row: Row) -> list[str]:
    """Time, runs and the cells as the paper prints them."""
    time = "" if row.paper_hours is None else durations.hours(row.paper_hours)
    return [
        time,
        "" if row.paper_runs is None else f"{row.paper_runs}",
        *(papers_text(cell) for cell in row.cells),
    ]


def papers_text(cell: Cell) -> str:
    return "" if cell.paper is None else f"{cell.paper:.1f}"


def papers_rows(made: Table) -> list[Row]:
    """The rows that the paper has too."""
    if made.paper is None:
        return []
    return [row for row in made.rows if any(cell.paper is not None for cell in row.cells)]


def time_text(row: Row) -> str:
    """Of a row that no run makes there is none."""
    return durations.hours(row.hours) if row.runs[1] else "–"


def header(made: Table) -> list[str]:
    if made.by_column:  # the columns are lines: there are many
        return ["", *(row.name for row in made.rows), *(f"paper {row.name}" for row in papers_rows(made))]
    names = [column_name(column) or made.metric for column in made.columns]
    ours = ["", *(() if made.best else ("time", "# runs")), *names, *speedup_header(made)]
    return ours + [f"paper {name}".rstrip() for name in ("time", "runs", *names)] if made.paper else ours


def grid(made: Table) -> list[list[str]]:
    """The rows as text, for a terminal or Markdown; or a line for each column."""
    if made.by_column:
        lines = [
            [
                column_name(column),
                *(cell_text(row.cells[i], made.decimals) for row in made.rows),
                *(papers_text(row.cells[i]) for row in papers_rows(made)),
            ]
            for i, column in enumerate(made.columns)
        ]
        none = [""] * len(papers_rows(made))
        cost = [["time", *map(time_text, made.rows), *none], ["# runs", *map(runs_text, made.rows), *none]]
        return lines if made.best else lines + cost
    return [
        [
            row.name,
            *(() if made.best else (time_text(row), runs_text(row))),
            *(cell_text(cell, made.decimals) for cell in row.cells),
            *speedup_texts(made, row),
            *(paper_texts(row) if made.paper else ()),
        ]
        for row in made.rows
    ]


def title(made: Table) -> str:
    beside = f", next to the paper's {made.paper}" if made.paper else ""
    best = "best " if made.best else ""
    return f"{made.study}: {best}{made.metric}{beside}"


def to_markdown(made: Table) -> str:
    return "\n".join(map(_markdown, in_full(made)))


def _markdown(made: Table) -> str:
    lines = [header(made), ["---", *["---:"] * (len(header(made)) - 1)], *grid(made)]
    text = [f"**{one_line(title(made))}**", ""]
    text += ["| " + " | ".join(map(one_line, line)) + " |" for line in lines]
    return "\n".join([*text, "", *(f"{one_line(note)}  " for note in made.notes)]).rstrip() + "\n"
