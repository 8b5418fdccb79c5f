"""How does a run of ours become a trial of Ray Tune? A class trainable around any entrypoint.

    tune.Tuner(trainable(base_config), param_space={"optimizer.alpha": tune.loguniform(0.1, 10)}, …)

Each step of the trial trains to the next evaluation and saves there, so that every scheduler of Tune can
stop a trial, pause it, or have it go on from another's checkpoint with other numbers. Guidance is nothing
special: it is switched on in the base config. docs/ray-tune.md shows a whole example.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.costs import added
from trainer.config.paths import with_values
from trainer.protocol import Outcome, Place, Reply, Report, Status, write_resume_note

if TYPE_CHECKING:
    from ray import tune

TRAINER = "trainer.run"
METRICS = ("dev_loss",)  # what the trainer reports at every evaluation
_NOTE = "trial.json"  # in a checkpoint of Tune's: whose it was, and what it took


class Training:
    """One run, a stretch at a time: each goes on from the checkpoint that the one before ended with."""

    def __init__(self, config: Mapping[str, Any], *, entrypoint: str, folder: Path) -> None:
        self.config = dict(config)
        self.folder = folder  # a folder inside it for every stretch
        self.step = 0
        self.values: dict[str, float] = {}  # those of the last evaluation, and in the end all
        self.hyper: dict[str, float] = {}
        self.clocks: dict[str, float] = {}  # of all stretches
        self.checkpoint: str | None = None
        self.status: Status | None = None  # of the last stretch; None before the first
        self._entrypoint = importlib.import_module(entrypoint)
        self._forks: tuple[str, ...] | None = None
        self._stretches = 0

    def go_on_from(self, checkpoint: str | None, *, step: int, paths: Collection[str]) -> None:
        """Take another run's parameters. The hyperparameters at these paths start where the config says."""
        self.checkpoint, self.step, self.status = checkpoint, step, "stopped"
        self._forks = tuple(path.rpartition(".")[2] for path in paths)

    def advance(
        self,
        to_step: float = 0,
        *,
        hear: Callable[[Report, Mapping[str, float]], Reply] = lambda report, clocks: Reply.GO,
    ) -> None:
        """Train to the next evaluation that is at that step or after it.

        `hear` is told every report, with the clocks of all stretches, and can end the stretch before.
        """
        before, stopped_here = dict(self.clocks), False

        def reporter(report: Report) -> Reply:
            nonlocal stopped_here
            verdict = hear(report, added(before, report.clocks))
            if report.kind == "eval":  # the others may be of an earlier step
                self.step = report.step
                self.hyper |= {name: float(value) for name, value in report.hyper.items()}
                self.values |= {name: float(value) for name, value in report.values.items()}
                if verdict is Reply.GO and report.step >= to_step:
                    stopped_here = True
                    return Reply.SAVE_AND_STOP
            return verdict

        workdir = self._next_folder()
        outcome: Outcome = self._entrypoint.run(self.config, reporter, workdir, Place())
        if stopped_here and outcome.status == "stopped" and outcome.checkpoint in (None, self.checkpoint):
            # Else the next stretch would be this one again, and so for ever.
            raise RuntimeError(outcome.reason or "The run left no checkpoint, so it cannot go on.")
        self.status = outcome.status
        self.clocks = added(before, outcome.clocks)
        self.values |= {name: float(value) for name, value in outcome.values.items()}
        self.checkpoint = outcome.checkpoint or self.checkpoint
        self._forks = None

    def recall(
        self, step: int, values: Mapping[str, float], checkpoint: str | None, *, status: Status
    ) -> None:
        """Stand where an earlier process left off."""
        self.step, self.values, self.checkpoint, self.status = step, dict(values), checkpoint, status
        self._forks = None

    @property
    def last_folder(self) -> Path:
        return self.folder / f"stretch-{self._stretches}"

    def tidy(self, *, needed: Collection[str | None] = ()) -> None:
        """Drop what earlier stretches left, but for the checkpoints that are needed and its own."""
        for folder in self.folder.glob("stretch-*"):
            holds = any(str(path).startswith(f"{folder}/") for path in (self.checkpoint, *needed))
            if folder != self.last_folder and not holds:
                shutil.rmtree(folder, ignore_errors=True)

    def _next_folder(self) -> Path:
        self._stretches += 1
        workdir = self.last_folder
        shutil.rmtree(workdir, ignore_errors=True)  # of an attempt that was cut short
        workdir.mkdir(parents=True)
        if self.checkpoint is not None:
            fork = {} if self._forks is None else {"fork": list(self._forks)}
            write_resume_note(workdir, self.checkpoint, **fork)
        return workdir


def trainable(
    base: Mapping[str, Any], *, entrypoint: str = TRAINER, metrics: tuple[str, ...] = METRICS
) -> type[tune.Trainable]:
    """A trainable whose config holds values by dotted path, laid over `base`.

    A result has the values of an evaluation, `step`, each hyperparameter as `hyper.NAME` and each clock as
    `clock.NAME`. The clocks are those of all training that led there, be it another trial's.

    A trial whose run diverged ends with NaN for every value and for all of `metrics`. Name there what Tune
    looks at: a result without it ends the whole search, and one that never came to an evaluation has none.
    Tune's schedulers and its best result pass over NaN.
    """
    from ray import tune

    fixed = dict(base)

    class TrainerTrial(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            folder = Path(tempfile.mkdtemp(prefix="orch-tune-"))
            self._run = Training(with_values(fixed, config), entrypoint=entrypoint, folder=folder)

        def step(self) -> dict[str, Any]:
            run = self._run
            if run.status != "diverged":
                run.advance()
                run.tidy()
            diverged = run.status == "diverged"
            values = dict.fromkeys((*run.values, *metrics), math.nan) if diverged else run.values
            told = {f"hyper.{name}": value for name, value in run.hyper.items()}
            told |= {f"clock.{name}": value for name, value in run.clocks.items()}
            done = run.status in ("completed", "diverged")
            return {**values, **told, "step": run.step, "diverged": diverged, "done": done}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            run = self._run
            note = {"config": run.config, "step": run.step, "clocks": run.clocks, "checkpoint": None}
            if run.checkpoint is not None:
                note["checkpoint"] = copied(Path(run.checkpoint), Path(checkpoint_dir)).name
            (Path(checkpoint_dir) / _NOTE).write_text(json.dumps(note))

        def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
            folder = Path(str(checkpoint))
            note = json.loads((folder / _NOTE).read_text())
            if note["checkpoint"] is None:  # saved before its first evaluation
                return
            run, step = self._run, int(note["step"])
            path = str(copied(folder / note["checkpoint"], run.folder))
            if note["config"] == run.config:
                run.recall(step, {}, path, status="stopped")
            else:
                run.go_on_from(path, step=step, paths=_changed(note["config"], run.config))
            run.clocks = dict(note["clocks"])  # a schedule by cost must not find the trial young again

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.cleanup()
            self.setup(new_config)
            return True

        def cleanup(self) -> None:
            shutil.rmtree(self._run.folder, ignore_errors=True)

    return TrainerTrial


def copied(path: Path, folder: Path) -> Path:
    """A checkpoint, be it a file or a folder, under its own name in another folder."""
    target = folder / path.name
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True)
    else:
        shutil.copy2(path, target)
    return target


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """The dotted paths whose values differ."""
    found = []
    for key in {*before, *now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _changed(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key}")
    return sorted(found)
