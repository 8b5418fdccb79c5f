"""Are the trials that somebody ticks laid over each other, step by step?"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from dashboards.web import compare, routes
from tests.dashboards.asgi import Answer, get
from tests.dashboards.web.test_web import drawings, filled, served


def compared(*trials: str, **query: str) -> Answer:
    asked = [*(("trial", trial) for trial in trials), *query.items()]
    return get(served(filled()), f"/studies/synthetic/compare?{urlencode(asked)}")


def test_each_trial_can_be_ticked_by_its_name() -> None:
    text = get(served(filled()), "/studies/synthetic").text
    assert '<form id="compare" class="filters" action="/studies/s1/compare">' in text
    ticks = re.findall(r'<input type="checkbox" form="compare" name="trial" value="([^"]+)"', text)
    assert len(ticks) == 8
    assert "guided.0.2" in ticks


def test_the_loss_and_the_hyperparameters_of_ticked_trials_share_a_panel_each() -> None:
    answer = compared("guided.0.0", "guided.0.2", "base.0.0")  # the base says nothing by step
    _, drawn = drawings(answer.text)
    panels = {panel["layout"]["title"]["text"]: panel for panel in drawn["compared"]}
    assert list(panels) == ["loss", "α"]  # no trial reported β1
    for panel in panels.values():
        assert [trace["name"] for trace in panel["data"]] == ["guided.0.0", "guided.0.2"]
        assert panel["layout"]["showlegend"]
    assert panels["loss"]["data"][1]["y"] == [1.0, 0.8]
    assert panels["α"]["data"][0]["x"] == [0, 10, 20]  # from the configuration's start
    assert panels["α"]["layout"]["yaxis"]["type"] == "log"
    assert 'href="/trials/s1.base.0.0"' in answer.text


def test_figures_are_drawn_again_only_for_other_trials_or_news() -> None:
    version, _ = drawings(compared("guided.0.0").text)
    assert 'id="drawings"' not in compared("guided.0.0", figures=version).text
    assert 'id="drawings"' in compared("guided.0.1", figures=version).text


def test_without_a_tick_the_page_says_what_to_do() -> None:
    assert "No trial is ticked. Tick up to 12" in compared().text


def test_beyond_the_most_that_can_be_told_apart_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (compare, routes):
        monkeypatch.setattr(module, "MOST_COMPARED", 2)
    text = compared("guided.0.0", "guided.0.0", "guided.0.1", "guided.0.2", "base.0.0").text
    assert "The first 2 are shown; 2 more were ticked." in text
    _, drawn = drawings(text)
    assert [trace["name"] for trace in drawn["compared"][0]["data"]] == ["guided.0.0", "guided.0.1"]


def test_a_trial_that_is_not_there_is_a_page_of_its_own() -> None:
    answer = compared("guided.0.99")
    assert answer.status == 404
    assert "guided.0.99" in answer.text
