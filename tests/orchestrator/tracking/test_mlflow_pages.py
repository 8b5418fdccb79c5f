"""Is a trial found in MLflow's own pages, by whoever clicks on it? On real MLflow, over SQLite."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from dashboards.web import routes
from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.tracking.destination import destination
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import run_page
from tests.dashboards.asgi import get
from tests.faults import mirrored
from tests.faults.world import created, small_study, world

# MLflow's own use of SQLAlchemy and of Python, which is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_trial_s_page_is_that_of_the_run_that_mirrors_it(tmp_path: Path, mlflow_template: Path) -> None:
    from mlflow import MlflowClient

    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    settings = Settings(tmp_path, "memory://", 1, f"sqlite:///{tmp_path / 'mlflow.db'}")
    place = destination(replace(settings, mlflow_ui="https://mlflow.example/"))
    assert place is not None
    there = world(tmp_path / "runs")
    created(there, small_study())
    there.drive(there.engine(), "s1")
    study, trial = there.store.study("s1"), there.store.trial("s1.random.0.1")
    with pytest.raises(NotFound, match="orch mlflow sync small"):
        run_page(place, study, trial)

    StudyMirror(there.store, MlflowStore(place), place, "s1").advance()
    run = mirrored.look(place.uri, "s1")["trial", trial.trial_id]
    client = MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)
    info = client.get_run(run.run_id).info
    address = f"https://mlflow.example/#/experiments/{info.experiment_id}/runs/{run.run_id}"
    assert run_page(place, study, trial) == address
    app = FastAPI()
    app.include_router(
        routes.router(there.store, presets=[], slots=1, role_of=lambda _: "read", mlflow=place)
    )
    answer = get(app, "/trials/small.random.0.1/mlflow")
    assert (answer.status, answer.headers["location"]) == (303, address)

    client.delete_run(run.run_id)
    with pytest.raises(NotFound, match="was deleted there"):
        run_page(place, study, trial)
    client.restore_run(run.run_id)
    client.delete_experiment(info.experiment_id)
    with pytest.raises(NotFound, match="was deleted there"):
        run_page(place, study, trial)


def test_the_pages_are_at_the_server_unless_told() -> None:
    def pages(**environ: str) -> str | None:
        place = destination(from_environment({"ORCH_HOME": "/data", **environ}))
        assert place is not None
        return place.pages

    assert pages() is None
    assert pages(MLFLOW_TRACKING_URI="https://ada:pw@host/x/") == "https://host/x"  # it stands in a page
    told = {"ORCH_MLFLOW_UI": "https://mlflow.example"}
    for uri in ("http://mlflow:5000", "postgresql://h/db"):
        assert pages(MLFLOW_TRACKING_URI=uri, **told) == "https://mlflow.example"


@pytest.mark.parametrize("wrong", ["javascript:alert(1)", "http://", "mlflow.example"])
def test_pages_without_an_address_are_refused(wrong: str) -> None:
    with pytest.raises(BadSpec, match="ORCH_MLFLOW_UI is"):
        from_environment({"ORCH_MLFLOW_UI": wrong})
