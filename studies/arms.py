"""Which arms do the studies share? The base run, guidance, a search, and the confirmation of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.study.spec import (
    After,
    Arm,
    Claim,
    Goal,
    Objective,
    Parameter,
    Phase,
    Retries,
    StudySpec,
)
from studies.parts import ENTRYPOINT, METRIC, Size

FINAL = {"score": {"test": True}}  # a confirmation opens the test split, once
ESTIMATOR_ROWS = {"next-batch": "guided, next batch", "lagged": "guided, lagged"}


def base_run(size: Size) -> Arm:
    return Arm(name="base", method="fixed", row="base", role="base", run_hours=size.hours["off"])


def guiding(estimator: str, column: str, **more: Any) -> dict[str, Any]:
    """The part of a config that switches guidance on, for what a column's name says."""
    return {"guidance": {"estimator": estimator, "learn": column.split("+"), **more}}


def guided_over_etas(column: str, size: Size, *, reaches: tuple[float, ...] = (), **more: Any) -> Arm:
    """The paper's way: every step, the whole held-out batch, at several meta learning rates η̂."""
    etas = tuple(size.eta(reach) for reach in reaches or size.reaches)
    given = {
        "name": f"guided-{column}",
        "config": guiding("held-out", column),
        "row": "guided",
        "role": "guided",
        "column": column,
        "run_hours": size.hours["held-out"],
        **more,
    }
    return Arm(method="grid", space=(Parameter(path="guidance.eta", values=etas),), trials=len(etas), **given)


def bayesian(
    name: str, space: tuple[Parameter, ...], size: Size, *, trials: int, hours: float, **more: Any
) -> Arm:
    return Arm(
        name=name,
        method="gp",
        space=space,
        trials=trials,
        startup_trials=min(size.startup_trials, trials),
        run_hours=hours,
        **more,
    )


def bo_over(column: str, space: tuple[Parameter, ...], size: Size) -> Arm:
    """Bayesian optimization of static values."""
    hours = size.hours.get("bo", size.hours["off"])
    more: dict[str, Any] = {"row": "+ BO", "role": "bo", "column": column}
    return bayesian(f"bo-{column}", space, size, trials=size.bo_trials, hours=hours, **more)


def random_over(column: str, space: tuple[Parameter, ...], size: Size) -> Arm:
    """Random search with the budget of Bayesian optimization: a control."""
    return Arm(
        name=f"random-{column}",
        method="random",
        space=space,
        trials=size.bo_trials,
        phase="control",
        control="random",
        row="random search",
        column=column,
        run_hours=size.hours.get("bo", size.hours["off"]),
    )


def by_estimator(estimator: str, column: str, size: Size) -> Arm:
    """One run of an estimator that costs next to nothing, at its own settings."""
    return Arm(
        name=f"{estimator}-{column}",
        method="fixed",
        config=guiding(estimator, column, eta=None),  # its own η̂
        phase="control",
        row=ESTIMATOR_ROWS[estimator],
        column=column,
        run_hours=size.hours[estimator],
    )


def confirmed(arm: Arm, size: Size, *, phase: Phase = "confirm", seeds: int = 0) -> Arm:
    """The best of many draws carries luck; its configuration runs again on seeds that chose nothing."""
    return Arm(
        name=f"confirm-{arm.name}",
        method="fixed",
        config=FINAL,
        trials=seeds or size.confirmations,
        after=After(arm=arm.name),
        fresh_seeds=True,
        phase=phase,
        row=arm.row,
        role=arm.role,
        column=arm.column,
        run_hours=arm.run_hours,
    )


def repeated(name: str, column: str, row: str, *, config: Mapping[str, Any], **more: Any) -> Arm:
    """One setting, which nothing chose: its runs are on fresh seeds from the start."""
    return Arm(
        name=name,
        method="fixed",
        config={**config, **FINAL},
        fresh_seeds=True,
        row=row,
        column=column,
        **more,
    )


def at_equal_cost(guided: Arm, static: Arm, size: Size, *, metric: str, is_better: str) -> Claim:
    """What a study of guidance against a search sets out to show."""
    cost = "BO's cost" if size.cost_ratio == 1 else f"{size.cost_ratio:g} times BO's cost"
    return Claim(
        text=(
            f"At no more than {cost} in steps, the configuration that the guided arm chose (α and β1) "
            f"{is_better} on fresh paired seeds. Conditional on one selection by each arm."
        ),
        challenger=guided.name,
        incumbent=static.name,
        metric=metric,
        cost_ratio=size.cost_ratio,
        cost="steps",  # by clocks it depends on what else the machine did: .66 and .95 in two runs
    )


def study_of(
    name: str,
    size: Size,
    arms: tuple[Arm, ...],
    *,
    targets: bool = True,
    metric: str = METRIC,
    goal: Goal = "minimize",
    **more: Any,
) -> StudySpec:
    """A study of the trainer, by dev loss where nothing else is said. The size's targets are those of its own
    setting, so a study of several cells goes without."""
    return StudySpec(
        name=f"{name}-{size.name}",
        entrypoint=ENTRYPOINT,
        base=size.base,
        arms=arms,
        objective=Objective(
            metric=metric, goal=goal, split="select", targets=size.targets if targets else ()
        ),
        resources=size.resources,
        retries=Retries(hang_after_s=size.hang_after_s),
        **more,
    )
