"""Which arms ask what a gain of guidance is due to?

  replay                     what the guided arm's choice learned, step by step, frozen: plain runs
  constant = mean            the mean of what it learned: is it the movement or the mean?
  matched decay              from where α and β1 began straight to where they ended: is it the shape?
  blind course               what guided runs learned on other seeds and in other cells, on average
  plain, β1 = .8             another constant, which nothing has to learn or to search
  longer plain training      as many steps more as a guided run takes longer
  plain ×1.15, ×1.3, ×1.7    a curve of plain training: how much longer would it take to be as good?
  + BO over schedule parameters   where α and β1 start and end, and α's shape: dynamic, and not learned

None of them chooses anything but the last, so all others run on fresh seeds at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.study.spec import After, Arm, ControlKind, Parameter, Take
from studies import arms
from studies.parts import ALPHA, BETA1, Size, cadence

TAKEN: Mapping[Take, tuple[str, ControlKind]] = {  # the row, and what it is
    "schedule": ("replay", "replay"),
    "schedule-mean": ("constant = mean", "constant-mean"),
    "matched-decay": ("matched decay", "matched-decay"),
}
LONGER = "longer plain training"
BETA1_ALONE = 0.8
BO_SCHEDULE = "+ BO over schedule parameters"

# A course begins as the default, so that trial 0 of its search is the default.
COURSE = {"alpha": {"start": 1.0, "end": 1.0, "shape": 1.0}, "beta1": {"start": 0.9, "end": 0.9}}
COURSES = (
    *(ALPHA.model_copy(update={"path": f"schedule.course.alpha.{end}"}) for end in ("start", "end")),
    Parameter(path="schedule.course.alpha.shape", low=0.25, high=4.0, scale="log"),
    *(BETA1.model_copy(update={"path": f"schedule.course.beta1.{end}"}) for end in ("start", "end")),
)


def attributing(guided: Arm, size: Size, *, plain: Mapping[str, Any] | None = None) -> Iterator[Arm]:
    """What a gain could be due to, in the guided arm's column and on the seeds of the claim. `plain`: the
    config of longer plain training, where base's is not that of the study."""
    name = column = guided.column
    hours, as_base = size.hours["off"], plain or {}
    yield from following(guided, name, seeds=size.claimed, hours=hours)
    more: dict[str, Any] = {"trials": size.claimed, "run_hours": size.hours["held-out"], "phase": "control"}
    more |= {"control": "longer", "over": guided_over_plain(size)}
    yield longer(name, column, steps=size.steps, config=as_base, **more)
    yield beta1_alone(name, column, hours=hours, config={}, seeds=size.claimed)
    shared: dict[str, Any] = {"config": as_base, "seeds": size.claimed, "of": size.lengths}
    yield from lengths(name, column, steps=size.steps, hours=hours, **shared)
    if size.claimed > 1:  # else there is no other seed
        confirmed = arms.confirmed(guided, size, seeds=size.claimed)
        yield blind(confirmed, name, hours=hours, seeds=size.claimed)
    schedule = arms.bayesian(
        f"bo-schedule-{name}",
        COURSES,
        size,
        trials=size.bo_trials,
        hours=size.hours.get("bo", hours),
        config={"schedule": {"course": COURSE}},
        row=BO_SCHEDULE,
        column=column,
        phase="control",
        control="bo-schedule",
    )
    yield schedule
    yield arms.confirmed(schedule, size, phase="control", seeds=size.claimed)


def following(guided: Arm, name: str, *, seeds: int, hours: float) -> Iterator[Arm]:
    """Plain runs of what the guided arm's choice learned."""
    for take, (row, control) in TAKEN.items():
        yield arms.repeated(
            f"{row.split()[0]}-{name}",
            guided.column,
            row,
            config={},
            trials=seeds,
            after=After(arm=guided.name, take=take),
            phase="control",
            control=control,
            run_hours=hours,
        )


def longer(name: str, column: str, *, steps: int, over: float, config: Mapping[str, Any], **more: Any) -> Arm:
    """So many times the steps. The warm-up and the learning rate stay; what decays over the run decays over
    the longer one."""
    own = cadence(4 * round(over * steps / 4))
    row = more.pop("row", LONGER)
    return arms.repeated(f"longer-{name}", column, row, config={**config, **own}, **more)


def lengths(
    name: str,
    column: str,
    *,
    of: Sequence[float],
    steps: int,
    hours: float,
    config: Mapping[str, Any],
    seeds: int,
) -> Iterator[Arm]:
    """Plain training at other lengths, which say what a lower loss is worth in steps."""
    for over in of:
        yield longer(
            f"{over:g}-{name}".replace(".", "_"),
            column,
            row=f"plain ×{over:g}",
            steps=steps,
            over=over,
            config=config,
            trials=seeds,
            run_hours=hours * over,
            phase="control",
            control="longer",
        )


def beta1_alone(name: str, column: str, *, hours: float, config: Mapping[str, Any], seeds: int) -> Arm:
    """The default with another β1."""
    own = {**config, "optimizer": {**config.get("optimizer", {}), "beta1": BETA1_ALONE}}
    more: dict[str, Any] = {"trials": seeds, "run_hours": hours, "phase": "control", "control": "beta1"}
    return arms.repeated(f"beta1-{name}", column, "plain, β1 = .8", config=own, **more)


def blind(confirmed: Arm, name: str, *, others: Sequence[Arm] = (), hours: float, seeds: int) -> Arm:
    """The mean course of guided runs that were confirmed, on other seeds than its own."""
    return arms.repeated(
        f"blind-{name}",
        confirmed.column,
        "blind course",
        config={},
        trials=seeds,
        after=After(arm=confirmed.name, take="blind-course", others=tuple(arm.name for arm in others)),
        phase="control",
        control="blind-course",
        run_hours=hours,
    )


def guided_over_plain(size: Size) -> float:
    """What a run with `held-out` takes over a plain one."""
    return size.hours["held-out"] / size.hours["off"]
