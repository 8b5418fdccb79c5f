"""Fine-tuning a T5 on a task: do hyperparameters learned while it trains beat those of Bayesian optimization?

Command   orch study create finetuning --init t5-small/ --task files --path reviews.tsv --metric accuracy
          orch study create finetuning     (t5-tiny, random weights, an embedded task; smoke, quick, laptop)
Run time  quick: 4 minutes planned on 2 cores, and compiling (8 on a busy machine); laptop: 14 minutes planned
Expected  nothing published. At quick 6 seeds cannot tell guided tuning and BO apart (score 77.7 and 80.1,
          p .19), and longer plain training is best

The default is T5's own: Adafactor, a constant learning rate, no momentum (β1 = 0). A β1 of 0 can neither be
learned nor searched on its scale, so searches and guidance begin with .9. Two base runs, with 0 and with .9,
keep the start and the learning apart.

Rows: the two base runs; Bayesian optimization and random search of static α and β1, with one budget;
guided learning at four meta learning rates η̂; `lagged` at its own settings. Each choice runs again on the
same fresh seeds and is scored on the test split. Beside them stand the controls of controls.py, and plain
training for as long as a guided run takes, with a β1 of .9 and with 0. All are judged by `score`, the mean
of the task's metrics: higher is better. No speed-up is told: it is read from losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.study.spec import Arm, StudySpec
from studies import arms, controls, t5_parts
from studies.parts import ALPHA, BETA1, Size
from studies.t5_parts import METRIC, WITHOUT_MOMENTUM, Begun

QUESTION = (
    "When a T5 is fine-tuned, do hyperparameters learned while it trains beat static ones found by Bayesian "
    "optimization, at equal cost?"
)
COLUMN, SPACE = "alpha+beta1", (ALPHA, BETA1)


def study(size: str, begun: Begun) -> StudySpec:
    sized = t5_parts.sized(size, begun)
    guided, static = arms.guided_over_etas(COLUMN, sized), arms.bo_over(COLUMN, SPACE, sized)
    searches = (*_bases(sized), static, guided)
    claim = arms.at_equal_cost(guided, static, sized, metric=METRIC, is_better="has the higher score")
    return arms.study_of(
        "finetuning",
        sized,
        (
            *searches,
            *(arms.confirmed(arm, sized, seeds=sized.claimed) for arm in searches),
            *_one_run_and_random(sized),
            *controls.attributing(guided, sized),
            _longer_without_momentum(sized),
        ),
        metric=METRIC,
        goal="maximize",
        claim=claim,
        question=QUESTION,
    )


def _bases(size: Size) -> tuple[Arm, ...]:
    base = arms.base_run(size).model_copy(update={"config": WITHOUT_MOMENTUM})
    momentum: dict[str, Any] = {"name": "momentum", "row": "base, β1 = .9", "role": None, "config": {}}
    return base, base.model_copy(update=momentum)


def _one_run_and_random(size: Size) -> Iterator[Arm]:
    for arm in (
        arms.random_over(COLUMN, SPACE, size),
        *(arms.by_estimator(each, COLUMN, size) for each in size.estimators),
    ):
        yield arm
        yield arms.confirmed(arm, size, phase="control", seeds=size.claimed)


def _longer_without_momentum(size: Size) -> Arm:
    more: dict[str, Any] = {"trials": size.claimed, "run_hours": size.hours["held-out"], "phase": "control"}
    more |= {"control": "longer", "over": controls.guided_over_plain(size)}
    row = f"{controls.LONGER}, β1 = 0"
    return controls.longer("base", COLUMN, row=row, steps=size.steps, config=WITHOUT_MOMENTUM, **more)
