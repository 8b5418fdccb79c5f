"""Which way of learning α and β1 deserves to be the default? Every estimator in every cell.

Command   orch study create estimators --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 19 minutes planned on 2 cores, and compiling; laptop: 105 minutes planned; with
          five seeds and without the longer plain runs it was 87, and took 118
Expected  laptop: `lagged` wins four of eight cells over the static default and loses one; it is level with
          BO's best in six and behind in two. quick: it wins three of four and is behind BO in all four. The
          one-step estimators lose more than they win (docs/results/estimators.md, estimators-quick.md)

A cell is a column: an optimizer, a schedule and a number of steps, with the default learning rate that the
study default-rate finds for it. Rows: the static default; Bayesian optimization of static α and β1; the
held-out estimator at four reaches, chosen on the search seed; and one setting each of the others, η̂ by the
paper's reach where the estimator looks one step ahead. Whatever chose something is run again on six fresh
seeds, the same ones for all; what chooses nothing runs on those alone. The answer is the report's matrix.
Plain runs of 1.15, 1.3 and 1.7 times the steps say what a lower loss is worth in steps.

BO has 100 trials in laptop's cells of 400 steps. In those of 1,200 it has 30, and there are no longer plain
runs, for the 105 minutes' sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.study.spec import Arm, Parameter, StudySpec
from studies import arms, controls
from studies.cells import Cell, cells
from studies.parts import ALPHA, BETA1, OVER_PLAIN, REACH, Size

QUESTION = "Which estimator is nowhere worse than static defaults, and where does it beat BO's best?"
LEARN = "alpha+beta1"
SEEDS = {"smoke": 1}  # fresh ones behind each cell; elsewhere six: fewer pairs decide no cell
BO_TRIALS = {"smoke": 3, "quick": 30, "laptop": 100, "paper": 100}
BO_TRIALS_LONG, LONG_STEPS = 30, 1200  # at laptop
FORWARD_UP_TO_STEPS = 400  # it gives what held-out gives, at about the same cost for two scalars
ONE_STEP = {"eta": None, "reach": REACH}
# Row, name in an arm, estimator and what it is given.
ESTIMATORS: tuple[tuple[str, str, str, Mapping[str, Any]], ...] = (
    ("held-out, every 10", "held-out-10", "held-out", {**ONE_STEP, "every_steps": 10}),
    ("next batch", "next-batch", "next-batch", ONE_STEP),
    ("discounted", "discounted", "discounted", ONE_STEP),
    ("forward", "forward", "forward", ONE_STEP),
    ("lagged", "lagged", "lagged", {"eta": None}),  # its own η̂, which do not scale with the run
)
# Over a plain step, where parts.OVER_PLAIN does not say: benchmarks/guidance_overhead.py; `forward`, for two
# scalars, from the results' pages.
OVER = {**OVER_PLAIN, "held-out-10": 1.14, "discounted": 1.35, "forward": 2.35}


def study(size: Size) -> StudySpec:
    made = tuple(arm for cell in cells(size) for arm in _of_cell(cell, size))
    return arms.study_of("estimators", size, made, question=QUESTION, targets=False)


def _of_cell(cell: Cell, size: Size) -> Iterator[Arm]:
    yield _unchosen("static default", "static", cell, size)
    if size.name != "laptop" or cell.steps < LONG_STEPS:
        yield from controls.lengths(
            cell.slug,
            cell.name,
            of=size.lengths,
            steps=cell.steps,
            hours=cell.hours(size),
            config=cell.config(),
            seeds=_seeds(size),
        )
    bo = arms.bayesian(
        f"bo-{cell.slug}",
        (ALPHA, BETA1),
        size,
        trials=_bo_trials(cell, size),
        hours=_hours(cell, size, "off"),
        config=cell.config(),
        row="+ BO",
        role="bo",
        column=cell.name,
    )
    guided = _held_out(cell, size)
    for arm in (bo, guided):
        yield arm
        yield arms.confirmed(arm, size, seeds=_seeds(size))
    for row, name, estimator, more in ESTIMATORS:
        if name != "forward" or cell.steps <= FORWARD_UP_TO_STEPS:
            yield _unchosen(row, name, cell, size, **arms.guiding(estimator, LEARN, **more))


def _held_out(cell: Cell, size: Size) -> Arm:
    """The paper's way, at each reach."""
    way = {**cell.config(), **arms.guiding("held-out", LEARN, eta=None)}
    return Arm(
        name=f"held-out-{cell.slug}",
        method="grid",
        config=way,
        space=(Parameter(path="guidance.reach", values=size.reaches),),
        trials=len(size.reaches),
        row="held-out",
        column=cell.name,
        run_hours=_hours(cell, size, "held-out"),
    )


def _unchosen(row: str, name: str, cell: Cell, size: Size, **guidance: Any) -> Arm:
    """One setting, which nothing chose: its runs are on fresh seeds from the start."""
    return arms.repeated(
        f"{name}-{cell.slug}",
        cell.name,
        row,
        config={**cell.config(), **guidance},
        trials=_seeds(size),
        run_hours=_hours(cell, size, name),
        role="base" if name == "static" else None,
    )


def _hours(cell: Cell, size: Size, way: str) -> float:
    return cell.hours(size) * OVER.get(way, 1.0)


def _seeds(size: Size) -> int:
    return SEEDS.get(size.name, 6)


def _bo_trials(cell: Cell, size: Size) -> int:
    shorter = size.name == "laptop" and cell.steps >= LONG_STEPS
    return BO_TRIALS_LONG if shorter else BO_TRIALS[size.name]
