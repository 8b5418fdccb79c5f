"""Is the speed-up that was put into losses the one that is read off?"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest

from dashboards.evidence import csv_tables, frames, latex, table_forms, table_values, tables
from dashboards.evidence.speedup import RowSpeedup, Speedup, from_dict, plain_runs, speedup, speedups
from dashboards.evidence.stats import Interval, sign_flip_p
from dashboards.report import answer as report
from dashboards.report import pages
from orchestrator.study.canonical import canonical
from orchestrator.study.spec import StudySpec
from tests.dashboards.ledgers import Run, control, diverged, ledger, searched, spec

LENGTHS = (1.0, 1.15, 1.3, 1.7)
KAPPA = 2.2  # loss falls as time to that power


def power_law(
    true: float, *, seeds: int = 6, noise: float = 0.0, cost: float = 1.0, seed: int = 0
) -> Speedup:
    """Losses of plain runs and of a row as good as plain training of `true` times `cost` its length. Runs on
    one seed share a part of their luck."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 0.1, seeds)

    def losses(length: float) -> dict[int, float]:
        own = random.normal(0, noise, seeds) if noise else np.zeros(seeds)
        return dict(enumerate(3.0 * length**-KAPPA * np.exp(shared + own)))

    found = speedup({length: losses(length) for length in LENGTHS}, losses(true * cost), cost=cost)
    assert found is not None
    return found


@pytest.mark.parametrize("true", [1.0, 1.03, 1.2, 1.6])
@pytest.mark.parametrize("cost", [1.0, 1.05])
def test_without_noise_it_is_read_off_to_the_last_digit(true: float, cost: float) -> None:
    found = power_law(true, cost=cost)
    assert found.value == pytest.approx(true, rel=1e-6)
    assert found.side == "within"
    assert (found.span.low, found.span.high) == pytest.approx((1 / cost, 1.7 / cost))


def test_beyond_the_longest_and_short_of_the_shortest_are_answers() -> None:
    beyond, short = power_law(2.0), power_law(0.8)
    assert (beyond.side, beyond.value, beyond.low, beyond.high) == ("beyond", None, beyond.span.high, None)
    assert (short.side, short.value, short.low, short.high) == ("short", None, None, short.span.low)
    half = power_law(1.69, noise=0.05)
    assert half.value is not None
    assert half.high is None  # the interval ends beyond what was run
    assert half.low is not None


def test_with_noise_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        found = power_law(1.2, noise=0.05, seed=seed)
        held += (found.low or 0.0) <= 1.2 <= (found.high or np.inf)
    assert held >= 60 * 0.95 - 3 * np.sqrt(60 * 0.95 * 0.05)


@pytest.mark.parametrize("seeds", [6, 9])
def test_the_interval_holds_just_the_lengths_that_the_test_does_not_reject(seeds: int) -> None:
    for seed in range(10):
        found = power_law(1.3, seeds=seeds, noise=0.08, seed=seed)
        at = np.linspace(0, np.log(1.7), 2001)
        random = np.random.default_rng(seed)
        shared = random.normal(0, 0.1, seeds)
        plain = [-KAPPA * np.log(each) + shared + random.normal(0, 0.08, seeds) for each in LENGTHS]
        row = -KAPPA * np.log(1.3) + shared + random.normal(0, 0.08, seeds)
        curves = np.array([np.interp(at, np.log(LENGTHS), of) for of in np.array(plain).T]).T - row
        kept = np.exp(at[[sign_flip_p(each) > 0.05 for each in curves]])
        low, high = found.low or found.span.low, found.high or found.span.high
        assert (low, high) == pytest.approx((kept[0], kept[-1]), rel=0.004)


def test_too_few_seeds_give_a_value_and_no_interval() -> None:
    found = power_law(1.2, seeds=3, noise=0.02)
    assert found.value == pytest.approx(1.2, abs=0.1)
    assert (found.tested, found.low, found.high) == (False, None, None)


def test_only_seeds_that_all_lengths_share_are_read() -> None:
    plain = {1.0: {0: 2.0, 1: 2.0}, 1.7: {0: 1.0, 1: 1.0, 2: 9.0}}
    found = speedup(plain, {0: 1.5, 2: 0.1}, cost=1.0)
    assert found is not None
    assert found.n == 1
    assert speedup(plain, {7: 1.5}, cost=1.0) is None
    assert speedup({1.0: {0: 2.0}}, {0: 1.0}, cost=1.0) is None
    assert speedup({1.0: {0: 2.0}, 1.7: {0: 0.0}}, {0: 1.0}, cost=1.0) is None  # no log of it


def test_a_row_that_plain_training_of_its_own_length_beats_is_short_of_it_whatever_longer_ones_do() -> None:
    found = speedup({1.0: {0: 1.0}, 1.7: {0: 1.2}}, {0: 1.1}, cost=1.0)
    assert found is not None
    assert found.side == "short"


def test_the_interval_holds_the_value_even_where_no_two_runs_differ_by_luck() -> None:
    for true in (1.0, 1.2, 1.234567):
        found = power_law(true)
        assert found.value is not None
        assert (found.low or found.span.low) <= found.value * (1 + 1e-9)
        assert found.value <= (found.high or found.span.high) * (1 + 1e-9)
        assert (found.high or 0.0) == pytest.approx(true, rel=0.004)


def test_a_row_as_good_as_the_plain_runs_of_a_length_is_worth_that_length_however_the_curve_bends() -> None:
    plain = {1.0: {0: 3.0}, 1.15: {0: 1.0}, 1.7: {0: 0.9}}
    found = speedup(plain, {0: 1.0}, cost=1.0)
    assert found is not None
    assert found.value == pytest.approx(1.15, rel=1e-12)


SPAN = Interval(1.0, 1.7)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Speedup(6, 1.1234, 1.01, 1.23, True, SPAN, "within"), "1.12 (1.01–1.23)"),
        (Speedup(6, 1.6, 1.4, None, True, SPAN, "within"), "1.6 (1.4–> 1.7)"),
        (Speedup(6, 1.1, None, None, True, SPAN, "within"), "1.1 (< 1–> 1.7)"),
        (Speedup(6, None, 1.5, None, True, SPAN, "beyond"), "> 1.7 (1.5–> 1.7)"),
        (Speedup(6, None, 1.7, None, True, SPAN, "beyond"), "> 1.7"),  # surely so
        (Speedup(6, None, None, 1.0, True, SPAN, "short"), "< 1"),
        (Speedup(2, None, None, None, False, SPAN, "short"), "< 1"),
        (Speedup(2, 1.12, None, None, False, SPAN, "within"), "1.12"),
        (Speedup(6, 1.1, 1.0, 1.5, True, SPAN, "within").over(11), "0.1 (0.0909–0.136)"),
        (Speedup(6, None, 1.7, None, True, SPAN, "beyond").over(2), "> 0.85"),
    ],
)
def test_it_is_said_in_figures_with_what_lies_outside_of_the_plain_runs(found: Speedup, words: str) -> None:
    assert found.words == words


# -- of a study ------------------------------------------------------------------------------------------
LONGER = {46: 1.15, 52: 1.3, 68: 1.7}  # steps, beside 40 of the base


def arms(**more: Any) -> list[dict[str, Any]]:
    """Those of `spec`, longer plain training and a control."""
    longer = [
        {**control(f"longer-{steps}", f"plain x {length}"), "after": None, "config": {"steps": steps}}
        | {"control": "longer", "column": "alpha", **more}
        for steps, length in LONGER.items()
    ]
    replay = {**control("replay", "replay"), "column": "alpha"}
    return [*(arm.model_dump() for arm in spec().arms), *longer, replay]


def as_good_as(length: float, *, hours: float = 1.0, seeds: int = 6) -> list[Run]:
    """Six fresh seeds with luck of their own, which runs of any length share."""
    luck = np.random.default_rng(3).normal(0, 0.1, 6)[:seeds]
    return [Run(float(3.0 * length**-KAPPA * np.exp(x)), hours=hours) for x in luck]


def results(**changes: list[Run]) -> dict[str, list[Run]]:
    """A guided run takes two hours, and is as good as plain training of 1.2 times the steps."""
    return {
        **searched(guided_hours=2.0),
        "confirm-base": as_good_as(1.0),
        **{f"longer-{steps}": as_good_as(length, hours=length) for steps, length in LONGER.items()},
        "confirm-bo": as_good_as(1.45),
        "confirm-guided": as_good_as(1.2, hours=2.0),
        "replay": as_good_as(1.1),
        **changes,
    }


def frame(study: StudySpec | None = None, **changes: list[Run]) -> frames.Frame:
    return frames.read(ledger(study or spec(arms=arms()), results(**changes)), "s1")


def by_row(study: StudySpec | None = None, **changes: list[Run]) -> dict[str, RowSpeedup]:
    return {each.row: each for each in speedups(frame(study, **changes))}


def test_every_row_on_fresh_seeds_is_told_in_longer_plain_training_and_in_what_it_cost() -> None:
    found = by_row()
    assert list(found) == ["+ BO", "guided", "replay"]  # plain runs are what these are read against
    told = {
        row: (each.length.value, each.cost, each.of_run.value, each.search_cost, each.with_search.value)
        for row, each in found.items()
    }
    assert told == {
        "+ BO": pytest.approx((1.45, 1, 1.45, 4, 1.45 / 5)),
        "guided": pytest.approx((1.2, 2, 0.6, 3 * 2, 1.2 / 8)),
        "replay": pytest.approx((1.1, 1, 1.1, 3 * 2, 1.1 / 7)),  # of what the guided search found
    }
    assert {(each.cost_by, each.length.n, each.length.tested) for each in found.values()} == {
        ("clocks", 6, True)
    }
    assert found["guided"].loss == pytest.approx(
        math.exp(np.mean([math.log(run.value or 0.0) for run in as_good_as(1.2)]))
    )


def test_what_the_spec_expects_a_step_to_cost_counts_where_it_says_so_of_all_arms_concerned() -> None:
    stated = [{**arm, "run_hours": 3.0 if "guided" in arm["name"] else 2.0} for arm in arms()]
    found = by_row(spec(arms=stated))
    assert {(row, each.cost_by, each.cost, each.search_cost) for row, each in found.items()} == {
        ("+ BO", "steps", 1.0, 4.0),
        ("guided", "steps", 1.5, 4.5),
        ("replay", "steps", 1.0, 4.5),
    }
    for arm in stated:
        arm["run_hours"] = None if arm["name"] == "guided" else arm["run_hours"]
    found = by_row(spec(arms=stated))
    assert [found[row].cost_by for row in ("+ BO", "guided", "replay")] == ["steps", "clocks", "clocks"]


def test_a_setting_that_nothing_chose_costs_one_run_with_all_that_led_to_it() -> None:
    plain = {**control("fixed", "fixed"), "after": None, "column": "alpha"}
    found = by_row(spec(arms=[*arms(), plain]), fixed=as_good_as(1.2, hours=1.2))
    assert found["fixed"].search_cost == 0
    assert found["fixed"].of_run == found["fixed"].with_search
    assert found["fixed"].of_run.value == pytest.approx(1.0)


def test_a_diverged_run_counts_as_the_worst_that_any_run_ended_with() -> None:
    runs = as_good_as(1.2)
    found = by_row(**{"confirm-guided": [*runs[:5], diverged(loss=50.0)]})["guided"]
    lost = dict(enumerate([*(run.value or 0.0 for run in runs[:5]), 50.0]))
    plain = {at: dict(enumerate(r.value or 0.0 for r in as_good_as(at))) for at in (1.0, *LONGER.values())}
    alone = speedup(plain, lost, cost=1.0)
    assert alone is not None
    assert found.length.side == alone.side == "short"
    assert (found.length.n, found.length.high) == (6, alone.high)


def test_without_two_lengths_or_shared_seeds_or_a_loss_there_is_none() -> None:
    assert speedups(frame(**{f"longer-{steps}": [] for steps in LONGER})) == ()
    assert speedups(frame(**{"confirm-base": []})) == ()
    assert speedups(frame(spec(arms=arms(column="beta1")))) == ()  # in no column with other rows
    assert speedups(frame(spec(arms=arms(), objective={"goal": "maximize"}))) == ()
    zero = [Run(0.0), *as_good_as(1.0)[1:]]
    assert speedups(frame(**{"confirm-base": zero})) == ()
    assert (
        speedups(frame(spec(base={"optimizer": {"alpha": 1.0}}, arms=arms()))) == ()
    )  # no steps of the base


def test_a_length_that_has_not_run_yet_leaves_the_others() -> None:
    found = by_row(**{"longer-68": []})
    assert found["guided"].length.span == Interval(1.0, pytest.approx(1.3))
    assert found["+ BO"].length.words == "> 1.3"


def test_only_seeds_that_all_plain_runs_share_are_read_and_few_give_no_interval() -> None:
    found = by_row(**{"confirm-base": as_good_as(1.0, seeds=2)})["guided"]
    assert (found.length.n, found.length.tested) == (2, False)
    assert found.of_run.words == "0.6"


def test_longer_plain_training_is_known_by_its_words_where_the_spec_does_not_state_it() -> None:
    named = [
        {**arm, "row": "longer plain training" if arm["name"] == "longer-68" else arm["row"]}
        for arm in arms()
        if arm["name"] not in ("longer-46", "longer-52")
    ]
    study = spec(arms=named)
    again = StudySpec.model_validate(json.loads(canonical(study)))
    assert again.arm("longer-68").control is None  # implied by its row
    plain = plain_runs(frame(again, **{"longer-46": [], "longer-52": []}), "alpha")
    assert plain is not None
    assert list(plain.losses) == [1.0, 1.7]


# -- where it is shown -----------------------------------------------------------------------------------
def test_the_table_has_a_column_of_it_in_every_form() -> None:
    made = tables.table(frame())
    assert table_forms.header(made) == ["", "time", "# runs", "α", "S", *table_forms.header(made)[5:]]
    texts = {line[0]: line[4] for line in table_forms.grid(made)}
    guided = by_row()["guided"].of_run.words
    assert guided.startswith("0.6 (")
    assert texts["guided"] == guided
    assert {row for row, text in texts.items() if text == "–"} == {
        "base", "plain x 1.15", "plain x 1.3", "plain x 1.7",
    }  # fmt: skip
    assert any(note.startswith("S: how many times longer plain training") for note in made.notes)
    lines = {line["row"]: line for line in csv.DictReader(io.StringIO(csv_tables.to_csv(made)))}
    assert float(lines["guided"]["speedup"]) == pytest.approx(0.6)
    assert (lines["guided"]["speedup_side"], float(lines["guided"]["speedup_cost"])) == ("within", 2.0)
    assert lines["base"]["speedup"] == ""
    beyond = tables.table(frame(**{"confirm-guided": as_good_as(1.9)}))
    assert r" & $>$ 1.7 " in latex.to_latex(beyond)
    assert r"| \> 1.7 |" in table_forms.to_markdown(beyond)


def test_a_table_without_plain_runs_of_several_lengths_has_no_such_column() -> None:
    made = tables.table(frame(**{f"longer-{steps}": [] for steps in LONGER}))
    assert "S" not in table_forms.header(made)
    assert not any(note.startswith("S:") for note in made.notes)


def test_of_several_columns_that_of_the_claim_is_shown() -> None:
    other = {"name": "guided-2", "method": "fixed", "row": "guided", "column": "beta1"}
    made = tables.table(frame(spec(arms=[*arms(), other])))
    assert table_forms.header(made)[:6] == ["", "time", "# runs", "α", "β1", "S, α"]


def test_a_script_gets_it_with_each_cell_and_makes_the_table_again_of_it() -> None:
    made = tables.table(frame())
    told = json.loads(json.dumps(report.table_dict(made, values=True)))
    (cell,) = (cell for cell in told["cells"] if cell["row"] == "guided")
    assert cell["speedup"].keys() >= {"value", "low", "high", "side", "n", "cost", "with_search"}
    assert cell["speedup"]["with_search"]["value"] == pytest.approx(1.2 / 8)
    assert from_dict("guided", "alpha", cell["speedup"]) == by_row()["guided"]
    assert table_values.from_dict(made.study, told) == made
    for each in (told, *told["cells"]):  # an older service knows of none
        each.pop("speedup_in", None)
        each.pop("speedup", None)
    assert "S" not in table_forms.header(table_values.from_dict(made.study, told))


def test_the_report_tells_of_a_run_and_of_its_search() -> None:
    store = ledger(spec(arms=arms()), results())
    concluded = report.gather(store, "s1", slots=2)
    line = next(
        line
        for line in pages.markdown(concluded).split("Worth in longer plain training")[1].splitlines()
        if line.startswith("| guided |")
    )
    of, cost, s, whole, with_search, n = (text.strip() for text in line.split("|")[3:-1])
    assert (of.split()[0], cost, s.split()[0], whole, with_search.split()[0], n) == (
        "1.2", "2", "0.6", "8", "0.15", "6",
    )  # fmt: skip
    assert ">Worth in longer plain training</h2>" in pages.page(concluded)
