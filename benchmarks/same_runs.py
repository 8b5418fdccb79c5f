"""Which runs is a study, for a script without an engine? What may begin next, and with which config.

The arms, configs and seeds are the spec's own, so that a script does the same runs as the study does.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.study.configs import training_seed, trial_config
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.inherit import inherit

SEARCHED = ("gp", "tpe", "random")  # the points of these come from whoever proposes


@dataclass(frozen=True)
class Run:
    arm: str
    index: int
    config: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    run: Run
    value: float
    folder: Path  # what the run left is there


@dataclass
class _Progress:
    arm: Arm
    begun: int = 0
    ended: int = 0
    results: list[Ended] = field(default_factory=list)  # of the completed runs

    @property
    def done(self) -> bool:
        return self.ended == self.arm.trials

    @property
    def rounds_left(self) -> float:
        """Runs that cannot overlap."""
        return (self.arm.trials - self.ended) / self.arm.window if self.arm.bayesian else 0.0

    @property
    def best(self) -> Ended:
        if not self.results:
            raise RuntimeError(f"No run of {self.arm.name} completed, and another arm follows it.")
        return min(self.results, key=lambda result: (result.value, result.run.index))


class Runs:
    """A study's runs, in an order that leaves no worker without one: the longest sequence goes first."""

    def __init__(self, spec: StudySpec, *, schedules: Path) -> None:
        self.spec = spec
        self.total = sum(arm.trials for arm in spec.arms)
        self._schedules = schedules
        self._arms = {arm.name: _Progress(arm) for arm in spec.arms}

    def next(self, propose: Callable[[Arm], Mapping[str, Any]]) -> Run | None:
        """A run that may begin now; None: all that are left wait for others to end."""
        able = [progress for progress in self._arms.values() if self._may_begin(progress)]
        if not able:
            return None
        progress = max(able, key=lambda each: each.rounds_left)  # of equals the first
        arm, index = progress.arm, progress.begun
        found = self._found(arm, index)
        point = propose(arm) if arm.method in SEARCHED else _listed(arm, index)
        progress.begun += 1
        config = trial_config(self.spec, arm, replicate=0, index=index, point=point, found=found)
        return Run(arm.name, index, config)

    def end(self, run: Run, *, value: float | None, folder: Path) -> None:
        """`value` is None of a run that diverged."""
        progress = self._arms[run.arm]
        progress.ended += 1
        if value is not None:
            progress.results.append(Ended(run, value, folder))

    @property
    def ended(self) -> int:
        return sum(progress.ended for progress in self._arms.values())

    def values(self) -> dict[str, list[float]]:
        return {name: [result.value for result in progress.results] for name, progress in self._arms.items()}

    def _may_begin(self, progress: _Progress) -> bool:
        arm = progress.arm
        if progress.begun == arm.trials or not all(self._arms[name].done for name in _followed(arm)):
            return False
        return not arm.bayesian or progress.begun - progress.ended < arm.window

    def _found(self, arm: Arm, index: int) -> dict[str, Any] | None:
        """The config that it takes of the arm that it follows; a file that it replays is copied."""
        if arm.after is None:
            return None
        best = self._arms[arm.after.arm].best
        if arm.after.take == "config":
            return best.run.config
        pool = self._on_other_seeds(arm, index) if arm.after.pools else []
        taken = inherit(arm.after.take, best.run.config, best.folder, pool)
        if isinstance(taken, list):
            raise RuntimeError(f"{arm.name}: {' '.join(taken)}")
        file = Path(str(taken["schedule"]["name"]))
        if file.is_relative_to(best.folder):  # the next one that follows would write over it
            self._schedules.mkdir(parents=True, exist_ok=True)
            kept = self._schedules / f"{arm.name}-{index}{file.suffix}"
            shutil.copyfile(file, kept)
            taken["schedule"]["name"] = str(kept)
        return taken

    def _on_other_seeds(self, arm: Arm, index: int) -> list[Path]:
        own = training_seed(self.spec, arm, 0, index)
        results = [result for name in _followed(arm) for result in self._arms[name].results]
        return [result.folder for result in results if result.run.config["seed"] != own]


def _followed(arm: Arm) -> tuple[str, ...]:
    return () if arm.after is None else arm.after.arms


def _listed(arm: Arm, index: int) -> dict[str, Any]:
    """A grid's point, the last path moving fastest; of a fixed arm none."""
    combinations = itertools.product(*(parameter.listed for parameter in arm.space))
    point = next(itertools.islice(combinations, index % max(1, arm.grid_size), None))
    return {parameter.path: value for parameter, value in zip(arm.space, point, strict=True)}
