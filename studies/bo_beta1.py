"""Which static β1 does Bayesian optimization find, beside the one that is learned? (Appendix, Figure 1)

Command   orch study create bo-beta1 --size quick
Run time  quick: about a minute and a half on 2 cores
Expected  as in the paper: static values differ little over a wide range, with the best near .73
"""

from __future__ import annotations

from orchestrator.study.spec import StudySpec
from studies import arms
from studies.parts import BETA1, Size

QUESTION = "How does the result depend on a static β1, and where does a learned one come out?"


def study(size: Size) -> StudySpec:
    base = arms.base_run(size)
    bo = arms.bayesian(
        "bo-beta1",
        (BETA1,),
        size,
        trials=size.bo_trials,
        hours=size.hours.get("bo", size.hours["off"]),
        row="+ BO",
        role="bo",
        column="beta1",
    )
    guided = arms.guided_over_etas("beta1", size)
    searches = (base, bo, guided)
    confirmations = tuple(arms.confirmed(arm, size) for arm in searches)
    return arms.study_of("bo-beta1", size, (*searches, *confirmations), question=QUESTION)
