"""What does the ledger know of a study, as plain frozen rows and columns?

Nothing in here depends on when or where a trial ran, except its cost: trials are named without the study's
random id, and of a step that several attempts reported the last report stands.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from orchestrator.ledger import Ledger, paging
from orchestrator.ledger.costs import added, rank, run_hours
from orchestrator.ledger.records import ENDED, RESULTS, StoredEvent, StudyState, TrialRow, TrialState
from orchestrator.readings import states
from orchestrator.readings.failures import failure
from orchestrator.study.configs import expected_configs
from orchestrator.study.space import Point
from orchestrator.study.spec import Arm, StudySpec
from trainer.config.inherit import inherit, learns
from trainer.protocol import COUNTS, SECONDS

PAGE_EVENTS = 1000
PEAK_MEMORY = "peak_memory_bytes"  # what a run says of itself in its last report


@dataclass(frozen=True)
class Trial:
    """One trial. `value` is the objective of one that completed, and None for every other."""

    name: str  # arm.replicate.index
    trial_id: str
    arm: str
    replicate: int
    index: int
    seed: int
    point: Point
    config: Mapping[str, Any]
    state: TrialState
    value: float | None
    values: Mapping[str, float]
    charged: Mapping[str, float]
    productive: Mapping[str, float]
    failures: int = 0  # attempts in which the training code failed
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def hours(self) -> float:
        return run_hours(self.charged)

    @property
    def share_done(self) -> float:
        """Its steps over those of one whole run, repeated ones included. What a run does not say of its steps
        counts as a whole run."""
        steps = self.config.get("steps")
        if not isinstance(steps, int) or steps < 1 or "steps" not in self.charged:
            return float(self.ended)
        return self.charged["steps"] / steps


@dataclass(frozen=True)
class Choice:
    """What a search chose, and the runs of that point by which it was: one, or one in each replicate."""

    runs: tuple[Trial, ...]

    @property
    def point(self) -> Point:
        return self.runs[0].point

    @property
    def value(self) -> float:
        return fmean(run.value for run in self.runs if run.value is not None)


@dataclass(frozen=True)
class Frame:
    """A study as it stands. Trials by arm, in the order of the spec, of the replicates, of the trials."""

    spec: StudySpec
    state: StudyState
    reason: str
    trials: Mapping[str, tuple[Trial, ...]]
    added: Mapping[str, int]  # arm -> trials that `extend` added, in each replicate
    learns: Mapping[str, Sequence[str]]  # arm -> the hyperparameters that its runs learn

    @property
    def status(self) -> str:
        running = sum(t.state is TrialState.RUNNING for of in self.trials.values() for t in of)
        return states.status(self.state, running)

    @property
    def finished(self) -> bool:
        return self.state is StudyState.COMPLETED

    @property
    def replicated(self) -> bool:
        return any(self.spec.replicates_of(arm) > 1 for arm in self.spec.arms)

    @property
    def cut_short(self) -> str:
        """Why it is not, or not yet, what was planned; empty for a study that ended as planned. Of those that
        ended only one whose budget ended it has a reason."""
        if self.state is StudyState.CANCELLED:
            return "The study was cancelled before its end."
        if not self.finished:
            return f"The study is {self.status} and has not ended."
        return self.reason and f"The study did not end as planned: {self.reason}"

    @property
    def failure(self) -> str:
        """Why nothing worked, of a study that ended without a run that completed; else empty."""
        trials = [trial for of in self.trials.values() for trial in of]
        if not self.finished:
            return ""
        counts = Counter(str(trial.state) for trial in trials)
        return failure(counts, (t.reason for t in trials if t.state is TrialState.FAILED))

    @property
    def minimize(self) -> bool:
        return self.spec.objective.minimizes

    def of(self, arm: Arm) -> tuple[Trial, ...]:
        return self.trials[arm.name]

    def requested(self, arm: Arm) -> int:
        return self.spec.requested(arm, self.added)

    def best(self, arm: Arm, *, replicate: int | None = None) -> Trial | None:
        """The arm's completed trial with the best objective; of equals the first. Over several replicates it
        is the luckiest of their draws: what was chosen is told by `choices`."""
        valid = [t for t in self.of(arm) if t.value is not None and replicate in (None, t.replicate)]
        return min(valid, key=partial(rank, minimize=self.minimize), default=None)

    def choices(self, arm: Arm) -> tuple[Choice, ...]:
        """What the arm chose in each replicate, which is what the arms that follow it run. A grid that none
        follows asks which point is best over all of them: the one with the best mean, of those with a value
        in every replicate."""
        replicates = range(self.spec.replicates_of(arm))
        if arm.is_grid and not any(a.after and a.after.arm == arm.name for a in self.spec.arms):
            points: dict[int, list[Trial]] = {}  # a grid's point follows from the index
            for trial in (t for t in self.of(arm) if t.value is not None):
                points.setdefault(trial.index, []).append(trial)
            whole = [Choice(tuple(of)) for of in points.values() if len(of) == len(replicates)]
            if whole:
                return ((min if self.minimize else max)(whole, key=lambda choice: choice.value),)
        best = (self.best(arm, replicate=replicate) for replicate in replicates)
        return tuple(Choice((trial,)) for trial in best if trial is not None)

    def chosen_value(self, arm: Arm, metric: str) -> float | None:
        """Of the search runs that an arm chose, on the search seeds: the mean over the replicates."""
        met = [self.value_of(run, metric) for choice in self.choices(arm) for run in choice.runs]
        known = [value for value in met if value is not None]
        return fmean(known) if known and len(known) == len(met) else None

    def confirming(self, arm: Arm) -> tuple[Trial, ...]:
        """The trials that ran this arm's choice on fresh seeds."""
        return tuple(trial for each in self.confirmations(arm) for trial in self.of(each))

    def confirmations(self, arm: Arm) -> tuple[Arm, ...]:
        return self.spec.confirmations(arm)

    def selections(self, arm: Arm) -> int:
        """How many choices of its own stand behind an arm's runs on fresh seeds; 0 where nothing was chosen,
        its settings being those of the spec."""
        most = max((self.spec.replicates_of(a) for a in self.confirmations(arm)), default=1)
        if arm.space:
            return min(most, self.spec.replicates_of(arm))
        return 0 if arm.after is None else min(most, self.selections(self.spec.arm(arm.after.arm)))

    def searches(self) -> list[Arm]:
        """The arms whose runs are compared to choose one: no confirmations, no repetitions on fresh seeds."""
        return [a for a in self.spec.compared if not (self.spec.confirms(a) or a.fresh_seeds)]

    def spent(self, arm: Arm, of: Callable[[Trial], float]) -> float:
        """What one choice of the arm cost: all runs that led to it, in the mean over its replicates; those of
        an arm that it follows among them. Where nothing was chosen the runs on fresh seeds are repetitions,
        and it cost one: all that was charged, over those that gave a result."""
        own = self.of(arm)
        results = sum(trial.state in RESULTS for trial in own)
        times = max(1, results) if arm.fresh_seeds else self.spec.replicates_of(arm)
        mine = math.fsum(map(of, own)) / times
        return mine + (self.spent(self.spec.arm(arm.after.arm), of) if arm.after else 0.0)

    def lower_is_better(self, metric: str) -> bool:
        """Taken so where nobody knows (see `StudySpec.goal_of`); no new claim is about such a metric."""
        return self.spec.goal_of(metric) != "maximize"

    def value_of(self, trial: Trial, metric: str) -> float | None:
        """A metric of a completed trial; None where it was not reported, or the trial has no result."""
        if metric == self.spec.objective.metric:
            return trial.value
        return trial.values.get(metric) if trial.state is TrialState.COMPLETED else None

    def row_of(self, arm: Arm) -> str:
        return self.spec.row_of(arm)

    def columns(self) -> tuple[str, ...]:
        return self.spec.columns()

    def arm_at(self, row: str, column: str) -> Arm | None:
        return self.spec.arm_at(row, column)


def planned(spec: StudySpec) -> Frame:
    """A study before its first trial."""
    none: dict[str, tuple[Trial, ...]] = {arm.name: () for arm in spec.arms}
    return Frame(spec, StudyState.RUNNING, "", none, added={}, learns={})


def read(ledger: Ledger, study: str) -> Frame:
    """The study of that id or name."""
    row = ledger.study(study)
    spec = StudySpec.stored(row.spec)
    trials: dict[str, list[Trial]] = {arm.name: [] for arm in spec.arms}
    for trial in ledger.trials(row.study_id):
        trials[trial.arm].append(_trial(trial))
    return Frame(
        spec=spec,
        state=row.state,
        reason=row.reason,
        trials={arm: tuple(of) for arm, of in trials.items()},
        added=dict(row.extra_trials),
        learns=_learned_before(spec) if row.learns is None else row.learns,
    )


def _learned_before(spec: StudySpec) -> dict[str, Sequence[str]]:
    """Of a study that was created before its row told it: then only the trainer's configs could say it."""
    return {arm.name: learns(config) for arm, config in expected_configs(spec, partial(inherit, folder=None))}


def _trial(row: TrialRow) -> Trial:
    completed = row.state is TrialState.COMPLETED
    return Trial(
        name=f"{row.arm}.{row.replicate}.{row.index}",
        trial_id=row.trial_id,
        arm=row.arm,
        replicate=row.replicate,
        index=row.index,
        seed=int(row.config.get("seed", 0)),
        point=row.point,
        config=row.config,
        state=row.state,
        value=row.value if completed and row.value is not None and math.isfinite(row.value) else None,
        values={name: value for name, value in row.values.items() if math.isfinite(value)},
        charged=row.charged,
        productive=row.productive,
        failures=row.failures,
        reason=row.reason,
    )


def metrics(frame: Frame) -> set[str]:
    """All that some run ended with."""
    return {name for of in frame.trials.values() for trial in of for name in trial.values}


# -- what runs said on the way ---------------------------------------------------------------------------
Curve = tuple[tuple[int, float], ...]  # (step, value), by step


@dataclass(frozen=True)
class Curves:
    """What one trial reported by step: its values (train_loss, loss …) and its hyperparameters."""

    values: Mapping[str, Curve]
    hyper: Mapping[str, Curve]


def curves(ledger: Ledger, trials: Iterable[Trial]) -> dict[str, Curves]:
    """By the trial's name."""
    return {trial.name: _curves(ledger, trial.trial_id) for trial in trials}


def _curves(ledger: Ledger, trial_id: str) -> Curves:
    return curves_of(paging.events(ledger, trial_id=trial_id))


def curves_of(said: Iterable[StoredEvent]) -> Curves:
    values: dict[str, dict[int, float]] = {}
    hyper: dict[str, dict[int, float]] = {}
    for stored in said:
        event = stored.event
        for into, part in ((values, "values"), (hyper, "hyper")):
            for name, value in event.payload.get(part, {}).items():
                if isinstance(value, int | float) and math.isfinite(value):
                    into.setdefault(name, {})[event.step] = float(value)
    return Curves(
        *({name: tuple(sorted(of.items())) for name, of in each.items()} for each in (values, hyper))
    )


def provenance(ledger: Ledger, trials: Iterable[Trial]) -> list[Mapping[str, Any]]:
    """On what each of these trials obtained its result: of its last attempt."""
    attempts = (ledger.attempts(trial.trial_id) for trial in trials)
    return [of[-1].provenance for of in attempts if of and of[-1].provenance]


# -- what it cost ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cost:
    """All that an arm was charged, failed and repeated work included, and how much of it was waste."""

    runs: int
    steps: float
    tokens: float
    flops: float
    train_hours: float
    eval_hours: float
    compile_hours: float  # of whoever compiled first: others find the programs
    other_hours: float  # waiting, checkpoints, logging
    run_hours: float
    wall_hours: float | None  # of a single arm alone, on so many slots as is stated
    chip_hours: float
    wasted_hours: float  # of run_hours: what led to no result
    peak_memory_bytes: float | None


def cost(frame: Frame, arms: Sequence[Arm], *, slots: int, heard: Mapping[str, Curves] | None = None) -> Cost:
    """Of these arms together. Memory is known of the trials whose curves were read."""
    trials = [t for arm in arms for t in frame.of(arm)]
    ended = [t for t in trials if t.ended]
    charged = added(*(t.charged for t in trials))
    steps, tokens, flops = (charged.get(name, 0.0) for name in COUNTS)
    by_clock = {name: charged.get(name, 0.0) / 3600 for name in SECONDS}
    hours = run_hours(charged)
    said = [heard[t.name].values.get(PEAK_MEMORY, ()) for t in ended if heard and t.name in heard]
    useful = sum(run_hours(t.productive) for t in ended if t.state in RESULTS)
    return Cost(
        runs=len(ended),
        steps=steps,
        tokens=tokens,
        flops=flops,
        train_hours=by_clock["train_s"],
        eval_hours=by_clock["eval_s"],
        compile_hours=by_clock["compile_s"],
        other_hours=by_clock["other_s"],
        run_hours=hours,
        wall_hours=_wall_hours(frame, arms[0], slots=slots) if len(arms) == 1 else None,
        chip_hours=hours * frame.spec.resources.chips,
        wasted_hours=max(0.0, sum(t.hours for t in ended) - useful),
        peak_memory_bytes=max((value for points in said for _, value in points), default=None),
    )


def _wall_hours(frame: Frame, arm: Arm, *, slots: int) -> float:
    return max((finish for finish, _ in schedule(frame, arm, slots=slots)), default=0.0)


def schedule(
    frame: Frame, arm: Arm, *, slots: int, replicate: int | None = None
) -> list[tuple[float, Trial]]:
    """After how many hours on `slots` slots each ended trial would be done, earliest first: the arm alone.

    Bayesian proposals wait for their window, as they did; downtime and other arms' work count nothing.
    """
    ended = [t for t in frame.of(arm) if t.ended and replicate in (None, t.replicate)]
    window = arm.window if arm.bayesian else len(ended)
    lanes: dict[int, list[Trial]] = {}
    for trial in ended:
        lanes.setdefault(trial.replicate, []).append(trial)
    free = [0.0] * slots
    done: list[tuple[float, Trial]] = []
    latest: dict[int, list[float]] = {replicate: [] for replicate in lanes}  # of the first, of two, …
    for i in range(max(map(len, lanes.values()), default=0)):
        for replicate, lane in lanes.items():
            if i < len(lane):
                before = latest[replicate]
                told = before[i - window] if i >= window else 0.0
                finish = max(heapq.heappop(free), told) + lane[i].hours
                heapq.heappush(free, finish)
                before.append(max(finish, before[-1]) if before else finish)
                done.append((finish, lane[i]))
    return sorted(done, key=lambda pair: pair[0])
