"""How far is a study? Its lanes (one per arm and replicate), as read from the ledger.

The engine keeps a course between ticks so that a tick does not read what has long ended. A course is
only a reading: it is dropped and read anew at every change of leader and after every failed write.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.engine.rungs import Ladder, Lags
from orchestrator.ground.errors import BadSpec
from orchestrator.ledger import paging
from orchestrator.ledger.base import Ledger
from orchestrator.ledger.costs import rank, run_hours
from orchestrator.ledger.records import ENDED, StudyRow, TrialRow, TrialState, lane_of, trial_id
from orchestrator.search import derive_seed, searcher
from orchestrator.search.base import Observation, Point, Request, Searcher
from orchestrator.study.configs import default_point, training_seed
from orchestrator.study.space import Value
from orchestrator.study.spec import After, Arm, StudySpec


@dataclass(frozen=True)
class _Gone:
    """Stands for a searcher that cannot be loaded here: what runs is collected, and nothing is proposed."""

    why: BadSpec
    uses_history = False

    def check(self, arm: Arm) -> list[str]:
        return [str(self.why)]

    def suggest(self, request: Request) -> dict[str, Value]:
        raise self.why


def _searcher(arm: Arm) -> Searcher:
    try:
        return searcher(arm.method)
    except BadSpec as why:
        return _Gone(why)


@dataclass
class Lane:
    """One arm in one replicate: which trial comes next, and what it may know."""

    spec: StudySpec
    arm: Arm
    replicate: int
    requested: int
    searcher: Searcher
    source: Lane | None = None  # the lane this one follows
    pooled: tuple[Lane, ...] = ()  # where it takes of many runs: all lanes that they are in, in order
    remembers: bool = False  # its results, for those that pool them or take one by its number
    lends: Literal["", "best", "each"] = ""  # whose parameters those that follow it start from
    ladder: Ladder | None = None  # where the arm has rungs
    next_index: int = 0
    waiting: list[TrialRow] = field(default_factory=list)  # by index
    open_hours: dict[int, float] = field(default_factory=dict)  # added and not ended -> charged so far
    history: dict[int, Observation] = field(default_factory=dict)  # only where the searcher looks at it
    points: dict[int, Point] = field(default_factory=dict)  # likewise
    results: dict[int, TrialRow] = field(default_factory=dict)  # completed ones, where it remembers
    best: TrialRow | None = None
    failed: dict[int, str] = field(default_factory=dict)  # the reasons, of the first trials alone
    ended: int = 0
    ended_hours: float = 0.0

    @property
    def done(self) -> bool:
        return self.next_index >= self.requested and not self.open_hours

    @property
    def running(self) -> int:
        """Trials that are neither waiting nor ended."""
        return len(self.open_hours) - len(self.waiting)

    @property
    def sequential_work(self) -> float:
        """Rounds that cannot overlap: what the wall clock is bound by, so the longest goes first."""
        left = self.requested - self.next_index + len(self.open_hours)
        return left / self.arm.window if self.searcher.uses_history else 0.0

    @property
    def expected_hours(self) -> float:
        """What a run of this lane is expected to take: as stated, else the mean so far."""
        if self.arm.run_hours is not None:
            return self.arm.run_hours
        return self.ended_hours / self.ended if self.ended else 0.0

    @property
    def sources_done(self) -> bool:
        return (self.source is None or self.source.done) and all(lane.done for lane in self.pooled)

    def on_other_seeds(self, index: int) -> list[TrialRow]:
        """Of the runs that it pools, those with a result on another training seed than its trial's. Runs that
        were added to an arm later are left out, so that a course does not depend on when it is made."""
        own = training_seed(self.spec, self.arm, self.replicate, index)
        return [
            lane.results[i]
            for lane in self.pooled
            for i in sorted(lane.results)
            if i < lane.arm.trials and training_seed(self.spec, lane.arm, lane.replicate, i) != own
        ]

    def follows_nothing(self, index: int) -> str:
        """Why there is nothing that its trial could take, though all that it follows has ended; "" if not."""
        if self.source is None or not self.sources_done:
            return ""
        if self.source.best is None and self.source.arm.phase != "prepare":
            return f"No valid result in {self.source.arm.name}, which it follows."
        if self.followed_run(index) is None:
            return f"No valid result in run {index} of {self.source.arm.name}, from which it starts."
        if self.pooled and not self.on_other_seeds(index):
            names = ", ".join(dict.fromkeys(lane.arm.name for lane in self.pooled))
            return f"No valid result on another training seed than its own in {names}, which it follows."
        return ""

    def followed_run(self, index: int) -> TrialRow | None:
        """The run that its trial takes from: the best one of the lane that it follows, or that of its own
        number."""
        if self.source is None or not self.spec.starts_by_number(self.arm):
            return None if self.source is None else self.source.best
        return self.source.results.get(index if self.source.arm.trials > 1 else 0)

    def can_propose(self) -> bool:
        if (
            self.next_index >= self.requested
            or not self.sources_done
            or self.follows_nothing(self.next_index)
        ):
            return False
        if not self.searcher.uses_history:
            return True
        return all(index > self.next_index - self.arm.window for index in self.open_hours)

    def request(self) -> Request:
        """What the searcher is told: nothing that depends on when a trial happened to end."""
        index = self.next_index
        horizon = index - self.arm.window  # the last index that counts as finished
        return Request(
            space=self.arm.space,
            default=default_point(self.spec, self.arm),
            index=index,
            seed=derive_seed(self.spec.name, self.spec.seeds.search, self.arm.name, self.replicate),
            startup_trials=self.arm.startup_trials,
            minimize=self.spec.objective.minimizes,
            finished=tuple(self.history[i] for i in sorted(self.history) if i <= horizon),
            pending=tuple(self.points[i] for i in sorted(self.points) if i > horizon),
        )

    def added(self, trial: TrialRow) -> None:
        """A trial was added, or read back; it waits, runs or has ended."""
        self.next_index = max(self.next_index, trial.index + 1)
        if self.searcher.uses_history:
            self.points[trial.index] = trial.point
        if trial.state in ENDED:
            self.ended_as(trial)
            return
        self.open_hours[trial.index] = run_hours(trial.charged)
        if trial.state is TrialState.WAITING:
            self.waits(trial)

    def waits(self, trial: TrialRow) -> None:
        if trial.index not in self.open_hours:  # a failed trial that is tried again
            self.history.pop(trial.index, None)
            self.failed.pop(trial.index, None)
            self.ended -= 1
            self.ended_hours -= run_hours(trial.charged)
        self.open_hours[trial.index] = run_hours(trial.charged)
        if all(w.index != trial.index for w in self.waiting):
            bisect.insort(self.waiting, trial, key=lambda t: t.index)

    def ended_as(self, trial: TrialRow) -> None:
        self.open_hours.pop(trial.index, None)
        self.ended += 1
        self.ended_hours += run_hours(trial.charged)
        if trial.state is TrialState.FAILED and trial.index < self.spec.retries.stop_arm_after:
            self.failed[trial.index] = trial.reason
        diverged = trial.state is TrialState.DIVERGED
        if self.searcher.uses_history:
            self.history[trial.index] = Observation(trial.index, trial.point, trial.value, diverged)
        prepared = trial.state is TrialState.COMPLETED and self.arm.phase == "prepare"
        valued = trial.state is TrialState.COMPLETED and trial.value is not None
        if self.remembers and (prepared or valued):
            self.results[trial.index] = trial
        if valued and self._beats(trial):
            self.best = trial

    def useless(self, trial: TrialRow, best_before: TrialRow | None) -> TrialRow | None:
        """Whose parameters nobody needs after this end: the best so far and confirmations stay, the rest by
        `keep`. A failed trial keeps its own whatever that says: tried again, it goes on from there. So does
        a run from whose parameters others start, as long as the study is there: it may be extended."""
        keep = "best" if self.lends and self.spec.keep == "none" else self.spec.keep
        if trial.state is TrialState.FAILED or keep == "all":
            return None
        if self.lends == "each" and trial.state is TrialState.COMPLETED:
            return None
        if keep == "best" and self.arm.phase == "confirm":
            return None
        return trial if keep == "none" or self.best is not trial else best_before

    def _beats(self, trial: TrialRow) -> bool:
        """Better than the best so far; of equals the earlier index, whichever ended first."""
        minimize = self.spec.objective.minimizes
        return self.best is None or rank(trial, minimize=minimize) < rank(self.best, minimize=minimize)


@dataclass
class Course:
    """All lanes of one study."""

    study_id: str
    spec: StudySpec
    lanes: dict[tuple[str, int], Lane]

    @classmethod
    def read(cls, study: StudyRow, trials: Iterable[TrialRow]) -> Course:
        spec = StudySpec.stored(study.spec)
        lanes: dict[tuple[str, int], Lane] = {}
        for arm in spec.arms:
            for replicate in range(spec.replicates_of(arm)):
                lanes[arm.name, replicate] = Lane(
                    spec=spec,
                    arm=arm,
                    replicate=replicate,
                    requested=arm.trials + study.extra_trials.get(arm.name, 0),
                    searcher=_searcher(arm),
                    source=None if arm.after is None else lanes[followed(spec, arm.after, replicate)],
                    pooled=tuple(lanes[key] for key in _pooled(spec, arm.after)),
                    ladder=None if arm.rungs is None else Ladder(arm.rungs, spec.objective),
                )
        for source in (each for lane in lanes.values() for each in lane.pooled):
            source.remembers = True
        for lane in lanes.values():
            if lane.source is not None and lane.arm.after is not None and lane.arm.after.take == "checkpoint":
                by_number = spec.starts_by_number(lane.arm)
                lane.source.lends = "each" if by_number else "best"
                lane.source.remembers |= by_number
        course = cls(study.study_id, spec, lanes)
        for trial in trials:
            course.lane(trial).added(trial)
        return course

    def lane(self, trial: TrialRow) -> Lane:
        return self.lanes[trial.arm, trial.replicate]

    def lanes_of(self, arm: Arm) -> list[Lane]:
        """By replicate."""
        return [self.lanes[arm.name, replicate] for replicate in range(self.spec.replicates_of(arm))]

    def climb(self, ledger: Ledger, spoke: Collection[str]) -> None:
        """Read what these trials have stored since the last time: rungs are judged by that alone."""
        for (arm, replicate), lane in self.lanes.items():
            if lane.ladder is not None:
                its_own = trial_id(self.study_id, arm, replicate, 0).removesuffix("0")
                mine = [trial for trial in spoke if trial.startswith(its_own)]
                lane.ladder.hear(
                    [s for t in mine for s in paging.events(ledger, after=lane.ladder.cursor, trial_id=t)]
                )

    def lags(self, trial: str) -> Lags | None:
        """Why a trial is to be stopped at a rung; None for one that may go on."""
        ladder = self.lanes[lane_of(trial)].ladder
        return None if ladder is None else ladder.lags(trial)

    @property
    def done(self) -> bool:
        return all(lane.done for lane in self.lanes.values())

    def _committed_hours(self, reserving: bool) -> float:
        """All that was charged: to trials that have ended, and to earlier attempts of those that have not.
        `reserving`: and what those that run are expected to take."""
        spent = sum(lane.ended_hours + sum(lane.open_hours.values()) for lane in self.lanes.values())
        reserved = sum(lane.expected_hours * lane.running for lane in self.lanes.values())
        return spent + reserved if reserving else spent

    def budget_spent(self, *, reserving: bool = True) -> str | None:
        """Why nothing more is launched; None before. `reserving`: what runs counts as what it will take."""
        budget = self.spec.budget
        limits = (
            ("run-hours", budget.run_hours, 1),
            ("chip-hours", budget.chip_hours, self.spec.resources.chips),
        )
        for unit, limit, chips in limits:
            if limit is not None and (used := self._committed_hours(reserving) * chips) >= limit:
                return f"The budget of {limit:g} {unit} is spent or reserved ({used:.4g} {unit})."
        return None

    def next_lane(self) -> Lane | None:
        """The lane that a free slot serves: one with a trial that waits, else the longest chain.

        That changes the wall clock and never a proposal.
        """
        waiting = [lane for lane in self.lanes.values() if lane.waiting]
        ready = waiting or [lane for lane in self.lanes.values() if lane.can_propose()]
        return max(ready, key=lambda lane: lane.sequential_work, default=None)


def followed(spec: StudySpec, after: After, replicate: int) -> tuple[str, int]:
    """The lane that a following arm's replicate takes from: its own, or the last that there is."""
    source = spec.arm(after.arm)
    return source.name, spec.taken_from(source, replicate)


def _pooled(spec: StudySpec, after: After | None) -> Iterator[tuple[str, int]]:
    """The lanes of which an arm takes all runs."""
    for name in after.arms if after is not None and after.pools else ():
        yield from ((name, replicate) for replicate in range(spec.replicates_of(spec.arm(name))))


def followers(spec: StudySpec, lane: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """The lanes that take from this one, and those that take from them."""
    for arm in spec.arms:
        for replicate in range(spec.replicates_of(arm)):
            after = arm.after
            if after is not None and (
                followed(spec, after, replicate) == lane or lane in _pooled(spec, after)
            ):
                yield arm.name, replicate
                yield from followers(spec, (arm.name, replicate))
