"""Where in MLflow's own pages is a trial's run? Asked only once somebody wants to go there."""

from __future__ import annotations

from orchestrator.ground.errors import NotFound
from orchestrator.ledger.records import StudyRow, TrialRow
from orchestrator.tracking import mapping
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.store import MlflowStore


def run_page(place: Destination, study: StudyRow, trial: TrialRow) -> str:
    """The address of its run. NotFound: there is none, or no server shows it. MirrorLost."""
    if place.pages is None:
        raise NotFound(f"No server shows {place.shown}. Open MLflow's pages on it with: orch ui")
    emptied = place.file is not None and not place.file.exists()
    run = None if emptied else MlflowStore(place).run_of(mapping.experiment(study), trial.trial_id)
    if run is None:
        raise NotFound(
            f"MLflow at {place.shown} has no run of {mapping.trial_name(trial)} of {study.name}: it is not "
            f"written yet, or was deleted there. Write what is missing with: orch mlflow sync {study.name}"
        )
    return f"{place.pages}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
