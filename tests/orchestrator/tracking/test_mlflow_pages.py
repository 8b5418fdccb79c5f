"""Is a trial found in MLflow's own pages, by whoever clicks on it? On real MLflow, over SQLite."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from dashboards.web import routes
from orchestrator.ground.errors import BadSpec, NotFound
from orchestrator.ground.settings import Settings, from_environment
from orchestrator.tracking.destination import destination
from orchestrator.tracking.pages import charts_at
from orchestrator.tracking.store import MlflowStore
from orchestrator.tracking.study import StudyMirror
from orchestrator.tracking.sync import run_page, study_page
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


def test_a_study_s_charts_begin_with_its_objective_and_hyperparameters(
    tmp_path: Path, mlflow_template: Path
) -> None:
    from mlflow import MlflowClient

    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    settings = Settings(tmp_path, "memory://", 1, f"sqlite:///{tmp_path / 'mlflow.db'}")
    place = destination(replace(settings, mlflow_ui="https://mlflow.example/"))
    assert place is not None
    there = world(tmp_path / "runs")
    created(there, small_study())
    there.drive(there.engine(), "s1")
    study = there.store.study("s1")
    client = MlflowClient(tracking_uri=place.uri, registry_uri=place.uri)
    client.create_experiment("orch/small", tags={"mlflow.experimentKind": "regression"})  # a person's choice
    before = study_page(place, study)
    assert "searchFilter=tags" in before  # no view is there yet, as an earlier version left it
    assert "viewStateShareKey" not in before

    StudyMirror(there.store, MlflowStore(place), place, "s1").advance()
    experiment = client.get_experiment_by_name("orch/small")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "regression"
    view = json.loads(experiment.tags["mlflow.sharedViewState.orch-1"])
    assert [section["name"] for section in view["compareRunSections"]][:2] == ["curves", "hyper"]
    assert view["compareRunCharts"][0]["metricKey"] == "loss"
    shown = client.search_runs([experiment.experiment_id], view["searchFilter"])
    assert {run.data.tags["orch.kind"] for run in shown} == {"trial"}
    address = study_page(place, study)
    begins = f"https://mlflow.example/#/experiments/{experiment.experiment_id}/runs?"
    assert address == f"{begins}viewStateShareKey=orch-1&compareRunsMode=CHART&workflowType=machine_learning"
    app = FastAPI()
    app.include_router(
        routes.router(there.store, presets=[], slots=1, role_of=lambda _: "read", mlflow=place)
    )
    assert get(app, "/studies/small/mlflow").headers["location"] == address
    assert "/studies/s1/mlflow" in get(app, "/studies/small").text

    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(NotFound, match="orch mlflow sync small"):
        study_page(place, study)


def test_a_server_that_does_not_say_where_a_study_is_gives_no_link() -> None:
    with socket.socket() as deaf:  # bound and not listening: whoever connects is refused
        deaf.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert charts_at(address, "orch/small", within_s=2) is None


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
