"""What do a study's figures look like? Each is a set of panels, which a page lays out as it has room.

A figure has one legend for all of its panels. The panels of the claim's column come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dashboards.evidence import average, over_training, prepared, series, speedup
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.frames import Curve, Curves, Frame
from dashboards.evidence.headline import sides_of
from dashboards.evidence.paper_t5 import pretrains
from dashboards.evidence.speedup import RowSpeedup
from dashboards.evidence.tables import column_name, metric_name
from dashboards.evidence.tradeoff import tradeoff
from dashboards.report import panels
from dashboards.report.ink import COLOURS, DASHES, Inks, Plot, plot
from dashboards.report.ticks import positive_axis
from orchestrator.study.spec import is_rising

MOST_OF_A_TRIAL = 600  # points of each curve on a trial's own page
MOST_PANELS = 12
FIRST_SCREEN = ("pairs", "tradeoff")  # the figures beneath the headline


@dataclass(frozen=True)
class Key:
    """A line of a legend. `ink`: the place of its colour; `dash` and `marker`: empty where it has none."""

    name: str
    ink: int
    dash: str
    marker: str
    strong: bool


@dataclass(frozen=True)
class Figure:
    """Panels with a title and a caption. With a `switch`, traces carry their unit in `meta`."""

    key: str
    title: str
    caption: str
    plots: tuple[Plot, ...]
    switch: tuple[str, ...] = ()

    @property
    def legend(self) -> tuple[Key, ...]:
        """Of all panels together. Nothing, where all would be called the same."""
        found: dict[str, Key] = {}
        for trace in (trace for each in self.plots for trace in each.figure["data"]):
            if trace.get("showlegend") is not False:
                name = trace.get("legendgroup") or trace.get("name", "")
                key = _key(name, trace)
                if name not in found or (key.strong and not found[name].strong):
                    found[name] = key
        return tuple(found.values()) if len(found) > 1 else ()


def _key(name: str, trace: Mapping[str, Any]) -> Key:
    line, marker = trace.get("line", {}), trace.get("marker", {})
    colour = line.get("color", marker.get("color"))
    mode = trace.get("mode", "lines")
    return Key(
        name=name,
        ink=COLOURS.index(colour) if colour in COLOURS else 0,
        dash=line.get("dash", "solid") if "lines" in mode else "",
        marker=marker.get("symbol", "circle") if "markers" in mode else "",
        strong=trace.get("opacity", 1.0) == 1.0,
    )


def figures(
    frame: Frame,
    heard: Mapping[str, Curves],
    speedups: Sequence[RowSpeedup] | None = None,
    *,
    seen: Contrast | None = None,
) -> list[Figure]:
    """All figures that have something to show. `speedups`, `seen` (of the claim): where they are known."""
    metric, inks = frame.spec.objective.metric, Inks(frame)
    columns = _columns(frame)
    name = metric_name(metric)
    speedups = speedup.speedups(frame) if speedups is None else speedups
    means = " Of pretraining: the mean over the seeds that all have." if prepared.hypers(frame) else ""
    made = [
        *(_first_screen(frame, speedups, seen, inks) if frame.finished else ()),
        Figure(
            "anytime",
            f"Best {name} so far against cost",
            "Search runs in the order of their proposal. Failed and diverged runs count toward cost only. A "
            "line ends where its arm ended. With several replicates: their median and a 95% bootstrap band.",
            tuple(panels.anytime(series.anytime(frame, c), c, metric, inks) for c in columns),
            series.UNITS,
        ),
        Figure(
            "trajectories",
            "Hyperparameters over training",
            "Learned values by step, one line for each setting that was tried, the chosen run bold; beside "
            f"them the value or the course that a search chose.{means} Compare the paper's Figures 1 and 2.",
            tuple(_learned(frame, heard, columns, inks)),
        ),
        *_over_training(frame, heard, columns, inks),
        Figure(
            "confirmations",
            f"Selected configs re-run on fresh seeds: {name}",
            "Each dot is one run of a row's choice on one seed, and the stroke is their mean.",
            tuple(
                panels.confirmed(series.confirmed(frame, c, metric=metric), c, metric, inks) for c in columns
            ),
        ),
        Figure(
            "speedup",
            f"Against longer plain training: {name}",
            "Plain runs of several lengths, faint by seed, and their geometric mean as a curve. A row stands "
            "at what one of its runs costs; the dotted line leads to the length of plain training that is as "
            "good, and S is that length over the cost. Below the curve a row is worth what it costs.",
            tuple(panels.speedups(frame, c, speedups, inks) for c in columns),
        ),
        Figure(
            "space",
            "Where Bayesian optimization looked",
            "Every run along each dimension, later ones darker; the vertical lines are the edges of the "
            "range, the ring is the best. A best on an edge says that the range was too small.",
            tuple(panels.space(each, metric, c, inks) for c in columns for each in series.slices(frame, c)),
        ),
        Figure(
            "learning",
            f"Learning curves: {name} by step",
            "Of the best search run of each arm.",
            tuple(panels.learning(series.learning_curves(frame, heard, c), c, metric, inks) for c in columns),
        ),
    ]
    averaged = frame.spec.claim is not None and frame.spec.claim.average
    widened = 0 if averaged else len(columns)
    return [replace(each, plots=plots) for each in made if (plots := tuple(_shown(each, widened)))]


def _over_training(
    frame: Frame, heard: Mapping[str, Curves], columns: Sequence[str], inks: Inks
) -> Iterator[Figure]:
    metric = frame.spec.objective.metric
    name = metric_name(metric)
    papers = " Compare the guided paper's Figures F.2 (α), F.3 (β1) and 3 (α+β1)." * bool(
        pretrains(frame.spec) and {"alpha", "beta1", "alpha+beta1"} & {*columns}
    )
    by_column = {column: over_training.over_training(frame, heard, column) for column in columns}
    looks = panels.looks([*by_column.values()], inks)
    yield Figure(
        "over-training",
        f"{name[0].upper()}{name[1:]} over training",
        "One search run of each setting that was tried, the chosen one bold, base, and what other searches "
        "chose; in a column without a search each setting's mean over the fresh seeds that all of them have. "
        f"The dotted line is at base's last value.{papers}",
        tuple(panels.over_training(of, column, metric, inks, looks) for column, of in by_column.items()),
    )
    before = prepared.over_training(frame, heard)
    yield Figure(
        "pretraining",
        "Dev loss over pretraining",
        "Of the runs that others begin with: each arm's mean over the seeds that all of them have. The "
        "dotted line is at the last value of the first arm.",
        (panels.over_training(before, "", prepared.LOSS, inks, panels.looks([before], inks)),),
    )
    rows = over_training.repeats(frame)
    yield Figure(
        "repeats",
        "Dev and train loss by repeats",
        "The last losses, in the mean over fresh seeds; the train loss is that of the last batch. Compare "
        "Table 9 and Figure 6 of the T5 paper.",
        (panels.repeats(rows, metric, inks),) if rows else (),
    )


def _learned(frame: Frame, heard: Mapping[str, Curves], columns: Sequence[str], inks: Inks) -> Iterator[Plot]:
    """Of the runs that others begin with, then column by column."""
    for hyper in prepared.hypers(frame):
        drawn = panels.trajectory(prepared.learned(frame, heard, hyper), hyper, "", inks)
        yield replace(drawn, title=f"{drawn.title}, {prepared.TITLE}")
    for column in columns:
        for hyper in series.hypers(frame, column):
            lines = series.trajectories(frame, heard, column, hyper)
            yield panels.trajectory(lines, hyper, column, inks)


def _columns(frame: Frame) -> list[str]:
    """The claim's first."""
    claim = frame.spec.claim
    first = frame.spec.arm(claim.challenger).column if claim else "*"
    return sorted(frame.columns(), key=lambda column: column != first)


def _shown(figure: Figure, columns: int) -> Iterator[Plot]:
    """The panels with data; of so many columns the first one has the whole width, if it is one panel. A claim
    about an average is of no column more than of another: 0."""
    drawn = [each for each in figure.plots if each.figure["data"]]
    wide = figure.key not in ("trajectories", "space") and 1 < len(drawn) == columns
    yield from (replace(each, wide=wide and i == 0) for i, each in enumerate(drawn))


def _first_screen(
    frame: Frame, speedups: Sequence[RowSpeedup], seen: Contrast | None, inks: Inks
) -> Iterator[Figure]:
    claim, sides = frame.spec.claim, sides_of(frame)
    if claim is not None and sides and sides[0].values:
        seen = average.of_claim(frame, claim) if seen is None else seen
        lower = frame.lower_is_better(claim.metric)
        yield Figure(
            "pairs",
            f"{seen.unit.capitalize()} by {seen.unit}",
            "",
            (panels.pairs(sides, seen, claim.metric, lower, inks),),
        )
    found = tradeoff(frame, speedups)
    name, column = metric_name(found.metric), column_name(found.column)
    tuned = column and column != average.AVERAGE
    where = f", tuning {column}" if tuned else f", {column}" if column else ""
    yield Figure("tradeoff", f"Cost against {name}{where}", "", (panels.tradeoff(found, inks),))


# -- of one trial ------------------------------------------------------------------------------------------
def of_trial(heard: Curves, config: Mapping[str, Any], *, metric: str) -> list[Figure]:
    """What one trial said by step: its losses in one panel, and in one of its own what it is judged by where
    that should rise; then its hyperparameters, then all else."""
    rises = is_rising(metric)
    losses = [name for name in heard.values if name.endswith("loss") or (name == metric and not rises)]
    learning = [by_step("", {name: heard.values[name] for name in losses})] if losses else []
    if rises and metric in heard.values:
        learning.append(by_step(metric_name(metric), {metric: heard.values[metric]}))
    drawn, also = (*losses, metric), f" and {metric_name(metric)}" if rises else ""
    rest = [name for name, points in heard.values.items() if name not in drawn and len(points) > 1]
    made = [
        Figure(
            "learning",
            "Learning curves",
            f"Losses{also} by step. Of a step that several attempts reported, the last report stands.",
            tuple(learning),
        ),
        Figure(
            "trajectories",
            "Hyperparameters over training",
            "Their values by step, of those that guidance or a course moves.",
            tuple(
                by_step(column_name(name), {name: series.from_the_start(name, points, config)})
                for name, points in heard.hyper.items()
                if _moves(points)
            ),
        ),
        Figure(
            "rest",
            "What else it reported",
            "Each by step.",
            tuple(by_step(name, {name: heard.values[name]}) for name in rest[:MOST_PANELS]),
        ),
    ]
    return [each for each in made if any(plot.figure["data"] for plot in each.plots)]


def _moves(points: Curve) -> bool:
    """By more than a float32 rounds."""
    values = [value for _, value in points]
    return max(values) - min(values) > 1e-6 * max(map(abs, values))


def by_step(title: str, curves: Mapping[str, Curve]) -> Plot:
    """A panel with a line for each curve."""
    traces = []
    for i, (name, points) in enumerate(curves.items()):
        steps, values = zip(*series.thinned(points, most=MOST_OF_A_TRIAL), strict=True)
        style = {"color": COLOURS[1 + i % (len(COLOURS) - 1)], "dash": DASHES[i % len(DASHES)], "width": 1.75}
        mode = "lines" if len(points) > 1 else "markers"
        named = {"name": column_name(name), "showlegend": len(curves) > 1}
        traces.append({**named, "x": steps, "y": values, "mode": mode, "line": style})
    heights = [value for points in curves.values() for _, value in points]
    log = positive_axis(heights) if list(curves) == ["alpha"] else {}
    axes = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": title or "loss"}, **log}}
    return plot(title, traces, **axes, showlegend=len(traces) > 1)
