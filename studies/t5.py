"""What is pretraining with guidance worth on the tasks after it? (the paper's Tables 3, 6 and 7)

Command   orch study create t5 --size quick     (sizes: smoke, quick, laptop, paper), or make study-t5
Run time  quick: 6 minutes planned on 2 cores, and compiling; paper: 48 hours a pretraining on 8 chips, half
          as much again when guided, and 6 a task: to be planned and rehearsed here, not run
Expected  in the paper α+β1 has the higher average: GLUE 78.2 against 77.8, SuperGLUE 68.5 against 67.1; it is
          better on 15 of 18 tasks, each the best of five runs

For each seed a T5 is pretrained twice: as base, and with α and β1 learned at one meta learning rate η̂. Each
task is then learned from either, with Adafactor, as T5 was fine-tuned (C.4). Its run i begins with run i of
the pretraining, so an interval holds the seeds of both. Beside them: guided fine-tuning of what base
pretrained, and the tasks without pretraining, on three of the seeds. A column is a task. Those of quick are
generated, and disjoint from the text pretrained on; those of paper are GLUE, SuperGLUE and SQuAD.

Without pretraining means a run of four steps at next to no learning rate: random weights, and the vocabulary
of the others. The claim is about the average over the tasks. Six seeds, not the paper's five: of five pairs
no test can reach p < .05. η̂ has the reach 10: a constant, since a study reads no other study.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.study.spec import After, Arm, Claim, Phase, StudySpec
from studies import arms
from studies.parts import Size, cadence
from studies.t5_parts import METRIC, OTHERS, TASKS, WITHOUT_MOMENTUM, Tasks, learning

QUESTION = "Does pretraining with learned α and β1 give higher scores on the tasks that come after it?"
LEARNED = "alpha+beta1"
REACH = 10.0  # of η̂: the paper's 1e-5 over a million steps, which it took to its tasks
NEXT_TO_NO_RATE = 1e-12
TUNED_REACH = 3.2  # of guided fine-tuning


def study(size: Size) -> StudySpec:
    tasks = TASKS[size.name]
    begun = tuple(_pretraining(size))
    columns = [arm for task in tasks.names for arm in _column(task, tasks, size, *begun)]
    return arms.study_of(
        "t5",
        size,
        (*begun, *columns),
        metric=METRIC,
        goal="maximize",
        claim=_claim(tasks.names[0]),
        question=QUESTION,
        targets=False,
    )


def _pretraining(size: Size) -> Iterator[Arm]:
    learning = arms.guiding("held-out", LEARNED, eta=size.eta(REACH))
    nothing = {**cadence(4), "optimizer": {"beta1": 0.0, "learning_rate": NEXT_TO_NO_RATE}}
    nothing["schedule"] = {"warmup_steps": 0}
    seeds, few = size.claimed, min(size.claimed, OTHERS)
    for name, row, config, trials, hours in (
        ("pretrain-base", "base", WITHOUT_MOMENTUM, seeds, size.hours["off"]),
        (f"pretrain-{LEARNED}", "α+β1", learning, seeds, size.hours["held-out"]),
        ("pretrain-nothing", "nothing", nothing, few, min(size.hours["off"], 2 / 3600)),
    ):
        yield Arm(
            name=name,
            method="fixed",
            config=config,
            trials=trials,
            fresh_seeds=True,
            phase="prepare",
            row=row,
            run_hours=hours,
        )


def _column(task: str, tasks: Tasks, size: Size, base: Arm, guided: Arm, nothing: Arm) -> Iterator[Arm]:
    """The two sides, then what they are to be seen beside."""
    slug = task.replace("/", "-")
    own = learning(task, tasks)
    eta = float(f"{TUNED_REACH / tasks.steps:.6g}")
    tuned = {**own, **arms.guiding("held-out", LEARNED, eta=eta)}
    tuned["optimizer"] = {**own["optimizer"], "beta1": 0.9}  # of 0 none can be learned
    rows: tuple[tuple[str, str, Arm, dict[str, Any], Phase, float], ...] = (
        ("base", "base", base, own, "search", 1.0),
        ("guided", "α+β1", guided, own, "search", 1.0),
        ("tuned", "base, guided fine-tuning", base, tuned, "control", 2.0),
        ("none", "no pretraining", nothing, own, "control", 1.0),
    )
    for name, row, begun, config, phase, over in rows:
        yield arms.repeated(
            f"{name}-{slug}",
            task,
            row,
            config=config,
            trials=min(size.claimed, OTHERS) if phase == "control" else size.claimed,
            after=After(arm=begun.name, take="checkpoint"),
            phase=phase,
            role={"base": "base", "guided": "guided"}.get(name),
            run_hours=tasks.hours * over,
        )


def _claim(task: str) -> Claim:
    slug = task.replace("/", "-")
    return Claim(
        text=(
            "Averaged over the tasks, what was pretrained with learned α and β1 has the higher test score "
            "than base, on fresh paired seeds. Run i of a task begins with pretraining run i."
        ),
        challenger=f"guided-{slug}",
        incumbent=f"base-{slug}",
        metric=f"test_{METRIC}",
        average=True,
    )
