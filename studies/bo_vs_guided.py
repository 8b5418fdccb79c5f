"""Do hyperparameters learned while the model trains beat static ones found by Bayesian optimization?

Command   orch study create bo-vs-guided --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: under a minute on 2 cores today, about 7 minutes planned with the trainer;
          paper: 613 search runs, about 44,500 TPUv3 chip-hours, and 330 runs and 19,200 chip-hours
          for confirmations and controls
Expected  the paper's Table 2 (de-en, BLEU; α, β1, α+β1): base 38.6, 38.6, 38.6; + BO 39.4, 39.4, 39.5;
          guided 39.6, 39.8, 39.9; guided + BO over η̂ 39.7, 39.8, 39.9

Until the trainer is in place the trials are a rehearsal workload (`orchestrator.rehearsal`): a noisy
quadratic with the same settings and costs. No model is trained, and its numbers say nothing about models.

Rows, for each of the columns α, β1 and α+β1: Bayesian optimization of static values; guided learning at
four meta learning rates η̂; Bayesian optimization of η̂. All columns share one base run. Apart from the
search stand the confirmations (each arm's chosen configuration on fresh seeds, the same ones for all
arms) and the control (random search with the budget of Bayesian optimization).
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.spec import After, Arm, Claim, Objective, Parameter, Retries, StudySpec
from studies.parts import COLUMNS, REACH_RANGE, Size, eta

QUESTION = (
    "Do hyperparameters learned while the model trains beat static ones found by Bayesian optimization, "
    "and at what cost? Until the trainer is in place the trials are a rehearsal workload, and no model is "
    "trained."
)


def study(size: Size) -> StudySpec:
    base = Arm(name="base", method="fixed", row="base", run_hours=size.plain_hours)
    searches = [base, *(arm for column, space in COLUMNS for arm in _searches(column, space, size))]
    return StudySpec(
        name=f"bo-vs-guided-{size.name}",
        question=QUESTION,
        entrypoint="orchestrator.rehearsal",
        base=size.base,
        arms=(
            *searches,
            *(_confirmation(arm, size) for arm in searches),
            *(_control(column, space, size) for column, space in COLUMNS),
        ),
        objective=Objective(metric="loss", goal="minimize", split="select"),
        resources=size.resources,
        retries=Retries(hang_after_s=size.hang_after_s),
        claim=_claim(size),
    )


def _searches(column: str, space: tuple[Parameter, ...], size: Size) -> Iterator[Arm]:
    """The three searches of one column."""
    steps = size.base["steps"]
    low, high = (eta(reach, steps=steps) for reach in REACH_RANGE)
    etas = tuple(eta(reach, steps=steps) for reach in size.reaches)
    guided = {"guidance": {"estimator": "held-out", "learn": column.split("+")}}
    yield Arm(
        name=f"bo-{column}",
        method="gp",
        space=space,
        trials=size.bo_trials,
        startup_trials=size.startup_trials,
        row="+ BO",
        column=column,
        run_hours=size.bo_hours,
    )
    yield Arm(
        name=f"guided-{column}",
        method="grid",
        config=guided,
        space=(Parameter(path="guidance.eta", values=etas),),
        trials=len(etas),
        row="guided",
        column=column,
        run_hours=size.guided_hours,
    )
    yield Arm(
        name=f"guided-bo-{column}",
        method="gp",
        config=guided,
        space=(Parameter(path="guidance.eta", low=low, high=high, scale="log"),),
        trials=size.eta_trials,
        startup_trials=min(size.startup_trials, size.eta_trials),
        row="+ BO (η̂)",
        column=column,
        run_hours=size.eta_hours,
    )


def _confirmation(arm: Arm, size: Size) -> Arm:
    """The best of many draws carries luck; its configuration runs again on seeds that chose nothing."""
    return Arm(
        name=f"confirm-{arm.name}",
        method="fixed",
        trials=size.confirmations,
        after=After(arm=arm.name),
        fresh_seeds=True,
        phase="confirm",
        row=arm.row,
        column=arm.column,
        run_hours=arm.run_hours,
    )


def _control(column: str, space: tuple[Parameter, ...], size: Size) -> Arm:
    return Arm(
        name=f"random-{column}",
        method="random",
        space=space,
        trials=size.bo_trials,
        phase="control",
        row="random search",
        column=column,
        run_hours=size.bo_hours,
    )


def _claim(size: Size) -> Claim:
    cost = "BO's chip-hours" if size.cost_ratio == 1 else f"{size.cost_ratio:g} times BO's chip-hours"
    return Claim(
        text=(
            f"At no more than {cost}, the configuration that the guided arm chose (α and β1) has "
            f"the lower dev loss on fresh paired seeds. Conditional on one selection by each arm."
        ),
        challenger="guided-alpha+beta1",
        incumbent="bo-alpha+beta1",
        metric="loss",
        cost_ratio=size.cost_ratio,
    )
