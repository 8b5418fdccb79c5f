"""In which settings is a question asked? Learning-rate schedule × steps × optimizer: the cells of a matrix.

A cell is a column of a table. Its config is laid over the size's base; its default learning rate is the one
that the rule of the study default-rate finds for it, so that no cell is won against a poor default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.parts import OVER_PLAIN, Size, cadence

# Peak learning rates, after warm-up, from which each optimizer's grid starts: the paper's for LAMB, for the
# others half of the best one in runs of 240 steps (one seed: AdamW .008, Adafactor .064).
PEAKS: Mapping[str, float] = {"lamb": 0.4 / 4000**0.5, "adamw": 0.004, "adafactor": 0.032}
# By (optimizer, schedule, steps): the factor on the peak that won the grid. Where none is stated, 2, which
# won in the seven other cells of laptop (docs/results/default-rate.md).
FACTOR: Mapping[tuple[str, str, int], float] = {("lamb", "inverse-sqrt", 1200): 1.0}
USUAL_FACTOR = 2.0
EXTENT: Mapping[str, tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]] = {
    "smoke": (("inverse-sqrt",), (40,), ("lamb", "adamw")),
    "quick": (("inverse-sqrt", "linear"), (240,), ("lamb", "adamw")),
    "laptop": (("inverse-sqrt", "linear"), (400, 1200), ("lamb", "adamw")),
    "paper": (("inverse-sqrt", "linear", "cosine"), (160_000,), ("lamb", "adamw", "adafactor")),
}


@dataclass(frozen=True)
class Cell:
    schedule: str
    steps: int
    optimizer: str
    rate_factor: float = 1.0  # on the default learning rate

    @property
    def name(self) -> str:
        """As a column's name."""
        times = "" if self.rate_factor == 1 else f" rate x{self.rate_factor:g}"
        return f"{self.optimizer} {self.schedule} {self.steps}{times}"

    @property
    def slug(self) -> str:
        """As a part of an arm's name."""
        return self.name.replace(" ", "-").replace(".", "_")

    def config(self) -> dict[str, Any]:
        """What the cell's runs have in common, to be laid over the size's base."""
        # The base states LAMB's.
        own = {} if self.optimizer == "lamb" else {"beta2": None, "eps": None}
        return {
            **cadence(self.steps),
            "optimizer": {"name": self.optimizer, "learning_rate": self.learning_rate(self.factor), **own},
            "schedule": {"name": self.schedule, "warmup_steps": self.warmup_steps},
        }

    @property
    def warmup_steps(self) -> int:
        return self.steps // 10

    @property
    def factor(self) -> float:
        """On the peak: the default's, by the rule, and what this cell departs from it."""
        return FACTOR.get((self.optimizer, self.schedule, self.steps), USUAL_FACTOR) * self.rate_factor

    def learning_rate(self, factor: float) -> float:
        """The learning rate that peaks at so many times the optimizer's peak."""
        rate = factor * PEAKS[self.optimizer]
        if self.schedule == "inverse-sqrt":  # its multiplier peaks at 1/√warmup, the others' at 1
            rate *= self.warmup_steps**0.5
        return float(f"{rate:.3g}")

    def hours(self, size: Size, estimator: str = "off") -> float:
        """Of one run: the size's, by this cell's steps."""
        return (
            size.hours.get(estimator, size.hours["off"] * OVER_PLAIN.get(estimator, 1))
            * self.steps
            / size.steps
        )


def cells(size: Size) -> tuple[Cell, ...]:
    schedules, steps, optimizers = EXTENT[size.name]
    return tuple(Cell(s, n, o) for o in optimizers for s in schedules for n in steps)
