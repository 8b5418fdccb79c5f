"""What does a person see while a study runs? On stderr: a live picture on a terminal, a few lines in a pipe.

Both are drawn from the ledger, here or behind a service, so it does not matter which process runs the study.
Reading it may take one part in fifty of the time and no more: the larger the study, the rarer the looks.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.output import cells, clean, counted, note, number, table
from orchestrator.ground.durations import stopwatch
from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger import Ledger, paging
from orchestrator.ledger.records import ENDED, AttemptRow, StoredEvent, StudyRow, TrialRow, TrialState
from orchestrator.readings.overview import ArmLine, Overview, overview, share_ended, work_of
from orchestrator.study.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import RenderableType

SHARE = 50  # a look may take one part in so many of the time
MOST_BETWEEN_LOOKS_S = 30.0
LOOK_EVERY_S = 0.25
MOST_LINES = 15  # of the live picture
BAR = 5  # cells of a terminal


@dataclass(frozen=True)
class Running:
    """An attempt under way, and the last thing it said."""

    trial: str
    attempt: int
    step: int | None
    value: float | None


@dataclass(frozen=True)
class Scene:
    """One look at a study."""

    view: Overview
    running: tuple[Running, ...]
    ended: tuple[TrialRow, ...]  # since the look before
    left_s: float | None  # until the end, as predicted

    @property
    def best(self) -> tuple[float, str] | None:
        """The best value of all arms and its trial."""
        line = self.view.best()
        return None if line is None else (line.best or 0.0, short(line.best_trial or ""))


@dataclass(frozen=True)
class Seen:
    """What one look at a study shows, wherever it is looked at."""

    view: Overview
    running: tuple[Running, ...]
    ended: Sequence[TrialRow]  # all of them


class InLedger:
    """Looks at a study in a ledger."""

    def __init__(self, ledger: Ledger, study: StudyRow) -> None:
        self._ledger = ledger
        self._study_id = study.study_id
        self._metric = StudySpec.stored(study.spec).objective.metric
        self._news: dict[tuple[str, int], tuple[int, StoredEvent | None]] = {}  # cursor, last report
        self._ended: list[TrialRow] = []
        self._counted: dict[tuple[str, int, TrialState], int] = {}  # of them, when they were read
        self._view: tuple[object, Overview] | None = None  # and what it was made of

    def __call__(self) -> Seen:
        """Trials are read again only when one has begun or ended: most looks come between."""
        study, counts = self._ledger.study(self._study_id), self._ledger.counts(self._study_id)
        of = (counts, study.state, study.reason, study.extra_trials)
        if self._view is None or self._view[0] != of:
            ended = {place: n for place, n in counts.items() if place[2] in ENDED}
            if ended != self._counted:
                self._ended = self._ledger.trials(self._study_id, states=ENDED)
                self._counted = ended
            self._view = of, overview(self._ledger, study)
        live = self._ledger.live_attempts(self._study_id)
        self._news = {key: at for key, at in self._news.items() if key in {a.key for a in live}}
        return Seen(self._view[1], tuple(self._running(attempt) for attempt in live), self._ended)

    def _running(self, attempt: AttemptRow) -> Running:
        cursor, last = self._news.get(attempt.key, (0, None))
        for stored in paging.events(self._ledger, after=cursor, trial_id=attempt.trial_id):
            cursor = stored.event_id
            if stored.event.attempt == attempt.number and stored.event.payload.get("values"):
                last = stored
        self._news[attempt.key] = (cursor, last)
        said = None if last is None else (last.event.step, last.event.payload["values"])
        return heard_of(attempt.key, said, metric=self._metric)


def heard_of(key: tuple[str, int], said: tuple[int, Mapping[str, float]] | None, *, metric: str) -> Running:
    """An attempt by the last thing it reported, if any: the objective, else whatever comes first."""
    step, values = said or (None, {})
    return Running(short(key[0]), key[1], step, values.get(metric, next(iter(values.values()), None)))


class Progress:
    """Looks at one study again and again, when it is time to, and tells what is new."""

    def __init__(self, sight: Callable[[], Seen], study: StudyRow, *, fresh: bool = False) -> None:
        """`fresh`: the study has just been created, so whatever has ended is news."""
        self._sight = sight
        spec = StudySpec.stored(study.spec)
        self._work = work_of(spec)
        self._seen: set[str] | None = set() if fresh else None
        self._began = time.monotonic()
        self._due = 0.0
        self._done_at_first = 0.0

    def update(self) -> None:
        """Called at every tick."""
        began = time.monotonic()
        if began < self._due:
            return
        with contextlib.suppress(LedgerBusy):  # whoever runs the study waits for the ledger, and says so
            self._show(began)
        now = time.monotonic()
        # A look that outlasted a restart of the service says nothing of how dear looks are.
        self._due = now + max(LOOK_EVERY_S, min(SHARE * (now - began), MOST_BETWEEN_LOOKS_S))

    def _show(self, at: float) -> None:
        raise NotImplementedError

    def look(self) -> Scene:
        found = self._sight()
        first = self._seen is None
        ended = [] if self._seen is None else [t for t in found.ended if t.trial_id not in self._seen]
        self._seen = {t.trial_id for t in found.ended}
        if first:
            self._done_at_first = share_ended(found.view, self._work)
        return Scene(
            view=found.view,
            running=found.running,
            ended=tuple(sorted(ended, key=lambda t: t.ended_at or 0.0)),
            left_s=self._left_s(found.view),
        )

    def _left_s(self, view: Overview) -> float | None:
        """At the pace since the first look. Nothing is said before a twentieth was seen to be done."""
        done = share_ended(view, self._work)
        seen = done - self._done_at_first
        return (time.monotonic() - self._began) * (1 - done) / seen if seen >= 0.05 else None


def short(trial_id: str) -> str:
    """A trial's id without its study's: arm.replicate.index."""
    return trial_id.split(".", 1)[-1]


@contextlib.contextmanager
def shown(sight: Callable[[], Seen], study: StudyRow, *, fresh: bool = False) -> Iterator[Progress]:
    """Progress on this study while the block runs."""
    if not sys.stderr.isatty():
        lines = _Lines(sight, study, fresh=fresh)
        yield lines
        lines.finish()
        return
    picture = _Picture(sight, study, fresh=fresh)
    with picture.live():
        yield picture


class _Lines(Progress):
    """In a pipe: a summary every tenth of the study, and each new reason why runs failed."""

    _tenths = 0  # of the study, at the last summary

    def __init__(self, sight: Callable[[], Seen], study: StudyRow, *, fresh: bool = False) -> None:
        super().__init__(sight, study, fresh=fresh)
        self._reasons: set[str] = set()

    def _show(self, at: float) -> None:
        self._tell()

    def finish(self) -> None:
        with contextlib.suppress(LedgerBusy):
            self._tell()

    def _tell(self) -> None:
        scene = self.look()
        for trial in scene.ended:
            if trial.reason and trial.reason not in self._reasons:
                self._reasons.add(trial.reason)
                note(f"[{self._elapsed()}] {short(trial.trial_id)} {trial.state}: {trial.reason}")
        tenths = 10 * scene.view.ended // max(1, scene.view.requested)
        if tenths > self._tenths:
            self._tenths = tenths
            note(f"[{self._elapsed()}] {_status(scene)}")

    def _elapsed(self) -> str:
        return stopwatch(time.monotonic() - self._began)


def _status(scene: Scene) -> str:
    parts = [
        f"{scene.view.ended} of {scene.view.requested} runs ended",
        f"{counted(len(scene.running), 'run')} running",
    ]
    if scene.best is not None:
        parts.append(f"best {scene.view.metric} {number(scene.best[0])} ({scene.best[1]})")
    if scene.left_s is not None and scene.view.ended < scene.view.requested:
        parts.append(f"about {stopwatch(scene.left_s)} left")
    return ", ".join(parts)


class _Picture(Progress):
    """A few lines that are drawn anew in place, by rich, in a thread of its own."""

    _scene: Scene | None = None
    _looked_at = 0.0

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        with Live(
            get_renderable=self._draw, console=console, refresh_per_second=2, redirect_stdout=False
        ) as live:
            yield
            with contextlib.suppress(LedgerBusy):
                self._scene = self.look()
            live.refresh()

    def _show(self, at: float) -> None:
        self._scene = self.look()
        self._looked_at = time.monotonic()

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        scene = self._scene
        if scene is None:
            return Text("starting…", style="dim")
        size = shutil.get_terminal_size()
        elapsed = f"{stopwatch(time.monotonic() - self._began)} elapsed"
        left = ""
        if scene.left_s is not None and scene.view.ended < scene.view.requested:
            left = f", about {stopwatch(max(0.0, scene.left_s - (time.monotonic() - self._looked_at)))} left"
        state = f"  {clean(scene.view.status)}  {scene.view.ended} of {scene.view.requested} runs"
        head = Text.assemble((clean(scene.view.name), "bold"), f"{state}  {elapsed}{left}")
        whole = min(60, size.columns)
        done = whole * scene.view.ended // max(1, scene.view.requested)
        bar = Text.assemble(("━" * done, "green"), ("━" * (whole - done), "dim"))
        # 3: this head, the bar, and the line below that the cursor stands on
        body = _body(scene, width=size.columns, height=min(size.lines, MOST_LINES + 1) - 3)
        return Group(head, bar, *(Text(line, style=style, no_wrap=True) for style, line in body))


@dataclass
class _GridRow:
    """A row of the table: runs that ended and runs that are asked for, by column."""

    ended: dict[str, int]
    requested: dict[str, int]

    @property
    def done(self) -> bool:
        return sum(self.ended.values()) == sum(self.requested.values())

    @property
    def begun(self) -> bool:
        return any(self.ended.values())


def _grid(arms: Sequence[ArmLine]) -> tuple[list[str], dict[str, _GridRow]]:
    """The study's rows by its columns; what stands in all columns is in the first."""
    columns = list(dict.fromkeys(line.column for line in arms if line.column != "*")) or ["*"]
    rows: dict[str, _GridRow] = {}
    for line in arms:
        row = rows.setdefault(line.row or line.arm, _GridRow({}, {}))
        column = columns[0] if line.column == "*" else line.column
        row.ended[column] = row.ended.get(column, 0) + line.ended
        row.requested[column] = row.requested.get(column, 0) + line.requested
    return columns, rows


def _body(scene: Scene, *, width: int, height: int) -> list[tuple[str, str]]:
    """The rows by columns, the best so far, and what runs: as many lines as there is room for, styled."""
    below = [("", _best_line(scene)[:width])] if scene.best is not None else []
    below += [("dim", _running_line(scene)[:width])] if scene.running else []
    from dashboards.evidence.tables import column_name

    columns, rows = _grid(scene.view.arms)
    room = max(1, height - len(below) - 2)  # the header, and the line on what is left out
    shown = list(rows)
    if len(shown) > room:
        ranked = sorted(shown, key=lambda name: 2 if rows[name].done else 0 if rows[name].begun else 1)[:room]
        shown = [name for name in shown if name in ranked]
    header = ("", *("all" if column == "*" else column_name(column) for column in columns))
    grids = [
        table(header, [(name, *(_cell(rows[name], c, bar=bar) for c in columns)) for name in shown])
        for bar in (True, False)
    ]
    lines = next((grid for grid in grids if max(map(cells, grid)) <= width), grids[-1])
    body = [("dim", lines[0][:width])]
    body += [
        ("green" if rows[n].done else "", line[:width]) for n, line in zip(shown, lines[1:], strict=True)
    ]
    if hidden := len(rows) - len(shown):
        body.append(("dim", f"and {counted(hidden, 'other row')}"))
    return body + below


def _cell(row: _GridRow, column: str, *, bar: bool) -> str:
    """▰▰▱▱▱ 4/10."""
    requested = row.requested.get(column, 0)
    if not requested:
        return ""
    ended = row.ended[column]
    full = BAR * ended // requested
    return f"{'▰' * full}{'▱' * (BAR - full)} {ended}/{requested}" if bar else f"{ended}/{requested}"


def _best_line(scene: Scene) -> str:
    value, trial = scene.best or (0.0, "")
    return f"best {scene.view.metric} {number(value)} ({trial})"


def _running_line(scene: Scene) -> str:
    def told(run: Running) -> str:
        again = "" if run.attempt == 1 else f", attempt {run.attempt}"
        step = "starting" if run.step is None else f"step {run.step}"
        value = "" if run.value is None else f", {scene.view.metric} {number(run.value)}"
        return f"{run.trial} {step}{value}{again}"

    return f"running {len(scene.running)}: " + "  ·  ".join(map(told, scene.running))
