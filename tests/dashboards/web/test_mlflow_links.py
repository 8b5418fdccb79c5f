"""Does the live page lead to MLflow's own pages, where a server shows them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.ledger.records import TrialState
from orchestrator.tracking.destination import Destination, destination
from tests.dashboards.asgi import get
from tests.dashboards.ledgers import Run, ledger, spec
from tests.dashboards.web.test_web import filled, served


def mirrored(home: Path, **more: Any) -> Destination:
    found = destination(Settings(home, "memory://", 1, **more))
    assert found is not None
    return found


def test_a_trial_links_to_its_run_in_mlflow_where_a_server_shows_it(tmp_path: Path) -> None:
    def row(trial: str = "s1.guided.0.1", store: Store | None = None, **more: Any) -> str:
        place = mirrored(tmp_path, **more) if more else None
        return get(served(store or filled(), mlflow=place), f"/trials/{trial}").text

    for uri in (
        {"mlflow": "https://ada:secret@host/x"},
        {"mlflow": "postgresql://h/db", "mlflow_ui": "https://h"},
    ):
        assert 'href="/trials/s1.guided.0.1/mlflow"' in row(**uri)
        assert "orch ui" not in row(**uri)
        assert "secret" not in row(**uri)
    on_a_file = row(mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    assert "To see its run in MLflow: <code>orch ui</code>" in on_a_file
    assert "/mlflow" not in on_a_file
    assert "MLflow" not in row()
    waiting = ledger(spec(), {"base": [Run(state=TrialState.WAITING)]})
    assert "MLflow" not in row("s1.base.0.0", waiting, mlflow="https://host")


def test_a_run_that_mlflow_has_not_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/mlflow.db"
    app = served(filled(), mlflow=mirrored(tmp_path, mlflow=file, mlflow_ui="https://host"))
    answer = get(app, "/trials/s1.guided.0.1/mlflow")
    assert answer.status == 404
    assert "has no run of guided.0.1 of synthetic" in answer.text
    assert "orch mlflow sync synthetic" in answer.text
    assert not (tmp_path / "mlflow.db").exists()  # looking makes nothing
    shown_nowhere = served(filled(), mlflow=mirrored(tmp_path, mlflow=file))
    assert "orch ui" in get(shown_nowhere, "/trials/s1.guided.0.1/mlflow").text
    assert "ORCH_MLFLOW=off" in get(served(filled()), "/trials/s1.guided.0.1/mlflow").text
    assert (
        get(served(filled(), role=None), "/trials/s1.guided.0.1/mlflow")
        .headers["location"]
        .startswith("/login")
    )
