"""Which arms ask what a gain of guidance is due to?

  replay                     what the guided arm's choice learned, step by step, frozen: plain runs
  constant = mean            the mean of what it learned: is it the movement or the mean?
  matched decay              from where α and β1 began straight to where they ended: is it the shape?
  longer plain training      as many steps more as a guided run takes longer
  + BO over schedule parameters   where α and β1 start and end, and α's shape: dynamic, and not learned

None of them chooses anything but the last, so all others run on fresh seeds at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.study.spec import After, Arm, ControlKind, Parameter, Take
from studies import arms
from studies.parts import ALPHA, BETA1, Size

TAKEN: Mapping[Take, tuple[str, ControlKind]] = {  # the row, and what it is
    "schedule": ("replay", "replay"),
    "schedule-mean": ("constant = mean", "constant-mean"),
    "matched-decay": ("matched decay", "matched-decay"),
}
LONGER = "longer plain training"
BO_SCHEDULE = "+ BO over schedule parameters"

# A course begins as the default, so that trial 0 of its search is the default.
COURSE = {"alpha": {"start": 1.0, "end": 1.0, "shape": 1.0}, "beta1": {"start": 0.9, "end": 0.9}}
COURSES = (
    *(ALPHA.model_copy(update={"path": f"schedule.course.alpha.{end}"}) for end in ("start", "end")),
    Parameter(path="schedule.course.alpha.shape", low=0.25, high=4.0, scale="log"),
    *(BETA1.model_copy(update={"path": f"schedule.course.beta1.{end}"}) for end in ("start", "end")),
)


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
    quarter = round(over * steps / 4)
    own = {"steps": 4 * quarter, "eval_every_steps": quarter, "checkpoint_every_steps": quarter}
    row = more.pop("row", LONGER)
    return arms.repeated(f"longer-{name}", column, row, config={**config, **own}, **more)


def guided_over_plain(size: Size) -> float:
    """What a run with `held-out` takes over a plain one."""
    return size.hours["held-out"] / size.hours["off"]
