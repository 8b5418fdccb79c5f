"""What is a study, in words that can be written down, checked and hashed?

Specs are frozen; unknown keys are refused with the nearest name; `canonical` is the one JSON text of
a spec, and `spec_hash` its fingerprint. Reading files is `spec_files.py`; presets are in `studies/`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.study.after import After as After
from orchestrator.study.after import Take as Take
from orchestrator.study.claim import Claim as Claim
from orchestrator.study.claim import CostBy as CostBy
from orchestrator.study.claim import Goal as Goal
from orchestrator.study.methods import METHODS
from orchestrator.study.named import STORED, OneOf
from orchestrator.study.resources import Resources
from orchestrator.study.roles import ControlKind as ControlKind
from orchestrator.study.roles import RowRole as RowRole
from orchestrator.study.roles import controls_named, role_named
from orchestrator.study.rungs import Rungs as Rungs
from orchestrator.study.space import KIND_WORDS
from orchestrator.study.space import PATH as PATH
from orchestrator.study.space import Parameter as Parameter
from orchestrator.study.strict import LATER as LATER
from orchestrator.study.strict import Spec as Spec

# prepare: its runs are what others begin with (take: checkpoint). They are compared with nothing, stand in no
# row and need not report the objective.
Phase = Literal["search", "confirm", "control", "prepare"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,79}")
AVERAGE = "average"  # the column of a table that has the means over the others
MOST_TRIALS = 1_000_000  # of an arm in one replicate
FRESH_PER_REPLICATE = 1000  # fresh seeds that one replicate may use
FALLING = frozenset({"loss", "error", "perplexity", "ppl", "nll", "mse", "rmse", "mae", "wer", "cer"})
RISING = frozenset({"bleu", "chrf", "acc", "accuracy", "f1", "auc", "mcc", "recall", "pearson", "spearman"})
# What a task of the trainer reports. Whole names: another program's brier_score falls.
TASK_SCORES = frozenset({"score", "exact-match", "matthews"})


def is_rising(metric: str) -> bool:
    """Does its name say that more of it is better?"""
    words = set(re.split(r"[\W_]+", metric.lower()))
    return bool(words & RISING) or metric.removeprefix("test_") in TASK_SCORES


def _name(value: str, what: str) -> str:
    if not NAME.fullmatch(value):
        shown = value if len(value) <= 60 else value[:57] + "..."
        raise ValueError(
            f"The {what} {shown!r} cannot be used. Allowed are 1 to 80 letters, digits, '_', '+' and '-', "
            f"beginning with a letter or digit."
        )
    return value


class Arm(Spec):
    """One way of choosing configurations, and how often."""

    name: str
    method: Annotated[str, OneOf(lambda: [*METHODS])]
    config: dict[str, Any] = Field(default_factory=dict)  # laid over the study's base
    space: tuple[Parameter, ...] = ()
    trials: int = Field(default=1, ge=1, le=MOST_TRIALS)
    startup_trials: int = Field(default=5, ge=1)  # of `trials`, the default configuration included
    window: int = Field(default=1, ge=1)  # proposal i sees trials up to i - window as finished
    rungs: Rungs | None = None  # where runs that lag behind are stopped
    replicates: int | None = Field(default=None, ge=1, le=1000)  # None: the study's
    after: After | None = None
    phase: Phase = "search"
    fresh_seeds: bool = False  # every trial on a training seed that no search trial used
    row: str = ""  # where it stands in the table
    column: str = "*"  # "*": shared by all columns
    run_hours: float | None = Field(default=None, gt=0)  # what one run is expected to take
    control: Annotated[ControlKind | None, LATER] = None  # None: what the words of its row and name say
    role: Annotated[RowRole | None, LATER] = None  # the paper's row that it is; None: as its row's name says

    @model_validator(mode="after")
    def _agrees(self, info: ValidationInfo) -> Self:
        _name(self.name, "arm name")
        for path, count in Counter(p.path for p in self.space).items():
            if count > 1:
                raise ValueError(f"arm {self.name}: the path {path!r} appears twice in its space. Keep one.")
        if info.context == STORED:
            return self
        kind = METHODS[self.method].space
        if kind == "none" and self.space:
            raise ValueError(
                f"arm {self.name}: method {self.method!r} has no space. Drop it, or choose 'random'."
            )
        if kind != "none" and not self.space:
            raise ValueError(
                f"arm {self.name}: method {self.method!r} needs a space. Add one, or use 'fixed'."
            )
        if self.rungs is not None and kind == "none":
            raise ValueError(
                f"arm {self.name}: rungs stop the worse of several configurations, and method "
                f"{self.method!r} has one. Drop the rungs, or choose a method that searches."
            )
        for p in self.space:
            if p.kind not in METHODS[self.method].kinds:
                raise ValueError(
                    f"arm {self.name}: {p.path}: method {self.method!r} does not search "
                    f"{KIND_WORDS[p.kind]}. Choose one of ours, such as 'random'."
                )
            misplaced = not p.listed if kind == "values" else p.values
            if misplaced:
                valued = self.method if kind == "values" else "grid"
                raise ValueError(
                    f"arm {self.name}: {p.path}: a list of values goes with method {valued!r} and a range "
                    f"with the others; this arm's method is {self.method!r}."
                )
        if kind == "values" and self.trials != self.grid_size:
            raise ValueError(
                f"arm {self.name}: the grid has {self.grid_size} points and trials is {self.trials}. "
                f"Make trials {self.grid_size}, or change the values."
            )
        if self.phase == "prepare" and self.space:
            raise ValueError(
                f"arm {self.name}: its phase is 'prepare' and it has a space. Its runs are compared with "
                f"nothing, so none can be chosen. Drop the space, or make the phase 'search'."
            )
        if self.control is not None and self.phase != "control":
            raise ValueError(
                f"arm {self.name}: its control is {self.control!r} and its phase is {self.phase!r}. Allowed "
                f"is a control on an arm of phase 'control'. Make its phase that, or leave control out."
            )
        return self

    @property
    def bayesian(self) -> bool:
        """Whether it learns from results; not known, and no, of a method that is no longer installed."""
        try:
            return METHODS[self.method].bayesian
        except (KeyError, ValueError):
            return False

    @property
    def is_grid(self) -> bool:
        """Whether all combinations are run; of a method that is no longer installed its values tell."""
        try:
            return METHODS[self.method].space == "values"
        except (KeyError, ValueError):
            return any(p.values for p in self.space)

    @property
    def grid_size(self) -> int:
        return math.prod(len(p.listed) for p in self.space)

    @property
    def controls_for(self) -> frozenset[ControlKind]:
        """As stated; else by its words, which may name several."""
        return self._controls_named if self.control is None else frozenset({self.control})

    @property
    def trains_longer(self) -> bool:
        """Whether it is a control that gives plain training more steps."""
        return self.phase == "control" and self.controls_for == {"longer"}

    @property
    def known_role(self) -> RowRole:
        return self.role or role_named(self.row or self.name)

    @property
    def implied(self) -> Mapping[str, Any]:
        named = self._controls_named
        control = min(named) if len(named) == 1 else None
        return {"control": control, "role": role_named(self.row or self.name)}

    @property
    def _controls_named(self) -> frozenset[ControlKind]:
        return controls_named(f"{self.row or self.name} {self.name}".lower())


class Objective(Spec):
    metric: str = "loss"
    goal: Goal = "minimize"
    split: str = "select"
    targets: tuple[float, ...] = ()  # what does it cost to reach them? Fixed before the first trial

    @property
    def minimizes(self) -> bool:
        return self.goal == "minimize"


class Budget(Spec):
    """Trials are exact and stand with the arms. Hours stop launching; running trials still finish."""

    run_hours: float | None = Field(default=None, gt=0)
    chip_hours: float | None = Field(default=None, gt=0)


class Retries(Spec):
    """A lost worker is retried from its checkpoint; an exception in the training code is not."""

    attempts: int = Field(default=3, ge=1, le=100)  # lost ones, the first included
    hang_after_s: float = Field(default=1800, gt=0)  # no report for so long: killed and retried
    # several hosts that are not all ready within that time are given back, and it is tried again
    gather_s: Annotated[float, LATER, Field(gt=0, le=86_400)] = 300
    # an arm whose first so many runs failed for the same reason starts no more; 0: it goes on
    stop_arm_after: Annotated[int, LATER, Field(ge=0, le=100)] = 3


class Seeds(Spec):
    """Replicate r of a search trains on search + r; fresh seeds begin at `fresh`. Paired across arms."""

    search: int = Field(default=0, ge=0, lt=2**31)
    fresh: int = Field(default=1000, ge=0, lt=2**31)


class StudySpec(Spec):
    """A whole study: an entrypoint, a base config, and arms."""

    name: str
    entrypoint: str
    base: dict[str, Any] = Field(default_factory=dict)
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=1000)
    objective: Objective = Objective()
    budget: Budget = Budget()
    resources: Resources = Resources()
    retries: Retries = Retries()
    seeds: Seeds = Seeds()
    replicates: int = Field(default=1, ge=1, le=1000)
    keep: Literal["best", "all", "none"] = "best"  # whose final parameters stay on disk
    claim: Claim | None = None
    question: str = ""

    @classmethod
    def stored(cls, data: Mapping[str, Any]) -> Self:
        """The spec that a ledger holds. Its searchers were known when it was created; they may be gone."""
        return cls.model_validate(data, context=STORED)

    @field_validator("name")
    @classmethod
    def _named(cls, value: str) -> str:
        return _name(value, "study name")

    @model_validator(mode="after")
    def _arms_agree(self) -> Self:
        names = [a.name for a in self.arms]
        for i, arm in enumerate(self.arms):
            if arm.name in names[:i]:
                raise ValueError(f"Two arms are named {arm.name!r}. Give each its own name.")
            for followed in () if arm.after is None else arm.after.arms:
                if followed not in names[:i]:
                    raise ValueError(
                        f"arm {arm.name}: it follows {followed!r}, which is no earlier arm. "
                        f"Earlier arms are: {', '.join(names[:i]) or 'none'}."
                    )
            if arm.after is not None and arm.after.take != "config" and arm.phase == "confirm":
                raise ValueError(
                    f"arm {arm.name}: it takes {arm.after.take!r} and its phase is 'confirm'. A confirmation "
                    f"runs the same configuration again: take 'config', or make its phase 'control'."
                )
            self._one_run_each(arm)
            self._of_the_prepared(arm)
        self._seeds_apart()
        if self.claim is not None:
            for side in (self.claim.challenger, self.claim.incumbent):
                if side not in names:
                    raise ValueError(f"The claim names an arm {side!r}; the arms are: {', '.join(names)}.")
                if self.arm(side).phase == "prepare":
                    raise ValueError(
                        f"The claim names {side!r}, whose phase is 'prepare'. Its runs are compared with "
                        f"nothing. Name arms of another phase."
                    )
            self._one_goal(self.claim)
            sides = self.cells(self.arm(self.claim.challenger), self.arm(self.claim.incumbent))
            if self.claim.average and AVERAGE in self.columns():
                raise ValueError(
                    f"claim.average is true and a column is named {AVERAGE!r}, as the table's column of "
                    f"means is. Call the column otherwise."
                )
            if objection := self.claim.objection(len(sides), goal=self.goal_of(self.claim.metric)):
                raise ValueError(objection)
        return self

    def _one_run_each(self, arm: Arm) -> None:
        if arm.after is None or not self.starts_by_number(arm):
            return
        there = self.arm(arm.after.arm).trials
        if 1 < there < arm.trials:
            raise ValueError(
                f"arm {arm.name}: trials is {arm.trials}, and each starts from the run of its number in "
                f"{arm.after.arm}, which has {there}. Allowed are at most {there}; or give {arm.after.arm} "
                f"one trial, from which all start."
            )

    def _of_the_prepared(self, arm: Arm) -> None:
        if arm.after is None or arm.after.take == "checkpoint":
            return
        prepared = next((name for name in arm.after.arms if self.arm(name).phase == "prepare"), None)
        if prepared is not None:
            raise ValueError(
                f"arm {arm.name}: it takes {arm.after.take!r} of {prepared}, whose phase is 'prepare'. "
                f"Allowed is take 'checkpoint': its runs are compared with nothing, so none is the best."
            )

    def _one_goal(self, claim: Claim) -> None:
        if claim.metric == self.objective.metric and claim.goal not in (None, self.objective.goal):
            raise ValueError(
                f"claim.goal is {claim.goal!r}, and its metric {claim.metric[:60]!r} is the study's "
                f"objective, whose goal is {self.objective.goal!r}. Leave claim.goal out, or change "
                f"objective.goal."
            )

    def _seeds_apart(self) -> None:
        """Fresh seeds are only fresh if no search trial trained on them."""
        fresh = [a for a in self.arms if a.fresh_seeds]
        for arm in fresh:
            if arm.trials > FRESH_PER_REPLICATE:
                raise ValueError(
                    f"arm {arm.name}: {arm.trials} trials on fresh seeds; "
                    f"at most {FRESH_PER_REPLICATE} are allowed."
                )
        most = max(self.replicates_of(a) for a in self.arms)
        last = self.seeds.fresh + FRESH_PER_REPLICATE * most
        if fresh and self.seeds.search < last and self.seeds.fresh < self.seeds.search + most:
            raise ValueError(
                f"Search seeds {self.seeds.search} to {self.seeds.search + most - 1} and fresh seeds "
                f"{self.seeds.fresh} to {last - 1} overlap. Move seeds.fresh above the search seeds."
            )

    @property
    def compared(self) -> tuple[Arm, ...]:
        """All arms but those whose runs only prepare others'."""
        return tuple(arm for arm in self.arms if arm.phase != "prepare")

    def arm(self, name: str) -> Arm:
        return next(a for a in self.arms if a.name == name)

    def row_of(self, arm: Arm) -> str:
        return arm.row or arm.name

    def columns(self) -> tuple[str, ...]:
        """The table's columns in order; ("*",) where no arm names one."""
        named = dict.fromkeys(a.column for a in self.arms if a.column != "*" and a.phase != "prepare")
        return tuple(named) or ("*",)

    def arm_at(self, row: str, column: str) -> Arm | None:
        """The searching or controlling arm of a cell; an arm of column "*" stands in all of them."""
        here = [a for a in self.compared if not self.confirms(a) and self.row_of(a) == row]
        ranked = sorted((a for a in here if a.column in (column, "*")), key=lambda a: a.column != column)
        return ranked[0] if ranked else None

    def cells(self, challenger: Arm, incumbent: Arm) -> dict[str, tuple[Arm, Arm]]:
        """By column: these two arms, then those of the same two rows wherever both stand; each pair once."""
        own = self.columns()[0] if challenger.column == "*" else challenger.column
        found = {own: (challenger, incumbent)}
        for column in self.columns():
            ours, theirs = (self.arm_at(self.row_of(arm), column) for arm in (challenger, incumbent))
            if ours is None or theirs is None or ours == theirs:
                continue
            if column not in found and (ours, theirs) not in found.values():
                found[column] = ours, theirs
        return found

    def confirms(self, arm: Arm) -> bool:
        """Does this arm run an earlier one's choice again, on seeds that chose nothing? A control's does so
        in the control's own row; other controls that follow an arm have a row of theirs."""
        if arm.phase == "confirm":
            return True
        if arm.after is None or arm.after.take != "config" or not arm.fresh_seeds or not arm.row:
            return False
        return self.arm(arm.after.arm).row == arm.row

    def confirmations(self, arm: Arm) -> tuple[Arm, ...]:
        """The arms that run this arm's choice on fresh seeds: itself, or those that confirm it."""
        if arm.fresh_seeds:
            return (arm,)
        return tuple(a for a in self.arms if a.after and a.after.arm == arm.name and self.confirms(a))

    def replicates_of(self, arm: Arm) -> int:
        return arm.replicates if arm.replicates is not None else self.replicates

    def requested(self, arm: Arm, more: Mapping[str, int]) -> int:
        """The trials that were asked for; `more`: what was added since, an arm's for each replicate."""
        return (arm.trials + more.get(arm.name, 0)) * self.replicates_of(arm)

    def starts_by_number(self, arm: Arm) -> bool:
        """Does its run i take from run i of the arm that it follows, and not all of the best one? Of an arm
        with one run all take from that."""
        return arm.after is not None and arm.after.take == "checkpoint" and not self.arm(arm.after.arm).space

    def taken_from(self, source: Arm, replicate: int) -> int:
        """The replicate of an arm that this one of its follower takes from: its own, or the last there is."""
        return min(replicate, self.replicates_of(source) - 1)

    def goal_of(self, metric: str) -> Goal | None:
        """Which way a metric is better: as the objective or the claim says, else as a word of its name does.
        None: no word of it is known, or two of them disagree."""
        if metric == self.objective.metric:
            return self.objective.goal
        if self.claim is not None and metric == self.claim.metric and self.claim.goal is not None:
            return self.claim.goal
        words = set(re.split(r"[\W_]+", metric.lower()))
        falls, rises = bool(words & FALLING), is_rising(metric)
        return None if falls == rises else "minimize" if falls else "maximize"
