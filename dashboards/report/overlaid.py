"""How do several trials compare, step by step? Their loss, α and β1, a panel each, drawn over each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboards.evidence import series
from dashboards.evidence.frames import Curve, Curves
from dashboards.evidence.tables import column_name
from dashboards.report.figures import Figure, by_step
from dashboards.report.ink import Plot

HYPERS = ("alpha", "beta1")


def of_trials(
    heard: Mapping[str, Curves], configs: Mapping[str, Mapping[str, Any]], *, metric: str
) -> Figure | None:
    """By the trials' names. None while no trial has reported any of the three."""
    panels: dict[str, dict[str, Curve]] = {
        metric: {name: said.values[metric] for name, said in heard.items() if said.values.get(metric)}
    }
    for hyper in HYPERS:
        panels[hyper] = {
            name: series.from_the_start(hyper, said.hyper[hyper], configs[name])
            for name, said in heard.items()
            if said.hyper.get(hyper)
        }
    plots = tuple(_panel(name, curves) for name, curves in panels.items() if curves)
    if not plots:
        return None
    names = ", ".join(plot.title for plot in plots)
    return Figure(
        "compared",
        "By step",
        f"{names}: a line for each trial. Of a step that several attempts reported, the last report stands.",
        plots,
    )


def _panel(name: str, curves: Mapping[str, Curve]) -> Plot:
    made = by_step(column_name(name), curves)
    made.figure["layout"]["showlegend"] = True
    if name == "alpha":
        made.figure["layout"]["yaxis"]["type"] = "log"
    return made
