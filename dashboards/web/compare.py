"""What does the page show that lays several trials of a study over each other?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.evidence import frames
from dashboards.report import overlaid
from dashboards.report.figures import Figure
from orchestrator.ledger import Store, paging
from orchestrator.ledger.records import StudyRow, TrialRow
from orchestrator.study.spec import StudySpec

MOST_COMPARED = 12  # lines in a panel that can still be told apart


@dataclass(frozen=True)
class CompareView:
    study: StudyRow
    spec: StudySpec
    trials: tuple[TrialRow, ...]
    left_out: int  # trials that were asked for beyond the most
    figures: tuple[Figure, ...]
    version: str  # changes whenever the figures may


def compare_view(store: Store, study_name: str, asked: Sequence[str], *, shown: str = "") -> CompareView:
    """`asked`: trials as arm.replicate.index. Figures of the version `shown` are not drawn again."""
    study = store.study(study_name)
    spec = StudySpec.stored(study.spec)
    names = list(dict.fromkeys(asked))
    trials = {name: store.trial(f"{study.study_id}.{name}") for name in names[:MOST_COMPARED]}
    said = {name: list(paging.events(store, trial_id=trial.trial_id)) for name, trial in trials.items()}
    newest = [(name, events[-1].event_id if events else 0) for name, events in said.items()]
    version = hashlib.sha256(repr(newest).encode()).hexdigest()[:12]
    drawn = None
    if version != shown:
        heard = {name: frames.curves_of(events) for name, events in said.items()}
        configs = {name: trial.config for name, trial in trials.items()}
        drawn = overlaid.of_trials(heard, configs, metric=spec.objective.metric)
    return CompareView(
        study=study,
        spec=spec,
        trials=tuple(trials.values()),
        left_out=max(0, len(names) - MOST_COMPARED),
        figures=() if drawn is None else (drawn,),
        version=version,
    )
