"""How is a table written for a spreadsheet?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from dashboards.evidence.table_values import to_dicts
from dashboards.evidence.tables import Table
from orchestrator.readings.exports import FORMULA_STARTS

SPEEDUP = ("speedup", "speedup_low", "speedup_high", "speedup_side", "speedup_cost")
CSV_HEADER = (
    "row", "column", "arm", "phase", "runs", "run_hours", "metric", "value", "low", "high", "n", "source",
    "diverged", "paper_value", "paper_run_hours", "paper_runs", *SPEEDUP, "best", "paper_best",
)  # fmt: skip


def to_csv(made: Table) -> str:
    """A line for each cell, numbers in full."""
    of_run = ("value", "low", "high", "side", "cost")
    lines = [
        {**cell, **{name: (cell["speedup"] or {}).get(of) for name, of in zip(SPEEDUP, of_run, strict=True)}}
        for cell in to_dicts(made)
    ]
    return csv_text(CSV_HEADER, lines)


def csv_text(header: Sequence[str], lines: Iterable[Mapping[str, object]]) -> str:
    """These names of each line; what is None is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        writer.writerow(["" if v is None else csv_value(v) for v in (line[name] for name in header)])
    return file.getvalue()


def csv_value(value: object) -> object:
    """A text that a spreadsheet would run gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
