"""Do hyperparameters learned while the model trains beat static ones found by Bayesian optimization?

Command   orch study create bo-vs-guided --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 8 minutes planned on 2 cores, and compiling; laptop: 69 minutes planned;
          paper: 613 search runs, about 44,500 TPUv3 chip-hours, and confirmations and controls
Expected  the paper's Table 2 (de-en, BLEU; α, β1, α+β1): base 38.6, 38.6, 38.6; + BO 39.4, 39.4, 39.5;
          guided 39.6, 39.8, 39.9; guided + BO over η̂ 39.7, 39.8, 39.9

Rows, for each of the columns α, β1 and α+β1: Bayesian optimization of static values; guided learning at
four meta learning rates η̂; Bayesian optimization of η̂. All columns share one base run. Apart from the
search stand the confirmations (each arm's chosen configuration on fresh seeds, the same ones for all
arms, scored on the test split) and the controls. For α+β1, the column of the claim: random search and BO
over schedule parameters with BO's budget, the other controls of controls.py, and plain training at several
lengths, which says what a lower loss is worth in steps. (Smoke has one seed, and so no blind course, which is
of other seeds.) In every column: one run each of the estimators that cost next to nothing, at their default
settings. All of them are confirmed.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.study.spec import Arm, Parameter, StudySpec
from studies import arms, controls
from studies.parts import COLUMNS, METRIC, REACH_RANGE, Size

QUESTION = (
    "Do hyperparameters learned while the model trains beat static ones found by Bayesian optimization, "
    "and at what cost?"
)
CLAIMED = "alpha+beta1"
CHALLENGER, INCUMBENT = f"guided-{CLAIMED}", f"bo-{CLAIMED}"


def study(size: Size) -> StudySpec:
    base = arms.base_run(size)
    searches = [base, *(arm for column, space in COLUMNS for arm in _searches(column, space, size))]
    named = {arm.name: arm for arm in searches}
    sides = named[CHALLENGER], named[INCUMBENT]
    claim = arms.at_equal_cost(*sides, size, metric=METRIC, is_better="has the lower dev loss")
    return arms.study_of(
        "bo-vs-guided",
        size,
        (
            *searches,
            *(arms.confirmed(arm, size, seeds=_seeds(arm, size)) for arm in searches),
            *(arm for column, space in COLUMNS for arm in _controls(column, space, size)),
            *controls.attributing(named[CHALLENGER], size),
        ),
        claim=claim,
        question=QUESTION,
    )


def _seeds(arm: Arm, size: Size) -> int:
    return size.claimed if arm.name in ("base", CHALLENGER, INCUMBENT) else size.confirmations


def _searches(column: str, space: tuple[Parameter, ...], size: Size) -> Iterator[Arm]:
    """The three searches of one column."""
    guided = arms.guiding("held-out", column)
    low, high = (size.eta(reach) for reach in REACH_RANGE)
    yield arms.bo_over(column, space, size)
    yield arms.guided_over_etas(column, size)
    yield arms.bayesian(
        f"guided-bo-{column}",
        (Parameter(path="guidance.eta", low=low, high=high, scale="log"),),
        size,
        trials=size.eta_trials,
        hours=size.hours.get("eta", size.hours["held-out"]),
        config=guided,
        row="+ BO (η̂)",
        role="guided-bo",
        column=column,
    )


def _controls(column: str, space: tuple[Parameter, ...], size: Size) -> Iterator[Arm]:
    if column in size.random_columns:
        random = arms.random_over(column, space, size)
        yield random
        if column == CLAIMED:
            yield arms.confirmed(random, size, phase="control", seeds=size.claimed)
    for estimator in size.estimators:
        arm = arms.by_estimator(estimator, column, size)
        yield arm
        yield arms.confirmed(arm, size, phase="control")
