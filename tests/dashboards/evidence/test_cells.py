"""Are claims of non-inferiority, and over several columns, judged by their own rules?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from dashboards.evidence import frames, stats
from dashboards.evidence.cells import LOSS_PER_TIME
from dashboards.evidence.verdict import Verdict, judge
from dashboards.report import pages
from dashboards.report.answer import gather, verdict_dict
from dashboards.report.screen import screen
from orchestrator.cli.findings import detail_lines
from tests.dashboards.ledgers import Run, diverged, ledger, repeated, runs, spec

PLAIN = (0.80, 0.83, 0.79, 0.84, 0.81, 0.82, 0.80)
TIME = 0.03
ALLOWED = LOSS_PER_TIME * math.log(1 + TIME)  # on the log of the loss


def non_inferiority(**more: Any) -> dict[str, Any]:
    claim = {"text": "No worse.", "challenger": "rival", "incumbent": "plain", "time_margin": TIME}
    return {**claim, "kind": "non-inferiority", **more}


def times(factors: Sequence[float], of: Sequence[float] = PLAIN) -> list[Run]:
    return runs(*(factor * value for factor, value in zip(factors, of, strict=False)))


def beside(worse: Sequence[float], *, longer: dict[str, Any] | None = None, **claim: Any) -> Verdict:
    return judge(frames.read(studied(worse, longer=longer, **claim), "s1"))


def studied(worse: Sequence[float], *, longer: dict[str, Any] | None = None, **claim: Any) -> Any:
    """The rival has so many times the loss of plain training, seed by seed."""
    n = len(worse)
    arms = [repeated("plain", "base", trials=n), repeated("rival", "rival", trials=n)]
    found = {"plain": runs(*PLAIN[:n]), "rival": times(worse)}
    for name, (steps, values) in (longer or {}).items():
        config = {"phase": "control", "control": "longer", "config": {"steps": steps}}
        arms.append(repeated(name, name, trials=len(values), **config))
        found[name] = runs(*values)
    return ledger(spec(arms=arms, claim=non_inferiority(**claim)), found)


# -- not worse by more than a margin in time -------------------------------------------------------------
def test_a_challenger_a_little_worse_on_every_seed_is_within_a_margin_that_is_larger() -> None:
    verdict = beside([1.01, 1.02, 1.01, 1.02, 1.01])
    assert (verdict.answer, verdict.kind, verdict.time_margin) == ("supported", "non-inferiority", TIME)
    assert verdict.contrast is not None
    assert verdict.contrast.mean is not None
    assert verdict.contrast.mean < 0  # it is worse; a claim of superiority would not be supported
    assert verdict.p == 1 / 32  # five pairs of one sign, one-sided
    assert "the margin allows 1.07 times (3% of the training time at κ = 2.2, assumed" in verdict.why


def test_a_challenger_beyond_the_margin_on_every_seed_is_refuted_by_the_same_test() -> None:
    verdict = beside([1.08, 1.09, 1.10, 1.08, 1.12])
    assert (verdict.answer, verdict.p_against, verdict.p) == ("refuted", 1 / 32, 1.0)


def test_the_test_is_of_the_difference_and_the_margin_on_the_log() -> None:
    worse = [1.02, 1.05, 0.99, 1.09, 1.01, 1.04]
    verdict = beside(worse)
    beyond = [ALLOWED - math.log(factor) for factor in worse]
    assert verdict.p == stats.one_sided_p(beyond)
    assert verdict.p_against == stats.one_sided_p([-d for d in beyond])
    assert verdict.cells[0].effect == pytest.approx(stats.effect_size(beyond))


def test_what_is_neither_within_nor_beyond_is_undecided_with_the_pairs_still_needed() -> None:
    verdict = beside([1.02, 1.05, 0.99, 1.16, 1.01, 1.08])
    assert verdict.answer == "undecided"
    effect = verdict.cells[0].effect
    assert effect is not None
    needed = stats.units_to_decide(effect, one_sided=True)
    assert needed is not None
    assert verdict.more_needed == needed - 6
    assert f"about {needed} pairs in all would decide it." in verdict.why


def test_four_pairs_cannot_decide_on_one_side_and_one_more_is_asked_for() -> None:
    verdict = beside([1.0, 1.0, 1.0, 1.0])
    assert (verdict.answer, verdict.more_needed) == ("undecided", 1)
    assert "Fewer than 5 pairs can never reach p = 0.05." in verdict.why


def test_kappa_is_read_off_plain_runs_of_two_lengths_seed_by_seed() -> None:
    kappa = 1.5
    longer = {
        "longer": (60, [value * 1.5**-kappa for value in PLAIN[:4]]),  # base steps: 40
        "longest": (80, [0.01] * 5),  # not the next length
    }
    margin = beside([1.0] * 5, longer=longer).cells[0].margin
    assert margin is not None
    assert margin.kappa == pytest.approx(kappa)
    assert (margin.seeds, margin.lengths) == (4, (40, 60))
    assert margin.log == pytest.approx(kappa * math.log(1.03))


def test_runs_of_other_columns_and_of_guided_arms_say_nothing_of_kappa() -> None:
    guided = repeated("long-guided", "guided", trials=5, config={"steps": 60}, role="guided")
    arms = [repeated("plain", "base", trials=5), repeated("rival", "rival", trials=5), guided]
    elsewhere = repeated("other", "longer", trials=5, column="other", config={"steps": 60})
    arms.append({**elsewhere, "phase": "control", "control": "longer"})
    arms[1]["column"] = arms[0]["column"] = "here"
    found = {arm["name"]: runs(*PLAIN[:5]) for arm in arms}
    frame = frames.read(ledger(spec(arms=arms, claim=non_inferiority()), found), "s1")
    margin = judge(frame).cells[0].margin
    assert margin is not None
    assert (margin.kappa, margin.seeds, margin.lengths) == (LOSS_PER_TIME, 0, None)


def test_where_longer_training_does_not_help_no_time_makes_up_for_a_loss() -> None:
    verdict = beside([1.01] * 5, longer={"longer": (60, [value * 1.1 for value in PLAIN[:5]])})
    margin = verdict.cells[0].margin
    assert margin is not None
    assert (margin.kappa < 0, margin.log) == (True, 0.0)
    assert verdict.answer == "refuted"


def test_a_diverged_run_of_the_challenger_is_beyond_every_margin() -> None:
    arms = [repeated(name, name, trials=6) for name in ("plain", "rival")]
    found = {"plain": runs(*PLAIN[:6]), "rival": [*times([1.0] * 5), diverged(loss=9.0)]}
    verdict = judge(frames.read(ledger(spec(arms=arms, claim=non_inferiority()), found), "s1"))
    assert verdict.answer == "undecided"


def test_a_metric_that_is_zero_somewhere_has_no_margin_in_time() -> None:
    arms = [repeated(name, name, trials=6) for name in ("plain", "rival")]
    found = {"plain": runs(0.0, *PLAIN[:5]), "rival": runs(*PLAIN[:6])}
    verdict = judge(frames.read(ledger(spec(arms=arms, claim=non_inferiority()), found), "s1"))
    assert (verdict.answer, verdict.more_needed) == ("undecided", 0)
    assert verdict.why.startswith("loss is not above zero in all runs, so it is compared as a difference")


# -- in at least k of m columns --------------------------------------------------------------------------
def over_columns(factors: Sequence[Sequence[float]], *, least: int, **claim: Any) -> Any:
    """A column for each: the rival's loss in so many times that of plain training, seed by seed."""
    arms, found = [], {}
    for i, of in enumerate(factors):
        for name in ("plain", "rival"):
            arms.append(repeated(f"{name}-{i}", name, trials=len(of), column=f"c{i}"))
        found |= {f"plain-{i}": runs(*PLAIN[: len(of)]), f"rival-{i}": times(of)}
    stated = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0", "at_least": least, **claim}
    return ledger(spec(arms=arms, claim=stated), found)


def judged(factors: Sequence[Sequence[float]], *, least: int, **claim: Any) -> Verdict:
    return judge(frames.read(over_columns(factors, least=least, **claim), "s1"))


BETTER, WORSE, MIXED = [0.9] * 7, [1.2] * 7, [0.9, 1.1, 0.9, 1.1, 0.9, 1.1, 1.0]


def test_better_in_two_of_three_columns_is_supported_by_the_second_smallest_p_times_two() -> None:
    verdict = judged([BETTER, MIXED, BETTER], least=2)
    assert (verdict.answer, verdict.at_least, verdict.p) == ("supported", 2, 2 * 2**-7)
    assert [cell.column for cell in verdict.cells] == ["c0", "c1", "c2"]
    assert judged([BETTER, MIXED, BETTER], least=3).answer == "undecided"


def test_too_few_columns_that_can_be_better_refute_it_by_the_same_rule_the_other_way() -> None:
    verdict = judged([BETTER, WORSE, WORSE], least=2)  # two worse: at most one is better
    assert (verdict.answer, verdict.p_against) == ("refuted", 2 * 2**-7)
    assert judged([BETTER, WORSE, MIXED], least=2).answer == "undecided"


def test_with_all_columns_claimed_one_that_is_surely_worse_refutes() -> None:
    assert judged([BETTER, BETTER, WORSE], least=3).p_against == 3 * 2**-7
    assert judged([BETTER, BETTER, WORSE], least=3).answer == "refuted"


def test_not_worse_in_all_columns_asks_that_each_passes_and_corrects_for_nothing() -> None:
    within = [[1.01] * 5, [1.0] * 5, [0.98] * 5]
    margin = {"kind": "non-inferiority", "time_margin": TIME}
    verdict = judged(within, least=3, **margin)
    assert (verdict.answer, verdict.p) == ("supported", 1 / 32)  # the largest of the three
    assert judged([*within[:2], [1.01, 1.01, 1.3, 1.01, 1.01]], least=3, **margin).answer == "undecided"


def test_a_column_without_pairs_counts_neither_way() -> None:
    arms, found = [], {}
    for i in range(2):
        arms += [repeated(f"{name}-{i}", name, trials=7, column=f"c{i}") for name in ("plain", "rival")]
    found = {"plain-0": runs(*PLAIN), "rival-0": times(BETTER)}
    claim = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0"}
    answers = {}
    for least in (1, 2):
        study = spec(arms=arms, claim={**claim, "at_least": least})
        answers[least] = judge(frames.read(ledger(study, found), "s1"))
    assert (answers[1].answer, answers[1].p) == ("supported", 2 * 2**-7)
    assert (answers[2].answer, answers[2].p, answers[2].p_against) == ("undecided", 1.0, 1.0)


def test_pairs_still_needed_are_those_of_the_columns_that_are_claimed() -> None:
    slight = [0.97, 1.01, 0.95, 1.02, 0.96, 0.99, 0.98]
    verdict = judged([BETTER, slight, WORSE], least=2)
    assert verdict.answer == "undecided"
    effect = verdict.cells[1].effect
    assert effect is not None
    needed = stats.units_to_decide(effect, alpha=0.05 / 2, one_sided=True)
    assert needed is not None
    assert verdict.more_needed == needed - 7
    assert f"about {needed} pairs in a column in all would decide it" in verdict.why


def test_cost_is_summed_over_the_columns() -> None:
    arms, found = [], {}
    for i, hours in enumerate((1.0, 3.0)):
        arms += [repeated(f"{name}-{i}", name, trials=7, column=f"c{i}") for name in ("plain", "rival")]
        found |= {
            f"plain-{i}": runs(*PLAIN),
            f"rival-{i}": [Run(r.value, hours=hours) for r in times(BETTER)],
        }
    claim = {"text": "x", "challenger": "rival-0", "incumbent": "plain-0", "at_least": 2, "cost_ratio": 1.5}
    verdict = judge(frames.read(ledger(spec(arms=arms, claim=claim), found), "s1"))
    assert (verdict.answer, verdict.cost_ratio) == ("refuted", 2.0)


# -- how they are told -----------------------------------------------------------------------------------
def test_page_markdown_terminal_and_json_tell_every_column_and_the_p_over_all() -> None:
    answer = gather(over_columns([BETTER, MIXED], least=1), "s1", slots=1)
    told = verdict_dict(answer.verdict)
    assert (told["kind"], told["at_least"], told["p"]) == ("superiority", 1, 2 * 2**-7)
    assert told["cells"][0]["p"] == 2**-7
    lines = [answer.explanation.text, *detail_lines(told, gain=True)]
    for text in (pages.page(answer), pages.markdown(answer), "\n".join(lines)):
        assert "one-sided p = 0.00781 for better" in text
        assert "p = 0.0156 that rival is better in at least 1 of 2 columns" in text
    (test,) = [fact for fact in screen(answer).facts if fact.name == "Test"]
    assert (test.figure, test.beneath) == ("p = .016", "at least 1 of 2 columns")


def test_the_margin_is_told_as_time_and_as_a_ratio() -> None:
    (test,) = [
        fact for fact in screen(gather(studied([1.0] * 5), "s1", slots=1)).facts if fact.name == "Test"
    ]
    assert test.figure == "p = .031"
    assert test.beneath.startswith("one-sided")
    assert "3% of the training time, allows 1.07 times base's loss, at κ = 2.2" in test.rule
