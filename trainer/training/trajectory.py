"""What was every step's number, and which few of them tell the story?

All of them are kept in memory (40 bytes a step or so), go into checkpoints, and in the end into two files:
`schedule.npz`, which can be replayed, and `trajectory.npz`, the rest. Reports get at most 1,000 points: a
grid that is known beforehand, so that they can be told while the run goes on, and the extremes, known
only in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.optim import schedules
from trainer.protocol import SCHEDULE, whole

MOST_POINTS = 1000
REST = "trajectory.npz"
_HYPER = "hyper."
_HELD = ("hypergrad.", "guidance_loss")  # between two readings the last one stands

Columns = dict[str, np.ndarray]


def grid(length: int, points: int) -> np.ndarray:
    """So many steps, evenly spread, from the first of `length` to the last; all where they are fewer."""
    if points >= length:
        return np.arange(length)
    return np.unique(np.round(np.linspace(0, length - 1, points)).astype(np.int64))


def extremes(curves: Iterable[np.ndarray]) -> set[int]:
    """Where each curve has its least and its greatest finite number (in every column, if it has some)."""
    found: set[int] = set()
    for curve in curves:
        for column in curve.reshape(len(curve), -1).T:
            finite = np.flatnonzero(np.isfinite(column))
            if finite.size:
                found |= {int(finite[pick(column[finite])]) for pick in (np.argmin, np.argmax)}
    return found


def thinned(curves: Sequence[np.ndarray], *, length: int, most: int = MOST_POINTS) -> list[int]:
    """At most `most` steps of a run of up to `length`, among them the first, the last and the extremes."""
    done = len(curves[0])
    ends = {0, done - 1} if done else set()
    early = {i for i in planned(curves, length=length, most=most) if i < done}
    return sorted(early | ends | extremes(curves))


def planned(curves: Sequence[np.ndarray], *, length: int, most: int = MOST_POINTS) -> list[int]:
    """Those of the `thinned` steps that are known before there are numbers."""
    columns = sum(int(np.prod(curve.shape[1:])) for curve in curves)
    points = most - 2 * columns - 1  # room for the extremes, and for the last step of a run cut short
    if points < 2:
        raise ValueError(
            f"{columns} curves cannot be told in {most} points. Allowed is at least {2 * columns + 3}."
        )
    return grid(length, points).tolist()


class Trajectory:
    """The numbers of every step of one run of at most `length` steps."""

    def __init__(self, length: int, *, groups: Sequence[str] = (), most: int = MOST_POINTS) -> None:
        self.length, self.groups, self.most = length, tuple(groups), most
        self.steps = 0
        self._all: Columns = {}
        self._last: dict[str, np.ndarray] = {}  # the last step with a reading, for those that have gaps
        self._told: list[int] = []  # the planned points, once the curves are known

    def append(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of a chunk, as `trainer.training.step` gives them."""
        whole = {name: metrics[name] for name in ("loss", "guidance_loss", "multiplier")}
        for part in ("hyper", "hypergrad", "skipped"):
            whole |= {f"{part}.{name}": curve for name, curve in metrics[part].items()}
        self._extend(whole)

    def curve(self, name: str) -> np.ndarray:
        return self._all[name][: self.steps]

    def to_checkpoint(self) -> Columns:
        return {name: self.curve(name) for name in self._all}

    def from_checkpoint(self, curves: Mapping[str, np.ndarray]) -> None:
        self.steps, self._all = 0, {}
        if curves:
            self._extend(curves)

    def points(self, first: int, end: int) -> list[int]:
        """The steps from `first` to before `end` that are told as the run goes on."""
        return [i for i in self._told if first <= i < end]

    def last_points(self) -> list[int]:
        """The steps that are told in the end: those of `thinned` that were not planned."""
        shown = list(self._shown().values())
        said = set(self._told)
        return [i for i in thinned(shown, length=self.length, most=self.most) if i not in said]

    def at(self, step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Values and hyperparameters of a step, by the names of reports; what is not finite is left out."""
        values: dict[str, float] = {}
        hyper: dict[str, float] = {}
        for name, curve in self._all.items():
            numbers = curve[self._last[name][step] if name in self._last else step]
            into = hyper if name.startswith(_HYPER) else values
            for key, number in self._named(name, numbers):
                if np.isfinite(number):
                    into[key] = float(number)
        return values, hyper

    def write(self, folder: Path) -> list[str]:
        """Both files, each whole or not there."""
        hyper = {name.removeprefix(_HYPER): self.curve(name) for name in self._all if name.startswith(_HYPER)}
        rest: dict[str, Any] = {n: self.curve(n) for n in self._all if not n.startswith(_HYPER)}
        multiplier = rest.pop("multiplier")
        with whole(folder / SCHEDULE) as file:
            schedules.save(file, multiplier=multiplier, values=hyper)
        with whole(folder / REST) as file:
            np.savez(file, **rest)
        return [SCHEDULE, REST]

    def _extend(self, chunk: Mapping[str, Any]) -> None:
        arrays = {name: np.asarray(curve) for name, curve in chunk.items()}
        if not self._all:
            blank = {n: np.zeros((self.length, *a.shape[1:]), a.dtype) for n, a in arrays.items()}
            self._all = {name: blank[name] for name in sorted(blank)}
            self._last = {n: np.zeros(self.length, np.int64) for n in blank if n.startswith(_HELD)}
            self._told = planned(list(self._shown().values()), length=self.length, most=self.most)
        end = self.steps + len(arrays["loss"])
        for name, array in arrays.items():
            self._all[name][self.steps : end] = array
            if name.startswith(_HELD):
                finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
                before = self._last[name][self.steps - 1] if self.steps else 0
                readings = np.where(finite, np.arange(self.steps, end), before)
                self._last[name][self.steps : end] = np.maximum.accumulate(readings)
        self.steps = end

    def _shown(self) -> Columns:
        """The curves whose extremes are kept: the losses, and of hyperparameters those that learn."""
        learned = [n.removeprefix("hypergrad.") for n in self._all if n.startswith("hypergrad.")]
        names = ["loss", *(["guidance_loss"] if learned else [])]
        names += [f"{part}.{name}" for name in learned for part in ("hyper", "hypergrad")]
        return {name: self.curve(name) for name in names}

    def _named(self, name: str, numbers: np.ndarray) -> list[tuple[str, Any]]:
        key = "train_loss" if name == "loss" else name.removeprefix(_HYPER)
        if numbers.ndim == 0:
            return [(key, numbers)]
        groups = self.groups or tuple(map(str, range(len(numbers))))
        return [(f"{key}.{group}", number) for group, number in zip(groups, numbers, strict=True)]
