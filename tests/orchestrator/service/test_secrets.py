"""Is what one logs in with kept out of all that is said?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.ground.errors import LedgerBusy, MirrorLost
from orchestrator.ground.settings import from_environment, without_secrets
from orchestrator.ledger import open_ledger
from orchestrator.service import doctor
from orchestrator.tracking.destination import destination
from orchestrator.tracking.store import MlflowStore

NOBODY = "postgresql://127.0.0.1:1/db?user=u&password=SECRET&connect_timeout=2"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://bob:SECRET@host:5000/x", "http://host:5000/x"),
        ("https://host", "https://host"),
        ("postgresql://bob@host/db", "postgresql://host/db"),
        ("postgresql://bob:SE/C?R#E@host/db", "postgresql://host/db"),
        ("https://bob:SE@CRET@host/db", "https://host/db"),
        ("bob:SECRET@host/db", "host/db"),
        ("postgresql://host/db?user=u&password=SECRET", "postgresql://host/db?user=u"),
        ("postgresql://host/db?password=SE&SSLPassword=CRET&a=b", "postgresql://host/db?a=b"),
        ("postgresql://host/db?passfile=SECRET", "postgresql://host/db"),
        ("mssql+pyodbc:///?odbc_connect=Driver%3DX%3BPWD%3DSECRET", "mssql+pyodbc:///"),
        (
            "postgresql://host/db?options=-csearch_path%3Dx@y",
            "postgresql://host/db?options=-csearch_path%3Dx@y",
        ),
        ("sqlite:////home/a:b@c/x?password=1", "sqlite:////home/a:b@c/x?password=1"),  # a path, as it stands
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_what_one_logs_in_with(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


def test_a_ledger_s_password_is_not_said(tmp_path: Path) -> None:
    finding = doctor._ledger(from_environment({"ORCH_HOME": str(tmp_path), "ORCH_LEDGER": NOBODY}))
    assert not finding.ok
    assert "SECRET" not in repr(finding)
    with pytest.raises(LedgerBusy) as busy:
        open_ledger(NOBODY)
    assert "127.0.0.1:1/db?" in str(busy.value)
    assert "SECRET" not in str(busy.value)


@contextmanager
def _server(*, answering: bool) -> Iterator[str]:
    """It answers, or hangs up on whoever asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answering:
                self.send_response(200)
                self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://bob:SECRET@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, not ours to mend
def test_a_server_s_password_is_not_in_what_mlflow_says_of_it(tmp_path: Path) -> None:
    with _server(answering=False) as uri:
        place = destination(from_environment({"ORCH_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri}))
        assert place is not None
        with pytest.raises(MirrorLost) as lost:
            MlflowStore(place).experiment("orch/x", folder="x")
    assert "API request to http://127.0.0.1:" in str(lost.value)
    assert "SECRET" not in str(lost.value)


def test_the_doctor_hears_a_server_whose_address_has_a_password(tmp_path: Path) -> None:
    with _server(answering=True) as uri:
        finding = doctor._mirror(from_environment({"ORCH_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri}))
    assert finding.ok
    assert "SECRET" not in repr(finding)
