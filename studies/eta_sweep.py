"""How does the learned learning-rate scalar α move, by the meta learning rate η̂? (the paper's Figure 1)

Command   orch study create eta-sweep --size quick
Run time  quick: about a minute on 2 cores
Expected  in the paper α falls as low as η̂ allows, the short-horizon bias of looking one step ahead, and some
          runs beat the base all the same; in our short runs it rises at first and ends near 1 or above
"""

from __future__ import annotations

from orchestrator.study.spec import StudySpec
from studies import arms
from studies.parts import REACHES, Size

QUESTION = "How does α move while it is learned, and how does its benefit depend on the meta learning rate?"


def study(size: Size) -> StudySpec:
    base = arms.base_run(size)
    guided = arms.guided_over_etas("alpha", size, reaches=REACHES)
    confirmations = tuple(arms.confirmed(arm, size) for arm in (base, guided))
    return arms.study_of("eta-sweep", size, (base, guided, *confirmations), question=QUESTION)
