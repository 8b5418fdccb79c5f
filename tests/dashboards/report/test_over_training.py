"""How does the objective go over training, and what does the page draw of it?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dashboards.evidence import frames, over_training, series
from dashboards.report import figures
from tests.dashboards import pretrained
from tests.dashboards.ledgers import Run, ledger, repeated, spec


def _pretrained(**changes: list[Run]) -> tuple[frames.Frame, dict[str, frames.Curves]]:
    store = ledger(pretrained.spec(), pretrained.results(**changes))
    frame = frames.read(store, "s1")
    return frame, frames.curves(store, series.closely(frame))


def test_every_setting_of_a_guided_grid_is_drawn_over_training_beside_base_and_the_chosen_one_is_known() -> (
    None
):
    frame, heard = _pretrained()
    of = over_training.over_training(frame, heard, "alpha+beta1")
    etas = [f"guided η̂ {eta}" for eta in pretrained.ETAS]
    assert [line.name for line in of.lines] == ["base", "+ BO", *etas]
    assert [line.name for line in of.lines if line.chosen] == ["guided η̂ 0.0067"]
    fastest = next(line for line in of.lines if line.chosen)
    assert fastest.x == tuple(range(30, 481, 30))
    assert fastest.y == pytest.approx([pretrained.loss(step, speed=2.0) for step in fastest.x])
    assert (of.base, of.last) == ("base", pytest.approx(pretrained.loss(480)))
    assert [line.name for line in over_training.over_training(frame, heard, "alpha").lines] == ["base", *etas]


def test_a_column_without_a_search_has_the_means_over_the_fresh_seeds_that_all_its_rows_have() -> None:
    of = over_training.over_training(*_pretrained(), "beta1")
    rows = ["base", "plain, β1 = .1", "guided, β1 from .1", "plain, β1 = .9", "guided, β1 from .9"]
    assert [line.name for line in of.lines] == rows
    luck = [math.exp(x) for x in pretrained.LUCK[:2]]  # base has six seeds, the others two
    for line, speed in zip(of.lines, (1.0, 1.01, 1.02, 0.99, 1.02), strict=True):
        expected = [pretrained.loss(step, speed=speed) * sum(luck) / 2 for step in line.x]
        assert line.y == pytest.approx(expected)


def test_no_two_lines_over_training_look_alike_and_a_setting_looks_the_same_in_every_panel() -> None:
    frame, heard = _pretrained()
    drawn = next(f for f in figures.figures(frame, heard) if f.key == "over-training")
    assert [plot.title for plot in drawn.plots] == ["α+β1", "α", "β1"]
    assert "Figures F.2 (α), F.3 (β1) and 3 (α+β1)" in drawn.caption
    seen: dict[str, set[tuple[str, str]]] = {}
    for plot in drawn.plots:
        for trace in plot.figure["data"]:
            if trace.get("showlegend") is not False:
                seen.setdefault(trace["name"], set()).add((trace["line"]["color"], trace["line"]["dash"]))
    assert all(len(of) == 1 for of in seen.values())
    assert len(set.union(*seen.values())) == len(seen) == 10
    widths = {t["name"]: t["line"]["width"] for t in drawn.plots[0].figure["data"]}
    assert widths["guided η̂ 0.0067"] == widths["base"] > widths["guided η̂ 0.002"]
    (level,) = (t for t in drawn.plots[0].figure["data"] if t.get("showlegend") is False)
    assert level["y"] == pytest.approx([pretrained.loss(480)] * 2)


def test_a_loss_that_falls_by_more_than_a_decade_is_drawn_on_a_logarithmic_axis() -> None:
    kinds = []
    for worst in (9.0, 90.0):
        bad = replace(
            pretrained.run(), said=[(30, "eval", {"dev_loss": worst}, {}), *pretrained.run().said[1:]]
        )
        drawn = next(f for f in figures.figures(*_pretrained(base=[bad])) if f.key == "over-training")
        kinds.append(drawn.plots[1].figure["layout"]["yaxis"].get("type"))
    assert kinds == [None, "log"]


def test_where_no_run_was_evaluated_six_times_nothing_is_drawn_over_training() -> None:
    said = [(step, "eval", {"dev_loss": 7.0 - step / 480}, {}) for step in (96, 192, 288, 384, 480)]
    short = {name: [replace(run, said=said) for run in of] for name, of in pretrained.results().items()}
    frame, heard = _pretrained(**short)
    assert "over-training" not in [f.key for f in figures.figures(frame, heard)]
    assert over_training.over_training(frame, heard, "alpha").lines == ()


def _repeats() -> frames.Frame:
    arms = [
        repeated(
            f"{row}-{often}", row, trials=2, column=f"{often:,}", config={"data": {"tokens": 4096 // often}}
        )
        for often in (1, 16, 1024)
        for row in ("base", "guided")
    ]
    base = {"steps": 40, "data": {"source": "prose"}, "objective": {"name": "random-spans"}}
    loss = {"metric": "dev_loss", "goal": "minimize", "split": "select"}
    study = spec(arms=arms, claim=None, base=base, objective=loss)
    ended = {
        arm["name"]: [Run(x + i, values={"train_loss": x / 2 + i}) for x in (3.0, 5.0)]
        for i, arm in enumerate(arms)
    }
    return frames.read(ledger(study, ended), "s1")


def test_dev_and_train_loss_are_told_by_how_often_the_text_is_read() -> None:
    base, guided = over_training.repeats(_repeats())
    assert (base.row, base.often) == ("base", (1, 16, 1024))
    assert (base.dev, base.train) == ((4, 6, 8), (2, 4, 6))
    assert (guided.dev, guided.train) == ((5, 7, 9), (3, 5, 7))
    drawn = next(f for f in figures.figures(_repeats(), {}) if f.key == "repeats")
    assert [trace["name"] for trace in drawn.plots[0].figure["data"]] == [
        "base, dev loss", "base, train loss", "guided, dev loss", "guided, train loss",
    ]  # fmt: skip
    assert drawn.plots[0].figure["layout"]["xaxis"]["ticktext"] == ["1", "16", "1,024"]
    frame, heard = _pretrained()
    assert "repeats" not in [f.key for f in figures.figures(frame, heard)]
