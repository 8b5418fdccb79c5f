"""What is a gain of guidance due to? Every control that could explain it, in every cell.

Command   orch study create attribution --size quick
Run time  quick: 19 minutes on 2 cores from a cold start, 11 planned; laptop: 80 minutes planned
Expected  nobody has published these controls. At laptop guidance gains in two of eight cells, loses in one;
          the learned means as constants gain in four and lose in none; longer plain training has the lowest
          loss in all eight (docs/results/attribution.md; at quick attribution-quick.md)

A column is a cell: schedule, steps, optimizer; two more hold the default learning rate at a fifth and at
five times its value. In each, α and β1 are learned at four meta learning rates η̂. Beside that stands what
could explain a gain: the controls of controls.py, and Bayesian optimization and random search of constant α
and β1; and `lagged`, another estimator, at its own settings. Each choice runs on the same fresh seeds in
every row. The gain is that over the default of the cell.

Cut at quick and laptop to stay within 20 and 95 minutes: searches of 6 and 10 trials, not 100; in the columns
with other learning rates neither random search, nor BO over schedule parameters, nor longer training. At
quick AdamW has no linear decay. At laptop there is no random search at 1,200 steps, and those columns have
400 steps only; the cosine and Adafactor are of the size `paper`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.study.spec import Arm, Claim, Parameter, StudySpec
from studies import arms, controls
from studies.cells import Cell, cells
from studies.parts import ALPHA, BETA1, METRIC, Size

QUESTION = "Is a gain of guided learning due to guidance, or has a control without guidance the same?"
LEARNED = "alpha+beta1"
RATE_FACTORS = (0.2, 5.0)  # of the default learning rate, where LAMB follows an inverse square root


@dataclass(frozen=True)
class Counts:
    """How much of everything a size affords."""

    searched: int  # trials of each search
    fresh: int  # seeds of each choice
    claimed: int  # … of the two sides of the claim
    random_up_to_steps: int  # no random search in longer cells
    all_at_other_rates: bool  # every control there too
    without: tuple[str, str] = ("", "")  # an optimizer under a schedule


COUNTS: Mapping[str, Counts] = {
    "smoke": Counts(searched=3, fresh=1, claimed=1, random_up_to_steps=40, all_at_other_rates=True),
    "quick": Counts(
        searched=6,
        fresh=4,
        claimed=6,
        random_up_to_steps=240,
        all_at_other_rates=False,
        without=("adamw", "linear"),
    ),
    "laptop": Counts(searched=10, fresh=6, claimed=6, random_up_to_steps=400, all_at_other_rates=False),
    "paper": Counts(searched=100, fresh=10, claimed=10, random_up_to_steps=160_000, all_at_other_rates=True),
}


def study(size: Size) -> StudySpec:
    counts, columns = COUNTS[size.name], _columns(size)
    claimed = columns[0]
    return arms.study_of(
        "attribution",
        size,
        tuple(arm for cell in columns for arm in _column(cell, size, counts, claimed=cell == claimed)),
        claim=_claim(claimed),
        question=QUESTION,
        targets=False,
    )


def _columns(size: Size) -> tuple[Cell, ...]:
    """The size's cells, and other learning rates in the first of LAMB under an inverse square root."""
    without = COUNTS[size.name].without
    made = [cell for cell in cells(size) if (cell.optimizer, cell.schedule) != without]
    first = next(cell for cell in made if (cell.optimizer, cell.schedule) == ("lamb", "inverse-sqrt"))
    return (
        first,
        *(cell for cell in made if cell != first),
        *(replace(first, rate_factor=factor) for factor in RATE_FACTORS),
    )


def _column(cell: Cell, size: Size, counts: Counts, *, claimed: bool) -> Iterator[Arm]:
    """The two sides first, then the controls."""
    seeds = counts.claimed if claimed else counts.fresh
    guided = _guided(cell, size)
    yield _repeated("base", "base", cell, seeds=seeds, hours=cell.hours(size), role="base")
    yield guided
    yield arms.confirmed(guided, size, seeds=seeds)
    yield from controls.following(guided, cell.slug, seeds=counts.fresh, hours=cell.hours(size))
    for search in _searches(cell, size, counts):
        yield search
        yield arms.confirmed(search, size, phase="control", seeds=counts.fresh)
    if counts.all_at_other_rates or cell.rate_factor == 1:
        hours = cell.hours(size, "held-out")
        more: dict[str, Any] = {"trials": counts.fresh, "run_hours": hours, "phase": "control"}
        more |= {"control": "longer", "over": controls.guided_over_plain(size)}
        yield controls.longer(cell.slug, cell.name, steps=cell.steps, config=cell.config(), **more)
    lagged = arms.guiding("lagged", LEARNED, eta=None)  # its own η̂
    hours = cell.hours(size, "lagged")
    yield _repeated(
        "lagged", "guided, lagged", cell, seeds=counts.fresh, hours=hours, config=lagged, phase="control"
    )


def _guided(cell: Cell, size: Size) -> Arm:
    """The paper's way, at several reaches; chosen on the search seed."""
    etas = tuple(float(f"{reach / cell.steps:.6g}") for reach in size.reaches)
    config = arms.guiding("held-out", LEARNED)
    return _arm(
        "guided",
        cell,
        config=config,
        method="grid",
        space=(Parameter(path="guidance.eta", values=etas),),
        trials=len(etas),
        phase="search",
        row="guided",
        role="guided",
        run_hours=cell.hours(size, "held-out"),
    )


def _searches(cell: Cell, size: Size, counts: Counts) -> Iterator[Arm]:
    """Of what needs no guidance."""
    hours = cell.hours(size, "bo" if "bo" in size.hours else "off")
    searching: dict[str, Any] = {"trials": counts.searched, "run_hours": hours, "phase": "control"}
    bayesian = {**searching, "method": "gp", "startup_trials": min(size.startup_trials, counts.searched)}
    every = counts.all_at_other_rates or cell.rate_factor == 1
    yield _arm("bo", cell, space=(ALPHA, BETA1), row="+ BO", role="bo", **bayesian)
    if every and cell.steps <= counts.random_up_to_steps:
        random: dict[str, Any] = {"method": "random", "row": "random search", "control": "random"}
        yield _arm("random", cell, space=(ALPHA, BETA1), **random, **searching)
    if every:
        course = {"schedule": {**cell.config()["schedule"], "course": controls.COURSE}}
        space = controls.COURSES
        scheduled: dict[str, Any] = {"row": controls.BO_SCHEDULE, "control": "bo-schedule", **bayesian}
        yield _arm("bo-schedule", cell, config=course, space=space, **scheduled)


def _arm(name: str, cell: Cell, *, config: Mapping[str, Any] | None = None, **more: Any) -> Arm:
    """An arm of a cell."""
    return Arm(
        name=f"{name}-{cell.slug}", column=cell.name, config={**cell.config(), **(config or {})}, **more
    )


def _repeated(
    name: str,
    row: str,
    cell: Cell,
    *,
    seeds: int,
    hours: float,
    config: Mapping[str, Any] | None = None,
    **more: Any,
) -> Arm:
    return arms.repeated(
        f"{name}-{cell.slug}",
        cell.name,
        row,
        config={**cell.config(), **(config or {})},
        trials=seeds,
        run_hours=hours,
        **more,
    )


def _claim(cell: Cell) -> Claim:
    return Claim(
        text=(
            f"In the cell {cell.name} the configuration that the guided arm chose (α and β1) has a lower dev "
            f"loss than the default on fresh paired seeds. Conditional on one selection."
        ),
        challenger=f"guided-{cell.slug}",
        incumbent=f"base-{cell.slug}",
        metric=METRIC,
    )
