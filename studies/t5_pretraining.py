"""Pretraining a T5 on text: what does guidance make of it? (the paper's 3.2; Figures 3, F.2 and F.3)

Command   orch study create t5-pretraining --size quick     (sizes: smoke, quick, laptop, paper)
          orch study create t5-pretraining --set data.source=text --set data.path=notes.txt
Run time  quick: 8 minutes planned on 2 cores, and compiling; paper: 48 hours a run on 8 chips, half as much
          again when guided: to be planned and rehearsed here, not run
Expected  in the paper no guided α run beats base but the one at the lowest η̂, very slightly; β1 makes no
          difference; α and β1 together reach base's last loss in a third of its steps

Columns are what is learned or searched. α alone, over four meta learning rates η̂, from a base without
momentum (β1 = 0, T5's own). β1 from .1, .5 and .9 at the paper's η̂ of 3e-3, beside static ones of .1, .5 and
.9: the paper's base has no momentum and its guided arm begins at .9, so that starting and learning are told
apart. α and β1 together over four η̂; Bayesian optimization of static α and β1, which the paper did not run;
`lagged` and `next-batch` at their own settings; the controls of controls.py.

An η̂ is given by its reach, η̂ times the steps: 1, 3.2, 10 and 32. The paper's 1e-6 and 1e-5 over a million
steps have 1 and 10. Its 3e-3 for β1 has 3,000, which no short run can have, so it is taken as it is.

The two sides of the claim and base run on six fresh seeds or more, all others on two. Chip-hours are those of
the runs' clocks, training and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from orchestrator.study.spec import Arm, Claim, StudySpec
from studies import arms, controls
from studies.parts import ALPHA, BETA1, METRIC, Size
from studies.t5_parts import WITHOUT_MOMENTUM

QUESTION = (
    "When a T5 is pretrained, does learning α and β1 while it trains give a lower dev loss than static ones "
    "found by Bayesian optimization?"
)
CLAIMED, SPACE = "alpha+beta1", (ALPHA, BETA1)
STARTS = (0.1, 0.5, 0.9)  # of β1
BETA1_ETA = 3e-3  # the paper's (Figure F.3)
OTHERS = 2  # fresh seeds of what the claim does not compare


def study(size: Size) -> StudySpec:
    others = replace(size, claimed=min(OTHERS, size.claimed), confirmations=min(OTHERS, size.confirmations))
    base = arms.base_run(size).model_copy(update={"config": WITHOUT_MOMENTUM})
    guided, static = arms.guided_over_etas(CLAIMED, size), arms.bo_over(CLAIMED, SPACE, size)
    alpha = arms.guided_over_etas("alpha", size)
    alpha = alpha.model_copy(update={"config": {**alpha.config, **WITHOUT_MOMENTUM}})
    sides = (base, static, guided)
    return arms.study_of(
        "t5-pretraining",
        size,
        (
            *sides,
            alpha,
            *(arms.confirmed(arm, size, seeds=size.claimed) for arm in sides),
            arms.confirmed(alpha, others),
            *(arm for start in STARTS for arm in _beta1(start, others)),
            *(arm for name in size.estimators for arm in _one_run(name, others)),
            *controls.attributing(guided, others, plain=WITHOUT_MOMENTUM),
        ),
        claim=_claim(guided, static, size),
        question=QUESTION,
    )


def _beta1(start: float, size: Size) -> Iterator[Arm]:
    """β1 at this value and nothing learned, and learned from it."""
    shown = f"{start:g}".removeprefix("0")
    config: dict[str, Any] = {"optimizer": {"beta1": start}}
    more: dict[str, Any] = {"trials": size.claimed, "phase": "control"}
    yield arms.repeated(
        f"static-beta1-{start:g}".replace(".", "_"),
        "beta1",
        f"plain, β1 = {shown}",
        config=config,
        run_hours=size.hours["off"],
        **more,
    )
    guided = arms.guiding("held-out", "beta1", eta=BETA1_ETA)
    yield arms.repeated(
        f"guided-beta1-{start:g}".replace(".", "_"),
        "beta1",
        f"guided, β1 from {shown}",
        config={**guided, **config},
        run_hours=size.hours["held-out"],
        **more,
    )


def _one_run(estimator: str, size: Size) -> Iterator[Arm]:
    arm = arms.by_estimator(estimator, CLAIMED, size)
    yield arm
    yield arms.confirmed(arm, size, phase="control")


def _claim(guided: Arm, static: Arm, size: Size) -> Claim:
    return Claim(
        text=(
            "At no more than BO's chip-hours, the configuration that the guided arm chose (α and β1) has the "
            "lower dev loss on fresh paired seeds. Conditional on one selection by each arm."
        ),
        challenger=guided.name,
        incumbent=static.name,
        metric=METRIC,
        cost_ratio=size.cost_ratio,
        cost="clocks",
    )
