"""What do a study's figures look like? Ink over the numbers of `series`; plotly is imported here alone.

A figure is a set of small plots, one a column of the table, that a page lays out as it has room. Rows keep
their colour, dash and marker throughout: Okabe and Ito's colours, told apart by colour-blind readers, and
by dash and marker in print. The page sets ink and paper, for light, dark and print.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from dashboards.evidence import series, speedup
from dashboards.evidence.frames import Curve, Curves, Frame
from dashboards.evidence.series import Confirmed, Line, Slice
from dashboards.evidence.speedup import Plain, RowSpeedup
from dashboards.evidence.tables import column_name
from dashboards.report.ticks import log_axis
from orchestrator.study.spec import Parameter
from trainer.config.scales import to_working

COLOURS = ("#8c8c8c", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "solid", "dot", "dashdot", "longdash", "longdashdot")
SETTING_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # of one row
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
WIDE = 20  # times: beyond, one bad first run would flatten all that is of interest
LOGIT_TICKS = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999)
HEIGHT = 340
LEGEND_LINE = 19  # pixels: of a legend with a row's name and figures on each
MOST_OF_A_TRIAL = 600  # points of each curve on a trial's own page
MOST_PANELS = 12


@dataclass(frozen=True)
class Plot:
    """One panel: a plotly figure as plain JSON values."""

    title: str
    figure: Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """Panels with a title and a caption. With a `switch`, traces carry their unit in `meta`."""

    key: str
    title: str
    caption: str
    plots: tuple[Plot, ...]
    switch: tuple[str, ...] = ()


def figures(
    frame: Frame, heard: Mapping[str, Curves], speedups: Sequence[RowSpeedup] | None = None
) -> list[Figure]:
    """All figures that have something to show. `speedups`: where they are known."""
    metric, columns = frame.spec.objective.metric, frame.columns()
    inks = _Inks(frame)
    speedups = speedup.speedups(frame) if speedups is None else speedups
    made = [
        Figure(
            "anytime",
            f"Best {metric} so far against what was spent",
            "Search runs in the order of their proposal; failed and diverged runs count toward cost only. A "
            "line ends where its arm ended. With several replicates: their median and a 95% bootstrap band.",
            tuple(_anytime(series.anytime(frame, c), c, metric, inks) for c in columns),
            series.UNITS,
        ),
        Figure(
            "trajectories",
            "Hyperparameters over training",
            "Learned values by step, one line a setting that was tried, beside the value or the "
            "course that a search chose. The shapes of the paper's Figures 1 and 2.",
            tuple(
                _trajectory(series.trajectories(frame, heard, column, hyper), hyper, column, inks)
                for column in columns
                for hyper in series.hypers(frame, column)
            ),
        ),
        Figure(
            "confirmations",
            f"Selected configs re-run on fresh seeds: {metric}",
            "Each dot is one run of an arm's choice; a grey line joins the runs of one seed.",
            tuple(_confirmed(series.confirmed(frame, c, metric=metric), c, metric, inks) for c in columns),
        ),
        Figure(
            "speedup",
            f"Against longer plain training: {metric}",
            "Plain runs of several lengths, faint by seed, and their geometric mean as a curve. A row stands "
            "at what one of its runs costs; the dotted line leads to the length of plain training that is as "
            "good, and S is that length over the cost. Below the curve a row is worth what it costs.",
            tuple(_speedup(frame, c, speedups, inks) for c in columns),
        ),
        Figure(
            "space",
            "Where Bayesian optimization looked",
            "Every run along each dimension, later ones darker; the vertical lines are the edges of the "
            "space, the ring is the best. A best on an edge says that the space was too small.",
            tuple(_slice(each, metric, c, inks) for c in columns for each in series.slices(frame, c)),
        ),
        Figure(
            "learning",
            f"Learning curves: {metric} by step",
            "Of the best search run of each arm.",
            tuple(_learning(series.learning_curves(frame, heard, c), c, metric, inks) for c in columns),
        ),
    ]
    drawn = [(each, tuple(plot for plot in each.plots if plot.figure["data"])) for each in made]
    return [Figure(f.key, f.title, f.caption, plots, f.switch) for f, plots in drawn if plots]


def of_trial(heard: Curves, config: Mapping[str, Any], *, metric: str) -> list[Figure]:
    """What one trial said by step: its losses in one panel, then its hyperparameters, then all else."""
    losses = [name for name in heard.values if name == metric or name.endswith("loss")]
    rest = [name for name, points in heard.values.items() if name not in losses and len(points) > 1]
    made = [
        Figure(
            "learning",
            "Learning curves",
            "Losses by step. Of a step that several attempts reported, the last report stands.",
            (_said("", {name: heard.values[name] for name in losses}),),
        ),
        Figure(
            "trajectories",
            "Hyperparameters over training",
            "Their values by step, of those that guidance or a course moves.",
            tuple(
                _said(column_name(name), {name: series.from_the_start(name, points, config)})
                for name, points in heard.hyper.items()
                if _moves(points)
            ),
        ),
        Figure(
            "rest",
            "What else it reported",
            "Each by step.",
            tuple(_said(name, {name: heard.values[name]}) for name in rest[:MOST_PANELS]),
        ),
    ]
    return [each for each in made if any(plot.figure["data"] for plot in each.plots)]


def _moves(points: Curve) -> bool:
    """By more than a float32 rounds."""
    values = [value for _, value in points]
    return max(values) - min(values) > 1e-6 * max(map(abs, values))


def _said(title: str, curves: Mapping[str, Curve]) -> Plot:
    traces = []
    for i, (name, points) in enumerate(curves.items()):
        steps, values = zip(*series.thinned(points, most=MOST_OF_A_TRIAL), strict=True)
        style = {"color": COLOURS[1 + i % (len(COLOURS) - 1)], "dash": DASHES[i % len(DASHES)], "width": 1.75}
        mode = "lines" if len(points) > 1 else "markers"
        traces.append({"name": column_name(name), "x": steps, "y": values, "mode": mode, "line": style})
    log = {"type": "log"} if list(curves) == ["alpha"] else {}
    name = title or "loss"
    made = _plot(title, traces, xaxis={"title": {"text": "step"}}, yaxis={"title": {"text": name}, **log})
    made.figure["layout"]["showlegend"] = len(traces) > 1
    return made


class _Inks:
    """Which colour, dash and marker a row has: by its place in the spec. Past the last colour they begin
    again with open markers and other dashes."""

    def __init__(self, frame: Frame) -> None:
        rows = dict.fromkeys(frame.row_of(arm) for arm in frame.spec.arms)
        self._place = {row: i for i, row in enumerate(rows)}

    def __call__(self, row: str) -> tuple[str, str, str]:
        lap, i = divmod(self._place.get(row, 0), len(COLOURS))
        dash = DASHES[(i + 3 * lap) % len(DASHES)]
        return COLOURS[i], dash, MARKERS[i] + "-open" * bool(lap % 2)


# -- panels ----------------------------------------------------------------------------------------------
def _anytime(lines: Mapping[str, Sequence[Line]], column: str, metric: str, inks: _Inks) -> Plot:
    traces: list[dict[str, Any]] = []
    for unit, of_unit in lines.items():
        shown = unit == series.UNITS[0]
        for line in of_unit:
            colour, dash, marker = inks(line.name)
            both = {"meta": unit, "visible": shown, "legendgroup": line.name, "name": line.name}
            if line.low:
                band = {"x": [*line.x, *reversed(line.x)], "y": [*line.high, *reversed(line.low)]}
                fill = {"fill": "toself", "fillcolor": _faint(colour), "line": {"width": 0}}
                traces.append({**both, **band, **fill, "showlegend": False, "hoverinfo": "skip"})
            style = {"line": {"color": colour, "dash": dash, "shape": "hv"}, "marker": {"symbol": marker}}
            mode = "lines+markers" if len(line.x) <= 12 else "lines"
            traces.append({**both, "x": line.x, "y": line.y, "mode": mode, **style})
    axis = {"type": "log", "title": {"text": series.UNITS[0]}}
    heights = [y for of_unit in lines.values() for line in of_unit for y in line.y]
    scale = {"type": "log"} if heights and 0 < WIDE * min(heights) < max(heights) else {}
    return _plot(
        column_name(column), traces, xaxis=axis, yaxis={"title": {"text": f"best {metric}"}, **scale}
    )


def _trajectory(lines: Sequence[Line], hyper: str, column: str, inks: _Inks) -> Plot:
    """Where several rows learn, a colour is a row and its lines differ by dash; else each has a colour."""
    moving = [line for line in lines if not line.steady]
    of_row = {each.row: [line for line in moving if line.row == each.row] for each in moving}
    traces: list[dict[str, Any]] = []
    for line in lines:
        colour, dash, _ = inks(line.row)
        width = 1.5 if line.steady else 2
        if line.steady:
            colour, dash = colour if len(of_row) > 1 else COLOURS[1], "dash"
        elif len(of_row) == 1:
            i = of_row[line.row].index(line)
            colour, dash = COLOURS[2 + i % (len(COLOURS) - 2)], DASHES[2 + i % 5]
        elif len(of_row[line.row]) > 1:
            dash = SETTING_DASHES[of_row[line.row].index(line) % len(SETTING_DASHES)]
        style = {"color": colour, "dash": dash, "width": width}
        traces.append({"name": line.name, "x": line.x, "y": line.y, "mode": "lines", "line": style})
    name = column_name(hyper)
    title = name if column_name(column) in ("", name) else f"{name} in {column_name(column)}"
    scale = {"type": "log"} if hyper == "alpha" else {}
    return _plot(title, traces, xaxis={"title": {"text": "step"}}, yaxis={"title": {"text": name}, **scale})


def _confirmed(rows: Sequence[Confirmed], column: str, metric: str, inks: _Inks) -> Plot:
    seeds = sorted({seed for row in rows for seed in row.seeds})
    joined: list[dict[str, Any]] = []
    for seed in seeds:
        path = [(row.row, dict(zip(row.seeds, row.values, strict=True)).get(seed)) for row in rows]
        x, y = zip(*path, strict=True)
        line = {"color": "rgba(140,140,140,.45)", "width": 1}
        joined.append(
            {"x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip", "connectgaps": True}
        )
    dots = []
    for row in rows:
        colour, _, marker = inks(row.row)
        style = {"color": colour, "symbol": marker, "size": 9}
        text = [f"seed {seed}" for seed in row.seeds]
        points = {"x": [row.row] * len(row.seeds), "y": row.values, "text": text, "name": row.row}
        dots.append({**points, "mode": "markers", "marker": style})
    made = _plot(
        column_name(column), [*joined, *dots], xaxis={"type": "category"}, yaxis={"title": {"text": metric}}
    )
    made.figure["layout"]["showlegend"] = False
    return made


def _speedup(frame: Frame, column: str, speedups: Sequence[RowSpeedup], inks: _Inks) -> Plot:
    rows, metric = [each for each in speedups if each.column == column], frame.spec.objective.metric
    plain = speedup.plain_runs(frame, column) if rows else None
    if plain is None:
        return _plot(column_name(column), [], xaxis={}, yaxis={})
    traces = [*_lengths(plain, inks(frame.row_of(plain.arms[0]))[0]), *_at_their_cost(rows, inks)]
    xs, ys = ([value for trace in traces for value in trace[axis]] for axis in ("x", "y"))
    axes = {
        "xaxis": {"title": {"text": "training time, in plain runs"}, **log_axis(xs)},
        "yaxis": {"title": {"text": metric}, **log_axis(ys)},
    }
    made = _plot(column_name(column), traces, **axes)
    made.figure["layout"]["height"] = HEIGHT + LEGEND_LINE * len(rows)
    made.figure["layout"]["legend"]["tracegroupgap"] = 0  # else a narrow page has no room for all of it
    return made


def _lengths(plain: Plain, colour: str) -> list[dict[str, Any]]:
    """Plain runs: a faint line for each seed, and their curve."""
    losses = plain.losses
    lengths = list(losses)
    faint: list[dict[str, Any]] = [
        {
            "x": lengths,
            "y": [losses[length][unit] for length in lengths],
            "text": [f"seed {unit}"] * len(lengths),
            "mode": "lines+markers",
            "line": {"color": _faint(colour, 0.45), "width": 1},
            "marker": {"size": 4},
            "showlegend": False,
        }
        for unit in losses[1.0]
    ]
    means = [geometric_mean(losses[length].values()) for length in lengths]
    style = {"line": {"color": colour, "width": 2.5}, "marker": {"size": 7}}
    return [
        *faint,
        {"name": "plain training", "x": lengths, "y": means, "mode": "lines+markers", **style},
    ]


def _at_their_cost(rows: Sequence[RowSpeedup], inks: _Inks) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for each in rows:
        colour, _, marker = inks(each.row)
        ends = {"beyond": each.length.span.high, "short": each.length.span.low}
        reached = ends.get(each.length.side, each.length.value or each.cost)
        both = {"legendgroup": each.row, "name": f"{each.row}: S {each.of_run.shown}"}
        line = {"mode": "lines", "line": {"color": colour, "dash": "dot", "width": 1.5}, "showlegend": False}
        traces.append(
            {**both, "x": [each.cost, reached], "y": [each.loss, each.loss], "hoverinfo": "skip", **line}
        )
        dot = {"mode": "markers", "marker": {"color": colour, "symbol": marker, "size": 10}}
        traces.append({**both, "x": [each.cost], "y": [each.loss], "text": each.of_run.words, **dot})
    return traces


def _slice(each: Slice, metric: str, column: str, inks: _Inks) -> Plot:
    colour, _, marker = inks(each.row)
    x = [_placed(each.parameter, value) for value in each.x]
    shade = {
        "color": each.index,
        "colorscale": [[0, _faint(colour, 0.45)], [1, colour]],
        "symbol": marker,
        "size": 8,
    }
    hover = [f"run {i}: {value:.4g}" for i, value in zip(each.index, each.x, strict=True)]
    traces: list[dict[str, Any]] = []
    if x:
        traces.append(
            {"x": x, "y": each.y, "text": hover, "mode": "markers", "marker": shade, "name": each.row}
        )
    if each.best is not None:
        ring = {
            "symbol": "circle-open",
            "size": 17,
            "color": COLOURS[5 if each.edge else 0],
            "line": {"width": 2.5},
        }
        name = f"best, on the {each.edge} edge" if each.edge else "best"
        best = {"x": [x[each.best]], "y": [each.y[each.best]], "name": name}
        traces.append({**best, "mode": "markers", "marker": ring, "hoverinfo": "skip"})
    name = each.parameter.path.rpartition(".")[2]
    low, high = (_placed(each.parameter, end) for end in each.parameter.bounds)
    axis: dict[str, Any] = {"title": {"text": f"{column_name(name)} ({each.parameter.scale} scale)"}}
    margin = 0.06 * (high - low)
    axis["range"] = [low - margin, high + margin]
    if each.parameter.scale == "logit":
        ticks = [t for t in LOGIT_TICKS if each.parameter.bounds[0] <= t <= each.parameter.bounds[1]]
        axis |= {
            "tickvals": [_placed(each.parameter, t) for t in ticks],
            "ticktext": [f"{t:g}" for t in ticks],
        }
    elif each.parameter.scale == "log":
        powers = [k for k in range(-12, 13) if low - margin <= k <= high + margin]
        axis |= {"tickvals": powers, "ticktext": [f"{10.0**k:g}" for k in powers]} if len(powers) > 1 else {}
    title = " · ".join(filter(None, (each.row, column_name(column))))
    made = _plot(f"{title}: {column_name(name)}", traces, xaxis=axis, yaxis={"title": {"text": metric}})
    made.figure["layout"]["shapes"] = [
        {
            "type": "line",
            "x0": end,
            "x1": end,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"width": 1, "dash": "dot"},
        }
        for end in (low, high)
    ]
    return made


def _learning(lines: Sequence[Line], column: str, metric: str, inks: _Inks) -> Plot:
    traces: list[dict[str, Any]] = []
    for line in lines:
        colour, dash, _ = inks(line.name)
        style = {"line": {"color": colour, "dash": dash}}
        traces.append({"name": line.name, "x": line.x, "y": line.y, "mode": "lines", **style})
    scale = {"type": "log"} if all(value > 0 for line in lines for value in line.y) else {}
    axes = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": metric}, **scale}}
    return _plot(column_name(column), traces, **axes)


def _placed(parameter: Parameter, value: float) -> float:
    """Where a value stands on an axis of its parameter's own scale."""
    return math.log10(value) if parameter.scale == "log" else to_working(parameter.scale, value)


def _faint(colour: str, opacity: float = 0.18) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _plot(title: str, traces: Sequence[Mapping[str, Any]], *, xaxis: Any, yaxis: Any) -> Plot:
    """Checked by plotly, and out as JSON values."""
    import plotly.graph_objects as go

    layout = {
        "title": {"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 15}},
        "height": HEIGHT,
        "margin": {"l": 58, "r": 12, "t": 40, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": -0.3, "yanchor": "top", "x": 0, "font": {"size": 11}},
        "xaxis": _axis(xaxis),
        "yaxis": _axis(yaxis),
        "template": "none",
        "hovermode": "closest",
        "showlegend": True,
    }
    figure = go.Figure(data=[{"type": "scatter", **trace} for trace in traces], layout=layout)
    plain: dict[str, Any] = json.loads(figure.to_json())
    plain["layout"].pop("template", None)
    return Plot(title, plain)


def _axis(given: Mapping[str, Any]) -> dict[str, Any]:
    title = {"standoff": 6, **given.get("title", {})}
    return {"automargin": True, "zeroline": False, **given, "title": title}


def plotly_script() -> str:
    """The whole of plotly.js, to be written into a page once."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script


def plotly_version() -> str:
    """Of the installed package, which carries its script."""
    from importlib.metadata import version

    return version("plotly")


def plotly_styles(script: str) -> tuple[str, ...]:
    """The ids of the style elements that plotly.js would add to a page; it adds none that it finds there.

    One is its own, the other that of the maps it carries, known by a fingerprint.
    """
    return ("plotly.js-style-global", *re.findall(r'getElementById\("([0-9a-f]{64})"\)', script))
