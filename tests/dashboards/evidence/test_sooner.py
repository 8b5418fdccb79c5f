"""Is the step at which a guided run has base's last loss the one that was put into its curve?"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from dashboards.evidence import frames
from dashboards.evidence.sooner import FEWEST, Sooner, needed, sooner
from dashboards.evidence.speedup import Speedup
from dashboards.evidence.stats import Interval, sign_flip_p
from dashboards.report import answer as report
from dashboards.report import pages
from orchestrator.cli.findings import beside_lines, conclusion_of
from orchestrator.ledger.records import StudyState
from tests.dashboards import pretrained
from tests.dashboards.ledgers import FAILED, Run, diverged, ledger
from tests.dashboards.pretrained import EVALUATIONS, KAPPA, STEPS, on_seeds

BOTH = "alpha+beta1"
CONFIRMED = f"confirm-guided-{BOTH}"


def told(study: dict[str, Any] | None = None, **changes: list[Run]) -> tuple[Sooner, ...]:
    store = ledger(pretrained.spec(**(study or {})), pretrained.results(**changes))
    frame = frames.read(store, "s1")
    return sooner(frame, frames.curves(store, needed(frame)))


def guided(**changes: list[Run]) -> Sooner:
    (found,) = (each for each in told(**changes) if (each.column, each.row) == (BOTH, "guided"))
    return found


@pytest.mark.parametrize("speed", [1.0, 1.3, 2.0, 3.0, 7.5])
def test_a_row_that_does_in_one_step_what_base_does_in_so_many_needs_so_many_times_fewer(
    speed: float,
) -> None:
    found = guided(**{CONFIRMED: on_seeds(6, speed=speed, hours=1.5)})
    assert found.reached
    assert found.steps.value == pytest.approx(speed, rel=1e-6)
    assert found.at_step == pytest.approx(STEPS / speed, rel=1e-6)
    assert (found.steps.n, found.steps.tested) == (6, True)
    assert found.steps.span == Interval(pytest.approx(1.0), pytest.approx(EVALUATIONS))
    assert found.step_cost == pytest.approx(1.5)
    assert found.time is not None
    assert found.time.value == pytest.approx(speed / 1.5, rel=1e-6)


def noisy(speed: float, *, random: np.random.Generator) -> list[Run]:
    """Each evaluation off by luck of its own."""
    made = []
    for run in on_seeds(6, speed=speed):
        said = [
            (s, k, {"dev_loss": v["dev_loss"] * math.exp(random.normal(0, 0.02))}, h)
            for s, k, v, h in run.said
        ]
        made.append(replace(run, value=said[-1][2]["dev_loss"], said=said))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_holds_just_the_steps_that_the_test_does_not_reject(seed: int) -> None:
    ours = noisy(1.8, random=np.random.default_rng(seed))
    found = guided(**{CONFIRMED: ours})
    base = np.log([run.value or 0.0 for run in on_seeds(6)])
    steps = np.array([step for step, *_ in ours[0].said])
    at = np.linspace(np.log(steps[0]), np.log(STEPS), 4001)
    curves = [
        np.interp(at, np.log(steps), np.log([v["dev_loss"] for _, _, v, _ in run.said])) for run in ours
    ]
    excess = np.array(curves).T - base
    kept = STEPS / np.exp(at[[sign_flip_p(each) > 0.05 for each in excess]])
    assert (found.steps.high, found.steps.low) == pytest.approx((kept[0], kept[-1]), rel=0.015)
    assert found.steps.value is not None
    last_worse = np.flatnonzero(excess.mean(axis=1) > 0)[-1]
    assert found.steps.value == pytest.approx(STEPS / np.exp(at[last_worse]), rel=0.005)


def test_a_row_that_ends_above_base_has_not_reached_it_whatever_its_curve_had_before() -> None:
    plain = guided(**{CONFIRMED: on_seeds(6, speed=0.8)})
    assert not plain.reached
    assert (plain.words, plain.time_words, plain.at_step) == ("not reached", "not reached", None)
    assert plain.sentence(papers=3) == (
        "Guided does not reach base's last dev loss, on 6 seeds: not reached. The paper says 3."
    )

    def rising(run: Run) -> Run:
        """As fast as can be, and in the last two evaluations far above base."""
        *before, _, last = run.said
        ends = [(step, kind, {"dev_loss": 9.0}, hyper) for step, kind, _, hyper in (run.said[-2], last)]
        return replace(run, value=9.0, said=[*before, *ends])

    risen = guided(**{CONFIRMED: [rising(run) for run in on_seeds(6, speed=3.0)]})
    assert (risen.reached, risen.steps.side) == (False, "short")


def test_where_a_curve_rises_and_falls_again_the_step_from_which_on_it_is_no_worse_counts() -> None:
    def bumped(run: Run) -> Run:
        said = list(run.said)
        said[9] = (said[9][0], "eval", {"dev_loss": 9.0}, {})  # at step 300 of 480
        return replace(run, said=said)

    found = guided(**{CONFIRMED: [bumped(run) for run in on_seeds(6, speed=3.0)]})
    assert found.at_step is not None
    assert 300 < found.at_step < 330  # and not 160, where it had it first


def test_it_is_told_where_base_itself_had_its_last_loss_long_before_and_rose_again() -> None:
    assert guided().risen_from is None

    def risen(run: Run) -> Run:
        """The loss that it had at step 120 of 480, and passed through, again at its end."""
        *before, last = run.said
        end = pretrained.loss(120) * (run.value or 0.0) / pretrained.loss(STEPS)
        return replace(run, value=end, said=[*before, (last[0], "eval", {"dev_loss": end}, {})])

    found = guided(**{"confirm-base": [risen(run) for run in on_seeds(6)]})
    assert found.risen_from in (120, 150)  # equal at 120, but for the last digit
    assert f"Base had its last dev loss at step {found.risen_from} and rose again" in found.sentence()


def test_a_row_that_has_it_at_its_first_evaluation_is_told_as_more_than_could_be_read() -> None:
    found = guided(**{CONFIRMED: on_seeds(6, speed=40.0)})
    assert (found.steps.side, found.words, found.at_words) == ("beyond", "> 16", "≤ 30")
    assert found.reached


def test_few_seeds_give_a_ratio_and_no_interval() -> None:
    found = guided(**{CONFIRMED: on_seeds(2, speed=2.0, hours=1.5)})
    assert (found.steps.n, found.steps.tested, found.words) == (2, False, "2")
    assert found.sentence() == (
        "Base needs 2 times the steps that guided needs for base's last dev loss, on 2 seeds, too few for an "
        "interval. In compute time 1.33."
    )


def test_a_diverged_run_counts_with_the_worst_loss_at_every_step_and_a_failed_one_leaves_its_seed_out() -> (
    None
):
    lost = [*on_seeds(5, speed=3.0), diverged(dev_loss=50.0)]
    found = guided(**{CONFIRMED: lost})
    assert (found.steps.n, found.reached) == (6, False)
    # By hand: the mean log excess at the end is that of five runs that are ahead and one far behind.
    ahead = -KAPPA * math.log(3.0)
    behind = math.log(50.0) - math.log(pretrained.loss(STEPS, luck=pretrained.LUCK[5]))
    assert 5 * ahead + behind > 0
    left_out = guided(**{CONFIRMED: [*on_seeds(5, speed=2.0), FAILED]})
    assert left_out.steps.n == 5
    assert left_out.steps.value == pytest.approx(2.0, rel=1e-6)


def test_rows_that_learn_are_told_in_every_column_that_has_base_and_no_others() -> None:
    assert [(each.column, each.row) for each in told()] == [
        (BOTH, "guided"),
        ("alpha", "guided"),
        ("beta1", "guided, β1 from .1"),
        ("beta1", "guided, β1 from .9"),
    ]


def test_runs_with_few_evaluations_are_not_read() -> None:
    assert told(**{CONFIRMED: on_seeds(6, speed=2.0, evaluations=FEWEST - 1)})[0].column == "alpha"
    assert told(**{CONFIRMED: on_seeds(6, speed=2.0, evaluations=FEWEST)})[0].column == BOTH


def test_a_metric_that_should_rise_has_none() -> None:
    objective = {"metric": "dev_loss", "goal": "maximize", "split": "select"}
    assert told({"objective": objective}) == ()


READ = Interval(1.0, 16.0)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (Speedup(6, 1.8, 1.4, 2.3, True, READ, "within"), "1.8 (1.4–2.3)"),
        (Speedup(6, 1.8, None, 2.3, True, READ, "within"), "1.8 (< 1–2.3)"),
        (
            Speedup(6, None, None, 1.2, True, READ, "short"),
            "not reached (95% interval up to 1.2)",
        ),
        (Speedup(6, None, None, 1.0, True, READ, "short"), "not reached"),
        (Speedup(2, None, None, None, False, READ, "short"), "not reached"),
    ],
)
def test_it_is_said_in_figures(steps: Speedup, words: str) -> None:
    assert Sooner("guided", "base", "c", "dev_loss", 6.0, 480, steps, 1.5).words == words


def test_one_over_a_speedup_turns_its_ends_and_its_side() -> None:
    share = Speedup(6, 0.5, 0.4, None, True, Interval(0.1, 1.0), "within")
    assert share.inverse == Speedup(6, 2.0, None, 2.5, True, Interval(1.0, 10.0), "within")
    never = Speedup(6, None, 1.0, None, True, Interval(0.1, 1.0), "beyond").inverse
    assert (never.side, never.low, never.high) == ("short", None, 1.0)
    assert share.inverse.inverse == share


# -- where it is shown -----------------------------------------------------------------------------------
def test_scripts_get_it_with_the_verdict_and_with_the_whole_answer() -> None:
    store = ledger(pretrained.spec(), pretrained.results())
    _, verdict = report.verdict_of(store, "s1")
    whole = report.answer_dict(report.gather(store, "s1", slots=2))
    assert json.loads(json.dumps(verdict)) == {name: json.loads(json.dumps(whole[name])) for name in verdict}
    first = verdict["sooner"][0]
    assert (first["row"], first["column"], first["reached"]) == ("guided", BOTH, True)
    assert first["steps"] == asdict(told()[0].steps)
    assert first["time"]["value"] == pytest.approx(2.0 / 1.5, rel=1e-6)


def test_before_the_end_and_where_nothing_worked_there_is_none() -> None:
    running = ledger(pretrained.spec(), pretrained.results(), state=StudyState.RUNNING)
    _, told_then = report.verdict_of(running, "s1")
    assert (told_then["sooner"], told_then["statements"], told_then["contradictions"]) == ([], [], [])


def test_the_report_has_a_table_of_it() -> None:
    answer = report.gather(ledger(pretrained.spec(), pretrained.results()), "s1", slots=2)
    text = pages.markdown(answer).split("## How much sooner than base")[1]
    line = next(line for line in text.splitlines() if line.startswith("| guided | α+β1"))
    at, ratio, cost, time, n = (part.strip() for part in line.split("|")[3:-1])
    assert (at, ratio.split()[0], cost, time.split()[0], n) == ("240 of 480", "2", "1.5", "1.33", "6")
    assert 'id="sooner"' in pages.page(answer)


def test_the_terminal_tells_it_of_the_challenger_where_the_paper_states_nothing() -> None:
    base = {"steps": STEPS, "optimizer": {"alpha": 1.0, "beta1": 0.9}}
    store = ledger(pretrained.spec(base=base), pretrained.results())
    _, verdict = report.verdict_of(store, "s1")
    assert verdict["statements"] == []
    (line,) = beside_lines(verdict)
    assert line.startswith(
        "Base needs 2 (2–2) times the steps that guided needs for base's last dev loss, on 6 seeds."
    )


def test_an_older_service_tells_none() -> None:
    older = {"headline": {}, "explanation": {}, "verdict": {}}
    assert list(beside_lines({**conclusion_of(older), "headline": {"sides": []}})) == []
