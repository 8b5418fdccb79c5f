"""What do the pages of studies show? Readings of the ledger, as plain rows for the templates."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from dashboards.report import answer as report
from dashboards.report import figures, outcomes
from dashboards.report.answer import Answer
from dashboards.report.figures import Figure
from dashboards.report.pages import REHEARSAL
from orchestrator.engine.requests import closed, most_trials
from orchestrator.ledger import Ledger, Store, costs
from orchestrator.ledger.costs import run_hours
from orchestrator.ledger.records import StudyRow, StudyState, TrialRow, TrialState, Wish
from orchestrator.readings.overview import ArmLine, Overview, overview, share_ended, work_of
from orchestrator.readings.states import Status, status, under_way
from orchestrator.study.spec import StudySpec

STUDIES_A_PAGE, TRIALS_A_PAGE = 30, 100
KEPT_ANSWERS, KEPT_LINES = 16, 512
RESTS = 10  # so watching a study whose runs end all the time takes a tenth of a core, however large it is
SHOWN_STATES = ("completed", "diverged", "stopped", "failed", "running")  # of the bar, from the left
RESTING = (StudyState.COMPLETED, StudyState.CANCELLED)
AGAIN = ("resume", "extend")  # requests after which a study goes on
LEAST_SEEN = 0.05  # of the work, before it is told how much time is left
TRIAL_STATES = tuple(map(str, TrialState))

T = TypeVar("T")


@dataclass(frozen=True)
class Preset:
    """A study that can be created from the page."""

    name: str
    question: str
    sizes: tuple[str, ...]


# -- how far -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Segment:
    """A piece of a bar that is 100 wide."""

    state: str
    count: int
    start: float
    width: float


@dataclass(frozen=True)
class Progress:
    ended: int
    requested: int
    segments: tuple[Segment, ...]

    @property
    def words(self) -> str:
        """What the bar says, for those who do not see it."""
        counts = ", ".join(f"{each.count:,} {each.state}" for each in self.segments)
        return f"{self.ended:,} of {self.requested:,} runs ended" + (f": {counts}" if counts else "")


def progress(lines: Sequence[ArmLine]) -> Progress:
    requested = sum(line.requested for line in lines)
    segments: list[Segment] = []
    start = 0.0
    for state in SHOWN_STATES:
        count = sum(line.states.get(state, 0) for line in lines)
        if count and requested:
            width = 100 * count / requested
            segments.append(Segment(state, count, round(start, 3), round(width, 3)))
            start += width
    return Progress(sum(line.ended for line in lines), requested, tuple(segments))


# -- all studies -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class StudyLine:
    """One study in the list of all."""

    study: StudyRow
    question: str
    view: Overview
    progress: Progress
    best: ArmLine | None
    answer: str | None  # of one that has completed


@dataclass(frozen=True)
class Shelf:
    """One page of the studies, newest first."""

    lines: tuple[StudyLine, ...]
    counts: Mapping[str, int]  # by state, of all
    state: str  # the filter; "" for none
    start: int
    total: int  # that pass the filter

    @property
    def earlier(self) -> int | None:
        return self.start + STUDIES_A_PAGE if self.start + STUDIES_A_PAGE < self.total else None

    @property
    def later(self) -> int | None:
        return max(0, self.start - STUDIES_A_PAGE) if self.start else None


class Shelves:
    """Reads the list of studies. One at rest is not read again until one of its trials has moved."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: Kept[StudyLine] = Kept(KEPT_LINES)

    def page(self, *, state: str, start: int) -> Shelf:
        rows = self._ledger.studies()[::-1]
        going_on = self._ledger.counts_of([row.study_id for row in rows if row.state not in RESTING])
        told = [(row, status(row.state, under_way(going_on.get(row.study_id, {})))) for row in rows]
        counts = {str(each): sum(word is each for _, word in told) for each in Status}
        passing = [row for row, word in told if state in ("", word)]
        shown = passing[start : start + STUDIES_A_PAGE]
        moved = self._ledger.counts_of([row.study_id for row in shown if row.state in RESTING])
        lines = tuple(self._line(row, moved.get(row.study_id)) for row in shown)
        return Shelf(lines, counts, state, start, len(passing))

    def _line(self, row: StudyRow, counts: Mapping[Any, int] | None) -> StudyLine:
        if counts is None:  # it is not at rest
            return _study_line(self._ledger, row)
        version = (row.state, tuple(row.extra_trials.items()), tuple(sorted(counts.items())))
        return self._kept.get(row.study_id, version, lambda: _study_line(self._ledger, row))


def _study_line(ledger: Ledger, row: StudyRow) -> StudyLine:
    view = overview(ledger, row)
    return StudyLine(
        row,
        str(row.spec.get("question", "")),
        view,
        progress(view.arms),
        best_of(view),
        outcomes.of_studies(ledger, [row])[row.study_id],
    )


def best_of(view: Overview) -> ArmLine | None:
    """The arm that found the study's best objective: of the search, where it found any."""
    return view.best("search") or view.best()


# -- one study ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Concluded:
    """An answer, its figures, and a word that changes whenever they may."""

    version: str
    answer: Answer
    figures: tuple[Figure, ...]


class Answers:
    """What studies have found so far. Concluded anew only once a trial has moved, and not all the time."""

    def __init__(self, ledger: Ledger, *, slots: int, runs: Path | None = None) -> None:
        self._ledger, self._slots, self._runs = ledger, slots, runs
        self._kept: Kept[Concluded] = Kept(KEPT_ANSWERS)

    def of(self, view: Overview) -> Concluded:
        ended = [tuple(sorted((s, n) for s, n in line.states.items())) for line in view.arms]
        version = (view.status, view.reason, tuple(ended), tuple(line.attempts for line in view.arms))
        named = hashlib.sha256(repr(version).encode()).hexdigest()[:12]
        return self._kept.get(
            view.study_id,
            named,
            lambda: self._conclude(view.study_id, named),
            at_once=view.status not in (Status.WAITING, Status.RUNNING, Status.DRAINING),
        )

    def _conclude(self, study_id: str, version: str) -> Concluded:
        answer = report.gather(self._ledger, study_id, slots=self._slots, runs=self._runs)
        seen = answer.verdict.contrast
        drawn = figures.figures(answer.frame, answer.heard, answer.speedups, seen=seen)
        return Concluded(version, answer, tuple(drawn))


@dataclass(frozen=True)
class Asked:
    """Which trials a reader wants to see, and in which order: the query of the page's address."""

    arm: str = ""
    state: str = ""
    sort: str = "trial"  # a column; with a "-" before it, the largest first
    start: int = 0

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def query(self, **changes: Any) -> str:
        """The address of a variation; what is as usual is left out."""
        wanted, usual = replace(self, **changes), Asked()
        words = {each: getattr(wanted, each) for each in ("arm", "state", "sort", "start")}
        return "?" + urlencode({k: v for k, v in words.items() if v != getattr(usual, k)})

    def towards(self, column: str) -> str:
        """The address that sorts by a column; asked again, the other way round."""
        turned = self.column == column and not self.descending
        return self.query(sort=f"-{column}" if turned else column, start=0)


@dataclass(frozen=True)
class TrialTable:
    """One page of a study's trials."""

    trials: tuple[TrialRow, ...]
    asked: Asked
    total: int  # that pass the filter

    @property
    def end(self) -> int:
        return self.asked.start + len(self.trials)


# What each column of the trials sorts by; None comes last either way.
SORTS: Mapping[str, Callable[[TrialRow], Any]] = {
    "trial": lambda t: (t.arm, t.replicate, t.index),
    "state": lambda t: t.state,
    "value": lambda t: t.value,
    "steps": lambda t: t.charged.get("steps"),
    "hours": lambda t: run_hours(t.charged),
    "waste": lambda t: wasted_hours(t) or 0.0,
    "attempts": lambda t: t.attempts,
    "ended": lambda t: t.ended_at,
}


def wasted_hours(trial: TrialRow) -> float | None:
    """None while it has not ended."""
    return None if trial.ended_at is None else costs.wasted_hours(trial)


def trial_table(trials: Sequence[TrialRow], asked: Asked, *, arms: Sequence[str]) -> TrialTable:
    """Those of the asked arm and state, sorted; arms in the order of the spec."""
    passing = [t for t in trials if asked.arm in ("", t.arm) and asked.state in ("", t.state)]
    key = SORTS[asked.column]
    if asked.column == "trial":
        place = {arm: i for i, arm in enumerate(arms)}
        passing.sort(key=lambda t: (place[t.arm], t.replicate, t.index), reverse=asked.descending)
    else:
        known = sorted((t for t in passing if key(t) is not None), key=key, reverse=asked.descending)
        passing = known + [t for t in passing if key(t) is None]
    start = asked.start if asked.start < len(passing) else 0
    shown = passing[start : start + TRIALS_A_PAGE]
    return TrialTable(tuple(shown), replace(asked, start=start), len(passing))


# -- what it can be asked ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Room:
    """An arm that can get more trials."""

    arm: str
    replicates: int
    most: int  # more trials in each replicate
    hours: float | None  # what a run takes: by those that have ended, else as the spec expects


def room(spec: StudySpec, study: StudyRow, trials: Sequence[TrialRow]) -> tuple[Room, ...]:
    begun = {trial.arm for trial in trials}
    found = []
    for arm in spec.arms:
        most = most_trials(arm) - arm.trials - study.extra_trials.get(arm.name, 0)
        if most > 0 and not closed(spec, arm.name, begun=begun.__contains__):
            hours = [run_hours(t.charged) for t in trials if t.arm == arm.name and t.ended_at is not None]
            each = sum(hours) / len(hours) if hours else arm.run_hours
            found.append(Room(arm.name, spec.replicates_of(arm), most, each))
    return tuple(found)


@dataclass(frozen=True)
class StudyView:
    """All that the page of one study shows."""

    study: StudyRow
    spec: StudySpec
    view: Overview
    progress: Progress
    by_arm: Mapping[str, Progress]
    best: ArmLine | None
    found: Concluded
    trials: TrialTable
    requests: tuple[Wish, ...]
    room: tuple[Room, ...]
    left_s: float | None  # until the end, as predicted
    ended_at: float | None  # of the last run, once the study rests

    @property
    def live(self) -> int:
        """Runs under way: one count, of the reading that all else on the page is of."""
        return self.view.running

    @property
    def rehearsed(self) -> bool:
        return self.spec.entrypoint == REHEARSAL

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """What was asked for and has no answer yet."""
        return tuple(each.verb for each in self.requests if each.answer is None)

    @property
    def may(self) -> frozenset[str]:
        """What can be asked of it now, by somebody whose role allows that."""
        state = self.study.state
        of_state = {
            StudyState.RUNNING: {"pause", "drain", "cancel"},
            StudyState.PAUSED: {"resume", "cancel"},
            StudyState.DRAINED: {"resume", "cancel", *(["pause"] if self.live else [])},
        }
        found = of_state.get(state, set() if self.live else {"delete"})
        more = {"extend"} if self.room and state is not StudyState.CANCELLED else set()
        return frozenset(found | more)


def left_s(
    spec: StudySpec, view: Overview, trials: Sequence[TrialRow], wishes: Sequence[Wish], *, now: float
) -> float | None:
    """At the pace since its first run, or since it was last resumed or extended, by what each run is expected
    to take. Nothing is said before a twentieth was done since then."""
    if view.status not in ("running", "waiting") or not trials or view.ended >= view.requested:
        return None
    work = work_of(spec)
    again = [wish.asked_at for wish in wishes if wish.verb in AGAIN and wish.answer == ""]
    began = max([min(trial.created_at for trial in trials), *again])
    whole = sum(line.requested * work[line.arm] for line in view.arms)
    recent = [trial for trial in trials if trial.ended_at is not None and trial.ended_at >= began]
    seen = sum(work[trial.arm] for trial in recent) / whole
    return (now - began) * (1 - share_ended(view, work)) / seen if seen >= LEAST_SEEN else None


def study_view(store: Store, answers: Answers, name: str, asked: Asked, *, now: float) -> StudyView:
    row = store.study(name)
    spec = StudySpec.stored(row.spec)
    view = overview(store, row)
    trials = store.trials(row.study_id)
    wishes = tuple(store.wishes(row.study_id))
    ends = [trial.ended_at for trial in trials if trial.ended_at is not None]
    return StudyView(
        study=row,
        spec=spec,
        view=view,
        progress=progress(view.arms),
        by_arm={line.arm: progress([line]) for line in view.arms},
        best=best_of(view),
        found=answers.of(view),
        trials=trial_table(trials, asked, arms=[arm.name for arm in spec.arms]),
        requests=wishes,
        room=room(spec, row, trials),
        left_s=left_s(spec, view, trials, wishes, now=now),
        ended_at=max(ends, default=None) if row.state in RESTING else None,
    )


# -- what need not be read twice ---------------------------------------------------------------------------
@dataclass(frozen=True)
class _Value(Generic[T]):
    version: Hashable
    value: T
    rests_until: float


class Kept(Generic[T]):
    """The newest values by name, each with its version. Who asks while one is made waits for it."""

    def __init__(self, most: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._values: OrderedDict[str, _Value[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, version: Hashable, make: Callable[[], T], *, at_once: bool = True) -> T:
        """Of that version; but unless `at_once` an older one for RESTS times as long as that took to make."""
        with self._lock:
            there = self._values.get(name)
            begun = self._now()
            resting = there is not None and not at_once and begun < there.rests_until
            if there is None or (there.version != version and not resting):
                made = make()
                ended = self._now()
                there = self._values[name] = _Value(version, made, ended + RESTS * (ended - begun))
            self._values.move_to_end(name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
            return there.value
