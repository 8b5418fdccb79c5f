"""After how many of its steps has a guided run the last loss of a base run? (the paper's "3X")

Base's last loss on a seed stands against what the row's run on that seed has at each of its evaluations. Both
are read as `speedup` reads plain runs of several lengths: the evaluations are joined on the log of loss and
steps, the row is as good where the mean difference of log loss over the seeds is zero, and the interval holds
all steps that the sign-flip test does not reject. The ratio is base's steps over those.

A row counts with what its curve has at a step, not with its best so far: base stands at its last loss, not at
its best, and the best of many evaluations would be luck. Where a curve rises again, the last step from which
on it is no worse counts; where it ends worse, base's last loss is not reached.

Where base itself rises again, as on text that it reads too often, it had its last loss long before its end,
and the ratio is of its rise and not of speed. That is told where base was, in the mean over the seeds, at or
below its last loss in the first three quarters of its steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import geometric_mean
from typing import Any

from dashboards.evidence.contrasts import Sample, by_unit, paired, sample
from dashboards.evidence.frames import Curves, Frame, Trial
from dashboards.evidence.speedup import Speedup, clocked, speedup, steps_of
from dashboards.evidence.tables import metric_name
from dashboards.evidence.wording import label
from orchestrator.ledger.records import TrialState
from orchestrator.study.spec import Arm

FEWEST = 6  # evaluations of a run: between fewer there is too little to read
EARLY = 0.75  # of base's steps: later, its last loss is met by chance where the curve is flat


@dataclass(frozen=True)
class Sooner:
    """One row in one column. `steps`: base's steps over the row's; "short" where the row never has base's
    last loss, "beyond" where it has it at its first evaluation."""

    row: str
    base: str  # its row
    column: str
    metric: str
    loss: float  # base's last, the geometric mean
    base_steps: int
    steps: Speedup
    step_cost: float | None  # of the row, in base's steps, by the runs' clocks
    risen_from: int | None = None  # the step at which base had its last loss, if that was long before

    @property
    def reached(self) -> bool:
        return self.steps.side != "short"

    @property
    def at_step(self) -> float | None:
        """From which on the row is no worse."""
        return None if self.steps.value is None else self.base_steps / self.steps.value

    @property
    def time(self) -> Speedup | None:
        """The same in compute time."""
        return None if self.step_cost is None else self.steps.over(self.step_cost)

    @property
    def words(self) -> str:
        """1.8 (1.4–2.3); not reached."""
        return self.steps.words if self.reached else f"not reached{self._at_most(self.steps)}"

    @property
    def time_words(self) -> str:
        if self.time is None:
            return "–"
        return self.time.words if self.reached else f"not reached{self._at_most(self.time)}"

    @property
    def at_words(self) -> str:
        """The step; at the latest the first that was evaluated."""
        if self.steps.side == "beyond":
            return f"≤ {self.base_steps / self.steps.span.high:.0f}"
        return "–" if self.at_step is None else f"{self.at_step:.0f}"

    @property
    def on_seeds(self) -> str:
        n = self.steps.n
        return f"on {n} seed{'s' if n != 1 else ''}{'' if self.steps.tested else ', too few for an interval'}"

    @property
    def caution(self) -> str:
        if self.risen_from is None or not self.reached:
            return ""
        base, metric = label(self.base), metric_name(self.metric)
        said = f"{base} had its last {metric} at step {self.risen_from} and rose again: that is no speed."
        return f"{said[0].upper()}{said[1:]}"

    def sentence(self, *, papers: float | None = None) -> str:
        """`papers`: what the paper says of it."""
        base, row, metric = label(self.base), label(self.row), metric_name(self.metric)
        if not self.reached:
            beside = "" if papers is None else f" The paper says {papers:g}."
            said = f"{row} does not reach {base}'s last {metric}, {self.on_seeds}: {self.words}.{beside}"
            return f"{said[0].upper()}{said[1:]}"
        beside = "" if papers is None else f"; the paper says {papers:g}"
        said = (
            f"{base} needs {self.words} times the steps that {row} needs for {base}'s last {metric}, "
            f"{self.on_seeds}{beside}."
        )
        time = "" if self.time is None else f" In compute time {self.time_words}."
        return f"{said[0].upper()}{said[1:]}{time}{self.caution and f' {self.caution}'}"

    def to_dict(self) -> dict[str, Any]:
        """What scripts get of it."""
        return {
            "row": self.row,
            "base": self.base,
            "column": self.column,
            "metric": self.metric,
            "loss": self.loss,
            "base_steps": self.base_steps,
            "reached": self.reached,
            "at_step": self.at_step,
            "steps": asdict(self.steps),
            "step_cost": self.step_cost,
            "risen_from": self.risen_from,
            "time": None if self.time is None else asdict(self.time),
            "sentence": self.sentence(),
        }

    def _at_most(self, of: Speedup) -> str:
        """How far the interval of what is not reached goes, where it goes beyond what was run."""
        known = of.tested and of.high is not None and of.high > of.span.low
        return f" (95% interval up to {of.high:.3g})" if known else ""


def sooner(frame: Frame, heard: Mapping[str, Curves]) -> tuple[Sooner, ...]:
    """Of every row that learns and ran on base's fresh seeds, in every column, by the study's objective.
    `heard`: the curves of those runs, by the trial's name."""
    if not frame.lower_is_better(frame.spec.objective.metric):
        return ()
    found = (_of_row(frame, base, arm, column, heard) for column, base, arm in _compared(frame))
    return tuple(each for each in found if each is not None)


def needed(frame: Frame) -> list[Trial]:
    """The trials whose curves say it."""
    of = [arm for _, *both in _compared(frame) for arm in both]
    return [trial for arm in {arm.name: arm for arm in of}.values() for trial in frame.confirming(arm)]


def base_in(frame: Frame, column: str) -> Arm | None:
    """The static default of a column: an arm of its own before one that stands in all."""
    here = sorted((a for a in frame.spec.arms if a.column in (column, "*")), key=lambda a: a.column == "*")
    plain = (a for a in here if not frame.spec.confirms(a) and not frame.learns.get(a.name))
    return next((a for a in plain if a.known_role == "base"), None)


def _compared(frame: Frame) -> Iterator[tuple[str, Arm, Arm]]:
    """By column: base and each row that learns, both with runs on fresh seeds."""
    rows = dict.fromkeys(frame.row_of(arm) for arm in frame.spec.arms if not frame.spec.confirms(arm))
    for column in frame.columns():
        base = base_in(frame, column)
        if base is None or not frame.confirming(base):
            continue
        for row in rows:
            arm = frame.arm_at(row, column)
            if arm is not None and frame.learns.get(arm.name) and frame.confirming(arm):
                yield column, base, arm


def _of_row(frame: Frame, base: Arm, arm: Arm, column: str, heard: Mapping[str, Curves]) -> Sooner | None:
    metric, base_steps = frame.spec.objective.metric, steps_of(frame, base)
    by_step = _by_step(frame, arm, base, heard)
    if base_steps is None or len(by_step) < FEWEST:
        return None
    *ours, last = paired([*by_step.values(), sample(frame, base, metric, beside=(arm,))])
    shares = [step / base_steps for step in by_step]
    found = speedup(dict(zip(shares, ours, strict=True)), last, cost=1.0)
    if found is None:
        return None
    return Sooner(
        row=frame.row_of(arm),
        base=frame.row_of(base),
        column=column,
        metric=metric,
        loss=geometric_mean(last.values()),
        base_steps=base_steps,
        steps=found.inverse,
        step_cost=_step_cost(frame, arm, base, base_steps),
        risen_from=_risen_from(_by_step(frame, base, arm, heard), last, base_steps),
    )


def _by_step(frame: Frame, arm: Arm, base: Arm, heard: Mapping[str, Curves]) -> dict[int, Sample]:
    """The losses of a row's runs at the steps at which all of them were evaluated. A diverged run has the
    loss that it counts with at all of them."""
    metric = frame.spec.objective.metric
    ended = sample(frame, arm, metric, beside=(base,))
    curves: dict[tuple[int, int], dict[int, float]] = {}
    worst: dict[tuple[int, int], float] = {}
    for trial in frame.confirming(arm):
        key = trial.replicate, trial.seed
        if trial.state is TrialState.COMPLETED and trial.name in heard:
            curves[key] = dict(heard[trial.name].values.get(metric, ()))
        elif trial.state is not TrialState.COMPLETED and key in ended.values:
            worst[key] = ended.values[key]
    shared = sorted(set.intersection(*map(set, curves.values()))) if curves else []
    return {
        step: replace(ended, values={**worst, **{key: of[step] for key, of in curves.items()}})
        for step in shared
        if step > 0
    }


def _risen_from(by_step: Mapping[int, Sample], last: Mapping[int, float], base_steps: int) -> int | None:
    end = geometric_mean(last.values())
    for step, at in by_step.items():
        if step > EARLY * base_steps:
            return None
        known = by_unit(at.values, replicated=at.replicated)
        if known.keys() >= last.keys() and geometric_mean(known[unit] for unit in last) <= end:
            return step
    return None


def _step_cost(frame: Frame, arm: Arm, base: Arm, base_steps: int) -> float | None:
    steps = steps_of(frame, arm)
    ours, plain = (clocked(frame.confirming(each)) for each in (arm, base))
    return (ours / plain) * (base_steps / steps) if steps and ours and plain else None
