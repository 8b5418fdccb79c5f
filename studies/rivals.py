"""What do other methods find at the same cost? Random search, TPE, ASHA, PBT and two optimizers that promise
to need no tuning, beside Bayesian optimization and guidance.

Command   orch study create rivals --size quick     (sizes: smoke, quick, laptop, paper)
Run time  quick: 7 minutes planned on 2 cores, and it took 9 min 13 s; laptop: 80 minutes planned
Expected  nothing published: nobody has put these beside one another on this task

The budget of a row is the chip-hours of Bayesian optimization: 10 plain runs at quick, 100 at laptop. By
what its runs are expected to take, each row gets as many as fit. Base and lagged run once.

random, TPE, BO      plain runs over one space of α and β1; the default is trial 0 of TPE and of BO
ASHA                 random points; at a quarter and at half of the steps one run in three goes on. Which
                     are stopped depends on who came first, so on timing, by nature: run again, others are
PBT                  one population; at every quarter the worst members go on from the best. Its values are
                     those of its best member by the dev split. It is confirmed as what it is: by whole
                     populations on fresh seeds
Prodigy              BO over the same space, from its published learning rate of 1 at the schedule's peak
schedule-free AdamW  the same, from its published .0025; constant after the warm-up, as its authors ask
guided               held-out guidance of α and β1 at as many reaches as fit, from .1 to 30
lagged               the estimator that looks further ahead, at its own settings

Each row's choice runs again on the same fresh seeds, six of them, and is scored on the test split. Compare
PBT there: a population is its best member by the dev split on every seed, so its confirmed dev loss is the
lowest of ten (at laptop of a hundred), and no other row's confirmation chooses on the split it reports.
"""

from __future__ import annotations

import math
from typing import Any

from orchestrator.study.spec import Arm, Parameter, Rungs, StudySpec
from studies import arms
from studies.parts import ALPHA, BETA1, METRIC, OVER_PLAIN, REACH_RANGE, Size

QUESTION = "What do other ways of tuning find at the chip-hours of Bayesian optimization?"
ENTRYPOINT = "orchestrator.backends.population"  # the trainer, and populations of it
SPACE, COLUMN = (ALPHA, BETA1), "alpha+beta1"
KEEP_ONE_IN = 3
# What a run of ASHA takes, over a whole one: a quarter for all, another for a third, the rest for a ninth
# (.39), and for those that are stopped the chunk in which they hear of it (an eighth).
ASHA_SHARE = 0.5


def study(size: Size) -> StudySpec:
    rows = (arms.base_run(size), *_searches(size), *_optimizers(size), *_guided(size))
    confirmations = (arms.confirmed(arm, size, seeds=size.claimed) for arm in rows)
    made = arms.study_of("rivals", size, (*rows, *map(_whole, confirmations, rows)), question=QUESTION)
    return made.model_copy(update={"entrypoint": ENTRYPOINT})


def _whole(confirmation: Arm, source: Arm) -> Arm:
    """No confirmation is stopped at a rung."""
    if source.rungs is None or source.run_hours is None:
        return confirmation
    return confirmation.model_copy(update={"run_hours": source.run_hours / ASHA_SHARE})


def budget_hours(size: Size) -> float:
    """Of every row but the single runs."""
    return size.bo_trials * _plain_hours(size)


def _plain_hours(size: Size) -> float:
    return size.hours.get("bo", size.hours["off"])


def _searches(size: Size) -> tuple[Arm, ...]:
    hours, trials = _plain_hours(size), size.bo_trials
    plain: dict[str, Any] = {"space": SPACE, "column": COLUMN, "trials": trials, "run_hours": hours}
    between = int(size.base["eval_every_steps"])  # a rung stands where there is a loss to judge by
    quarter = max(1, size.steps // 4 // between) * between
    startup_trials = min(size.startup_trials, trials)
    return (
        Arm(name="random", method="random", row="random search", **plain),
        Arm(name="tpe", method="tpe", row="TPE", startup_trials=startup_trials, **plain),
        arms.bayesian("bo", SPACE, size, trials=trials, hours=hours, row="+ BO", role="bo", column=COLUMN),
        Arm(
            name="asha",
            method="random",
            rungs=Rungs(steps=(quarter, 2 * quarter), keep_one_in=KEEP_ONE_IN),
            row="ASHA",
            **{**plain, "trials": round(trials / ASHA_SHARE), "run_hours": hours * ASHA_SHARE},
        ),
        Arm(
            name="pbt",
            method="fixed",
            config={
                "population": {
                    "members": trials,
                    "every_steps": quarter,
                    "space": [p.model_dump(mode="json", exclude={"values"}) for p in SPACE],
                    "metric": METRIC,
                }
            },
            row="PBT",
            column=COLUMN,
            run_hours=trials * hours,
        ),
    )


def _optimizers(size: Size) -> tuple[Arm, ...]:
    hours = _plain_hours(size)
    at_peak_one = float(f"{math.sqrt(size.base['schedule']['warmup_steps']):.6g}")

    def searched(name: str, row: str, optimizer: dict[str, Any], **more: Any) -> Arm:
        own = {"beta2": None, "eps": None}  # not LAMB's
        return arms.bayesian(
            name,
            SPACE,
            size,
            trials=size.bo_trials,
            hours=hours,
            config={"optimizer": {**optimizer, **own}, **more},
            row=row,
            column=COLUMN,
        )

    return (
        searched("prodigy", "Prodigy", {"name": "optax.contrib.prodigy", "learning_rate": at_peak_one}),
        searched(
            "schedule-free",
            "schedule-free AdamW",
            {"name": "optax.contrib.schedule_free_adamw", "learning_rate": 0.0025},
            schedule={"name": "constant"},
        ),
    )


def _guided(size: Size) -> tuple[Arm, ...]:
    hours, plain = size.hours["held-out"], size.hours["off"]
    fit = max(2, int(budget_hours(size) / hours + 1e-9))
    low, high = REACH_RANGE
    reaches = (low * (high / low) ** (i / (fit - 1)) for i in range(fit))
    etas = Parameter(path="guidance.eta", values=tuple(size.eta(reach) for reach in reaches))
    return (
        Arm(
            name="guided",
            method="grid",
            config=arms.guiding("held-out", COLUMN),
            space=(etas,),
            trials=fit,
            row="guided",
            role="guided",
            column=COLUMN,
            run_hours=hours,
        ),
        Arm(
            name="lagged",
            method="fixed",
            config=arms.guiding("lagged", COLUMN, eta=None),
            row="guided, lagged",
            column=COLUMN,
            run_hours=size.hours.get("lagged", plain * OVER_PLAIN["lagged"]),
        ),
    )
