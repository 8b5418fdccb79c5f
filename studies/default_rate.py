"""Which learning rate is a fair default in each cell? A grid on seeds that no other study trains on.

Command   orch study create default-rate --size quick
Run time  quick: about 4 minutes on 2 cores; laptop: 18 minutes
Expected  the best of each cell's grid is that cell's default in the other studies (FACTOR in cells.py); at
          quick and at laptop LAMB's first cell is the base of the others and says RATE_FACTOR in parts.py

The quality of the default decides whether guidance or a search can win anything, so it is fixed by a rule
before either runs: of half the optimizer's starting peak and its doublings, the one with the lowest mean
dev loss over three seeds, everything else being the default. What this costs is the cost of this study.
"""

from __future__ import annotations

from orchestrator.study.spec import Arm, Parameter, Seeds, StudySpec
from studies import arms
from studies.cells import Cell, cells
from studies.parts import Size

QUESTION = "Which multiple of the optimizer's starting peak learning rate is the best default in each cell?"
FACTORS = (0.5, 1, 2, 4, 8, 16)
SEEDS = Seeds(search=9000)


def study(size: Size) -> StudySpec:
    grids = tuple(_grid(cell, size) for cell in cells(size))
    return arms.study_of(
        "default-rate", size, grids, question=QUESTION, targets=False, seeds=SEEDS, replicates=3
    )


def _grid(cell: Cell, size: Size) -> Arm:
    values = tuple(cell.learning_rate(factor) for factor in FACTORS)
    return Arm(
        name=f"grid-{cell.slug}",
        method="grid",
        config=cell.config(),
        space=(Parameter(path="optimizer.learning_rate", values=values),),
        trials=len(values),
        row="learning rate",
        column=cell.name,
        run_hours=cell.hours(size),
    )
