"""What does the page of one trial show? Its result, its attempts, what it said, as rows for the template."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dashboards.evidence import frames
from dashboards.report import figures
from dashboards.report.figures import Figure
from orchestrator.ledger import Store, paging
from orchestrator.ledger.records import AttemptRow, StoredEvent, StudyRow, TrialRow, TrialState
from orchestrator.readings.overview import code_words, event_words, fallback_words
from orchestrator.runs.artifacts import Artifact, of_trial
from orchestrator.runs.folders import Storage
from orchestrator.runs.output import shown_lines, tail
from orchestrator.study.spec import StudySpec

LOG_LINES = 200  # the newest; the whole is behind a link
OUTPUT_LINES, MOST_SHOWN = 200, 200_000  # of the output, and their bytes


@dataclass(frozen=True)
class LogLine:
    attempt: int
    after_s: float  # since the attempt's first word
    step: int
    kind: str
    words: str


@dataclass(frozen=True)
class Printed:
    """The end of what the newest attempt that printed anything has printed."""

    attempt: int
    lines: tuple[str, ...]
    earlier: bool  # there is more before them


@dataclass(frozen=True)
class TrialView:
    """All that the page of one trial shows."""

    trial: TrialRow
    study: StudyRow
    spec: StudySpec
    attempts: tuple[AttemptRow, ...]
    log: tuple[LogLine, ...]
    said: int  # lines in all
    output: Printed | None
    artifacts: tuple[Artifact, ...]
    figures: tuple[Figure, ...]
    version: str  # changes whenever the figures may

    @property
    def may_retry(self) -> bool:
        return self.trial.state is TrialState.FAILED

    @property
    def fallbacks(self) -> list[str]:
        """A sentence for each attempt that found a checkpoint damaged."""
        return [words for attempt in self.attempts if (words := fallback_words(attempt))]

    @property
    def code(self) -> str:
        """What the newest attempt ran that was told."""
        return next(filter(None, map(code_words, reversed(self.attempts))), "")

    @property
    def learned(self) -> bool:
        guidance = self.trial.config.get("guidance")
        return isinstance(guidance, dict) and guidance.get("estimator", "off") != "off"


def find(store: Store, given: str) -> tuple[StudyRow, TrialRow]:
    """`given` begins with the study's id or its name."""
    study_name, _, rest = given.partition(".")
    study = store.study(study_name)
    return study, store.trial(f"{study.study_id}.{rest}")


def trial_view(store: Store, given: str, *, runs: Path | None, shown: str = "") -> TrialView:
    """`runs`: where the attempts' folders lie. Figures of the version `shown` are not drawn again."""
    study, trial = find(store, given)
    spec = StudySpec.stored(study.spec)
    said = list(paging.events(store, trial_id=trial.trial_id))
    newest = said[-1].event_id if said else 0
    version = hashlib.sha256(f"{trial.trial_id} {newest}".encode()).hexdigest()[:12]
    metric = spec.objective.metric
    drawn = () if version == shown else figures.of_trial(frames.curves_of(said), trial.config, metric=metric)
    return TrialView(
        trial=trial,
        study=study,
        spec=spec,
        attempts=tuple(store.attempts(trial.trial_id)),
        log=_lines(said),
        said=len(said),
        output=None if runs is None else _printed(Storage(runs), trial),
        artifacts=() if runs is None else _artifacts(Storage(runs), trial),
        figures=tuple(drawn),
        version=version,
    )


def _printed(storage: Storage, trial: TrialRow) -> Printed | None:
    for number in range(trial.attempts, 0, -1):
        part = tail(
            storage.folder(trial.study_id, trial.trial_id, number), lines=OUTPUT_LINES, most=MOST_SHOWN
        )
        if part.end:
            return Printed(number, tuple(shown_lines(part.text)), earlier=part.start > 0)
    return None


def _artifacts(storage: Storage, trial: TrialRow) -> tuple[Artifact, ...]:
    return tuple(of_trial(storage, trial.study_id, trial.trial_id, trial.attempts))


def _lines(said: Iterable[StoredEvent]) -> tuple[LogLine, ...]:
    events = [stored.event for stored in said]
    began = {event.attempt: event.at for event in reversed(events)}  # the first of an attempt's stays
    return tuple(
        LogLine(e.attempt, max(0.0, e.at - began[e.attempt]), e.step, e.kind, event_words(e))
        for e in events[-LOG_LINES:]
    )
