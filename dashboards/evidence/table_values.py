"""How are the numbers of a table told to scripts, and made a table of again?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.evidence import speedup, stats
from dashboards.evidence.tables import Cell, Row, Table, decimals_of, runs_text
from orchestrator.ground.errors import ServiceLost

RUNS = ("runs_low", "runs_high")  # the ends of `runs` as numbers


def to_dicts(made: Table, *, values: bool = False) -> list[Mapping[str, Any]]:
    """One object for each cell: what scripts get. `values`: with all that `from_dict` needs."""
    return [
        {
            "row": row.name,
            "column": cell.column,
            "arm": cell.arm,
            "phase": row.phase,
            "runs": runs_text(row),
            "run_hours": row.hours,
            "metric": made.metric,
            "value": cell.value,
            "low": cell.interval.low if cell.interval else None,
            "high": cell.interval.high if cell.interval else None,
            "n": cell.n,
            "source": cell.source,
            "diverged": cell.diverged,
            "paper_value": cell.paper,
            "paper_run_hours": row.paper_hours,
            "paper_runs": row.paper_runs,
            "best": cell.best,
            "paper_best": cell.paper_best,
            "speedup": cell.speedup and cell.speedup.to_dict(),
            **({**dict(zip(RUNS, row.runs, strict=True)), "values": list(cell.values)} if values else {}),
        }
        for row in made.rows
        for cell in row.cells
    ]


def from_dict(study: str, told: Mapping[str, Any]) -> Table:
    """The table again, from its values (`report.table_dict`): to be written in any form."""
    by_row: dict[str, list[Mapping[str, Any]]] = {}
    for cell in told["cells"]:
        by_row.setdefault(cell["row"], []).append(cell)
    rows = tuple(_row_again(cells) for cells in by_row.values())
    return Table(
        study=study,
        metric=told["metric"],
        lower_is_better=told["lower_is_better"],
        decimals=decimals_of(told["metric"], rows),
        columns=tuple(told["columns"]),
        rows=rows,
        paper=told["paper"],
        notes=tuple(told["notes"]),
        speedup_in=told.get("speedup_in"),
        averaged=told.get("averaged", False),
        paper_best=told.get("paper_best"),
    )


def _row_again(cells: Sequence[Mapping[str, Any]]) -> Row:
    first = cells[0]
    if not first.keys() >= set(RUNS):
        raise ServiceLost(
            f"The service's tables lack {' and '.join(RUNS)}: it runs an older release of orch than this "
            f"one. Update it, or ask it with its own release."
        )
    return Row(
        name=first["row"],
        phase=first["phase"],
        hours=first["run_hours"],
        runs=(first["runs_low"], first["runs_high"]),
        cells=tuple(map(_cell_again, cells)),
        paper_hours=first["paper_run_hours"],
        paper_runs=first["paper_runs"],
    )


def _cell_again(cell: Mapping[str, Any]) -> Cell:
    within = None if cell["low"] is None else stats.Interval(cell["low"], cell["high"])
    told = cell.get("speedup")  # an older service knows of none
    return Cell(
        column=cell["column"],
        arm=cell["arm"],
        value=cell["value"],
        interval=within,
        n=cell["n"],
        source=cell["source"],
        diverged=cell["diverged"],
        paper=cell["paper_value"],
        values=tuple(cell.get("values", ())),
        speedup=told and speedup.from_dict(cell["row"], cell["column"], told),
        best=cell.get("best"),
        paper_best=cell.get("paper_best"),
    )
