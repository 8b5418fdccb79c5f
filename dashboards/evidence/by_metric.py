"""What is each metric of a task, in the mean and at best over the seeds, and what does the paper print of it?

The shape of the guided paper's Tables 6 (largest of five runs) and 7 (mean of five): one line for each metric
of each task. Four tasks of the paper have their two values under each other's heads; here they stand under
the heads that they belong to, with a mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from dashboards.evidence import average, paper_downstream, paper_tasks
from dashboards.evidence.frames import Frame
from dashboards.evidence.tables import column_name, number_text
from dashboards.evidence.tasks import are_columns
from orchestrator.study.spec import Arm

# What runs of a task report beside its metrics.
NO_METRICS = frozenset(
    {"score", "choosing_score", "chosen_score", "chosen_step", "peak_memory_bytes", "commonest", "loss"}
)
AS_PRINTED = {("ReCoRD", "exact-match"): "accuracy"}  # where the paper's head has another name
MARK = "‡"
DECIMALS = 1


@dataclass(frozen=True)
class Entry:
    """`printed_under`: the head under which the paper prints the value, where that is another metric's."""

    column: str
    metric: str
    row: str
    mean: float
    best: float
    n: int
    paper_mean: float | None = None
    paper_best: float | None = None
    printed_under: str | None = None


def entries(frame: Frame) -> tuple[Entry, ...]:
    """Of a study whose columns are tasks, judged by their scores."""
    if frame.spec.objective.metric != average.SCORE or not are_columns(frame.spec):
        return ()
    return tuple(_entries(frame))


def _entries(frame: Frame) -> Iterator[Entry]:
    rows = dict.fromkeys(frame.row_of(arm) for arm in frame.spec.compared if not frame.spec.confirms(arm))
    for column in frame.columns():
        arms = [arm for row in rows if (arm := frame.arm_at(row, column)) is not None]
        known = dict.fromkeys(
            name for arm in arms for t in frame.confirming(arm) for name in t.values if is_metric(name)
        )
        for metric in known:
            for arm in arms:
                met = [t for t in frame.confirming(arm) if t.value is not None]
                values = [value for t in met if (value := frame.value_of(t, metric)) is not None]
                if values:
                    yield _beside(frame, arm, Entry(
                        column, metric, frame.row_of(arm), fmean(values), max(values), len(values)
                    ))  # fmt: skip


def is_metric(name: str) -> bool:
    return name not in NO_METRICS and not name.startswith("test_") and not name.endswith("_loss")


def _beside(frame: Frame, arm: Arm, entry: Entry) -> Entry:
    at, row = paper_tasks.theirs_in(frame.spec, entry.column), paper_tasks.ROWS.get(arm.known_role)
    if at is None or row is None:
        return entry
    of_mean, of_best = (
        paper_tasks.printed(table, row, at) for table in (paper_downstream.TABLE_7, paper_downstream.TABLE_6)
    )
    task = at[1]
    name = AS_PRINTED.get((task, entry.metric), entry.metric)
    mean, best = (paper_downstream.turned(task, of).get(name) for of in (of_mean, of_best))
    if mean is None:
        return entry
    other = None
    if task in paper_downstream.THE_OTHER_WAY_ROUND:
        other = next(head for head in of_mean if head != name)
    return Entry(
        entry.column,
        entry.metric,
        entry.row,
        entry.mean,
        entry.best,
        entry.n,
        mean,
        best,
        printed_under=other,
    )


# -- as a table --------------------------------------------------------------------------------------------
def header(found: Sequence[Entry]) -> list[str]:
    rows, papers = _rows(found), _rows([each for each in found if each.paper_mean is not None])
    return ["task", "metric", *rows, *(f"paper {row}" for row in papers)]


def grid(found: Sequence[Entry]) -> list[list[str]]:
    """A line for each metric: the mean, and the best after it."""
    rows, papers = _rows(found), _rows([each for each in found if each.paper_mean is not None])
    by_place = {(each.column, each.metric, each.row): each for each in found}
    lines = []
    for column, metric in dict.fromkeys((each.column, each.metric) for each in found):
        ours = [by_place.get((column, metric, row)) for row in rows]
        theirs = [by_place.get((column, metric, row)) for row in papers]
        lines.append(
            [
                column_name(column),
                metric,
                *("–" if each is None else _text(each.mean, each.best) for each in ours),
                *(
                    "" if each is None or each.paper_mean is None else _papers(each, each.paper_mean)
                    for each in theirs
                ),
            ]
        )
    return lines


def notes(found: Sequence[Entry]) -> tuple[str, ...]:
    said = [
        "The mean over the fresh seeds, and the best of them: the shape of the guided paper's Tables 7 and 6."
    ]
    if any(each.printed_under for each in found):
        said.append(f"{MARK} The paper prints it under the task's other head.")
    return tuple(said)


def _rows(found: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(each.row for each in found))


def _text(mean: float, best: float) -> str:
    return f"{number_text(mean, DECIMALS)}, best {number_text(best, DECIMALS)}"


def _papers(each: Entry, mean: float) -> str:
    best = mean if each.paper_best is None else each.paper_best
    return f"{_text(mean, best)}{f' {MARK}' if each.printed_under else ''}"
