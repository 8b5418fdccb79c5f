"""What is a gain of guidance due to? Every control that could explain it, in every cell.

Command   orch study create attribution --size quick
Run time  quick: 17 minutes planned on 2 cores; laptop: 82 minutes planned
Expected  nobody has published these controls. From what was measured before: where the schedule does not
          anneal, much of the gain is annealing, which a replay, a matched decay and BO over the
          schedule's parameters have too; under a linear decay, and in longer runs, there is no gain

A column is a cell: schedule, steps, optimizer; two more hold the default learning rate at a fifth and at
five times its value. In each, α and β1 are learned at four meta learning rates η̂. What could explain a gain:

  replay                     what it learned, step by step, frozen: a plain run, on other seeds
  constant = mean            the mean of what it learned: is it the movement or the mean?
  matched decay              α falling by η̂ a step, as looking one step ahead makes it fall by itself, down
                             to where the learned one came; β1's logit straight to its learned end
  + BO, random search        of constant α and β1
  + BO over schedule parameters   where α and β1 start and end, and α's shape: dynamic, and not learned
  longer plain training      half as many steps again, which guidance would have paid for

Beside it stands `lagged`, another estimator, at its own settings. Each choice runs again on fresh seeds, the
same ones in every row. The gain is that over the default of the cell.

Cut at laptop to stay within 90 minutes: searches of 10 trials, not 100; no random search at 1,200 steps; in
the columns with other learning rates neither random search, nor BO over schedule parameters, nor longer
training; those columns at 400 steps only; the cosine and Adafactor are of the size `paper`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.spec import After, Arm, Claim, Parameter, StudySpec, Take
from studies import arms
from studies.cells import Cell, cells
from studies.parts import ALPHA, BETA1, METRIC, Size

QUESTION = "Is a gain of guided learning due to guidance, or has a control without guidance the same?"
LEARNED = "alpha+beta1"
RATE_FACTORS = (0.2, 5.0)  # of the default learning rate, where LAMB follows an inverse square root
LONGER = 1.5  # of a run's steps: one guided run costs 1.5 plain ones by the paper's table
TAKEN: Mapping[Take, str] = {
    "schedule": "replay",
    "schedule-mean": "constant = mean",
    "matched-decay": "matched decay",
}

# A course begins as the default, so that trial 0 of its search is the default.
COURSE = {"alpha": {"start": 1.0, "end": 1.0, "shape": 1.0}, "beta1": {"start": 0.9, "end": 0.9}}
COURSES = (
    *(ALPHA.model_copy(update={"path": f"schedule.course.alpha.{end}"}) for end in ("start", "end")),
    Parameter(path="schedule.course.alpha.shape", low=0.25, high=4.0, scale="log"),
    *(BETA1.model_copy(update={"path": f"schedule.course.beta1.{end}"}) for end in ("start", "end")),
)


@dataclass(frozen=True)
class Counts:
    """How much of everything a size affords."""

    searched: int  # trials of each search
    fresh: int  # seeds of each choice
    claimed: int  # … of the two sides of the claim
    random_up_to_steps: int  # no random search in longer cells
    all_at_other_rates: bool  # every control there too


COUNTS: Mapping[str, Counts] = {
    "smoke": Counts(searched=3, fresh=1, claimed=1, random_up_to_steps=40, all_at_other_rates=True),
    "quick": Counts(searched=7, fresh=4, claimed=6, random_up_to_steps=240, all_at_other_rates=True),
    "laptop": Counts(searched=10, fresh=5, claimed=6, random_up_to_steps=400, all_at_other_rates=False),
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
    made = cells(size)
    first = next(cell for cell in made if (cell.optimizer, cell.schedule) == ("lamb", "inverse-sqrt"))
    return (
        first,
        *(cell for cell in made if cell != first),
        *(replace(first, rate_factor=factor) for factor in RATE_FACTORS),
    )


def _column(cell: Cell, size: Size, counts: Counts, *, claimed: bool) -> Iterator[Arm]:
    """The two sides first, then the controls."""
    base = _arm("base", cell, method="fixed", row="base", phase="search", run_hours=cell.hours(size))
    guided = _guided(cell, size)
    for arm in (base, guided):
        yield arm
        yield _confirmed(arm, size, seeds=counts.claimed if claimed else counts.fresh)
    for take, row in TAKEN.items():
        yield _following(guided, take, row, cell, size, counts)
    for arm in _others(cell, size, counts):
        yield arm
        yield _confirmed(arm, size, seeds=counts.fresh)


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
        run_hours=cell.hours(size, "held-out"),
    )


def _following(guided: Arm, take: Take, row: str, cell: Cell, size: Size, counts: Counts) -> Arm:
    """Nothing is chosen here, so it runs on the fresh seeds at once. The cell is the chosen run's own."""
    return Arm(
        name=f"{row.split()[0]}-{cell.slug}",
        method="fixed",
        config=arms.FINAL,
        trials=counts.fresh,
        after=After(arm=guided.name, take=take),
        fresh_seeds=True,
        phase="control",
        row=row,
        column=cell.name,
        run_hours=cell.hours(size),
    )


def _others(cell: Cell, size: Size, counts: Counts) -> Iterator[Arm]:
    hours = cell.hours(size, "bo" if "bo" in size.hours else "off")
    searching: dict[str, Any] = {"trials": counts.searched, "run_hours": hours}
    bayesian = {**searching, "method": "gp", "startup_trials": min(size.startup_trials, counts.searched)}
    every = counts.all_at_other_rates or cell.rate_factor == 1
    yield _arm("bo", cell, space=(ALPHA, BETA1), row="+ BO", **bayesian)
    if every and cell.steps <= counts.random_up_to_steps:
        yield _arm("random", cell, method="random", space=(ALPHA, BETA1), row="random search", **searching)
    if every:
        course = {"schedule": {"course": COURSE}}
        yield _arm(
            "bo-schedule", cell, config=course, space=COURSES, row="+ BO over schedule parameters", **bayesian
        )
        yield _arm(
            "longer",
            cell,
            config=_longer(cell),
            method="fixed",
            row="longer plain training",
            run_hours=LONGER * cell.hours(size),
        )
    yield _arm(
        "lagged",
        cell,
        config=arms.guiding("lagged", LEARNED, eta=None),  # its own η̂
        method="fixed",
        row="guided, lagged",
        run_hours=cell.hours(size, "lagged"),
    )


def _longer(cell: Cell) -> dict[str, Any]:
    """The warm-up and the learning rate stay; what decays over the run decays over the longer one."""
    steps = int(LONGER * cell.steps)
    return {"steps": steps, "eval_every_steps": steps // 4, "checkpoint_every_steps": steps // 4}


def _arm(name: str, cell: Cell, *, config: dict[str, Any] | None = None, **more: Any) -> Arm:
    """An arm of a cell; a control unless it says otherwise."""
    own = config or {}
    merged = {**cell.config(), **own}
    if "schedule" in own:
        merged["schedule"] = {**cell.config()["schedule"], **own["schedule"]}
    given = {"phase": "control", "column": cell.name, **more}
    return Arm(name=f"{name}-{cell.slug}", config=merged, **given)


def _confirmed(arm: Arm, size: Size, *, seeds: int) -> Arm:
    return arms.confirmed(arm, size, phase="confirm" if arm.phase == "search" else "control", seeds=seeds)


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
