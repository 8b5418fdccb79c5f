"""How many runs is a study, what will they cost, and how long will it take: before anything is spent?

The wall clock is predicted by list scheduling with the engine's own rules. A slot holds one run. An arm
that follows another begins, replicate by replicate, when that one has ended; a Bayesian arm begins its
run i once runs 0 to i - window have ended; all other runs may begin at once. A free slot takes, of the
runs that may begin, one of the arm with the most rounds (runs left over window) still to go in turn; on
a tie the earlier arm. Start-up, retries and pruning are not foreseen.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.ground import durations
from orchestrator.ground.errors import BadSpec
from orchestrator.study.after import POOLED
from orchestrator.study.spec import Arm, Phase, StudySpec, Take

PHASES: tuple[Phase, ...] = ("prepare", "search", "confirm", "control")
MOST_SCHEDULED = 100_000  # runs, about a second; beyond this the wall clock is not predicted
# Paths at which any value costs a run about as much as another.
COST_THE_SAME = frozenset(
    {"seed", "guidance.eta", "guidance.reach", "schedule.warmup_steps"}
    | {f"optimizer.{name}" for name in ("alpha", "beta1", "beta2", "eps", "learning_rate", "weight_decay")}
)
TABLE_HEADER = ("arm", "phase", "method", "runs", "each", "compute time", "chip-hours", "waits for")


@dataclass(frozen=True)
class Cost:
    """Trials of one replicate, runs of all replicates, and what they take; None where it is unknown."""

    trials: int
    runs: int
    run_hours: float | None
    chip_hours: float | None


@dataclass(frozen=True)
class ArmPlan:
    arm: str
    phase: Phase
    method: str
    row: str
    column: str
    replicates: int
    hours_per_run: float | None
    cost: Cost
    after: str | None  # the arm that must end first
    take: Take | None  # what is taken of it
    others: tuple[str, ...]  # further arms that must end first
    window: int | None  # of a Bayesian arm: how many of its runs may be under way at once

    @property
    def waits_for(self) -> str:
        """What a run of this arm waits for, in words."""
        source = self.after or ""
        if self.take not in (None, "config"):
            source += f" ({self.take})"
        if self.others:
            source += f" and {len(self.others)} more"
        if self.window is not None:
            own = "its run before" if self.window == 1 else f"all but its last {self.window - 1} runs"
            return f"{source}, then {own}" if source else own
        return source


@dataclass(frozen=True)
class ClaimPlan:
    """What the study's pairs can show of its claim: by the power of the test that decides."""

    kind: str
    columns: int  # in which the claim is tested
    at_least: int | None
    unit: str  # what a pair is of: seed or replicate
    pairs: int  # in the column that has fewest
    level: float  # of the test in one column
    two_sided: bool
    fewest: int  # pairs below which the test cannot decide
    effect: float | None  # in paired standard deviations: what these pairs see with 80% power
    needed: dict[str, int | None]  # by effect: pairs for that power; None: over 1,000
    sentence: str
    average: bool = False  # whether it is about the mean over those columns


@dataclass(frozen=True)
class Plan:
    study: str
    slots: int
    chips_per_run: float
    arms: tuple[ArmPlan, ...]
    search: Cost
    confirm: Cost
    control: Cost
    prepare: Cost
    total: Cost
    wall_hours: float | None
    notes: tuple[str, ...] = ()  # what is unknown or doubtful, and why
    programs: int | None = None  # to compile, where none has been kept; None: nobody asked the entrypoint
    claim: ClaimPlan | None = None  # None: none is registered, or nobody asked what its test can see

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_table_rows(self) -> list[tuple[str, ...]]:
        """One row an arm, then one a phase, then the total; the columns are TABLE_HEADER."""
        rows = [
            (a.arm, a.phase, a.method, *_cells(a.cost, _time(a.hours_per_run)), a.waits_for)
            for a in self.arms
        ]
        phases = ((phase, cost) for phase in PHASES if (cost := self.of(phase)).runs)
        totals = (*phases, ("total", self.total))
        return rows + [(name, "", "", *_cells(cost, ""), "") for name, cost in totals]

    def of(self, phase: Phase) -> Cost:
        cost: Cost = getattr(self, phase)
        return cost


def plan(spec: StudySpec, *, slots: int, notes: Sequence[str] = ()) -> Plan:
    """The plan of a study on `slots` slots. `notes`: what else is to be said of what was asked for."""
    if slots < 1:
        raise BadSpec(f"A plan was asked for {slots} slots. Allowed is 1 or more. Give one per worker.")
    arms = tuple(_arm_plan(spec, arm) for arm in spec.arms)
    total = _summed(arms)
    gaps = []
    unknown = [a.arm for a in arms if a.hours_per_run is None]
    if unknown:
        gaps.append(
            f"The cost is unknown: no run_hours for {', '.join(unknown)}. "
            f"State what one run is expected to take."
        )
    elif total.runs > MOST_SCHEDULED:
        gaps.append(
            f"The wall clock is not predicted above {MOST_SCHEDULED:,} runs; these are {total.runs:,}."
        )
    return Plan(
        study=spec.name,
        slots=slots,
        chips_per_run=spec.resources.chips,
        arms=arms,
        search=_summed([a for a in arms if a.phase == "search"]),
        confirm=_summed([a for a in arms if a.phase == "confirm"]),
        control=_summed([a for a in arms if a.phase == "control"]),
        prepare=_summed([a for a in arms if a.phase == "prepare"]),
        total=total,
        wall_hours=None if gaps else _wall_hours(arms, slots=slots),
        notes=(*gaps, *notes),
    )


def refuse_above(planned: Plan, chip_hours: float) -> None:
    """Raise BadSpec unless all of the plan is known to cost at most this many chip-hours."""
    cost = planned.total.chip_hours
    if cost is None:
        raise BadSpec(
            f"Nothing was started: whether {planned.study} stays within {chip_hours:,g} chip-hours "
            f"is unknown. {planned.notes[0]}"
        )
    if cost > chip_hours:
        raise BadSpec(
            f"Nothing was started: {planned.study} is planned at {cost:,.6g} chip-hours, and "
            f"{chip_hours:,g} are allowed. Ask for fewer trials, or raise --refuse-above."
        )


def _arm_plan(spec: StudySpec, arm: Arm) -> ArmPlan:
    replicates = spec.replicates_of(arm)
    runs = arm.trials * replicates
    run_hours = None if arm.run_hours is None else runs * arm.run_hours
    chip_hours = None if run_hours is None else run_hours * spec.resources.chips
    return ArmPlan(
        arm=arm.name,
        phase=arm.phase,
        method=arm.method,
        row=arm.row,
        column=arm.column,
        replicates=replicates,
        hours_per_run=arm.run_hours,
        cost=Cost(trials=arm.trials, runs=runs, run_hours=run_hours, chip_hours=chip_hours),
        after=arm.after.arm if arm.after else None,
        take=arm.after.take if arm.after else None,
        others=arm.after.others if arm.after else (),
        window=arm.window if arm.bayesian else None,
    )


def _summed(arms: Sequence[ArmPlan]) -> Cost:
    costs = [a.cost for a in arms]
    hours = [c.run_hours for c in costs if c.run_hours is not None]
    chip_hours = [c.chip_hours for c in costs if c.chip_hours is not None]
    return Cost(
        trials=sum(c.trials for c in costs),
        runs=sum(c.runs for c in costs),
        run_hours=sum(hours) if len(hours) == len(costs) else None,
        chip_hours=sum(chip_hours) if len(chip_hours) == len(costs) else None,
    )


# -- the wall clock --------------------------------------------------------------------------------------


@dataclass
class _Lane:
    """One arm in one replicate. Its runs are equally long, so they end in the order they began."""

    order: int
    hours: float
    trials: int
    window: int  # of runs under way; for one that never waits, all of them
    rounds_per_run: float  # 0: its runs need no turns
    waits: int  # for so many lanes that it follows
    followers: list[_Lane] = field(default_factory=list)
    begun: int = 0
    ended: int = 0
    ready: bool = False

    def may_begin(self) -> bool:
        return not self.waits and self.begun < self.trials and self.begun - self.ended < self.window

    def urgency(self) -> tuple[float, int]:
        return (-(self.trials - self.begun) * self.rounds_per_run, self.order)


def _lanes(arms: Sequence[ArmPlan]) -> list[_Lane]:
    lanes: list[_Lane] = []
    by_arm: dict[str, list[_Lane]] = {}
    for arm in arms:
        for replicate in range(arm.replicates):
            lane = _Lane(
                order=len(lanes),
                hours=arm.hours_per_run or 0.0,
                trials=arm.cost.trials,
                window=arm.window or arm.cost.trials,
                rounds_per_run=1 / arm.window if arm.window else 0.0,
                waits=0,
            )
            lanes.append(lane)
            by_arm.setdefault(arm.arm, []).append(lane)
            for source in _sources(arm, by_arm, replicate):
                source.followers.append(lane)
                lane.waits += 1
    return lanes


def _sources(arm: ArmPlan, lanes: Mapping[str, list[_Lane]], replicate: int) -> list[_Lane]:
    """The lanes that this replicate of an arm waits for. One with more replicates than the arm that it
    follows follows the last of them; what is taken of many runs is taken of all replicates."""
    if arm.after is None:
        return []
    if arm.take in POOLED:
        return [lane for name in (arm.after, *arm.others) for lane in lanes[name]]
    followed = lanes[arm.after]
    return [followed[min(replicate, len(followed) - 1)]]


def _wall_hours(arms: Sequence[ArmPlan], *, slots: int) -> float:
    """When the last run ends."""
    ready: list[tuple[tuple[float, int], _Lane]] = []
    running: list[tuple[float, int, _Lane]] = []  # by end; the order begun breaks ties
    now, begun = 0.0, 0

    def offer(lane: _Lane) -> None:
        if not lane.ready and lane.may_begin():
            lane.ready = True
            heapq.heappush(ready, (lane.urgency(), lane))

    for lane in _lanes(arms):
        offer(lane)
    while ready or running:
        while ready and len(running) < slots:
            _, lane = heapq.heappop(ready)
            lane.ready = False
            lane.begun += 1
            begun += 1
            heapq.heappush(running, (now + lane.hours, begun, lane))
            offer(lane)
        now, _, lane = heapq.heappop(running)
        lane.ended += 1
        offer(lane)
        if lane.ended == lane.trials:
            for follower in lane.followers:
                follower.waits -= 1
                offer(follower)
    return now


# -- words -----------------------------------------------------------------------------------------------


def _cells(cost: Cost, each: str) -> tuple[str, ...]:
    chip_hours = "unknown" if cost.chip_hours is None else durations.three_digits(cost.chip_hours)
    return (f"{cost.runs:,}", each, _time(cost.run_hours), chip_hours)


def _time(hours: float | None) -> str:
    return "unknown" if hours is None else durations.hours(hours)
