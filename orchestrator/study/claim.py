"""What does a study set out to show, and in which words is that a claim that a test can judge?"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.study.strict import LATER, Spec

Goal = Literal["minimize", "maximize"]
CostBy = Literal["clocks", "steps"]
ClaimKind = Literal["superiority", "non-inferiority"]


class Claim(Spec):
    """What the study set out to show, registered before its first trial."""

    text: str
    challenger: str  # an arm's name
    incumbent: str
    metric: str = "loss"
    # None: the objective's, or what the metric's name says (see `StudySpec.goal_of`)
    goal: Annotated[Goal | None, LATER] = None
    cost_ratio: float | None = Field(default=None, gt=0)  # the challenger's cost over the incumbent's
    # clocks: training and evaluation, as the runs' clocks had it; steps: those done, each at what the spec
    # expects a step of that arm to cost (its run_hours)
    cost: Annotated[CostBy, LATER] = "clocks"
    # superiority: the challenger is better; non-inferiority: it is not worse by more than `time_margin`
    kind: Annotated[ClaimKind, LATER] = "superiority"
    time_margin: Annotated[float | None, LATER] = None  # a share of the training time: 0.03 is 3%
    # In so many of the columns in which the rows of both arms stand; None: these two arms alone
    at_least: Annotated[int | None, LATER] = None
    # About the mean over all columns in which the rows of both arms stand, seed by seed
    average: Annotated[bool, LATER] = False

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.average and self.at_least is not None:
            raise ValueError(
                f"claim.average is true and claim.at_least is {self.at_least}. Allowed is one of them: a "
                f"claim is about the mean over columns or about how many of them. Leave one out."
            )
        if self.average and self.kind == "non-inferiority":
            raise ValueError(
                "claim.average is true and claim.kind is 'non-inferiority'. A margin in time is of one "
                "column, not of a mean over several. Allowed is kind 'superiority': make it that, or leave "
                "claim.average out."
            )
        return self

    @model_validator(mode="after")
    def _has_its_margin(self) -> Self:
        needed = self.kind == "non-inferiority"
        if needed and self.time_margin is None:
            raise ValueError(
                "claim.kind is 'non-inferiority' and claim.time_margin is missing. State how much more "
                "training time the difference may be worth, such as 0.03 for 3%."
            )
        if not needed and self.time_margin is not None:
            raise ValueError(
                f"claim.time_margin is {self.time_margin:g} and claim.kind is {self.kind!r}. A margin goes "
                f"with kind 'non-inferiority'. Drop the margin, or change the kind."
            )
        if self.time_margin is not None and not 0 < self.time_margin <= 1:
            raise ValueError(
                f"claim.time_margin is {self.time_margin:g}. Allowed is a share of the training time above "
                f"0, up to 1: 0.03 is 3%."
            )
        return self

    @property
    def shows(self) -> str:
        """What a test is to show, in words."""
        if self.time_margin is None:
            said = f"{self.challenger} is better than {self.incumbent}"
        else:
            said = f"{self.challenger} is not worse than {self.incumbent} by more than " + (
                f"{self.time_margin * 100:g}% of the training time"
            )
        if self.average:
            return f"{said}, in the mean over their columns"
        return said if self.at_least is None else f"{said}, in at least {self.at_least} of their columns"

    def objection(self, columns: int, *, goal: Goal | None) -> str:
        """What is wrong with it, where so many columns hold the rows of both arms; else empty."""
        if self.kind == "non-inferiority" and goal == "maximize":
            return (
                f"claim.kind is 'non-inferiority' and its metric {self.metric[:60]!r} is to be high. Time "
                f"translates into a ratio of losses, not into a difference of scores. Allowed is a metric "
                f"that is to be low: name one, or make the kind 'superiority'."
            )
        if self.average and columns < 2:
            return (
                f"claim.average is true, and the rows of {self.challenger!r} and {self.incumbent!r} stand "
                f"together in {columns} column. An average is of 2 columns or more. Give both rows arms in "
                f"another column, or leave claim.average out."
            )
        if self.at_least is None or 1 <= self.at_least <= columns >= 2:
            return ""
        if columns < 2:
            allowed = "For a single pair of arms leave claim.at_least out"
        else:
            allowed = f"Allowed is 1 to {columns}"
        return (
            f"claim.at_least is {self.at_least}, and the rows of {self.challenger!r} and {self.incumbent!r} "
            f"stand together in {columns} {'column' if columns == 1 else 'columns'}. {allowed}."
        )
