"""How far is each estimator from the truth? The entrypoint that forks an unguided run now and then.

    python -m trainer.audit config.json --out runs/audit

The config is a training run's, with guidance off, and a section of its own, here with its defaults:

    "audit": {"at": 8, "spans": [1, 10, 50, 200], "step": 0.1, "learn": ["alpha", "beta1"]}

`at` is a list of steps, or how many evenly spaced ones; `spans` are the K of the forks; `step` is how far a
raw value is moved up and down. A span that would lead beyond the last step is left out. The run is evaluated
on the dev split; nothing is translated, and the test split stays closed. `trainer.auditing` says what is
reported.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer import run as training_run
from trainer.config import ConfigError, TrainConfig
from trainer.options import LEARNABLE, LEARNED_SCHEDULE
from trainer.protocol import Outcome, Place, Report, Reporter, Verdict
from trainer.strict import choice, number, section

SECTION = "audit"
MOST_CHUNK = 50  # steps between two verdicts, as in the loop
_LISTS = ("at", "spans")


@dataclass(frozen=True)
class Audit:
    """Where a run is forked, and for how long."""

    step: float = number(0.1, above=0, at_most=1)
    # What acts in the loss is left out: not all estimators can follow it.
    learn: tuple[str, ...] = choice(
        ("alpha", "beta1"), tuple(name for name in LEARNABLE if name != "label_smoothing")
    )
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
    problems += training_run.check(rest)
    if not problems:
        problems = _together(audit, TrainConfig.from_dict(rest)) or training_run.check(observed(audit, rest))
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
    problems = []
    if config.guidance.estimator != "off":
        problems.append(
            f"guidance.estimator is {config.guidance.estimator!r}. An audit is of an unguided run, on which "
            f"the estimators look on. Set it to 'off'; {SECTION}.learn names what is moved."
        )
    if re.fullmatch(LEARNED_SCHEDULE, config.schedule.name):
        problems.append(
            f"schedule.name is {config.schedule.name!r}, which replays every hyperparameter: none can be "
            f"moved. Choose a schedule by its name."
        )
    moved = [name for name in audit.learn if name in config.schedule.course]
    if moved:
        problems.append(
            f"schedule.course gives {', '.join(moved)} a course of its own, which nothing can move. "
            f"Leave it out, or name other hyperparameters in {SECTION}.learn."
        )
    if config.score.test:
        problems.append("score.test is true. An audit does not open the test split. Leave it out.")
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


def check(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with a config, a sentence each; empty when it can be run here."""
    try:
        read(config)
    except ConfigError as error:
        return error.problems
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    """Equal keys compile to the same programs."""
    audit, rest = read(config)
    chunk = audit.chunk_of(TrainConfig.from_dict(rest))
    return f"audit-{chunk}-{training_run.shape_key(observed(audit, rest))}"


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    """Train and fork as the config says, in this process. Goes on from `workdir/resume.json` where it is."""
    audit, rest = read(config)
    from trainer import auditing

    return auditing.run(audit, TrainConfig.from_dict(rest), reporter=reporter, workdir=workdir, place=place)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m trainer.audit", description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a JSON file with a training run's config")
    parser.add_argument("--out", type=Path, default=Path("audit"), help="the folder for results (./audit)")
    arguments = parser.parse_args(argv)
    try:
        given = json.loads(arguments.config.read_text())
        if not isinstance(given, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as problem:
        return _refused([f"{arguments.config} cannot be read ({problem}). Name a JSON file with a config."])
    if problems := check(given):
        return _refused(problems)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        outcome = run(given, _said, arguments.out.absolute(), Place())
    except ValueError as error:  # DataError, CheckpointError: sentences
        return _refused(str(error).splitlines())
    print(f"{outcome.status}; {', '.join(outcome.files)} in {arguments.out}. {outcome.reason}".rstrip())
    return 0 if outcome.status == "completed" else 1


def _refused(sentences: Sequence[str]) -> int:
    for sentence in sentences:
        print(f"orch: {sentence}", file=sys.stderr)
    return 2


def _said(report: Report) -> Verdict:
    """One line for each thing that was found."""
    for name, value in report.values.items():
        if name.startswith(f"{SECTION}/"):
            print(f"step {report.step:>7,}  {name:<32} {value:+.4g}", flush=True)
    return Verdict.GO


if __name__ == "__main__":
    sys.exit(main())
