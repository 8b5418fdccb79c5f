"""What stands in an audit's config?

The config is a training run's, with guidance off, and a section of its own, here with its defaults:

    "audit": {"at": 8, "spans": [1, 10, 50, 200], "step": 0.1, "learn": ["alpha", "beta1"]}

`at` is a list of steps, or how many evenly spaced ones; `spans` are the K of the forks; `step` is how far a
raw value is moved up and down. A span that would lead beyond the last step is left out. The run is evaluated
on the dev split; nothing is translated, and the test split stays closed. `trainer.audit.forked` says what is
reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainer.config import ConfigError, TrainConfig
from trainer.config.choices import LEARNED_SCHEDULE
from trainer.config.learnable import COURSES, PAPERS
from trainer.config.reading import choice, number, problems_among, section
from trainer.training import entrypoint

SECTION = "audit"
MOST_CHUNK = 50  # steps between two verdicts, as in the loop
_LISTS = ("at", "spans")


@dataclass(frozen=True)
class Audit:
    """Where a run is forked, and for how long."""

    step: float = number(0.1, above=0, at_most=1)
    # What acts in the loss is left out: not all estimators can follow it.
    learn: tuple[str, ...] = choice(PAPERS, COURSES)
    at: Any = 8  # a tuple of steps, or their number
    spans: Any = (1, 10, 50, 200)

    def steps_of(self, config: TrainConfig) -> tuple[int, ...]:
        """After which finished steps the run is forked: the middles of equal parts, moved down to the end of
        a chunk."""
        if isinstance(self.at, tuple):
            return self.at
        middles = [(2 * i + 1) * config.steps // (2 * self.at) for i in range(self.at)]
        chunk = self.chunk_of(config)
        return tuple(dict.fromkeys(middle // chunk * chunk for middle in middles))

    def chunk_of(self, config: TrainConfig) -> int:
        """How many steps are trained at a time, so that forks, evaluations and checkpoints end chunks."""
        shared = math.gcd(config.eval_every_steps, config.checkpoint_every_steps)
        most = MOST_CHUNK
        if isinstance(self.at, tuple):
            shared = math.gcd(shared, *self.at)
        else:
            most = min(most, config.steps // (2 * self.at))
        return max(n for n in range(1, min(shared, most) + 1) if shared % n == 0)

    def spans_at(self, step: int, steps: int) -> tuple[int, ...]:
        """The spans that end within the run."""
        return tuple(span for span in self.spans if step + span <= steps)


def read(config: Mapping[str, Any]) -> tuple[Audit, dict[str, Any]]:
    """The audit, and the config of the run without it. ConfigError holds all that is wrong with either."""
    rest = {name: value for name, value in config.items() if name != SECTION}
    given = config.get(SECTION, {})
    problems: list[str] = []
    lists = {k: v for k, v in given.items() if k in _LISTS} if isinstance(given, Mapping) else {}
    others = {k: v for k, v in given.items() if k not in lists} if lists else given
    audit: Audit = section(Audit, others, SECTION, problems)
    for name, value in lists.items():
        problems += _unusable(name, value)
        if not problems:
            listed: dict[str, Any] = {name: tuple(value) if isinstance(value, list | tuple) else value}
            audit = replace(audit, **listed)
    if not audit.learn:
        problems.append(f"{SECTION}.learn is empty. Name what is to be moved: {', '.join(Audit().learn)}.")
    problems += entrypoint.check(rest)
    if not problems:
        problems = _together(audit, TrainConfig.from_dict(rest)) or entrypoint.check(observed(audit, rest))
    if problems:
        raise ConfigError(problems)
    return audit, rest


def _unusable(name: str, value: Any) -> list[str]:
    """What is wrong with a list of steps, which `at` need not be."""
    if name == "at" and isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return []
    whole = isinstance(value, list | tuple) and all(type(n) is int and n >= 1 for n in value)
    if whole and value and sorted(set(value)) == list(value):
        return []
    besides = ", or a whole number of at least 1: how many" if name == "at" else ""
    return [
        f"{SECTION}.{name} is {value!r:.60}. "
        f"Allowed is a list of whole numbers of at least 1 that rise{besides}."
    ]


def _together(audit: Audit, config: TrainConfig) -> list[str]:
    """What of the audit does not go with the run."""
    moved = [name for name in audit.learn if name in config.schedule.course]
    problems = problems_among(
        (
            config.guidance.estimator != "off",
            f"guidance.estimator is {config.guidance.estimator!r}. An audit is of an unguided run, on which "
            f"the estimators look on. Set it to 'off'; {SECTION}.learn names what is moved.",
        ),
        (
            re.fullmatch(LEARNED_SCHEDULE, config.schedule.name),
            f"schedule.name is {config.schedule.name!r}, which replays every hyperparameter: none can be "
            f"moved. Choose a schedule by its name.",
        ),
        (
            moved,
            f"schedule.course gives {', '.join(moved)} a course of its own, which nothing can move. "
            f"Leave it out, or name other hyperparameters in {SECTION}.learn.",
        ),
        (
            config.score.test,
            "score.test is true. An audit does not open the test split. Leave it out.",
        ),
    )
    listed = isinstance(audit.at, tuple)
    if not listed and 2 * audit.at > config.steps:
        return [
            *problems,
            f"{SECTION}.at is {audit.at} and steps is {config.steps}. "
            f"Allowed is at most one fork in two steps. Lower it.",
        ]
    forks, shortest = audit.steps_of(config), min(audit.spans)
    if (forks[-1] if listed else forks[0]) + shortest > config.steps:
        which = f"last fork is at step {forks[-1]}" if listed else f"first fork is at step {forks[0]}"
        problems.append(
            f"The shortest of {SECTION}.spans is {shortest}, the {which} and steps is {config.steps}. "
            f"Allowed are forks that end within the run. Fork earlier and for fewer steps, or train longer."
        )
    return problems


def observed(audit: Audit, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with these hyperparameters declared as learned, at an η̂ of zero; any estimator will do."""
    return {**config, "guidance": {"estimator": "next-batch", "learn": list(audit.learn), "eta": 0.0}}
