"""Is a guided run better than a plain one that takes as long?

Command   orch study create equal-time --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 6 minutes planned on 2 cores, and compiling; laptop: 33 minutes planned
Expected  at laptop `lagged` wins none of eight cells, ties six and loses two (docs/results/equal-time.md: an
          earlier `lagged`, whose step cost 30% more than a plain one)

A cell is a column: an optimizer, a schedule and a number of steps, with its default learning rate. In each,
`lagged` learns α and β1 at its own settings; beside it a plain run trains for as many more steps as a
guided step costs over a plain one on packed rows, 8% (studies/parts.py). Plain runs of 1, 1.3 and 1.7 times
the steps say by how much plain training would have to be lengthened to be as good. Nothing is chosen, so all
runs are on six fresh seeds, the same ones for all rows. For `held-out`, at twice a plain step, the studies
attribution and bo-vs-guided have the like, the row "longer plain training".
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.study.spec import Arm, Claim, StudySpec
from studies import arms, controls
from studies.cells import Cell, cells
from studies.parts import METRIC, OVER_PLAIN, Size

QUESTION = "Is a run whose α and β1 are learned better than a plain one that takes as long?"
OVER = OVER_PLAIN["lagged"]
SEEDS = {"smoke": 1}  # elsewhere six, so that a paired test can reach p = .05


def study(size: Size) -> StudySpec:
    made = cells(size)
    claim = Claim(
        text=(
            f"In the cell {made[0].name} a run with `lagged` has a lower dev loss than a plain run of "
            f"{OVER:g} times its steps."
        ),
        challenger=f"lagged-{made[0].slug}",
        incumbent=f"longer-{made[0].slug}",
        metric=METRIC,
    )
    both = tuple(arm for cell in made for arm in _of_cell(cell, size))
    return arms.study_of("equal-time", size, both, claim=claim, question=QUESTION, targets=False)


def _of_cell(cell: Cell, size: Size) -> Iterator[Arm]:
    seeds, hours = SEEDS.get(size.name, 6), cell.hours(size)
    config = cell.config()
    yield arms.repeated(
        f"base-{cell.slug}", cell.name, "plain", config=config, trials=seeds, run_hours=hours, role="base"
    )
    yield controls.longer(
        cell.slug,
        cell.name,
        row="plain, as long",
        over=OVER,
        steps=cell.steps,
        config=config,
        trials=seeds,
        run_hours=hours * OVER,
        phase="control",
        control="longer",
    )
    nearest = min(size.lengths, key=lambda over: abs(over - OVER))  # its place is taken by the row above
    others = tuple(over for over in size.lengths if over != nearest)
    yield from controls.lengths(
        cell.slug, cell.name, of=others, steps=cell.steps, hours=hours, config=config, seeds=seeds
    )
    yield arms.repeated(
        f"lagged-{cell.slug}",
        cell.name,
        "lagged",
        config={**cell.config(), **arms.guiding("lagged", "alpha+beta1", eta=None)},  # its own η̂
        trials=seeds,
        run_hours=cell.hours(size, "lagged"),
    )
