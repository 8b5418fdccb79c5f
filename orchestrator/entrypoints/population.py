"""How is a population trained as one trial? Population-based training decides, in this process.

An entrypoint. A config with a `population` section trains that many members (Jaderberg et al., 2017): each
`every_steps` the worst go on from a copy of the best, with hyperparameters moved at random. A config without
one is handed to the trainer as it is, so that a study can hold a population beside other arms.

Members train in turn, in the worker's own process and on what the worker holds: programs compile once, and
one slot is enough; Ray Tune would want an actor for each member. The trial costs what all its members cost.
Its values are those of the best member, which alone opens the test split, and is the best by the dev split
that also chose it.

Every stretch that has been trained stands in the checkpoint, and of the one under way how far its member
has saved; an attempt that goes on from one asks the same questions again, and so comes to the same
population.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from orchestrator.entrypoints.exploit import Exploiting, Move, start_point
from orchestrator.entrypoints.tune import TRAINER, Training, copied
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger.costs import added
from orchestrator.study.entrypoint import find_entrypoint, find_shape_key, misfits, objections
from orchestrator.study.space import Value, corners, value_text
from orchestrator.study.spec import Parameter, Spec
from orchestrator.study.spec_files import validated
from trainer.config.inherit import inherit as inherit
from trainer.config.inherit import learns as learns
from trainer.config.paths import value_at, with_values
from trainer.protocol import (
    COUNTS,
    RESUME,
    SECONDS,
    Outcome,
    Place,
    Reply,
    Report,
    Reporter,
    Status,
    resume_note,
    whole,
)

SECTION = "population"
HISTORY = "population.json"
# the storage discards what is so named
SAVED, MEMBERS = "checkpoint-population-{}.json", "checkpoint-members"
WORDS_A_STRETCH = 8  # training reports of a member that are passed on


class Population(Spec):
    """The `population` section of a config."""

    members: int = Field(ge=2, le=10_000)
    every_steps: int = Field(ge=1)
    space: tuple[Parameter, ...] = Field(min_length=1)
    metric: str
    goal: Literal["minimize", "maximize"] = "minimize"
    quantile: float = Field(default=0.25, gt=0, le=0.5)  # so many are replaced, by as many of the best
    resample: float = Field(default=0.25, ge=0, le=1)  # how often a value is drawn anew instead of moved
    entrypoint: str = TRAINER  # what a member is

    @model_validator(mode="after")
    def _ranges(self) -> Population:
        for p in self.space:
            if p.values:
                raise ValueError(
                    f"population.space: {p.path} is a list of values. Give low and high, or choices."
                )
        return self


def check(config: Mapping[str, Any]) -> list[str]:
    plain, section = _split(config)
    if section is None:
        return _asked(TRAINER, plain)
    try:
        population = validated(Population, section, called=SECTION)
    except BadSpec as refused:
        return refused.problems
    steps = plain.get("steps")
    if not isinstance(steps, int) or not population.every_steps < steps:
        return [
            f"population.every_steps is {population.every_steps} and steps is {steps!r:.60}. "
            f"Allowed is fewer than the steps of a member: after its last one nothing is passed on."
        ]
    between = plain.get("eval_every_steps")
    if type(between) is int and between > 0 and population.every_steps % between:
        return [
            f"population.every_steps is {population.every_steps} and eval_every_steps is {between}. "
            f"Allowed is a multiple of it: members are compared at evaluations."
        ]
    points: list[dict[str, Value]] = [{}, *corners(population.space)]
    problems = [s for point in points for s in _asked(population.entrypoint, with_values(plain, point))]
    return list(dict.fromkeys(problems)) or _other_programs(population, plain)


def _other_programs(population: Population, plain: Mapping[str, Any]) -> list[str]:
    """Members hand on their parameters, which only fit the same program."""
    shapes = importlib.import_module(population.entrypoint).shape_key
    return [
        f"population.space: {p.path} = {value_text(value)} is another program than {p.path} = "
        f"{value_text(p.probes[0])}, and members hand on their parameters. Allowed are paths that leave the "
        f"program as it is (its shape_key). Take it out, or search it with another method."
        for p in population.space
        if p.kind != "float"
        for value in p.probes[1:]
        if shapes(with_values(plain, {p.path: value})) != shapes(with_values(plain, {p.path: p.probes[0]}))
    ]


def fits(config: Mapping[str, Any], resources: Mapping[str, Any]) -> list[str]:
    """A config without a population is the trainer's. A population is told when it runs: it can be planned
    for hosts that it will not have."""
    plain, section = _split(config)
    return misfits(find_entrypoint(TRAINER), TRAINER, plain, resources) if section is None else []


def shape_key(config: Mapping[str, Any]) -> str:
    """A member's: a worker that is warm for it is warm for the population."""
    plain, section = _split(config)
    name = TRAINER if section is None else section.get("entrypoint", TRAINER)
    return find_shape_key(find_entrypoint(name), name, plain)


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    plain, section = _split(config)
    if section is None:
        outcome: Outcome = importlib.import_module(TRAINER).run(plain, reporter, workdir, place)
        return outcome
    if place.process_count > 1:
        raise ValueError(
            f"A population trains its members in one process, and this is one of {place.process_count} of a "
            f"gang. Set resources.hosts to 1."
        )
    return _Run(validated(Population, section, called=SECTION), plain, reporter, workdir).to_the_end()


def _split(config: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    return {key: value for key, value in config.items() if key != SECTION}, config.get(SECTION)


def _asked(entrypoint: str, config: dict[str, Any]) -> list[str]:
    try:
        return objections(find_entrypoint(entrypoint), entrypoint, config)
    except BadSpec as why:
        return [f"population.entrypoint is {entrypoint[:80]!r}. {why}"]


@dataclass(frozen=True)
class _Stretch:
    """What one member did in one round: all that must be known to go on. "preempted": a part of it so far."""

    member: int
    step: int
    point: dict[str, Value]
    values: dict[str, float]
    checkpoint: str | None
    status: Status


class _Run:
    def __init__(
        self, population: Population, plain: dict[str, Any], reporter: Reporter, workdir: Path
    ) -> None:
        self.population, self.plain = population, plain
        self.reporter, self.workdir = reporter, workdir
        self.steps, self.seed = int(plain["steps"]), int(plain.get("seed", 0))
        self.known = _resumed(workdir)  # what earlier attempts trained, in its order
        self.told: list[_Stretch] = []  # that, and what this one did
        self.taken = 0  # steps of all members so far
        self.copies = 0
        self.heard = 0  # the step of the last report of a member
        self.saves, self.saved_at = 0, -1  # how often, and at which step the last time
        self.saved: str | None = None
        self.verdict = Reply.GO
        self.points = [
            start_point(population.space, plain, seed=self.seed, member=i) for i in range(population.members)
        ]
        self.members = [
            Training(self.config(i), entrypoint=population.entrypoint, folder=workdir / MEMBERS / str(i))
            for i in range(population.members)
        ]

    def config(self, member: int) -> dict[str, Any]:
        """Its own, the test split closed: the best member opens it in the end."""
        closed = {"score.test": False} if self.opens_test else {}
        return with_values(self.plain, {**self.points[member], **closed})

    @property
    def opens_test(self) -> bool:
        return value_at(self.plain, "score.test") is True

    def to_the_end(self) -> Outcome:
        population, everybody = self.population, range(self.population.members)
        exploiting = Exploiting(
            self.points,
            space=population.space,
            minimize=population.goal == "minimize",
            quantile=population.quantile,
            resample=population.resample,
            seed=self.seed,
        )
        for step in range(population.every_steps, self.steps, population.every_steps):
            if not all(self.reaches(number, step) for number in everybody):
                return self.stopped()
            objectives = [self.objective(number) for number in everybody]
            checkpoints = [None if m.status == "diverged" else m.checkpoint for m in self.members]
            for number, move in exploiting.round(objectives, checkpoints).items():
                self.take(number, move)
            for member in self.members:
                member.tidy(needed=checkpoints)
        if not all(self.reaches(number, math.inf) for number in everybody):
            return self.stopped()
        return self.finished()

    # -- training ----------------------------------------------------------------------------------------
    def reaches(self, number: int, step: float) -> bool:
        """One member's stretch up to a step, trained here or by an earlier attempt. False: the host ends
        the run, and the next attempt goes on from what the member has saved."""
        member = self.members[number]
        if len(self.told) < len(self.known):
            known = self.known[len(self.told)]
            partly = known.status == "preempted"
            self.taken += known.step - member.step
            status: Status = "stopped" if partly else known.status
            member.recall(known.step, known.values, known.checkpoint, status=status)
            if not partly:
                self.told.append(known)
                return True
            self.known.pop()
        trains = member.status != "diverged"
        if trains:
            before, began = self.taken, member.step
            member.advance(step, hear=self.passing_on(number, step))
            if member.status == "diverged":  # after its last evaluation: no two reports are of one step
                member.step = max(member.step, self.heard)
            at_its_end = member.status in ("completed", "diverged") or member.step >= step
            if self.verdict is not Reply.GO and not at_its_end:
                return False
            self.taken = before + member.step - began
        ended: Status = member.status or "stopped"
        self.told.append(self.stretch(number, member.step, "stopped" if ended == "preempted" else ended))
        return self.save(self.told, self.taken, clocks=self.clocks()) if trains else True

    def stretch(self, number: int, step: int, status: Status, checkpoint: str | None = None) -> _Stretch:
        member = self.members[number]
        values, path = dict(member.values), checkpoint or member.checkpoint
        return _Stretch(number, step, self.points[number], values, path, status)

    def passing_on(self, number: int, to_step: float) -> Callable[[Report, Mapping[str, float]], Reply]:
        """Evaluations, what is saved and some words in between go to the host, at the steps of all members
        together."""
        before, began, spoken = self.taken, self.members[number].step, self.members[number].step
        every_steps = max(1, self.population.every_steps // WORDS_A_STRETCH)

        def hear(report: Report, clocks: Mapping[str, float]) -> Reply:
            nonlocal spoken
            self.heard, step = report.step, before + report.step - began
            news = report.kind == "train" and report.step > spoken and report.step % every_steps == 0
            if news:
                spoken = report.step
            if news or report.kind == "eval":
                self.say(step, report.kind, report.values, number, clocks=self.clocks(number, clocks))
            elif report.kind == "checkpoint" and report.path and report.step < to_step:
                part = self.stretch(number, report.step, "preempted", report.path)
                self.save([*self.told, part], step, clocks=self.clocks(number, clocks))
            return self.verdict

        return hear

    def take(self, number: int, move: Move) -> None:
        donor = self.members[move.donor]
        self.points[number] = move.point
        self.copies += 1
        self.members[number].config = self.config(number)
        self.members[number].go_on_from(donor.checkpoint, step=donor.step, paths=list(move.point))

    def objective(self, number: int) -> float | None:
        """None for a member that diverged."""
        member, metric = self.members[number], self.population.metric
        if member.status == "diverged":
            return None
        if metric not in member.values:
            raise ValueError(
                f"population.metric is {metric!r}. Allowed is what the members report: "
                f"{', '.join(sorted(member.values))}."
            )
        return member.values[metric]

    # -- talking and remembering -------------------------------------------------------------------------
    def say(
        self,
        step: int,
        kind: str,
        values: Mapping[str, float],
        number: int,
        *,
        clocks: Mapping[str, float],
        path: str | None = None,
    ) -> None:
        told = {**values, "member": float(number)}
        numbers = {
            name: value for name, value in self.points[number].items() if not isinstance(value, bool | str)
        }
        verdict = self.reporter(Report(step, kind, told, numbers, clocks, path))
        if self.verdict is Reply.GO:  # one that was heard is not forgotten
            self.verdict = verdict

    def clocks(self, number: int = -1, of_it: Mapping[str, float] | None = None) -> dict[str, float]:
        """The sum over all members; of one under way what it says now."""
        return added(
            dict.fromkeys((*SECONDS, *COUNTS), 0.0),
            *(member.clocks if i != number else of_it or {} for i, member in enumerate(self.members)),
        )

    def save(self, stretches: Sequence[_Stretch], step: int, *, clocks: Mapping[str, float]) -> bool:
        """All of them, as the checkpoint of the population. Whether it goes on."""
        if step > self.saved_at:  # else nothing was trained since
            self.saves += 1
            path = self.workdir / SAVED.format(self.saves)
            with whole(path) as file:
                file.write_text(json.dumps([asdict(stretch) for stretch in stretches]))
            (self.workdir / SAVED.format(self.saves - 2)).unlink(missing_ok=True)
            self.saved, self.saved_at = str(path), step
            self.say(step, "checkpoint", {}, stretches[-1].member, clocks=clocks, path=self.saved)
        return self.verdict is Reply.GO

    # -- the end -----------------------------------------------------------------------------------------
    def best(self) -> int | None:
        """The member with the best objective; of equals the first. None when all have diverged."""
        sign = 1 if self.population.goal == "minimize" else -1
        reached = {
            number: sign * member.values[self.population.metric]
            for number, member in enumerate(self.members)
            if member.status != "diverged" and self.population.metric in member.values
        }
        return min(reached, key=lambda number: reached[number], default=None)

    def stopped(self) -> Outcome:
        best = self.best()
        values = {} if best is None else self.members[best].values
        return Outcome("stopped", dict(values), self.clocks(), self.saved)

    def finished(self) -> Outcome:
        best = self.best()
        if best is None:
            return Outcome("diverged", {}, self.clocks(), reason="Every member of the population diverged.")
        member = self.members[best]
        if self.opens_test:
            member.config = with_values(member.config, {"score.test": True})
            member.go_on_from(member.checkpoint, step=member.step, paths=())
            member.advance(math.inf)
        counts = {"members": self.population.members, "best_member": best, "copies": self.copies}
        values = {**member.values, **{name: float(count) for name, count in counts.items()}}
        self.say(self.taken, "final", values, best, clocks=self.clocks())
        # Its checkpoint goes to the trial's own folder; those of the others go.
        kept = None if member.checkpoint is None else str(copied(Path(member.checkpoint), self.workdir))
        return Outcome("completed", values, self.clocks(), kept, tuple(self.left(member)))

    def left(self, member: Training) -> list[str]:
        """The files of the best member, its schedule over all it inherited among them, and the history."""
        files = {HISTORY}
        with whole(self.workdir / HISTORY) as file:
            file.write_text(json.dumps([asdict(stretch) for stretch in self.told]))
        for folder in (Path(member.checkpoint or "").parent, member.last_folder):
            for file in folder.glob("*.*"):
                if file.is_file() and file.name not in (RESUME, Path(member.checkpoint or "").name):
                    shutil.copy2(file, self.workdir)
                    files.add(file.name)
        shutil.rmtree(self.workdir / MEMBERS, ignore_errors=True)
        for path in self.workdir.glob(SAVED.format("*")):
            path.unlink()
        return sorted(files)


def _resumed(workdir: Path) -> list[_Stretch]:
    note = resume_note(workdir)
    if note is None:
        return []
    told = json.loads(Path(note["checkpoint"]).read_text())
    return [_Stretch(**stretch) for stretch in told]
