"""Are losses of pretraining drawn where they can be compared, and told of where they cannot?"""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

from dashboards.evidence import frames, prepared
from dashboards.report import figures, pages
from dashboards.report.answer import gather, verdict_of
from orchestrator.cli import findings
from orchestrator.study.spec import StudySpec
from tests.dashboards import ledgers
from tests.dashboards.downstream import EVALUATIONS, pretrained, results, spec
from tests.dashboards.ledgers import FAILED, Run, ledger

DIFFERENT = {"pretrain-alpha+beta1": {"objective": {"name": "prefix-lm"}}}


def answered(study: StudySpec | None = None, **runs: list[Run]) -> Any:
    return gather(ledger(study or spec(), results(**runs)), "s1", slots=1)


def test_each_pretraining_is_drawn_in_the_mean_over_the_seeds_that_all_have() -> None:
    ends = (3.0, 3.1, 2.9, 3.0, 3.05, 2.95)
    answer = answered(**{"pretrain-alpha+beta1": [FAILED, *pretrained(2.9, 2.7, 2.8, 2.85, 2.75)]})
    found = prepared.over_training(answer.frame, answer.heard)
    assert [line.name for line in found.lines] == ["pretrain-base", "pretrain-alpha+beta1"]
    assert found.lines[0].x == EVALUATIONS
    expected = [fmean(end + (80 - step) / 40 for end in ends[1:]) for step in EVALUATIONS]
    assert found.lines[0].y == pytest.approx(expected)
    assert (found.base, found.last) == ("pretrain-base", pytest.approx(expected[-1]))


def test_the_report_has_the_figure() -> None:
    answer = answered()
    (figure,) = [each for each in figures.figures(answer.frame, answer.heard) if each.key == "pretraining"]
    assert figure.title == "Dev loss over pretraining"
    assert [key.name for key in figure.legend] == ["pretrain-base", "pretrain-alpha+beta1"]
    assert "Dev loss over pretraining" in pages.page(answer)


def test_what_pretraining_learned_is_drawn_before_what_the_tasks_did_in_the_mean_over_the_seeds() -> None:
    rates = (1.0, 2.0, 4.0, 1.5, 2.5, 1.0)
    learns = {"guidance": {"estimator": "held-out", "learn": ["alpha"]}, "optimizer": {"alpha": 1.0}}
    runs = [
        Run(None, said=[(step, "train", {}, {"alpha": rate * step}) for step in (10, 80)]) for rate in rates
    ]
    study = spec(prepare={"pretrain-alpha+beta1": learns})
    answer = answered(study, **{"pretrain-alpha+beta1": runs})
    assert prepared.hypers(answer.frame) == ("alpha",)
    (line,) = prepared.learned(answer.frame, answer.heard, "alpha")
    assert (line.row, line.x) == ("pretrain-alpha+beta1", (0, 10, 80))
    assert line.y == pytest.approx((1.0, 10 * fmean(rates), 80 * fmean(rates)))
    made = {each.key: each for each in figures.figures(answer.frame, answer.heard)}
    assert [plot.title for plot in made["trajectories"].plots] == ["α, pretraining"]
    assert "trajectories" not in {e.key for e in figures.figures(answered().frame, answered().heard)}


def test_runs_with_few_evaluations_and_studies_without_pretraining_have_none() -> None:
    few = [Run(None, values={"dev_loss": 3.0}, said=[(80, "eval", {"dev_loss": 3.0}, {})]) for _ in range(6)]
    answer = answered(**{"pretrain-base": few, "pretrain-alpha+beta1": few})
    assert prepared.over_training(answer.frame, answer.heard).lines == ()
    plain = frames.read(ledger(ledgers.spec(), ledgers.searched()), "s1")
    assert prepared.trials(plain) == []
    assert prepared.remarks(plain) == ()


@pytest.mark.parametrize(
    ("differs", "words"),
    [
        (DIFFERENT, "objectives"),
        ({"pretrain-base": {"model": {"stacks": "decoder"}}}, "stacks"),
        ({**DIFFERENT, "pretrain-base": {"model": {"stacks": "decoder"}}}, "objectives and stacks"),
    ],
)
def test_losses_of_different_targets_are_in_no_figure_and_rows_are_ranked_by_score(
    differs: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = spec(prepare=differs)
    answer = answered(study)
    assert prepared.over_training(answer.frame, answer.heard).lines == ()
    sentence = (
        f"Rows are ranked by score: they pretrain with different {words}, and losses of different targets "
        f"cannot be compared."
    )
    ranking = "By average score: α+β1 52.07; base 50.22; no pretraining 40.22."
    assert answer.notes[:2] == (sentence, ranking)
    assert sentence in pages.page(answer)
    assert sentence in pages.markdown(answer)
    _, told = verdict_of(ledger(study, results()), "s1")
    findings.tell_verdict(told, "t5", "completed")
    assert sentence in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("noise", [{"rate": 0.5}, {"span": 10}])
def test_rates_and_spans_make_other_targets_too(noise: dict[str, float]) -> None:
    assert prepared.differ_in(spec(prepare={"pretrain-base": {"objective": noise}})) == ("objectives",)
    usual = {"rate": 0.15, "span": 3}
    assert prepared.differ_in(spec(prepare={"pretrain-base": {"objective": usual}})) == ()


def test_the_same_objective_stated_or_inherited_is_the_same() -> None:
    stated = spec(prepare={"pretrain-base": {"objective": {"name": "random-spans"}}})
    assert prepared.differ_in(stated) == ()
