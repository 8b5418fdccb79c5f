"""On how many tasks is a row better, and is chance counted as it is?"""

from __future__ import annotations

import itertools
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import binom

from dashboards.evidence import frames, stats, tasks
from dashboards.evidence.tasks import Counted
from dashboards.report.answer import verdict_of
from orchestrator.cli import findings
from orchestrator.study.spec import StudySpec
from tests.dashboards.downstream import ABOVE, BASE, TASKS, named, results, spec
from tests.dashboards.ledgers import FAILED, Run, ledger


def counted(study: StudySpec | None = None, **runs: list[Run]) -> Counted:
    frame = frames.read(ledger(study or spec(), results(**runs)), "s1")
    assert frame.spec.claim is not None
    found = tasks.counted(frame, frame.spec.claim)
    assert found is not None
    return found


def by_brute_force(gains: list[dict[int, float]]) -> float:
    """Of all ways to swap whole seeds, in how many are as many tasks better?"""
    units = sorted({unit for each in gains for unit in each})

    def better(signs: dict[int, int]) -> int:
        return sum(round(sum(signs[u] * d for u, d in each.items()), 9) > 0 for each in gains)

    seen = better(dict.fromkeys(units, 1))
    swaps = [dict(zip(units, signs, strict=True)) for signs in itertools.product((1, -1), repeat=len(units))]
    return fmean(better(signs) >= seen for signs in swaps)


def test_tasks_are_counted_by_their_mean_and_chance_is_the_binomial_tail() -> None:
    found = counted()
    assert (found.better, found.worse, found.of) == (2, 1, 3)
    assert found.by_chance == 0.5
    for k, n in ((15, 18), (2, 3), (0, 4), (7, 7)):
        assert tasks.at_least_by_chance(k, n) == pytest.approx(binom.sf(k - 1, n, 0.5))


def test_whole_seeds_are_swapped_in_all_tasks_at_once() -> None:
    gains = [dict(enumerate(ABOVE[task])) for task in TASKS]
    assert counted().by_swaps == by_brute_force(gains)
    random = np.random.default_rng(3)
    for n in (1, 3, 5):
        drawn = [dict(enumerate(map(float, random.normal(0.3, 1, 6)))) for _ in range(n)]
        assert stats.as_many_p(drawn) == by_brute_force(drawn)


def test_tasks_that_rise_and_fall_together_are_no_independent_coins() -> None:
    """Eighteen tasks that say the same: by coins one in 262,144, by seeds one in two."""
    same = [dict(enumerate((1.0, -0.5, 0.25, -0.25, 0.5, 0.125)))] * 18
    assert stats.as_many_p(same) == pytest.approx(0.5, abs=0.02)
    assert tasks.at_least_by_chance(18, 18) == 2**-18


def test_a_task_without_a_difference_is_not_better() -> None:
    assert stats.as_many_p([{0: 0.1, 1: 0.2, 2: -0.3}]) == 1.0  # zero but for rounding: none is better


def test_a_seed_that_one_task_lacks_stays_in_the_others() -> None:
    both = [Run(b + a) for b, a in zip(BASE["figures"], ABOVE["figures"], strict=True)]
    found = counted(**{named("α+β1", "figures"): [FAILED, *both[1:]]})
    gains = [dict(enumerate(ABOVE[task])) for task in TASKS]
    del gains[1][0]
    assert (found.of, found.pairs, found.by_swaps) == (3, 5, by_brute_force(gains))


def test_with_six_pairs_no_task_of_three_can_differ_after_holm_and_that_is_said() -> None:
    found = counted()
    assert found.clear == ()
    assert found.fewest == 7
    assert found.sentences == (
        "α+β1 is better than base on 2 of 3 tasks; by chance as many in 47% (whole seeds swapped, since "
        "tasks share them), of independent tasks in 50%.",
        "After Holm's correction over 3 tasks none differs at .05; with fewer than 7 pairs in each none can.",
    )


def test_with_enough_pairs_those_that_differ_after_holm_are_named() -> None:
    base = {task: (*BASE[task], *BASE[task][:2]) for task in TASKS}
    above = {
        "word-order": (2.0, 1.0, 3.0, 1.5, 2.5, 2.0, 1.75, 2.25),
        "figures": (-0.5, -1.0, 0.25, -0.25, -0.5, -0.75, 0.5, 0.125),
        "facts": (-4.0, -3.0, -5.0, -4.5, -3.5, -4.0, -3.75, -4.25),
    }
    made = results(base=base, above=above)
    made |= {name: [*runs, *runs[:2]] for name, runs in made.items() if name.startswith("pretrain")}
    frame = frames.read(ledger(spec(seeds=8), made), "s1")
    assert frame.spec.claim is not None
    found = tasks.counted(frame, frame.spec.claim)
    assert found is not None
    ps = [stats.sign_flip_p(above[task]) for task in TASKS]
    first, last = 3 * min(ps), min(ps)  # of three p, two are the least: 3 and 2 times
    assert [(c.column, c.better) for c in found.clear] == [("word-order", True), ("facts", False)]
    assert [c.p_holm for c in found.clear] == pytest.approx([first, max(first, 2 * last)])
    assert found.sentences[1] == (
        "After Holm's correction over 3 tasks these differ at .05: word-order (better), facts (worse)."
    )


def test_the_terminal_and_json_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = verdict_of(ledger(spec(), results()), "s1")
    assert told["verdict"]["tasks"]["better"] == 2
    assert told["verdict"]["tasks"]["by_chance"] == 0.5
    findings.tell_verdict(told, "t5-smoke", "completed")
    text = " ".join(capsys.readouterr().out.split())
    assert all(sentence in text for sentence in told["verdict"]["tasks"]["sentences"])


def test_columns_are_tasks_where_each_has_one_of_its_own() -> None:
    assert tasks.are_columns(spec())
    assert tasks.noun(spec()) == "tasks"
    data = spec().model_dump(mode="json")
    for arm in data["arms"]:
        arm["config"] = {}
    same = StudySpec.model_validate({**data, "base": {"data": {"task": "figures"}}})
    assert not tasks.are_columns(same)  # columns of settings, all on one task
    assert tasks.noun(same) == "columns"
    assert not tasks.are_columns(StudySpec.model_validate(data))


def test_small_shares_keep_two_digits() -> None:
    assert [tasks.percent(x) for x in (0.5, 0.0038, 2**-18, 0.031, 1.0)] == [
        "50%", "0.38%", "under 0.1%", "3.1%", "100%",
    ]  # fmt: skip
