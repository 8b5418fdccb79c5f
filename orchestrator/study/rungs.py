"""Where are runs stopped that lag behind others of their arm?"""

from __future__ import annotations

from pydantic import Field, field_validator

from orchestrator.study.strict import Spec


class Rungs(Spec):
    """Asynchronous successive halving (Li et al., 2018): at each of these steps a run goes on only if its
    objective is among the best one in `keep_one_in` of those that have reached the step so far.

    A rung is reached with the first report of the objective at its step or later. Who came before depends on
    how long runs take, so an arm with rungs depends on timing by nature; its report says so.
    """

    steps: tuple[int, ...] = Field(min_length=1, max_length=100)
    keep_one_in: int = Field(default=3, ge=2, le=1000)

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if min(steps) < 1 or list(steps) != sorted(set(steps)):
            raise ValueError(
                f"rungs.steps is {', '.join(map(str, steps))}. Allowed are whole numbers from 1, each above "
                f"the one before. Put them in order, each once."
            )
        return steps
