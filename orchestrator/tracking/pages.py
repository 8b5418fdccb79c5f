"""Where do MLflow's own pages show a study's trials, and what do they begin with?

MLflow sorts its charts by name, so that losses come last. A view that is kept in a tag of the experiment, as
its own "share view" writes it, puts the objective and the hyperparameters first and lists the trials by their
objective. MLflow 3.17 takes it as plain JSON.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from orchestrator.study.spec import StudySpec

KIND = "mlflow.experimentKind"
VIEW = "orch-1"  # another number whenever what is in it changes
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
CURVES = "curves"  # the section of the view that is ours; the others are MLflow's, by the names of metrics
# In this order; True: unfolded at first.
SECTIONS = {
    CURVES: True,
    "hyper": True,
    "hypergrad": False,
    "Model metrics": False,
    "final": False,
    "best": False,
    "runs": False,
    "cost": False,
}
TRIALS = "tags.`orch.kind` = 'trial'"
MODE = {"compareRunsMode": "CHART", "workflowType": "machine_learning"}  # charts; not of an LLM application
NEWEST = {"filter": "name LIKE 'orch/%'", "order_by": ["creation_time DESC"], "max_results": 1}


def experiment_tags(spec: StudySpec) -> dict[str, str]:
    """That it trains models, and the view of its trials."""
    return {KIND: "custom_model_development", VIEW_TAG: json.dumps(_view(spec))}


def _view(spec: StudySpec) -> dict[str, Any]:
    charts = dict.fromkeys((spec.objective.metric, "train_loss"))
    return {
        "searchFilter": TRIALS,
        "orderByKey": "metrics.`objective`",
        "orderByAsc": spec.objective.minimizes,
        "isAccordionReordered": True,
        "compareRunSections": [
            {
                "uuid": _uuid(name),
                "name": name,
                "display": unfolded,
                "isReordered": False,
                "deleted": False,
                "isGenerated": name != CURVES,
            }
            for name, unfolded in SECTIONS.items()
        ],
        "compareRunCharts": [_line(metric) for metric in charts],
    }


def _line(metric: str) -> dict[str, Any]:
    """A chart of a metric by step, as MLflow's own are."""
    return {
        "type": "LINE",
        "uuid": _uuid(metric),
        "metricSectionId": _uuid(CURVES),
        "isGenerated": False,
        "deleted": False,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _uuid(name: str) -> str:
    return f"orch-{name}"


def charts(pages: str, experiment_id: str, tags: Mapping[str, str]) -> str:
    """The address of the charts of a study's trials; `tags`: of its experiment. An earlier version of ours
    has left no view there."""
    if VIEW_TAG in tags:
        query = {"viewStateShareKey": VIEW, **MODE}
    else:
        query = {"searchFilter": TRIALS, "orderByKey": "metrics.`objective`", **MODE}
    return f"{pages}/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def charts_at(pages: str, name: str | None, *, within_s: float) -> str | None:
    """The same, asked of the server that shows the pages: of the experiment of that name, or of the study
    that was created last. None: it has none, or does not say."""
    api = f"{pages}/api/2.0/mlflow/experiments"
    if name is None:
        ask = urllib.request.Request(f"{api}/search", json.dumps(NEWEST).encode())
        ask.add_header("Content-Type", "application/json")
    else:
        ask = urllib.request.Request(f"{api}/get-by-name?{urlencode({'experiment_name': name})}")
    try:
        with urllib.request.urlopen(ask, timeout=within_s) as answer:
            said = json.load(answer)
        found = said["experiment"] if name is not None else said["experiments"][0]
        if found["lifecycle_stage"] != "active":
            return None
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return charts(pages, found["experiment_id"], tags)
    except (OSError, ValueError, LookupError, TypeError):  # URLError and HTTPError are OSErrors
        return None
