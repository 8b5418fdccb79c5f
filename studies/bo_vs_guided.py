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
from typing import Any

from orchestrator.study.spec import Arm, Claim, Parameter, StudySpec
from studies import arms, controls
from studies.parts import COLUMNS, METRIC, REACH_RANGE, Size

QUESTION = (
    "Do hyperparameters learned while the model trains beat static ones found by Bayesian optimization, "
    "and at what cost?"
)
CLAIMED = "alpha+beta1"
CHALLENGER, INCUMBENT = f"guided-{CLAIMED}", f"bo-{CLAIMED}"
ROWS = {"next-batch": "guided, next batch", "lagged": "guided, lagged"}


def study(size: Size) -> StudySpec:
    base = arms.base_run(size)
    searches = [base, *(arm for column, space in COLUMNS for arm in _searches(column, space, size))]
    return arms.study_of(
        "bo-vs-guided",
        size,
        (
            *searches,
            *(arms.confirmed(arm, size, seeds=_seeds(arm, size)) for arm in searches),
            *(arm for column, space in COLUMNS for arm in _controls(column, space, size)),
            *_attributing(next(arm for arm in searches if arm.name == CHALLENGER), size),
        ),
        claim=_claim(size),
        question=QUESTION,
    )


def _seeds(arm: Arm, size: Size) -> int:
    return size.claimed if arm.name in ("base", CHALLENGER, INCUMBENT) else size.confirmations


def _searches(column: str, space: tuple[Parameter, ...], size: Size) -> Iterator[Arm]:
    """The three searches of one column."""
    guided = arms.guiding("held-out", column)
    low, high = (size.eta(reach) for reach in REACH_RANGE)
    static_hours = size.hours.get("bo", size.hours["off"])
    yield arms.bayesian(
        f"bo-{column}",
        space,
        size,
        trials=size.bo_trials,
        hours=static_hours,
        row="+ BO",
        role="bo",
        column=column,
    )
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
        random = Arm(
            name=f"random-{column}",
            method="random",
            space=space,
            trials=size.bo_trials,
            phase="control",
            control="random",
            row="random search",
            column=column,
            run_hours=size.hours.get("bo", size.hours["off"]),
        )
        yield random
        if column == CLAIMED:
            yield arms.confirmed(random, size, phase="control", seeds=size.claimed)
    for estimator in size.estimators:
        arm = Arm(
            name=f"{estimator}-{column}",
            method="fixed",
            config=arms.guiding(estimator, column, eta=None),  # its own η̂
            phase="control",
            row=ROWS[estimator],
            column=column,
            run_hours=size.hours[estimator],
        )
        yield arm
        yield arms.confirmed(arm, size, phase="control")


def _attributing(guided: Arm, size: Size) -> Iterator[Arm]:
    """What a gain could be due to, on the seeds of the claim."""
    plain = size.hours["off"]
    yield from controls.following(guided, CLAIMED, seeds=size.claimed, hours=plain)
    more: dict[str, Any] = {"trials": size.claimed, "run_hours": size.hours["held-out"], "phase": "control"}
    more |= {"control": "longer", "over": controls.guided_over_plain(size)}
    yield controls.longer(CLAIMED, CLAIMED, steps=size.steps, config={}, **more)
    yield controls.beta1_alone(CLAIMED, CLAIMED, hours=plain, config={}, seeds=size.claimed)
    shared: dict[str, Any] = {"config": {}, "seeds": size.claimed, "of": size.lengths}
    yield from controls.lengths(CLAIMED, CLAIMED, steps=size.steps, hours=plain, **shared)
    if size.claimed > 1:  # else there is no other seed
        confirmed = arms.confirmed(guided, size, seeds=size.claimed)
        yield controls.blind(confirmed, CLAIMED, hours=plain, seeds=size.claimed)
    schedule = arms.bayesian(
        f"bo-schedule-{CLAIMED}",
        controls.COURSES,
        size,
        trials=size.bo_trials,
        hours=size.hours.get("bo", plain),
        config={"schedule": {"course": controls.COURSE}},
        row=controls.BO_SCHEDULE,
        column=CLAIMED,
        phase="control",
        control="bo-schedule",
    )
    yield schedule
    yield arms.confirmed(schedule, size, phase="control", seeds=size.claimed)


def _claim(size: Size) -> Claim:
    cost = "BO's cost" if size.cost_ratio == 1 else f"{size.cost_ratio:g} times BO's cost"
    return Claim(
        text=(
            f"At no more than {cost} in steps, the configuration that the guided arm chose (α and β1) has "
            f"the lower dev loss on fresh paired seeds. Conditional on one selection by each arm."
        ),
        challenger=CHALLENGER,
        incumbent=INCUMBENT,
        metric=METRIC,
        cost_ratio=size.cost_ratio,
        cost="steps",  # by clocks it depends on what else the machine did: .66 and .95 in two runs
    )
