"""Where does each way of tuning pay? Every row against the static default and against BO's best, by cell.

A study has a matrix if its columns are settings, so that each column has its own default. The runs of each
choice on fresh seeds are compared, paired by seed, as in `contrasts`.

- A cell is a win or a loss if the 95% interval excludes "no difference", that is, if p is at most .05;
  otherwise it is a tie. It is also a loss if more runs of the row diverged than of the row it is compared
  with, and if every run of its search diverged. With fewer than six pairs it is not known.
- p is from the permutation test, with Holm's correction over the cells next to it. One cell in forty is a win
  by chance.
- A row is never significantly worse than the default if every cell has an interval and none is a loss.
- The cost of a step is training time over steps, relative to the default: medians over the runs, then the
  median and the range of the cells. Rows run at different times, so other load on the machine affects it: a
  value below 1 is noise, and `python -m benchmarks.guidance_overhead` measures the same in one run. The cost
  of a choice is the training time of all runs that led to it, including those of a replayed run, in runs of
  the default. Neither includes compilation or evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from dashboards.evidence import contrasts
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.csv_tables import csv_text
from dashboards.evidence.frames import Frame, Trial
from dashboards.evidence.tables import one_line
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm

Outcome = Literal["win", "tie", "loss", "unknown"]
Never = Literal["yes", "no", "not known"]
TRAINING, STEPS = "train_s", "steps"


@dataclass(frozen=True)
class Entry:
    """One row against another in one cell. `contrast` is None where there are no pairs."""

    column: str
    outcome: Outcome
    contrast: Contrast | None


@dataclass(frozen=True)
class Side:
    """One row against another, cell by cell."""

    against: str
    entries: tuple[Entry, ...]

    def count(self, outcome: Outcome) -> int:
        return sum(entry.outcome == outcome for entry in self.entries)

    @property
    def ahead(self) -> int:
        """Cells in which the mean is better, noise or not."""
        return sum(entry.contrast is not None and entry.contrast.better for entry in self.entries)

    @property
    def never_worse(self) -> Never:
        if self.count("loss"):
            return "no"
        return "not known" if self.count("unknown") or not self.entries else "yes"


@dataclass(frozen=True)
class Line:
    """A row of the matrix. Costs by cell, None where they are not known."""

    row: str
    default: Side
    bo: Side | None  # None for BO's own row, and where the study has no BO
    step_costs: tuple[float | None, ...]  # over a plain step
    run_costs: tuple[float | None, ...]  # of all runs that led to the choice, in plain runs

    @property
    def step_cost(self) -> float | None:
        return _median(self.step_costs)

    @property
    def run_cost(self) -> float | None:
        return _median(self.run_costs)


@dataclass(frozen=True)
class Matrix:
    metric: str
    columns: tuple[str, ...]
    default: str
    bo: str | None
    lines: tuple[Line, ...]


def matrix(frame: Frame, *, metric: str | None = None) -> Matrix | None:
    """None if the columns are not settings (they share one default, or have none), or hold no other row."""
    metric = metric or frame.spec.objective.metric
    choosing = [arm for arm in frame.spec.arms if not frame.spec.confirms(arm)]
    default = next((a for a in choosing if not a.space and not frame.learns[a.name]), None)
    if default is None or default.column == "*":
        return None
    bo = next((a for a in choosing if a.bayesian and not frame.learns[a.name]), None)
    theirs = None if bo is None else frame.row_of(bo)
    ours = frame.row_of(default)
    rows = [row for row in dict.fromkeys(map(frame.row_of, choosing)) if row != ours]
    if not rows:
        return None
    return Matrix(
        metric=metric,
        columns=frame.columns(),
        default=ours,
        bo=theirs,
        lines=tuple(_line(frame, row, metric, default=ours, bo=theirs) for row in rows),
    )


def _line(frame: Frame, row: str, metric: str, *, default: str, bo: str | None) -> Line:
    costs = [_costs(frame, row, default, column) for column in frame.columns()]
    return Line(
        row=row,
        default=_side(frame, row, default, metric),
        bo=None if bo is None or row == bo else _side(frame, row, bo, metric),
        step_costs=tuple(step for step, _ in costs),
        run_costs=tuple(run for _, run in costs),
    )


def _side(frame: Frame, row: str, against: str, metric: str) -> Side:
    found = {c.column: c for c in contrasts.by_column(frame, row, against, metric=metric) if c.n}
    return Side(against, tuple(_entry(frame, row, column, found.get(column)) for column in frame.columns()))


def _entry(frame: Frame, row: str, column: str, seen: Contrast | None) -> Entry:
    if seen is not None:
        return Entry(column, outcome(seen), seen)
    arm = frame.arm_at(row, column)
    runs = () if arm is None else frame.of(arm)
    lost = bool(runs) and all(run.state is TrialState.DIVERGED for run in runs)
    return Entry(column, "loss" if lost else "unknown", None)


def outcome(seen: Contrast) -> Outcome:
    if seen.diverged[0] > seen.diverged[1]:
        return "loss"
    if seen.interval is None:
        return "unknown"
    outcomes: Mapping[str, Outcome] = {"better": "win", "worse": "loss", "no": "tie"}
    return outcomes[seen.clear]


# -- what it cost ----------------------------------------------------------------------------------------
def _costs(frame: Frame, row: str, default: str, column: str) -> tuple[float | None, float | None]:
    """Of a step, and of the choice, in those of the default in the same cell."""
    arm, plain = frame.arm_at(row, column), frame.arm_at(default, column)
    if arm is None or plain is None:
        return None, None
    plain_runs = _ran(frame, plain)
    one_run = median([t.productive.get(TRAINING, 0.0) for t in plain_runs if t.value is not None] or [0.0])
    chosen = frame.spent(arm, lambda trial: trial.charged.get(TRAINING, 0.0))
    return _over(_step_s(_ran(frame, arm)), _step_s(plain_runs)), _over(chosen, one_run)


def _ran(frame: Frame, arm: Arm) -> list[Trial]:
    """All runs of an arm's configurations, chosen or not."""
    return [*frame.of(arm), *(() if arm.fresh_seeds else frame.confirming(arm))]


def _step_s(trials: Iterable[Trial]) -> float:
    """The median over the runs: a machine that was busy for one of them does not show."""
    done = [(t.productive.get(TRAINING, 0.0), t.productive.get(STEPS, 0.0)) for t in trials if t.ended]
    return median([seconds / steps for seconds, steps in done if steps] or [0.0])


def _over(mine: float | None, plain: float | None) -> float | None:
    return mine / plain if mine and plain else None


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return median(known) if known else None


# -- words -----------------------------------------------------------------------------------------------
def entry_text(entry: Entry) -> str:
    """+0.081, and what it is beyond the noise: win or loss."""
    seen = entry.contrast
    if seen is None or seen.mean is None:
        return "all diverged, loss" if entry.outcome == "loss" else "–"
    gone = f" †{seen.diverged[0]}" if seen.diverged[0] else ""
    return f"{seen.size}{gone}" + (f" {entry.outcome}" if entry.outcome in ("win", "loss") else "")


def spread_text(entry: Entry) -> str:
    """[+0.05, +0.11] p 0.0625, Holm 0.5."""
    seen = entry.contrast
    if seen is None:
        return ""
    shown = f"[{seen.within}] " if seen.interval else ""
    return f"{shown}p {seen.p:.3g}, Holm {seen.p_holm:.3g}"


def tally(side: Side | None) -> str:
    """5 won, 2 tied, 1 lost."""
    if side is None:
        return "–"
    unknown = f", {side.count('unknown')} not known" if side.count("unknown") else ""
    return f"{side.count('win')} won, {side.count('tie')} tied, {side.count('loss')} lost{unknown}"


def times(cost: float | None) -> str:
    return "–" if cost is None else f"{cost:.3g}"


def ranging(costs: Sequence[float | None]) -> str:
    """1.1 (1.04 to 1.2): the median of the cells, and where they lie."""
    known = sorted(cost for cost in costs if cost is not None)
    low, high = (times(known[0]), times(known[-1])) if known else ("", "")
    return times(_median(known)) + (f" ({low} to {high})" if low != high else "")


def sentences(made: Matrix) -> list[str]:
    """What each row comes to."""
    return [_sentence(line) for line in made.lines]


def _sentence(line: Line) -> str:
    said = f"{line.row}: never significantly worse than {line.default.against}: {line.default.never_worse}"
    if line.bo is not None:
        wins, cells, ahead = line.bo.count("win"), len(line.bo.entries), line.bo.ahead
        said += f"; beats {line.bo.against} in {wins} of {cells} cells, ahead of it in {ahead}"
    step, choice = ranging(line.step_costs), times(line.run_cost)
    return f"{said}; a step costs {step} plain steps, the choice {choice} plain runs."


def sides(made: Matrix) -> list[tuple[str, list[tuple[str, Side]]]]:
    """What rows are compared with, and each row's side."""
    found = [(made.default, [(line.row, line.default) for line in made.lines])]
    if made.bo is not None:
        found.append((made.bo, [(line.row, line.bo) for line in made.lines if line.bo is not None]))
    return [(against, of) for against, of in found if of]


# -- forms -----------------------------------------------------------------------------------------------
SUMMARY = ("", "against the default", "never worse", "against BO's best", "a step costs", "the choice costs")


def summary(made: Matrix) -> list[list[str]]:
    return [
        [
            line.row,
            tally(line.default),
            line.default.never_worse,
            tally(line.bo),
            ranging(line.step_costs),
            times(line.run_cost),
        ]
        for line in made.lines
    ]


def to_markdown(made: Matrix) -> str:
    """A table for each opponent, then what each row comes to."""
    lines = []
    for against, of in sides(made):
        lines += [f"Gain in {one_line(made.metric)} over **{one_line(against)}**:", ""]
        lines += _table(["", *made.columns], [[row, *_texts(side)] for row, side in of])
    lines += _table(list(SUMMARY), summary(made))
    return "\n".join([*lines, *(f"- {one_line(said)}" for said in sentences(made))]) + "\n"


def _texts(side: Side) -> list[str]:
    return [f"{entry_text(entry)} {spread_text(entry)}".rstrip() for entry in side.entries]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [*("| " + " | ".join(map(one_line, line)) + " |" for line in lines), ""]


CSV_HEADER = (
    "row", "column", "against", "metric", "outcome", "mean", "ratio", "low", "high", "n", "p", "p_holm",
    "diverged", "against_diverged", "step_cost", "run_cost",
)  # fmt: skip


def to_csv(made: Matrix) -> str:
    """A line for each row, cell and opponent, numbers in full."""
    return csv_text(CSV_HEADER, to_dicts(made))


def to_dicts(made: Matrix) -> list[Mapping[str, object]]:
    return [
        _flat(made, line, side, place)
        for line in made.lines
        for side in (line.default, line.bo)
        if side is not None
        for place in range(len(made.columns))
    ]


def _flat(made: Matrix, line: Line, side: Side, place: int) -> Mapping[str, object]:
    entry = side.entries[place]
    seen = entry.contrast
    within = None if seen is None else seen.interval
    return {
        "row": line.row,
        "column": entry.column,
        "against": side.against,
        "metric": made.metric,
        "outcome": entry.outcome,
        "mean": None if seen is None else seen.mean,
        "ratio": None if seen is None else seen.ratio,
        "low": None if within is None else within.low,
        "high": None if within is None else within.high,
        "n": 0 if seen is None else seen.n,
        "p": None if seen is None else seen.p,
        "p_holm": None if seen is None else seen.p_holm,
        "diverged": None if seen is None else seen.diverged[0],
        "against_diverged": None if seen is None else seen.diverged[1],
        "step_cost": line.step_costs[place],
        "run_cost": line.run_costs[place],
    }


def to_dict(made: Matrix) -> dict[str, object]:
    """What scripts get: the cells, and what each row comes to."""
    return {
        "metric": made.metric,
        "default": made.default,
        "bo": made.bo,
        "columns": list(made.columns),
        "cells": [dict(cell) for cell in to_dicts(made)],
        "rows": [_summed(line) for line in made.lines],
    }


def _summed(line: Line) -> dict[str, object]:
    def counts(side: Side | None) -> dict[str, int] | None:
        if side is None:
            return None
        known: tuple[Outcome, ...] = ("win", "tie", "loss", "unknown")
        return {"ahead": side.ahead, **{name: side.count(name) for name in known}}

    return {
        "row": line.row,
        "never_worse": line.default.never_worse,
        "against_default": counts(line.default),
        "against_bo": counts(line.bo),
        "step_cost": line.step_cost,
        "run_cost": line.run_cost,
    }
