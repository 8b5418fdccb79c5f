"""What does each panel of a figure show? Ink over the numbers of `series`: a panel is one small plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle, product
from statistics import fmean, geometric_mean
from typing import Any

from dashboards.evidence import series, speedup
from dashboards.evidence.contrasts import Contrast
from dashboards.evidence.frames import Frame
from dashboards.evidence.headline import Side
from dashboards.evidence.over_training import Column, Repeats
from dashboards.evidence.series import Confirmed, Line, Slice
from dashboards.evidence.speedup import Plain, RowSpeedup
from dashboards.evidence.tables import GREEK, column_name, metric_name
from dashboards.evidence.tradeoff import Tradeoff
from dashboards.evidence.wording import label
from dashboards.report.ink import BOLD, COLOURS, DASHES, FAINT, HEIGHT, USUAL, Inks, Plot, faint, plot
from dashboards.report.ticks import log_axis, parameter_axis, placed, positive_axis
from orchestrator.study.space import value_text

SETTING_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # of one row
WIDE = 20  # times: beyond, one bad first run would flatten all that is of interest
DECADE = 10  # times: a loss that falls by more is drawn on a logarithmic axis
APART = 4  # times: closer values are compared on a linear axis
MOST_NAMED = 12  # seeds that are named on an axis
ROW_HEIGHT = 26  # pixels: of a row of dots
ROOM = 1.7  # times the largest cost: for the name of the last dot
LONG = 20  # letters: a longer name is broken at the side of a plot
UNITS_OF_TIME = ((1.0, "h"), (1 / 60, "min"), (1 / 3600, "s"))


def pairs(sides: Sequence[Side], seen: Contrast, metric: str, lower_is_better: bool, inks: Inks) -> Plot:
    """A line for each seed from one side of the claim to the other."""
    ours, theirs = sides
    # The worst gap on top; plotly counts upwards.
    units = sorted(ours.values, key=lambda unit: abs(ours.values[unit] - theirs.values[unit]))
    names = [f"{seen.unit} {unit}" for unit in units]
    joined: dict[str, list[Any]] = {"x": [], "y": []}
    for unit, name in zip(units, names, strict=True):
        joined["x"] += [theirs.values[unit], ours.values[unit], None]
        joined["y"] += [name, name, None]
    line = {"color": COLOURS[0], "width": 2}
    usual = {"mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    traces: list[dict[str, Any]] = [{**joined, **usual, "line": line, "opacity": 0.5}]
    if seen.decisive is not None and seen.decisive in units:
        name, bold = names[units.index(seen.decisive)], {**line, "width": 5}
        values = [side.values[seen.decisive] for side in sides]
        traces.append({"x": values, "y": [name, name], **usual, "line": bold, "opacity": 0.5})
    for side, row in zip((theirs, ours), reversed(inks.sides), strict=True):
        colour, _, marker = inks(row)
        mean = side.mean or 0.0
        style = {"color": colour, "width": 1.5, "dash": "dot"}
        ends = [names[0], names[-1]] if names else []
        traces.append({"x": [mean] * len(ends), "y": ends, **usual, "line": style, "opacity": 0.7})
        dots = {"x": [side.values[unit] for unit in units], "y": names, "mode": "markers"}
        name = f"{side.label}, mean {mean:.3g}"
        traces.append({**dots, "name": name, "marker": {"color": colour, "symbol": marker, "size": 11}})
    better = "lower" if lower_is_better else "higher"
    values = [value for side in sides for value in side.values.values()]
    scale = log_axis(values) if min(values) > 0 and max(values) > APART * min(values) else {}
    texts = [_seed_text(unit, seen, len(units)) for unit in units]
    rows = {"type": "category", "tickvals": names, "ticktext": texts, "showgrid": False}
    rows |= {"title": {"text": seen.unit}}
    x = {"title": {"text": f"{metric_name(metric)}, {better} is better"}, **scale}
    return plot("", traces, xaxis=x, yaxis=rows)


def _seed_text(unit: int, seen: Contrast, count: int) -> str:
    if unit == seen.decisive:
        return f"{seen.unit} {unit}"
    return str(unit) if count <= MOST_NAMED else ""


def tradeoff(found: Tradeoff, inks: Inks) -> Plot:
    """A dot for each row, named beside it: the claim's rows and the best one in colour."""
    hours = [point.hours for point in found.points]
    each, unit = next(((e, u) for e, u in UNITS_OF_TIME if hours and max(hours) >= 2 * e), UNITS_OF_TIME[-1])
    traces = []
    for point in found.points:
        colour, _, marker = inks(point.row)
        strong = point.row in inks.sides or point.row == found.best
        style = {"color": colour if strong else COLOURS[0], "symbol": marker, "size": 12 if strong else 8}
        name = _broken(label(point.row))
        seeds = f"{point.n} seed{'s' if point.n != 1 else ''}"
        dot = {"x": [point.hours / each], "y": [point.value], "name": name, "marker": style}
        named = {"text": [name], "textfont": {"weight": 700 if strong else 400}, "mode": "markers+text"}
        hover = {"hovertext": [f"{label(point.row)}: {point.value:.4g} on {seeds}"], "hoverinfo": "text"}
        side = {"textposition": "middle right", "cliponaxis": False, "showlegend": False}
        traces.append({**dot, **named, **hover, **side})
    values = [point.value for point in found.points]
    wide = bool(values) and min(values) > 0 and max(values) > APART * min(values)
    axes = {
        "xaxis": {
            "title": {"text": f"compute of one search and its choice ({unit})"},
            **(log_axis([min(hours) / each, ROOM * max(hours) / each]) if hours else {}),
        },
        "yaxis": {"title": {"text": metric_name(found.metric)}, **(log_axis(values) if wide else {})},
    }
    return plot("", traces, **axes)


def anytime(lines: Mapping[str, Sequence[Line]], column: str, metric: str, inks: Inks) -> Plot:
    traces: list[dict[str, Any]] = []
    for unit, of_unit in lines.items():
        shown = unit == series.UNITS[0]
        for line in sorted(of_unit, key=lambda line: inks.stands_out(line.name)):  # bold ones on top
            colour, dash, marker = inks(line.name)
            width, opacity = inks.weight(line.name)
            both = {"meta": unit, "visible": shown, "legendgroup": line.name, "name": line.name}
            if line.low:
                band = {"x": [*line.x, *reversed(line.x)], "y": [*line.high, *reversed(line.low)]}
                fill = {"fill": "toself", "fillcolor": faint(colour), "line": {"width": 0}}
                traces.append({**both, **band, **fill, "showlegend": False, "hoverinfo": "skip"})
            ink = {"color": colour, "dash": dash, "shape": "hv", "width": width}
            style = {"line": ink, "marker": {"symbol": marker}, "opacity": opacity}
            mode = "lines+markers" if len(line.x) <= 12 else "lines"
            traces.append({**both, "x": line.x, "y": line.y, "mode": mode, **style})
    axis = {"type": "log", "title": {"text": series.UNITS[0]}}
    heights = [y for of_unit in lines.values() for line in of_unit for y in line.y]
    scale = log_axis(heights) if heights and 0 < WIDE * min(heights) < max(heights) else {}
    best = {"title": {"text": f"best {metric_name(metric)}"}, **scale}
    return plot(column_name(column), traces, xaxis=axis, yaxis=best)


def trajectory(lines: Sequence[Line], hyper: str, column: str, inks: Inks) -> Plot:
    """Where several rows learn, a colour is a row and its lines differ by dash; of one row several lines have
    a colour each. What was chosen is bold."""
    moving = [line for line in lines if not line.steady]
    of_row = {each.row: [line for line in moving if line.row == each.row] for each in moving}
    some_chosen = any(line.chosen for line in moving)
    traces: list[dict[str, Any]] = []
    for line in lines:
        colour, dash, _ = inks(line.row)
        if line.steady:
            colour, dash = colour if len(of_row) > 1 else COLOURS[1], "dash"
        elif len(of_row) == 1 < len(moving):
            i = of_row[line.row].index(line)
            colour, dash = COLOURS[2 + i % (len(COLOURS) - 2)], DASHES[2 + i % 5]
        elif len(of_row[line.row]) > 1:
            dash = SETTING_DASHES[of_row[line.row].index(line) % len(SETTING_DASHES)]
        rest = some_chosen and not line.chosen and not line.steady
        bold = line.chosen and not line.steady and inks.stands_out(line.row)
        style = {"color": colour, "dash": dash, "width": BOLD if bold else 1.25 if rest else USUAL}
        known = {"legendgroup": f"{line.row}, chosen value"} if line.steady else {}
        look = {"line": style, "opacity": FAINT if rest else 1.0, **known}
        traces.append({"name": line.name, "x": line.x, "y": line.y, "mode": "lines", **look})
    name = column_name(hyper)
    title = name if column_name(column) in ("", name) else f"{name}, tuning {column_name(column)}"
    heights = [y for line in lines for y in line.y]
    scale = positive_axis(heights) if hyper == "alpha" else {}
    return plot(title, traces, xaxis={"title": {"text": "step"}}, yaxis={"title": {"text": name}, **scale})


def looks(columns: Sequence[Column], inks: Inks) -> dict[str, tuple[str, str]]:
    """The colour and the dash of each line, by its name: a row's own ink, and for the settings of a row what
    no row has."""
    names = {each.name: each.row for of in columns for each in of.lines}
    found = {name: inks(row)[:2] for name, row in names.items() if name == row}
    others = [(colour, dash) for dash, colour in product(SETTING_DASHES, COLOURS[1:])]
    free = cycle([look for look in others if look not in found.values()])
    return found | {name: next(free) for name in names if name not in found}


def over_training(
    of: Column, column: str, metric: str, inks: Inks, look: Mapping[str, tuple[str, str]]
) -> Plot:
    """The chosen one of a row's settings is bold, and so is base. A dotted line is at base's last value."""
    some_chosen = any(each.chosen for each in of.lines)
    traces: list[dict[str, Any]] = []
    for each in of.lines:
        colour, dash = look[each.name]
        width = BOLD if each.chosen or each.row == of.base else 1.25 if some_chosen else USUAL
        rest = some_chosen and each.name != each.row and not each.chosen
        style = {"line": {"color": colour, "dash": dash, "width": width}, "opacity": FAINT if rest else 1.0}
        mode = "lines" if len(each.x) > 1 else "markers"
        traces.append({"name": each.name, "x": each.x, "y": each.y, "mode": mode, **style})
    if of.last is not None:
        ends = [min(each.x[0] for each in of.lines), max(each.x[-1] for each in of.lines)]
        style = {"line": {"color": inks(of.base)[0], "dash": "dot", "width": 1}, "showlegend": False}
        level = {"x": ends, "y": [of.last, of.last], "mode": "lines", "hoverinfo": "skip"}
        traces.append({"name": f"{of.base}, its last", **level, **style})
    heights = [y for each in of.lines for y in each.y]
    y = {"title": {"text": metric_name(metric)}, **_scale(heights)}
    axes = {"xaxis": {"title": {"text": "step"}}, "yaxis": y}
    return plot(column_name(column), traces, **axes)


def _scale(heights: Sequence[float]) -> dict[str, Any]:
    """Logarithmic, where they span more than a decade."""
    wide = bool(heights) and 0 < DECADE * min(heights) < max(heights)
    return log_axis(heights) if wide else {}


def repeats(rows: Sequence[Repeats], metric: str, inks: Inks) -> Plot:
    """Dev loss solid, train loss dotted."""
    traces: list[dict[str, Any]] = []
    for each in rows:
        colour, _, marker = inks(each.row)
        both = {"x": each.often, "mode": "lines+markers", "marker": {"color": colour, "symbol": marker}}
        for what, losses, dash in (
            (metric_name(metric), each.dev, "solid"),
            ("train loss", each.train, "dot"),
        ):
            style = {"line": {"color": colour, "dash": dash, "width": USUAL}}
            traces.append({**both, "name": f"{label(each.row)}, {what}", "y": losses, **style})
    heights = [y for each in rows for y in (*each.dev, *each.train)]
    often = sorted({x for each in rows for x in each.often})
    ticks = {"type": "log", "tickvals": often, "ticktext": [f"{x:,}" for x in often]}
    axes = {
        "xaxis": {"title": {"text": "times that a run reads its text"}, **ticks},
        "yaxis": {"title": {"text": "loss"}, **_scale(heights)},
    }
    return plot("", traces, **axes)


def confirmed(rows: Sequence[Confirmed], column: str, metric: str, inks: Inks) -> Plot:
    """A row of dots for each row of the table: one a seed, and a stroke at their mean."""
    traces: list[dict[str, Any]] = []
    for row in reversed(rows):  # plotly counts upwards
        colour, _, marker = inks(row.row)
        name, text = _broken(row.row), [f"seed {seed}" for seed in row.seeds]
        strong = inks.stands_out(row.row)
        look = {"color": colour, "symbol": marker, "size": 9 if strong else 7, "opacity": 0.85}
        traces.append(
            {"x": row.values, "y": [name] * len(row.values), "text": text, "mode": "markers",
             "name": row.row, "marker": look, "showlegend": False}
        )  # fmt: skip
        stroke = {"symbol": "line-ns-open", "size": 17, "color": colour, "line": {"width": 2.5}}
        mean = {"x": [fmean(row.values)], "y": [name], "mode": "markers", "marker": stroke}
        traces.append({**mean, "name": f"{row.row}, mean", "showlegend": False})
    values = [value for row in rows for value in row.values]
    wide = bool(values) and min(values) > 0 and max(values) > APART * min(values)
    axis = {"title": {"text": metric_name(metric)}, **(log_axis(values) if wide else {})}
    height = max(HEIGHT, 88 + ROW_HEIGHT * len(rows))
    return plot(column_name(column), traces, xaxis=axis, yaxis={"type": "category"}, height=height)


def _broken(name: str) -> str:
    """A long name on two lines."""
    if len(name) <= LONG:
        return name
    words = name.split(" ")
    middle = min(range(1, len(words)), key=lambda i: abs(len(" ".join(words[:i])) - len(name) / 2), default=0)
    return f"{' '.join(words[:middle])}<br>{' '.join(words[middle:])}" if middle else name


def speedups(frame: Frame, column: str, of: Sequence[RowSpeedup], inks: Inks) -> Plot:
    rows, metric = [each for each in of if each.column == column], frame.spec.objective.metric
    plain = speedup.plain_runs(frame, column) if rows else None
    if plain is None:
        return plot(column_name(column), [], xaxis={}, yaxis={})
    traces = [*_lengths(plain, inks(frame.row_of(plain.arms[0]))[0]), *_at_their_cost(rows, inks)]
    xs, ys = ([value for trace in traces for value in trace[axis]] for axis in ("x", "y"))
    axes = {
        "xaxis": {"title": {"text": "training time, in plain runs"}, **log_axis(xs)},
        "yaxis": {"title": {"text": metric_name(metric)}, **log_axis(ys)},
    }
    return plot(column_name(column), traces, **axes)


def _lengths(plain: Plain, colour: str) -> list[dict[str, Any]]:
    """Plain runs: a faint line for each seed, and their curve."""
    losses = plain.losses
    lengths = list(losses)
    by_seed: list[dict[str, Any]] = [
        {
            "x": lengths,
            "y": [losses[length][unit] for length in lengths],
            "text": [f"seed {unit}"] * len(lengths),
            "mode": "lines+markers",
            "line": {"color": faint(colour, 0.45), "width": 1},
            "marker": {"size": 4},
            "showlegend": False,
        }
        for unit in losses[1.0]
    ]
    means = [geometric_mean(losses[length].values()) for length in lengths]
    style = {"line": {"color": colour, "width": 2.5}, "marker": {"size": 7, "color": colour}}
    return [
        *by_seed,
        {"name": "plain training", "x": lengths, "y": means, "mode": "lines+markers", **style},
    ]


def _at_their_cost(rows: Sequence[RowSpeedup], inks: Inks) -> list[dict[str, Any]]:
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


def space(each: Slice, metric: str, column: str, inks: Inks) -> Plot:
    colour, _, marker = inks(each.row)
    stands = partial(placed, each.parameter)
    x = [stands(value) for value in each.x]
    shade = {
        "color": each.index,
        "colorscale": [[0, faint(colour, 0.45)], [1, colour]],
        "symbol": marker,
        "size": 8,
    }
    hover = [f"run {i}: {value_text(value)}" for i, value in zip(each.index, each.x, strict=True)]
    traces: list[dict[str, Any]] = []
    if x:
        dots = {"x": x, "y": each.y, "text": hover, "mode": "markers", "marker": shade}
        traces.append({**dots, "name": each.row, "line": {"color": colour}})
    if each.best is not None:
        ring = {
            "symbol": "circle-open",
            "size": 17,
            "color": COLOURS[5 if each.edge else 0],
            "line": {"width": 2.5},
        }
        name = f"best, on the {each.edge} edge" if each.edge else "best"
        best = {"x": [x[each.best]], "y": [each.y[each.best]], "name": name}
        group = "best, on an edge" if each.edge else "best"
        traces.append({**best, "legendgroup": group, "mode": "markers", "marker": ring, "hoverinfo": "skip"})
    name = dimension(each.parameter.path)
    scale = "" if each.parameter.scale == "linear" else f" ({each.parameter.scale} scale)"
    axis: dict[str, Any] = {"title": {"text": f"{name}{scale}"}, **parameter_axis(each.parameter)}
    edges = [
        {"type": "line", "x0": end, "x1": end, "y0": 0, "y1": 1, "yref": "paper",
         "line": {"width": 1, "dash": "dot"}}
        for end in (() if each.parameter.choices else map(stands, each.parameter.bounds))
    ]  # fmt: skip
    where = column_name(column)
    title = f"{name} of {label(each.row)}" + (f", tuning {where}" if where else "")
    wide = bool(each.y) and 0 < APART * min(each.y) < max(each.y)
    y = {"title": {"text": metric_name(metric)}, **(log_axis(each.y) if wide else {})}
    return plot(title, traces, xaxis=axis, yaxis=y, shapes=edges)


def dimension(path: str) -> str:
    """optimizer.alpha as α; schedule.course.alpha.start as α start."""
    *before, last = path.split(".")
    owner = before[-1] if before and before[-1] in GREEK else ""
    return f"{column_name(owner)} {column_name(last)}".strip()


def learning(lines: Sequence[Line], column: str, metric: str, inks: Inks) -> Plot:
    traces: list[dict[str, Any]] = []
    for line in sorted(lines, key=lambda line: inks.stands_out(line.name)):
        colour, dash, _ = inks(line.name)
        width, opacity = inks.weight(line.name)
        style = {"line": {"color": colour, "dash": dash, "width": width}, "opacity": opacity}
        traces.append({"name": line.name, "x": line.x, "y": line.y, "mode": "lines", **style})
    scale = positive_axis([value for line in lines for value in line.y])
    axes = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": metric_name(metric)}, **scale}}
    return plot(column_name(column), traces, **axes)
