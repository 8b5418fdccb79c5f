"""How are numbers, times and addresses spelt on the live page? Filters over those of the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from dashboards.evidence.tables import column_name
from dashboards.evidence.wording import minus
from dashboards.report.figures import Figure
from dashboards.web.study import wasted_hours
from orchestrator.ground.durations import hours, stopwatch
from orchestrator.ledger.costs import run_hours
from orchestrator.readings.overview import commit_of
from orchestrator.study.space import Value, value_text


def filters() -> dict[str, Callable[..., Any]]:
    return {
        "duration": duration,
        "digits": digits,
        "spent": spent,
        "point": point,
        "iso": iso,
        "minute": minute,
        "stopwatch": stopwatch,
        "left": left,
        "path": lambda text: quote(str(text), safe=""),
        "hours": lambda trial: run_hours(trial.charged),
        "clock_hours": run_hours,
        "wasted": wasted_hours,
        "commit": lambda attempt: commit_of(attempt) or "–",
        "file_name": lambda text: str(text).rstrip("/").rpartition("/")[2],
        "pretty": lambda data: json.dumps(data, indent=1, ensure_ascii=False),
        "panels": panels,
    }


def digits(value: float | None) -> str:
    """Five digits, all of them shown, so that a column of losses is aligned."""
    if value is None or not math.isfinite(value):
        return "–"
    return minus(f"{value:#.5g}".removesuffix("."))


def spent(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}" if value else "0"


def duration(hours: float) -> str:
    """7.10 h, 25.0 min, 1.80 s: three digits, all shown."""
    for unit, each in (("h", 1.0), ("min", 60.0)):
        if hours * each >= 1:
            return f"{spent(hours * each)} {unit}"
    return f"{spent(hours * 3600)} s"


def left(seconds: float) -> str:
    """Until the end, as a person says it: 40 s, 19 min, 2.5 h."""
    return f"{seconds / 60:.0f} min" if 90 <= seconds < 5400 else hours(round(seconds) / 3600)


def point(values: Mapping[str, Value]) -> str:
    """optimizer.alpha 1.6 as α 1.6: the last word of a path says enough beside its arm."""
    named = ((column_name(path.rpartition(".")[2]), value) for path, value in values.items())
    return ", ".join(f"{name} {value_text(value)}" for name, value in named) or "–"


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def minute(at: float) -> str:
    """As it stands before the page's script has set it in the reader's own time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def panels(figures: Iterable[Figure]) -> dict[str, list[Mapping[str, Any]]]:
    """What the script draws, by figure."""
    return {figure.key: [plot.figure for plot in figure.plots] for figure in figures}
