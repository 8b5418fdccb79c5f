"""What does an arm take of an earlier one that it follows?"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from orchestrator.study.strict import LATER, Spec

Take = Literal["config", "schedule", "schedule-mean", "matched-decay", "blind-course", "checkpoint"]
POOLED: frozenset[Take] = frozenset({"blind-course"})  # taken of all runs of the arms, not of the best one


class After(Spec):
    """This arm follows another: it takes what that arm's best trial found, once the arm has ended.

    config: its configuration. The others, with guidance off: schedule, what it learned, step by step;
    schedule-mean, the mean of what it learned, as constants; matched-decay, from where it began
    in a straight line of the raw value to where it ended (see `controls`); blind-course, the mean of what all
    completed runs of that arm and of `others` learned on training seeds other than the follower's own.
    checkpoint: its configuration and the parameters that it ended with, to train on from; of an arm without a
    space not the best run's, but run i those of run i, or all those of its only run.
    """

    arm: str
    take: Take = "config"
    others: Annotated[tuple[str, ...], LATER] = ()  # further arms, earlier ones too

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms that have to end first."""
        return (self.arm, *self.others)

    @property
    def pools(self) -> bool:
        """Whether it takes of many runs."""
        return self.take in POOLED

    @model_validator(mode="after")
    def _others_are_for_many_runs(self) -> Self:
        if self.others and not self.pools:
            raise ValueError(
                f"after.others is given and after.take is {self.take!r}. Allowed are others with take "
                f"'blind-course'. Leave others out, or take 'blind-course'."
            )
        twice = next((name for i, name in enumerate(self.arms) if name in self.arms[:i]), None)
        if twice is not None:
            raise ValueError(f"after names {twice[:80]!r} twice, in arm and others. Name each arm once.")
        return self
