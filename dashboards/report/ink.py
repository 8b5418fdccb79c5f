"""How is a panel drawn? Colours, dashes and markers of rows, and the one place where plotly is imported.

Rows keep their colour, dash and marker throughout: Okabe and Ito's colours, told apart by colour-blind
readers, and by dash and marker in print. The page sets ink and paper, for light, dark and print.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dashboards.evidence.frames import Frame

COLOURS = ("#8c8c8c", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "solid", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
HEIGHT = 330  # with the title and the ticks around the plot, which has 220 or more
FAINT, BOLD, USUAL = 0.45, 3.0, 1.75  # opacity of what is not the point; widths of lines


@dataclass(frozen=True)
class Plot:
    """One panel: a plotly figure as plain JSON values. `wide`: over the whole width of the page."""

    title: str
    figure: Mapping[str, Any]
    wide: bool = False


class Inks:
    """Which colour, dash and marker a row has: by its place in the spec. Past the last colour they begin
    again with open markers and other dashes."""

    def __init__(self, frame: Frame) -> None:
        rows = dict.fromkeys(frame.row_of(arm) for arm in frame.spec.arms)
        self._place = {row: i for i, row in enumerate(rows)}
        claim = frame.spec.claim
        sides = () if claim is None else (claim.challenger, claim.incumbent)
        self.sides = tuple(frame.row_of(frame.spec.arm(name)) for name in sides)

    def __call__(self, row: str) -> tuple[str, str, str]:
        lap, i = divmod(self._place.get(row, 0), len(COLOURS))
        dash = DASHES[(i + 3 * lap) % len(DASHES)]
        return COLOURS[i], dash, MARKERS[i] + "-open" * bool(lap % 2)

    def stands_out(self, row: str) -> bool:
        """A row of the claim; every row, where there is none."""
        return not self.sides or row in self.sides

    def weight(self, row: str) -> tuple[float, float]:
        """The width of its lines and their opacity: the claim's rows are bold, the others faint."""
        if not self.sides:
            return USUAL, 1.0
        return (BOLD, 1.0) if row in self.sides else (1.5, FAINT)


def faint(colour: str, opacity: float = 0.18) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def plot(title: str, traces: Sequence[Mapping[str, Any]], *, xaxis: Any, yaxis: Any, **layout: Any) -> Plot:
    """Checked by plotly, and out as JSON values."""
    import plotly.graph_objects as go

    usual = {
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
    figure = go.Figure(data=[{"type": "scatter", **trace} for trace in traces], layout={**usual, **layout})
    plain: dict[str, Any] = json.loads(figure.to_json())
    plain["layout"].pop("template", None)
    return Plot(title, plain)


def _axis(given: Mapping[str, Any]) -> dict[str, Any]:
    title = {"standoff": 6, **given.get("title", {})}
    return {"automargin": True, "zeroline": False, **given, "title": title}


# -- the script that draws it ------------------------------------------------------------------------------
def plotly_script() -> str:
    """The whole of plotly.js."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script


@cache
def packed_script() -> str:
    """The same, to be written into a page once."""
    return packed(plotly_script())


def packed(text: str) -> str:
    """Gzipped and in base64: a script takes a third of its size, numbers less."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def plotly_version() -> str:
    """Of the installed package, which carries its script."""
    from importlib.metadata import version

    return version("plotly")


def plotly_styles(script: str) -> tuple[str, ...]:
    """The ids of the style elements that plotly.js would add to a page; it adds none that it finds there.

    One is its own, the other that of the maps it carries, known by a fingerprint.
    """
    return ("plotly.js-style-global", *re.findall(r'getElementById\("([0-9a-f]{64})"\)', script))
