"""Does a learned β1 find the same path from wherever it starts? (the paper's Figure 2)

Command   orch study create beta1-inits --size quick
Run time  quick: about 2 minutes on 2 cores
Expected  as in the paper: with an η̂ that is high enough, β1 ends on one path, from high to low, whether it
          starts at .1, .5 or .9
"""

from __future__ import annotations

from orchestrator.study.spec import StudySpec
from studies import arms
from studies.parts import REACHES, Size

QUESTION = "Does a learned β1 follow one path from wherever it starts, and at which meta learning rate?"
STARTS = (0.1, 0.5, 0.9)


def study(size: Size) -> StudySpec:
    base = arms.base_run(size)
    guided = tuple(
        arms.guided_over_etas(
            "beta1",
            size,
            reaches=REACHES,
            name=f"guided-beta1-from-{start:g}".replace(".", "-"),
            config={**arms.guiding("held-out", "beta1"), "optimizer": {"beta1": start}},
            row=f"guided from {start:g}",
            role=None,  # the paper has no such row
        )
        for start in STARTS
    )
    confirmations = tuple(arms.confirmed(arm, size) for arm in (base, *guided))
    return arms.study_of("beta1-inits", size, (base, *guided, *confirmations), question=QUESTION)
