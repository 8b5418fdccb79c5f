"""What is trained when nothing is? A small pure-Python entrypoint that behaves like a training run.

The loss falls towards a noisy quadratic in log α and logit β1 of a trainer's config; guidance moves the
two towards its minimum and costs more per step. All seconds are nominal and all noise is a function of
(seed, step), so a run that was killed and resumed ends bit-equal to one that was not. A guided run leaves
its learned schedule, and a run that names one replays it; one that begins with a rehearsed run's folder goes
on from its loss. It says nothing about any real model. A key `rehearsal` beside the trainer's own makes a run
slow, or makes it fail.
"""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import ConfigError, TrainConfig
from trainer.config.inherit import CHECKPOINT, beginning_with
from trainer.config.inherit import inherit as inherit_of_trainer
from trainer.config.inherit import learns as learns
from trainer.config.learnable import LEARNABLE
from trainer.config.scales import to_working
from trainer.protocol import SCHEDULE, Outcome, Place, Reply, Report, Reporter, resume_note, whole

FLOOR = 2.0  # the loss at the best hyperparameters after endless training, before noise
EXCESS = 6.0  # how far above it a run starts
NOISE = 0.01  # standard deviation of every loss
BEST = {"alpha": math.log(1.6), "beta1": math.log(0.8 / 0.2)}  # near the defaults (1, 0.9), not on them
CURVATURE = {"alpha": 0.20, "beta1": 0.05}
NEXT_TO_ZERO = 0.01  # a β1 of 0 has no logit
_VALUE: Mapping[str, Callable[[float], float]] = {
    "alpha": math.exp,
    "beta1": lambda raw: 1 / (1 + math.exp(-raw)),
}
OWN = {"beta2": 0.999, "eps": 1e-6, "weight_decay": 0.01, "decay_rate": 0.8}  # stand for the optimizers' own
ETA = 0.01  # where the config leaves it to the estimator
RELAXES_IN = 0.15  # of all steps: the loss curve's time constant
GUIDED_COST = 1.52  # per step, times an unguided one: the ratio that the paper's table implies
COMPILE_STEPS, EVAL_STEPS = 10, 2  # what compiling once and evaluating once cost, in steps' seconds


@dataclass(frozen=True)
class Extras:
    """The `rehearsal` key: none of it changes a loss."""

    seconds_per_step: float = 0.05  # nominal: what the clocks say
    pace_s: float = 0.0  # real seconds to wait per step
    fail_at_step: int | None = None  # raise there
    nan_at_step: int | None = None  # the loss is NaN from there on


def check(config: Mapping[str, Any]) -> list[str]:
    try:
        _read(config)
    except ConfigError as error:
        return error.problems
    return []


def shape_key(config: Mapping[str, Any]) -> str:
    """Nothing compiles here; guided and unguided programs would differ."""
    train, _ = _read(config)
    return f"rehearsal-{train.model.size}-{train.guidance.estimator}"


def inherit(
    take: str, config: Mapping[str, Any], folder: Path | None, others: Sequence[Path] = ()
) -> dict[str, Any] | list[str]:
    """As the trainer's; what a run ended with lies in its last checkpoint here."""
    if take != CHECKPOINT or folder is None:
        return inherit_of_trainer(take, config, folder, others)
    if not _checkpoints(folder):
        return [f"{folder} has no checkpoint. Put it back, or cancel the study."]
    return beginning_with(config, str(folder))


def run(config: Mapping[str, Any], reporter: Reporter, workdir: Path, place: Place) -> Outcome:
    train, extras = _read(config)
    return _Run(train, extras, reporter, workdir, place).to_the_end()


@dataclass
class _State:
    """All that a checkpoint holds."""

    step: int
    excess: float  # of the loss above FLOOR
    alpha: float  # the two hyperparameters, as log α and logit β1
    beta1: float


class _Run:
    def __init__(
        self, train: TrainConfig, extras: Extras, reporter: Reporter, workdir: Path, place: Place
    ) -> None:
        self.train, self.extras, self.reporter, self.place = train, extras, reporter, place
        self.workdir = workdir
        self.state = _resumed(workdir, train) or _fresh(train)
        self.replayed = _replayed(train)
        self.began_at = self.state.step
        self.evals = 0
        self.saved: str | None = None
        self.last: dict[str, float] = {}  # the last finite values

    def to_the_end(self) -> Outcome:
        if self.state.step:
            self.last = self.values()
        while self.state.step < self.train.steps:
            self.advance(self.boundary())
            step = self.state.step
            if self.extras.fail_at_step is not None and step >= self.extras.fail_at_step:
                raise RuntimeError(f"The rehearsal was told to fail at step {self.extras.fail_at_step}.")
            values = self.values()
            verdict = self.say("train", {"train_loss": values.pop("train_loss")})
            if not math.isfinite(values["loss"]):
                return self.outcome("diverged", f"The loss is {values['loss']} at step {step}.")
            self.last = self.values()
            # Asked to save, it first says all that is due here: a later attempt will not say it again.
            if verdict is not Reply.STOP and self.due(self.train.eval_every_steps):
                self.evals += 1
                verdict = self.say("eval", values)
            if verdict is Reply.SAVE_AND_STOP:
                self.save()
            elif verdict is Reply.GO and self.due(self.train.checkpoint_every_steps):
                verdict = self.save()
            if verdict is not Reply.GO:
                return self.outcome("stopped" if self.place.preempt_at is None else "preempted")
        if self.train.guidance.estimator != "off" and self.place.process_index == 0:
            self.leave_schedule()
        return self.outcome("completed")

    def boundary(self) -> int:
        """The next step at which there is something to say."""
        step, train = self.state.step, self.train
        steps = [
            (step // every + 1) * every for every in (train.eval_every_steps, train.checkpoint_every_steps)
        ]
        special = [
            s for s in (self.extras.fail_at_step, self.extras.nan_at_step) if s is not None and s > step
        ]
        return min(*steps, *special, train.steps)

    def advance(self, to_step: int) -> None:
        """Train up to a step, in closed form: a chunk costs the same however long it is."""
        state, guidance = self.state, self.train.guidance
        steps = to_step - state.step
        if self.extras.pace_s:
            threading.Event().wait(self.extras.pace_s * steps)
        if guidance.estimator != "off":
            for name in self.learned:
                setattr(state, name, self.moved(name, getattr(state, name), steps))
        for name, curve in self.replayed.items():
            setattr(state, name, _raw(name, float(curve[min(to_step, len(curve)) - 1])))
        kept = math.exp(-steps / max(1.0, RELAXES_IN * self.train.steps))
        state.excess = kept * state.excess + (1.0 - kept) * _quadratic(state)
        state.step = to_step

    @property
    def learned(self) -> list[str]:
        return [name for name in self.train.guidance.learn if name in BEST]

    def moved(self, name: str, raw: float, steps: int) -> float:
        """After so many steps of gradient descent on the quadratic. Written so that η = 0 changes no bit."""
        eta = ETA if self.train.guidance.eta is None else self.train.guidance.eta
        kept = max(0.0, 1.0 - eta * CURVATURE[name]) ** steps
        return raw - (raw - BEST[name]) * (1.0 - kept)

    def leave_schedule(self) -> None:
        """What each step used, as the trainer leaves it, for other arms to replay."""
        train = self.train
        begun, steps = _fresh(train), train.steps
        curves = {
            name: [_VALUE[name](self.moved(name, getattr(begun, name), step)) for step in range(steps)]
            for name in self.learned
        }
        for name in train.guidance.learn:
            curves.setdefault(name, [_constant(train, name)] * steps)
        with whole(self.workdir / SCHEDULE) as path, path.open("wb") as file:
            np.savez(file, multiplier=np.ones(steps), **curves)  # type: ignore[arg-type]

    def values(self) -> dict[str, float]:
        """The losses at this step: of training, on the split that chooses, and on the other. Of a task also a
        score, which rises as the last of them falls."""
        nan_from = self.extras.nan_at_step
        if nan_from is not None and self.state.step >= nan_from:
            return dict.fromkeys(("train_loss", "loss", "dev_loss"), math.nan)
        loss = FLOOR + self.state.excess
        found = {
            name: loss + NOISE * random.Random(f"{self.train.seed} {name} {self.state.step}").gauss(0, 1)
            for name in ("train_loss", "loss", "dev_loss")
        }
        return {**found, "score": 100 * math.exp(-found["dev_loss"])} if self.train.data.task else found

    def due(self, every_steps: int) -> bool:
        return self.state.step % every_steps == 0 or self.state.step == self.train.steps

    def clocks(self) -> dict[str, float]:
        steps, each_s = self.state.step - self.began_at, self.extras.seconds_per_step
        guided = GUIDED_COST if self.train.guidance.estimator != "off" else 1.0
        return {
            "train_s": steps * each_s * guided,
            "eval_s": self.evals * EVAL_STEPS * each_s,
            "compile_s": COMPILE_STEPS * each_s,
            "steps": float(steps),
        }

    def say(self, kind: str, values: Mapping[str, float], path: str | None = None) -> Reply:
        hyper = {name: value(getattr(self.state, name)) for name, value in _VALUE.items()}
        return self.reporter(Report(self.state.step, kind, values, hyper, self.clocks(), path))

    def save(self) -> Reply:
        """Write a checkpoint. It has its name only once it is whole."""
        path = self.workdir / f"checkpoint-{self.state.step}.json"
        if self.place.process_index == 0:  # all processes of a gang rehearse the same
            with whole(path) as file:
                file.write_text(json.dumps(asdict(self.state)))
        self.saved = str(path)
        return self.say("checkpoint", {}, self.saved)

    def outcome(self, status: Any, reason: str = "") -> Outcome:
        return Outcome(status, dict(self.last), self.clocks(), self.saved, (), reason)


def _quadratic(state: _State) -> float:
    return math.fsum(c * (getattr(state, name) - BEST[name]) ** 2 for name, c in CURVATURE.items())


def _raw(name: str, value: float) -> float:
    return to_working(LEARNABLE[name].scale, value or NEXT_TO_ZERO)


def _fresh(train: TrainConfig) -> _State:
    begun = _checkpoints(Path(train.init)) if train.init else []
    excess = json.loads(begun[-1].read_text())["excess"] if begun else EXCESS
    return _State(0, excess, *(_raw(name, getattr(train.optimizer, name)) for name in BEST))


def _checkpoints(folder: Path) -> list[Path]:
    """Those of a rehearsed run, by step."""
    return sorted(folder.glob("checkpoint-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))


def _constant(train: TrainConfig, name: str) -> float:
    """What moves nothing here stays where the config, or else its optimizer, puts it."""
    smoothing = {"label_smoothing": train.loss.label_smoothing}
    stated = {**vars(train.optimizer), **train.optimizer.more, **smoothing}.get(name)
    return OWN[name] if stated is None else float(stated)


def _replayed(train: TrainConfig) -> dict[str, Any]:
    """The curves of a learned schedule that the config names, of what is rehearsed."""
    if not train.schedule.name.endswith(".npz"):
        return {}
    with np.load(train.schedule.name, allow_pickle=False) as file:
        return {name: file[name] for name in BEST if name in file.files}


def _resumed(workdir: Path, train: TrainConfig) -> _State | None:
    told = resume_note(workdir)
    if told is None:
        return None
    state = json.loads(Path(told["checkpoint"]).read_text())
    forked = {name: getattr(_fresh(train), name) for name in told.get("fork", ()) if name in BEST}
    return _State(**{**state, **forked})


def _read(config: Mapping[str, Any]) -> tuple[TrainConfig, Extras]:
    own = config.get("rehearsal", {})
    names = [f.name for f in fields(Extras)]
    problems = []
    if not isinstance(own, Mapping):
        raise ConfigError([f"rehearsal is {own!r:.60}. Allowed is a section: names with their values."])
    for key, value in own.items():
        if key not in names:
            problems.append(f"Unknown key {f'rehearsal.{key}'[:60]!r}. Allowed: {', '.join(names)}.")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            problems.append(f"rehearsal.{key} is {value!r:.60}. Allowed is a finite number of at least 0.")
    try:
        train = TrainConfig.from_dict({k: v for k, v in config.items() if k != "rehearsal"})
    except ConfigError as error:
        raise ConfigError(problems + error.problems) from None
    if problems:
        raise ConfigError(problems)
    return train, Extras(**own)
