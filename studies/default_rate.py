"""Which learning rate is a fair default? A grid on seeds that no other study trains on.

Command   orch study create default-rate --size quick
Run time  quick: about a minute and a half on 2 cores
Expected  the best of the grid is the default of the other studies at that size (RATE_FACTOR in parts.py)

The quality of the default decides whether guidance or a search can win anything, so it is fixed by a rule
before either runs: of half the paper's peak learning rate and its doublings, the one with the lowest
mean dev loss over three seeds, everything else being the default. What this costs is the cost of this study.
"""

from __future__ import annotations

from orchestrator.spec import Arm, Parameter, Seeds, StudySpec
from studies import arms
from studies.parts import Size, papers_rate

QUESTION = "Which multiple of the paper's peak learning rate is the best default for runs of this length?"
FACTORS = (0.5, 1, 2, 4, 8, 16)
SEEDS = Seeds(search=9000)


def study(size: Size) -> StudySpec:
    papers = papers_rate(size.base["schedule"]["warmup_steps"])
    values = tuple(float(f"{factor * papers:.3g}") for factor in FACTORS)
    grid = Arm(
        name="grid",
        method="grid",
        space=(Parameter(path="optimizer.learning_rate", values=values),),
        trials=len(values),
        row="learning rate",
        run_hours=size.hours["off"],
    )
    return arms.study_of("default-rate", size, (grid,), question=QUESTION, seeds=SEEDS, replicates=3)
