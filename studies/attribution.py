"""What is a gain of guidance due to? Every control that could explain it, in every cell.

Command   orch study create attribution --size quick
Run time  quick: 14 minutes planned on 2 cores, and compiling; laptop: 95 minutes planned
Expected  nobody has published these controls. At laptop guidance gains in two of eight cells, loses in one;
          the learned means as constants gain in four and lose in none; longer plain training has the lowest
          loss in all eight (docs/results/attribution.md; at quick attribution-quick.md). The blind course,
          β1 = .8 and the other lengths of plain training came later

A column is a cell: schedule, steps, optimizer; two more hold the default learning rate at a fifth and at
five times its value. In each, α and β1 are learned at four meta learning rates η̂. Beside that stands what
could explain a gain: the controls of controls.py, and Bayesian optimization and random search of constant α
and β1; and `lagged`, another estimator, at its own settings. Each choice runs on the same fresh seeds in
every row. The gain is that over the default of the cell. Plain training at several lengths says what a gain
is worth in steps. The blind course is of the guided runs in all cells at the default's own rate.

Cut at quick and laptop to stay within 20 and 95 minutes: searches of 6 and 10 trials, not 100; in the columns
with other learning rates neither random search, nor BO over schedule parameters, nor the blind course, nor
plain training that is longer or has another β1. At quick AdamW has no linear decay. At laptop there are no
random search, no BO over schedule parameters, no lengths of plain training but the guided run's, and no
`lagged` at 1,200 steps (the studies equal-time and estimators have `lagged` there), and the columns with
other rates have 400 steps only; the cosine and Adafactor are of the size `paper`.
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
    most_steps: int  # of the cells with every row
    all_at_other_rates: bool  # every control there too
    without: tuple[str, str] = ("", "")  # an optimizer under a schedule


COUNTS: Mapping[str, Counts] = {
    "smoke": Counts(searched=3, fresh=1, claimed=2, most_steps=40, all_at_other_rates=True),
    "quick": Counts(
        searched=6,
        fresh=4,
        claimed=6,
        most_steps=240,
        all_at_other_rates=False,
        without=("adamw", "linear"),
    ),
    "laptop": Counts(searched=10, fresh=6, claimed=6, most_steps=400, all_at_other_rates=False),
    "paper": Counts(searched=100, fresh=10, claimed=10, most_steps=160_000, all_at_other_rates=True),
}


def study(size: Size) -> StudySpec:
    counts, columns = COUNTS[size.name], _columns(size)
    claimed = columns[0]
    made = [arm for cell in columns for arm in _column(cell, size, counts, claimed=cell == claimed)]
    return arms.study_of(
        "attribution",
        size,
        (*made, *_blind(made, columns, size, counts)),
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
    if _has_all(cell, counts):
        yield from _plain(cell, size, seeds=seeds, fresh=counts.fresh, every=cell.steps <= counts.most_steps)
    if cell.steps <= counts.most_steps:
        lagged = arms.guiding("lagged", LEARNED, eta=None)  # its own η̂
        hours = cell.hours(size, "lagged")
        yield _repeated(
            "lagged", "guided, lagged", cell, seeds=counts.fresh, hours=hours, config=lagged, phase="control"
        )


def _has_all(cell: Cell, counts: Counts) -> bool:
    return counts.all_at_other_rates or cell.rate_factor == 1


def _plain(cell: Cell, size: Size, *, seeds: int, fresh: int, every: bool) -> Iterator[Arm]:
    """Plain training that learns and searches nothing: longer, and with another β1."""
    shared: dict[str, Any] = {"steps": cell.steps, "config": cell.config()}
    more: dict[str, Any] = {"trials": fresh, "run_hours": cell.hours(size, "held-out"), "phase": "control"}
    more |= {"control": "longer", "over": controls.guided_over_plain(size)}
    yield controls.longer(cell.slug, cell.name, **shared, **more)
    hours = cell.hours(size)
    yield controls.beta1_alone(cell.slug, cell.name, hours=hours, config=cell.config(), seeds=fresh)
    if every:
        shared |= {"of": size.lengths, "hours": hours, "seeds": seeds}
        yield from controls.lengths(cell.slug, cell.name, **shared)


def _blind(made: list[Arm], columns: tuple[Cell, ...], size: Size, counts: Counts) -> Iterator[Arm]:
    """After the confirmations in all cells at the default's own rate."""
    confirmed = {arm.column: arm for arm in made if arm.role == "guided" and arm.fresh_seeds}
    usual = [cell.name for cell in columns if cell.rate_factor == 1]
    for cell in columns:
        if _has_all(cell, counts):
            others = [confirmed[name] for name in usual if name != cell.name]
            hours = cell.hours(size)
            yield controls.blind(
                confirmed[cell.name], cell.slug, others=others, hours=hours, seeds=counts.fresh
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
    yield _arm("bo", cell, space=(ALPHA, BETA1), row="+ BO", role="bo", **bayesian)
    if _has_all(cell, counts) and cell.steps <= counts.most_steps:
        random: dict[str, Any] = {"method": "random", "row": "random search", "control": "random"}
        yield _arm("random", cell, space=(ALPHA, BETA1), **random, **searching)
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
