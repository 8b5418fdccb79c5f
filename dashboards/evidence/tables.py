"""What did each arm reach and cost, in the shape of the paper's tables?

A number comes from the runs of an arm's choice on fresh seeds: their mean, its 95% interval and n. If there
are none, it is the best search run, marked with a star; it includes the luck of the draw. Time and runs are
per search, as in the paper: the mean over replicates and columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from dashboards.evidence import average, paper, paper_tasks, protocols, speedup, stats
from dashboards.evidence.contrasts import Sample, sample
from dashboards.evidence.frames import Frame
from dashboards.evidence.speedup import RowSpeedup
from dashboards.evidence.wording import minus
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import StudyState
from orchestrator.study.spec import Arm, is_rising

_Place = tuple[str, str]  # row, column
Source = Literal["confirmed", "search", "diverged", "none", "data"]  # data: no run's, but of its targets
GREEK = {"alpha": "α", "beta1": "β1", "alpha+beta1": "α+β1", "eta": "η̂", "*": ""}
MOST_DECIMALS = 6
MOST_ACROSS = 6  # rows that stand side by side
FEWEST = 3  # values, for an interval of their mean
REPEATS = "repeats"  # what a run on unlabelled text reports
COMMONEST, COMMONEST_ROW = "commonest", "commonest answer"  # what a run reports, and the row it makes
PREFERRED = ("test_bleu", "test_score", "bleu")  # the paper reports BLEU; of a task its score


@dataclass(frozen=True)
class Cell:
    column: str
    arm: str
    value: float | None
    interval: stats.Interval | None
    n: int  # seeds, or replicates, behind it
    source: Source
    diverged: int
    paper: float | None
    values: tuple[float, ...] = ()  # of the seeds, where they are too few for an interval
    speedup: RowSpeedup | None = None  # in the column's plain runs
    best: float | None = None  # of the seeds; of an average the mean of the columns' best
    paper_best: float | None = None


@dataclass(frozen=True)
class Row:
    name: str
    phase: str
    hours: float  # compute time of one search, mean over replicates and columns
    runs: tuple[int, int]  # fewest and most of a column
    cells: tuple[Cell, ...]
    paper_hours: float | None
    paper_runs: int | None


@dataclass(frozen=True)
class Table:
    study: str
    metric: str
    lower_is_better: bool
    decimals: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    paper: str | None  # which of its tables stands beside
    notes: tuple[str, ...]
    speedup_in: str | None = None  # the column whose speed-ups stand in a column of their own, S
    averaged: bool = False  # whether its last column is the mean of the others
    paper_best: str | None = None  # which of its tables stands beside the best of the seeds
    best: bool = False  # of the seeds in each cell, and not their mean

    @property
    def by_column(self) -> bool:
        """Whether its lines are the columns: of one with an average, but where many rows have few columns."""
        return self.averaged and len(self.rows) <= max(MOST_ACROSS, len(self.columns))


def metrics(frame: Frame) -> tuple[str, ...]:
    """What tables there are: BLEU, or a task's score, on the test split if confirmations have it, then the
    objective."""
    confirmed = (t for arm in frame.spec.arms if frame.spec.confirms(arm) for t in frame.of(arm))
    known = {name for trial in confirmed for name in trial.values}
    return (*[name for name in PREFERRED if name in known][:1], frame.spec.objective.metric)


def table(frame: Frame, *, metric: str | None = None, speedups: Sequence[RowSpeedup] | None = None) -> Table:
    """Rows of the search in the spec's order, then the controls'. `speedups`: where they are known."""
    metric = metric or metrics(frame)[0]
    known = {(s.row, s.column): s for s in (speedup.speedups(frame) if speedups is None else speedups)}
    theirs = paper.beside(frame, metric) or paper_tasks.beside(frame, metric)
    averages = average.shown(frame)
    arms = sorted(
        (a for a in frame.spec.compared if not frame.spec.confirms(a)), key=lambda a: a.phase != "search"
    )
    rows = tuple(_row(frame, name, metric, theirs, known) for name in dict.fromkeys(map(frame.row_of, arms)))
    if averages:
        rows = (*rows, *_commonest(frame, metric))
    speedup_in = _speedup_in(frame, {column for _, column in known})
    return Table(
        study=frame.spec.name,
        metric=metric,
        lower_is_better=frame.lower_is_better(metric),
        decimals=decimals_of(metric, rows),
        columns=(*frame.columns(), *(average.groups(frame) if averages else ())),
        rows=rows,
        paper=theirs.name if theirs else None,
        notes=(
            *_notes(frame, rows),
            *_read(frame),
            *protocols.told(frame.spec),
            *_of_speedups(frame, speedup_in),
            *_beside(frame, metric, rows),
            *(_of_averages(frame, rows, theirs) if averages else ()),
        ),
        speedup_in=speedup_in,
        averaged=averages,
        paper_best=theirs.best_name if theirs else None,
    )


def _speedup_in(frame: Frame, known: Collection[str]) -> str | None:
    """The claim's column, or else the first one that has speed-ups."""
    claim = frame.spec.claim
    claimed = frame.spec.arm(claim.challenger).column if claim else "*"
    return next((c for c in (claimed, *frame.columns()) if c in known), None)


def _row(
    frame: Frame, name: str, metric: str, beside: paper.PaperTable | None, known: Mapping[_Place, RowSpeedup]
) -> Row:
    columns = frame.columns()
    arms = {column: arm for column in columns if (arm := frame.arm_at(name, column)) is not None}
    distinct = {arm.name: arm for arm in arms.values()} or {
        a.name: a for a in frame.spec.arms if not frame.spec.confirms(a) and frame.row_of(a) == name
    }
    first = next(iter(distinct.values()))
    theirs = None if beside is None else beside.rows.get(first.known_role)
    runs = [round(frame.spent(arm, lambda t: float(t.ended))) for arm in distinct.values()]
    cells = [
        replace(_cell(frame, arms.get(column), column, metric, theirs), speedup=known.get((name, column)))
        for column in columns
    ]
    if average.shown(frame):
        cells += [_average(frame, name, arms, cells, metric) for name in average.groups(frame)]
    return Row(
        name=name,
        phase=first.phase,
        hours=fmean(frame.spent(arm, lambda t: run_hours(t.charged)) for arm in distinct.values()),
        runs=(min(runs), max(runs)),
        cells=tuple(cells),
        paper_hours=theirs.hours if theirs else None,
        paper_runs=theirs.runs if theirs else None,
    )


def _cell(frame: Frame, arm: Arm | None, column: str, metric: str, theirs: paper.PaperRow | None) -> Cell:
    printed, best = (theirs.values.get(column), theirs.best.get(column)) if theirs else (None, None)
    if arm is None:
        return Cell(column, "", None, None, 0, "none", 0, printed, paper_best=best)
    met = sample(frame, arm, metric, diverged_too=False)
    diverged = met.diverged
    if met.values:
        return replace(_of_seeds(frame, metric, column, arm.name, met), paper=printed, paper_best=best)
    if diverged:
        return Cell(column, arm.name, None, None, 0, "diverged", diverged, printed)
    value = frame.chosen_value(arm, metric)
    return Cell(column, arm.name, value, None, 0, "none" if value is None else "search", 0, printed)


def _of_seeds(frame: Frame, metric: str, column: str, arm: str, met: Sample) -> Cell:
    values = list(met.units.values())
    within, few = _interval(frame, metric, values), tuple(values) if len(values) < FEWEST else ()
    best = (min if frame.lower_is_better(metric) else max)(values)
    return Cell(
        column, arm, fmean(values), within, len(values), "confirmed", met.diverged, None, few, best=best
    )


def _average(frame: Frame, name: str, arms: Mapping[str, Arm], cells: Sequence[Cell], metric: str) -> Cell:
    """Of a row that stands in every column of it, seed by seed; of another there is none."""
    columns = average.groups(frame)[name]
    cells = [cell for cell in cells if cell.column in columns]
    papers, theirs_best = _mean([cell.paper for cell in cells]), _mean([cell.paper_best for cell in cells])
    none = Cell(name, "", None, None, 0, "none", 0, papers, paper_best=theirs_best)
    if not set(columns) <= arms.keys():
        return none
    met = average.of_columns([sample(frame, arms[c], metric, diverged_too=False) for c in columns])
    if met.values:
        found = _of_seeds(frame, metric, name, "", met)
        best = _mean([cell.best for cell in cells])
        return replace(found, best=best, paper=papers, paper_best=theirs_best)
    if met.diverged:
        return replace(none, source="diverged", diverged=met.diverged)
    if any(cell.source != "search" for cell in cells):
        return none
    return replace(none, value=_mean([cell.value for cell in cells]), source="search")


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _commonest(frame: Frame, metric: str) -> Iterator[Row]:
    """What always saying the commonest target of train scores, where runs report it: of the objective."""
    if metric != frame.spec.objective.metric:
        return
    cells = []
    for column in frame.columns():
        runs = [t for arm in frame.spec.compared if arm.column == column for t in frame.of(arm)]
        told = [t.values[COMMONEST] for t in runs if COMMONEST in t.values]
        cells.append(
            Cell(column, "", fmean(told) if told else None, None, 0, "data" if told else "none", 0, None)
        )
    if any(cell.value is not None for cell in cells):
        known = {cell.column: cell.value for cell in cells}
        for name, columns in average.groups(frame).items():
            mean = _mean([known[column] for column in columns])
            cells.append(Cell(name, "", mean, None, 0, "none" if mean is None else "data", 0, None))
        yield Row(COMMONEST_ROW, "control", 0.0, (0, 0), tuple(cells), None, None)


def _interval(frame: Frame, metric: str, values: Sequence[float]) -> stats.Interval | None:
    """Of the mean, and never outside of what the metric can be. None of fewer than three values."""
    found = stats.mean_interval(values) if len(values) >= FEWEST else None
    if found is None:
        return None
    words = set(re.split(r"[\W_]+", metric.lower()))
    least, most = 0.0 if min(values) >= 0 else -math.inf, math.inf
    if words & {"bleu", "chrf"}:
        most = 100.0
    elif not frame.lower_is_better(metric) and is_rising(metric):
        most = 1.0 if max(values) <= 1 else 100.0 if max(values) <= 100 else math.inf
    if words & {"mcc", "matthews", "pearson", "spearman", "score"}:  # a score may be the mean of such
        least = -most
    return stats.Interval(max(found.low, least), min(found.high, most))


def decimals_of(metric: str, rows: Sequence[Row]) -> int:
    """BLEU has one, as in the paper. Else two digits of the uncertainty, or of the spread between cells, or
    three of the largest where all are alike."""
    if "bleu" in metric.lower() or "chrf" in metric.lower():
        return 1
    cells = [cell for row in rows for cell in row.cells if cell.value is not None]
    widths = [
        (c.interval.high - c.interval.low) / 2
        for c in cells
        if c.interval and c.interval.high > c.interval.low
    ]
    values = [c.value for c in cells if c.value is not None]
    scale = min(widths, default=0.0) or (max(values) - min(values) if values else 0.0) / 10
    if scale > 0:
        return max(1, 1 - math.floor(math.log10(scale)))
    largest = max(map(abs, values), default=0.0)
    return max(3, 2 - math.floor(math.log10(largest))) if largest > 0 else 3


def of_best(made: Table) -> Table:
    """The best of the seeds in each cell, beside what the paper prints of that."""
    rows = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, value=cell.best, interval=None, values=(), paper=cell.paper_best)
                if cell.source == "confirmed"
                else replace(cell, paper=cell.paper_best)
                for cell in row.cells
            ),
        )
        for row in made.rows
    )
    note = "The best of the n seeds in each cell, and their mean in the average: the more seeds, the better."
    return replace(made, rows=rows, paper=made.paper_best, notes=(note,), speedup_in=None, best=True)


def in_full(made: Table) -> tuple[Table, ...]:
    """A table with an average and the best of its seeds after it; any other alone."""
    several = any(cell.n > 1 for row in made.rows for cell in row.cells)
    return (made, of_best(made)) if made.averaged and several and not made.best else (made,)


def best_in(made: Table, column: str) -> str:
    """The row with the best number on fresh seeds in a column, the first of equal ones; "" where none has."""
    sign = 1 if made.lower_is_better else -1
    values = fresh_in(made, column)
    return min(values, key=lambda name: sign * values[name], default="")


def fresh_in(made: Table, column: str) -> dict[str, float]:
    """The numbers on fresh seeds in a column, by row."""
    return {
        row.name: cell.value
        for row in made.rows
        for cell in row.cells
        if cell.column == column and cell.source == "confirmed" and cell.value is not None
    }


def fewest_seeds(rows: Sequence[Row]) -> int:
    """Behind a number that was confirmed; 0 where none was."""
    return min((cell.n for row in rows for cell in row.cells if cell.source == "confirmed"), default=0)


def _beside(frame: Frame, metric: str, rows: Sequence[Row]) -> Iterator[str]:
    for beside, setup in (
        (paper.beside(frame, metric), paper.TRANSLATION),
        (paper_tasks.beside(frame, metric), paper_tasks.SETUP),
    ):
        if beside is None:
            continue
        found = paper.deviations(frame, metric=metric, seeds=fewest_seeds(rows), setup=setup)
        differ = [each.what for each in found]
        yield f"Not comparable to the paper: different {', '.join(differ)}."


def _of_averages(frame: Frame, rows: Sequence[Row], theirs: paper.PaperTable | None) -> Iterator[str]:
    yield "Average: the mean over its columns, seed by seed, of rows that stand in all of them."
    yield from average.begun_by_number(frame)
    if any(cell.source == "data" for row in rows for cell in row.cells):
        yield f"{COMMONEST_ROW[0].upper()}{COMMONEST_ROW[1:]}: always the commonest target of train."
    if theirs is not None:
        yield "The paper's average is the mean of what it prints for these columns."


def _of_speedups(frame: Frame, column: str | None) -> Iterator[str]:
    if column is not None:
        metric = frame.spec.objective.metric
        yield (
            f"S: how many times longer plain training has to be to reach the {metric} of a run of the row, "
            f"divided by that run's cost; with a 95% interval from six seeds on."
        )


def _notes(frame: Frame, rows: Sequence[Row]) -> Iterator[str]:
    sources = {cell.source for row in rows for cell in row.cells}
    if not frame.finished:
        until = "at the end" if frame.state is StudyState.CANCELLED else "so far"
        yield f"The study is {frame.status}: these are the numbers {until}."
    if "confirmed" in sources:
        yield "Mean over the runs of each choice on fresh seeds (n), with its 95% interval."
    if "search" in sources:
        best = "search run (mean over replicates)" if frame.replicated else "search run"
        yield f"* The best {best}, not run again on fresh seeds: it includes the luck of the draw."
    if any(cell.diverged for row in rows for cell in row.cells):
        yield "† Number of diverged runs; the mean is over the others."
    several = [
        word
        for word, is_so in (("replicates", frame.replicated), ("columns", len(frame.columns()) > 1))
        if is_so
    ]
    if several:
        yield (
            f"Time and runs per search, averaged over {' and '.join(several)}. "
            f"Fixed settings: cost of one run."
        )


def _read(frame: Frame) -> Iterator[str]:
    """How often unlabelled text was read, where runs say so."""
    told = {t.values[REPEATS] for of in frame.trials.values() for t in of if REPEATS in t.values}
    if told:
        low, high = (f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in (min(told), max(told)))
        often = f"{low}" if low == high else f"{low} to {high}"
        yield f"A run on unlabelled text read it {often} times."


# -- words -----------------------------------------------------------------------------------------------
def metric_name(metric: str) -> str:
    """As a person says it: test BLEU, dev loss."""
    return " ".join(word.upper() if word == "bleu" else word for word in metric.split("_"))


def column_name(column: str) -> str:
    return GREEK.get(column, column)


def runs_text(row: Row) -> str:
    low, high = row.runs
    return f"{low}" if low == high else f"{low}–{high}"


def value_text(cell: Cell, decimals: int) -> str:
    """2.031, 2.028*, 2.031†1, diverged."""
    if cell.value is None:
        return "diverged" if cell.source == "diverged" else "–"
    mark = "*" if cell.source == "search" else f" †{cell.diverged}" if cell.diverged else ""
    return f"{number_text(cell.value, decimals)}{mark}"


def number_text(value: float, decimals: int) -> str:
    """With so many decimals; where they are more than six, a small number has four digits instead."""
    if decimals > MOST_DECIMALS and 0 < abs(value) < 1e-3:
        return minus(f"{value:.4g}")
    return minus(f"{value:.{min(decimals, MOST_DECIMALS)}f}")


def spread_text(cell: Cell, decimals: int) -> str:
    """[2.027, 2.035] n 3; of a single seed only its number."""
    if cell.source != "confirmed":
        return ""
    within = cell.interval
    low, high = (number_text(end, decimals) for end in (within.low, within.high)) if within else ("", "")
    shown = f"[{low}, {high}] " if within else ""
    if cell.n > 1 and cell.values:
        shown = ", ".join(number_text(value, decimals) for value in cell.values) + " "
    return f"{shown}n {cell.n}"


def cell_text(cell: Cell, decimals: int) -> str:
    return f"{value_text(cell, decimals)} {spread_text(cell, decimals)}".rstrip()


def one_line(text: str) -> str:
    """A line of Markdown in which a text of the ledger can only be words."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))
