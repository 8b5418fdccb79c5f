"""Do the figures show the numbers of the ledger? Data first, then ink."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dashboards.evidence import frames, series
from dashboards.report import figures, panels
from orchestrator.ledger.records import StudyState
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger, repeated, runs, searched, spec

ALPHA = [
    Run(
        v,
        point={"guidance.eta": eta},
        said=[(20, "eval", {"loss": v + 1}, {"alpha": 0.9}), (40, "eval", {"loss": v}, {"alpha": end})],
    )
    for v, eta, end in ((0.9, 0.01, 0.8), (0.7, 0.02, 0.7), (0.8, 0.04, 0.6))
]


def whole() -> tuple[frames.Frame, dict[str, frames.Curves]]:
    bo = [
        Run(
            r.value,
            point=r.point,
            hours=r.hours,
            said=[(40, "eval", {"loss": r.value or 0.0}, {"alpha": 1.0})],
        )
        for r in searched()["bo"]
    ]
    confirmed = {f"confirm-{arm}": runs(0.8, 0.9, 0.7, 0.8, 0.9, 0.7) for arm in ("bo", "guided")}
    store = ledger(spec(), {**searched(), "bo": bo, "guided": ALPHA, **confirmed})
    frame = frames.read(store, "s1")
    return frame, frames.curves(store, series.closely(frame))


def test_an_anytime_line_falls_with_each_better_run_and_ends_with_its_arm() -> None:
    study = spec()
    results = {**searched(bo_hours=2.0), "guided": [FAILED, *runs(0.9, 0.7)]}
    lines = series.anytime(frames.read(ledger(study, results), "s1"), "alpha")
    assert [line.name for line in lines["runs"]] == ["base", "+ BO", "guided"]
    base, bo, guided = lines["runs"]
    assert (bo.x, bo.y) == ((1, 2, 3, 4), (1.0, 0.9, 0.8, 0.8))
    assert (guided.x, guided.y) == (
        (2, 3),
        (0.9, 0.7),
    )  # the failed run was spent, and nothing is known of it
    assert (base.x, base.y) == ((1,), (1.0,))
    assert lines["run-hours"][1].x == lines["chip-hours"][1].x == (2, 4, 6, 8)
    assert lines["steps"][1].x == (40, 80, 120, 160)


def test_a_bad_first_run_does_not_flatten_the_rest() -> None:
    for first, scale in ((90.0, "log"), (1.0, None)):
        results = {**searched(), "guided": runs(first, 0.9, 0.7)}
        drawn = figures.figures(frames.read(ledger(spec(), results), "s1"), {})
        (plot,) = next(f for f in drawn if f.key == "anytime").plots
        assert plot.figure["layout"]["yaxis"].get("type") == scale


def test_replicates_become_one_line_with_a_band() -> None:
    study = spec(replicates=3, confirmations=1)
    bo = [Run(v, point={"optimizer.alpha": 1.0}) for v in (3, 1, 1, 1, 3, 2, 2, 2, 3, 3, 3, 3)]
    (line,) = series.anytime(frames.read(ledger(study, {"bo": bo}), "s1"), "alpha")["runs"]
    assert line.y == (3, 2, 2, 2)
    assert (line.low[1], line.high[1]) == (1, 3)


def test_equal_budgets_say_what_the_incumbent_had_by_then() -> None:
    frame = frames.read(ledger(spec(), searched(guided_hours=0.5)), "s1")
    equal = {each.unit: each for each in series.equal_budgets(frame, slots=2)}
    assert (equal["runs"].budget, equal["runs"].incumbent, equal["runs"].incumbent_runs) == (3, 0.8, 3)
    assert (equal["chip-hours"].budget, equal["chip-hours"].incumbent) == (1.5, 1.0)
    assert equal["chip-hours"].to_reach == 1.0  # its second run is below BO's best
    wall = equal["wall-clock hours"]
    assert (wall.budget, wall.incumbent_runs, wall.incumbent_total) == (1.0, 1, 4.0)
    missed = frames.read(ledger(spec(), {**searched(), "guided": runs(0.9, 0.85, 0.95)}), "s1")
    assert {each.to_reach for each in series.equal_budgets(missed, slots=2)} == {math.inf}


def test_where_the_incumbent_found_nothing_there_is_nothing_to_reach() -> None:
    results = {**searched(), "bo": [diverged()] * 4, "guided": [diverged(), *runs(0.7, 0.8)]}
    for goal in ("minimize", "maximize"):
        study = spec(objective={"metric": "loss", "goal": goal})
        equal = series.equal_budgets(frames.read(ledger(study, results), "s1"), slots=2)
        assert [(each.incumbent, each.to_reach) for each in equal] == [(None, None)] * 3


def test_what_an_arm_follows_is_spent_before_its_first_run() -> None:
    chained = [
        {**arm.model_dump(), **({"after": {"arm": "bo"}} if arm.name == "guided" else {})}
        for arm in spec(confirmations=1).arms
    ]
    results = searched(bo_hours=2.0)  # four runs of BO, one after another; then guided's three, side by side
    frame = frames.read(ledger(spec(arms=chained), results), "s1")
    equal = {each.unit: each for each in series.equal_budgets(frame, slots=3)}
    assert {unit: (each.budget, each.to_reach) for unit, each in equal.items()} == {
        "runs": (4 + 3, 4 + 2),  # its second run is below BO's best
        "chip-hours": (8 + 3, 8 + 2),
        "wall-clock hours": (8 + 1, 8 + 1),
    }
    twice = {arm: of * 2 for arm, of in results.items()}
    frame = frames.read(ledger(spec(arms=chained, replicates=2), twice), "s1")
    assert series.equal_budgets(frame, slots=3)[0].budget == 4 + 3  # of one replicate


def test_trajectories_show_every_eta_and_the_static_value_beside_them() -> None:
    frame, heard = whole()
    lines = series.trajectories(frame, heard, "alpha", "alpha")
    assert series.hypers(frame, "alpha") == ("alpha",)
    assert [line.name for line in lines] == ["+ BO 2", "guided η̂ 0.01", "guided η̂ 0.02", "guided η̂ 0.04"]
    assert (lines[0].y, lines[0].steady) == ((2.0, 2.0), True)
    assert (lines[2].x, lines[2].y) == ((0, 20, 40), (1.0, 0.9, 0.7))


def test_learning_curves_are_those_of_the_best_runs() -> None:
    frame, heard = whole()
    bo, guided = series.learning_curves(frame, heard, "alpha")
    assert (guided.name, guided.x, guided.y) == ("guided", (20, 40), (1.7, 0.7))
    assert (bo.x, bo.y) == ((40,), (0.8,))


def test_a_slice_holds_every_run_and_its_best() -> None:
    frame, _ = whole()
    (only,) = series.slices(frame, "alpha")
    assert (only.x, only.y, only.index) == ((1.0, 3.0, 2.0, 0.5), (1.0, 0.9, 0.8, 0.95), (0, 1, 2, 3))
    assert (only.best, only.edge) == (2, None)


def test_confirmations_stand_by_seed() -> None:
    frame, _ = whole()
    bo, guided = series.confirmed(frame, "alpha", metric="loss")
    assert (bo.row, guided.row) == ("+ BO", "guided")
    assert bo.seeds == guided.seeds == (1000, 1001, 1002, 1003, 1004, 1005)


@pytest.mark.parametrize("length", [1, 200, 1001])
def test_a_long_curve_is_thinned_and_keeps_its_ends(length: int) -> None:
    points = tuple((i, float(i)) for i in range(length))
    kept = series.thinned(points)
    assert len(kept) == min(length, 200)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert len(set(kept)) == len(kept)


def test_the_ink_keeps_a_rows_colour_and_has_one_switch() -> None:
    frame, heard = whole()
    made = {figure.key: figure for figure in figures.figures(frame, heard)}
    assert list(made) == [
        "pairs",
        "tradeoff",
        "anytime",
        "trajectories",
        "confirmations",
        "space",
        "learning",
    ]
    assert made["anytime"].switch == series.UNITS
    traces = made["anytime"].plots[0].figure["data"]
    assert {trace["meta"] for trace in traces if trace["visible"]} == {series.UNITS[0]}
    assert {trace["meta"] for trace in traces} == set(series.UNITS)
    colours = {trace["line"]["color"] for trace in traces if trace["name"] == "guided"}
    learning = next(t for t in made["learning"].plots[0].figure["data"] if t["name"] == "guided")
    assert colours == {learning["line"]["color"]}
    assert made["space"].plots[0].figure["layout"]["shapes"][0]["x0"] == pytest.approx(-1)  # log10 of 0.1


def test_a_study_without_a_single_run_has_no_figures() -> None:
    frame = frames.read(ledger(spec(), {}, state=StudyState.RUNNING), "s1")
    assert figures.figures(frame, {}) == []


def test_no_two_rows_of_a_study_look_alike() -> None:
    named = [{"name": f"arm-{i}", "method": "fixed", "row": f"row {i}"} for i in range(14)]
    study = spec(arms=named, claim=None)
    frame = frames.read(ledger(study, {arm["name"]: runs(1.0 + i) for i, arm in enumerate(named)}), "s1")
    drawn = next(f for f in figures.figures(frame, {}) if f.key == "anytime")
    traces = drawn.plots[0].figure["data"]
    looks = {(t["line"]["color"], t["line"]["dash"], t["marker"]["symbol"]) for t in traces}
    marks = {(t["line"]["color"], t["marker"]["symbol"]) for t in traces}
    assert len(looks) == len(marks) == 14


def _trajectory_looks(study: StudySpec, results: dict[str, list[Run]]) -> list[dict[str, tuple[str, str]]]:
    """By panel: what each line is called, its colour and its dash."""
    store = ledger(study, results)
    frame = frames.read(store, "s1")
    drawn = figures.figures(frame, frames.curves(store, series.closely(frame)))
    plots = next(f for f in drawn if f.key == "trajectories").plots
    return [
        {t["name"]: (t["line"]["color"], t["line"]["dash"]) for t in plot.figure["data"]} for plot in plots
    ]


def test_a_learned_row_has_one_colour_in_every_panel_and_its_settings_differ_by_dash() -> None:
    config = {"guidance": {"estimator": "held-out", "learn": ["alpha"]}}
    grid = {"method": "grid", "space": [{"path": "guidance.reach", "values": [1, 2]}], "trials": 2}
    said = [(40, "eval", {"loss": 1.0}, {"alpha": 0.9})]
    named: list[dict[str, Any]] = []
    for column in ("a", "b"):
        named += [{"name": f"grid-{column}", **grid, "row": "grid", "column": column, "config": config}]
        if column == "a":
            named += [{"name": "first", "method": "fixed", "row": "first", "column": "a", "config": config}]
        named += [
            {"name": f"one-{column}", "method": "fixed", "row": "one", "column": column, "config": config}
        ]
    results = {
        arm["name"]: [Run(1.0 + i, point={"guidance.reach": i + 1}, said=said) for i in range(2)]
        if arm["method"] == "grid"
        else [Run(1.0, said=said)]
        for arm in named
    }
    a, b = _trajectory_looks(spec(arms=named, claim=None), results)
    assert list(a) == ["grid reach 1", "grid reach 2", "first", "one"]
    assert len(set(a.values())) == 4
    assert a["grid reach 1"][0] == a["grid reach 2"][0]
    assert {name: a[name] for name in b} == b


def test_where_one_row_learns_each_setting_has_a_colour() -> None:
    frame, heard = whole()
    drawn = next(f for f in figures.figures(frame, heard) if f.key == "trajectories")
    assert len({trace["line"]["color"] for trace in drawn.plots[0].figure["data"]}) == 4


def test_a_course_that_a_search_chose_is_drawn_as_it_went() -> None:
    course = {"schedule": {"course": {"alpha": {"start": 2.0, "end": 0.5}}}}
    searching = {
        "name": "bo-schedule",
        "method": "gp",
        "space": [{"path": "schedule.course.alpha.end", "low": 0.1, "high": 1}],
        "trials": 1,
        "startup_trials": 1,
        "row": "course",
        "column": "alpha",
        "config": course,
    }
    study = spec(more_arms=[searching])
    said = [(20, "eval", {"loss": 1.0}, {"alpha": 1.2}), (40, "eval", {"loss": 1.0}, {"alpha": 0.5})]
    store = ledger(study, {"bo-schedule": [Run(1.0, point={"schedule.course.alpha.end": 0.5}, said=said)]})
    frame = frames.read(store, "s1")
    (line,) = series.trajectories(frame, frames.curves(store, series.closely(frame)), "alpha", "alpha")
    assert (line.name, line.x, line.y) == ("course", (0, 20, 40), (2.0, 1.2, 0.5))
    assert not line.steady


def test_repetitions_of_one_setting_have_no_budget_to_compare() -> None:
    named = [
        {"name": "base", "method": "fixed", "trials": 3, "fresh_seeds": True, "row": "base", "column": "c"},
        {"name": "guided", "method": "fixed", "trials": 3, "row": "guided", "column": "c"},
    ]
    claim = {"text": "Better.", "challenger": "guided", "incumbent": "base"}
    frame = frames.read(
        ledger(spec(arms=named, claim=claim), {a["name"]: runs(3, 2, 1) for a in named}), "s1"
    )
    assert series.equal_budgets(frame, slots=1) == []


def test_a_row_that_goes_on_with_what_another_learned_with_learns_too() -> None:
    control = {
        "name": "again",
        "method": "fixed",
        "row": "again",
        "column": "alpha",
        "after": {"arm": "guided"},
    }
    frame = frames.read(ledger(spec(more_arms=[control]), {}), "s1")
    assert frame.learns["again"] == ("alpha",)


def test_rows_stand_at_what_they_cost_beside_the_curve_of_plain_training() -> None:
    steps = {"longer-60": 60, "longer-80": 80}
    longer = [
        repeated(name, name, trials=2, column="alpha", phase="control", control="longer", config={"steps": n})
        for name, n in steps.items()
    ]
    fresh = {
        "confirm-base": runs(1.0, 0.9),
        "longer-60": runs(0.5, 0.4),
        "longer-80": runs(0.25, 0.2),
        "confirm-guided": runs(0.5, 0.4, hours=1.7),  # as good as plain training of one and a half
        "confirm-bo": runs(0.1, 0.1),  # better than the longest
    }
    made = ledger(spec(more_arms=longer), {**searched(), **fresh})
    drawn = next(f for f in figures.figures(frames.read(made, "s1"), {}) if f.key == "speedup")
    (plot,) = drawn.plots
    layout, named = plot.figure["layout"], [t for t in plot.figure["data"] if t.get("showlegend", True)]
    assert [trace["name"] for trace in named] == ["plain training", "+ BO: S > 2", "guided: S 0.882"]
    plain, bo, guided = named
    assert plain["x"] == [1.0, 1.5, 2.0]
    assert plain["y"] == pytest.approx([math.sqrt(0.9), math.sqrt(0.2), math.sqrt(0.05)])
    assert (bo["x"], bo["y"]) == ([1.0], pytest.approx([0.1]))
    assert (guided["x"], guided["y"]) == (pytest.approx([1.7]), pytest.approx([math.sqrt(0.2)]))
    dotted = [t["x"] for t in plot.figure["data"] if t.get("line", {}).get("dash") == "dot"]
    assert dotted == [[1.0, 2.0], pytest.approx([1.7, 1.5])]  # to the length that is as good, or the longest
    seeds = [t for t in plot.figure["data"] if isinstance(t.get("text"), list)]
    assert [t["y"] for t in seeds] == [[1.0, 0.5, 0.25], [0.9, 0.4, 0.2]]
    assert layout["xaxis"]["ticktext"] == ["1", "1.5", "2"]
    assert layout["yaxis"]["type"] == layout["xaxis"]["type"] == "log"


# -- the first screen's, and what all figures have in common -----------------------------------------------
def _bo_beats_guided(*guided: float) -> frames.Frame:
    bo = [0.1, 0.11, 0.12, 0.13, 0.1, 0.1]
    fresh = {"confirm-guided": runs(*guided), "confirm-bo": runs(*bo, hours=2.0), "confirm-base": runs(0.3)}
    return frames.read(ledger(spec(), {**searched(), **fresh}), "s1")


def test_a_line_for_each_seed_joins_the_two_sides_and_the_decisive_seed_is_named() -> None:
    frame = _bo_beats_guided(0.12, 0.13, 9.0, 0.14, 0.12, 0.12)
    (plot,) = next(f for f in figures.figures(frame, {}) if f.key == "pairs").plots
    joined, decisive = plot.figure["data"][:2]
    assert [joined["x"][i : i + 2] for i in range(0, 18, 3)][-1] == [0.12, 9.0]  # on top: the widest gap
    assert decisive["x"] == [9.0, 0.12]
    assert len(joined["x"]) == 6 * 3
    texts = plot.figure["layout"]["yaxis"]["ticktext"]
    assert texts[-1] == "seed 1002"
    assert sorted(texts[:-1]) == ["1000", "1001", "1003", "1004", "1005"]
    calm = _bo_beats_guided(0.12, 0.13, 0.14, 0.14, 0.12, 0.12)
    (plot,) = next(f for f in figures.figures(calm, {}) if f.key == "pairs").plots
    assert not any(text.startswith("seed") for text in plot.figure["layout"]["yaxis"]["ticktext"])


def test_a_row_s_dot_stands_at_the_cost_of_its_search_and_one_run_of_its_choice() -> None:
    frame = _bo_beats_guided(0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
    (plot,) = next(f for f in figures.figures(frame, {}) if f.key == "tradeoff").plots
    dots = {trace["name"]: (trace["x"][0], trace["y"][0]) for trace in plot.figure["data"]}
    assert dots == {
        "base": (1.0, pytest.approx(0.3)),  # nothing was searched
        "BO": (4 * 1.0 + 2.0, pytest.approx(0.11)),
        "guided": (3 * 1.0 + 1.0, pytest.approx(0.2)),
    }
    assert plot.figure["layout"]["xaxis"]["title"]["text"] == "compute of one search and its choice (h)"


def test_before_the_end_nothing_compares_the_two_sides() -> None:
    fresh = {"confirm-guided": runs(0.7), "confirm-bo": runs(0.8)}
    frame = frames.read(ledger(spec(), {**searched(), **fresh}, state=StudyState.RUNNING), "s1")
    assert not {"pairs", "tradeoff"} & {f.key for f in figures.figures(frame, {})}


def test_a_figure_has_one_legend_with_each_row_once_and_the_claim_s_rows_bold() -> None:
    frame, heard = whole()
    made = {figure.key: figure for figure in figures.figures(frame, heard)}
    legend = made["anytime"].legend
    assert [key.name for key in legend] == ["base", "+ BO", "guided"]
    assert [key.strong for key in legend] == [False, True, True]
    assert [key.name for key in made["trajectories"].legend] == [
        "+ BO, chosen value", "guided η̂ 0.01", "guided η̂ 0.02", "guided η̂ 0.04",
    ]  # fmt: skip
    assert [key.name for key in made["trajectories"].legend if key.strong][-1] == "guided η̂ 0.02"  # its best


def test_the_column_of_the_claim_comes_first_and_wide() -> None:
    first = repeated("other", "other", column="beta1", config={"steps": 60})
    arms = [first, *(arm.model_dump() for arm in spec().arms)]
    study = spec(arms=arms)
    assert study.columns()[0] == "beta1"
    results = {**searched(), "other": runs(1.0), "confirm-guided": runs(0.8), "confirm-bo": runs(0.9)}
    frame = frames.read(ledger(study, results), "s1")
    plots = next(f for f in figures.figures(frame, {}) if f.key == "confirmations").plots
    assert [(plot.title, plot.wide) for plot in plots] == [("α", True), ("β1", False)]


@pytest.mark.parametrize(
    ("path", "name"),
    [("optimizer.alpha", "α"), ("schedule.course.beta1.start", "β1 start"), ("guidance.reach", "reach")],
)
def test_a_dimension_is_named_with_what_it_moves(path: str, name: str) -> None:
    assert panels.dimension(path) == name


def test_a_score_that_rises_has_a_panel_of_its_own_beside_the_losses_of_a_trial() -> None:
    steps = [(20.0, 50.0), (40.0, 80.0)]
    said = {"train_loss": [(20.0, 1.0)], "dev_loss": [(20.0, 0.9), (40.0, 0.4)], "score": steps}
    learning, *others = figures.of_trial(frames.Curves(said, {}), {}, metric="score")
    assert learning.caption.startswith("Losses and score by step.")
    names = [[trace["name"] for trace in each.figure["data"]] for each in learning.plots]
    assert names == [["train_loss", "dev_loss"], ["score"]]
    axes = [each.figure["layout"]["yaxis"]["title"]["text"] for each in learning.plots]
    assert axes == ["loss", "score"]
    assert others == []
    (only,) = figures.of_trial(frames.Curves(said, {}), {}, metric="dev_loss")[0].plots
    assert [trace["name"] for trace in only.figure["data"]] == ["train_loss", "dev_loss"]
