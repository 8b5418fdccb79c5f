"""The command line and MLflow: what a study's end says, `orch mlflow`, `orch ui`, and the settings."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import output
from orchestrator.ground.errors import BadSpec
from orchestrator.ground.settings import from_environment
from orchestrator.ledger import Store
from orchestrator.service.doctor import examine
from orchestrator.tracking import pages as pages_of_mlflow
from orchestrator.tracking.destination import destination
from tests.faults import mirrored
from tests.faults.world import small_study
from tests.orchestrator.conftest import Orch

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, not ours to mend

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store_file(home: Path, monkeypatch: pytest.MonkeyPatch, mlflow_template: Path) -> Path:
    """The mirror is on, and its store has been made."""
    monkeypatch.setenv("ORCH_MLFLOW", "on")
    home.mkdir()
    shutil.copy(mlflow_template, home / "mlflow.db")
    return home / "mlflow.db"


@pytest.fixture
def not_mirrored(orch: Orch, spec: str, machines: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A study has run while the mirror was off."""
    monkeypatch.setenv("ORCH_MLFLOW", "off")
    assert orch("study", "create", spec).code == 0


def test_a_foreground_study_ends_in_mlflow(
    orch: Orch, spec: str, machines: dict[int, Any], ledger: Callable[[], Store], store_file: Path
) -> None:
    said = orch("study", "create", spec, "--json")
    assert (said.code, said.json["status"]) == (0, "completed")
    assert said.err.endswith("It is in MLflow too. Look at it with: orch ui\n")
    store = ledger()
    uri = f"sqlite:///{store_file}"
    mirrored.check(store, said.json["study_id"], mirrored.look(uri, said.json["study_id"]))
    store.close()
    again = orch("study", "create", spec)  # nothing to run: nothing is loaded
    assert (again.code, "MLflow" in again.err) == (0, False)
    status = orch("mlflow", "status", "--json").json
    assert [(row["study"], row["missing"]) for row in status["studies"]] == [("small", 0)]


def test_what_is_missing_is_told_and_written_by_hand(
    orch: Orch,
    ledger: Callable[[], Store],
    store_file: Path,
    not_mirrored: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = ledger()
    reports = len(store.events())
    store.close()
    off = orch("mlflow", "sync")
    assert off.code == output.REFUSED
    assert "is switched off (ORCH_MLFLOW=off)" in off.err
    assert orch("mlflow", "status").out == "The mirror to MLflow is switched off (ORCH_MLFLOW=off).\n"
    assert orch("ui").code == output.REFUSED
    monkeypatch.setenv("ORCH_MLFLOW", "on")
    before = orch("mlflow", "status")
    assert before.out.splitlines()[0] == f"Studies are mirrored to sqlite:///{store_file}."
    assert before.out.splitlines()[-1].split() == ["small", "completed", str(reports)]
    assert "orch mlflow sync" in before.err
    written = orch("mlflow", "sync", "small", "--json")
    assert (written.code, written.json["written"]) == (0, {"small": reports})
    assert orch("mlflow", "sync").out == f"0 reports of 1 study written to sqlite:///{store_file}.\n"
    assert orch("mlflow", "sync", "smal").code == output.NOT_FOUND
    place = destination(from_environment())
    assert place is not None
    store = ledger()
    study_id = store.study("small").study_id
    store.move_cursor(place.owed(study_id), 1)  # as a kill leaves it before the last states are told
    store.close()
    states = orch("mlflow", "status")
    assert states.out.splitlines()[-1].split() == ["small", "completed", "the", "last", "states"]
    assert "orch mlflow sync" in states.err
    assert orch("mlflow", "sync", "--json").json["missing"] == {}
    assert orch("mlflow", "status", "--json").json["studies"][0]["states_missing"] is False


def test_what_comes_while_it_is_written_by_hand_is_named(
    orch: Orch,
    ledger: Callable[[], Store],
    store_file: Path,
    not_mirrored: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORCH_MLFLOW", "on")
    place = destination(from_environment())
    assert place is not None

    def nearly(*_: Any, **__: Any) -> None:
        store = ledger()
        store.move_cursor(place.cursor(store.study("small").study_id), store.newest_event() - 2)
        store.close()

    monkeypatch.setattr("orchestrator.cli.mlflow.sync", nearly)
    assert orch("mlflow", "sync").err.splitlines()[-1] == (
        "2 reports of small came meanwhile. Write what is missing with: orch mlflow sync small"
    )


def test_a_store_that_cannot_be_written_is_unreachable(
    orch: Orch, home: Path, spec: str, machines: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert orch("study", "create", spec).code == 0
    monkeypatch.setenv("ORCH_MLFLOW", "on")
    (home / "mlflow.db").write_text("no database")
    said = orch("mlflow", "sync", "--json")
    assert said.code == output.UNREACHABLE
    assert said.json["error"] == {
        "kind": "mlflow-unreachable",
        "problems": [
            f"MLflow at sqlite:///{home}/mlflow.db does not take what is mirrored: file is not a database"
        ],
    }


# -- orch ui -----------------------------------------------------------------------------------------------
def test_the_pages_need_a_store_and_a_free_port(
    orch: Orch, home: Path, store_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = orch("ui", "--port", port)
    assert said.code == output.REFUSED
    assert said.err == (
        f"orch: Nothing can listen on 127.0.0.1:{port} (Address already in use). "
        f"Name another port with --port.\n"
    )
    store_file.unlink()
    assert orch("ui").code == output.NOT_FOUND
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example")
    assert orch("ui").out == "The studies are on a server, which has its own pages: https://mlflow.example\n"


def test_the_pages_open_at_the_newest_study_s_charts_and_ctrl_c_ends_them(
    home: Path, store_file: Path
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store_file}", registry_uri=f"sqlite:///{store_file}")
    client.create_experiment("orch/older")
    newest = client.create_experiment("orch/small", tags=pages_of_mlflow.experiment_tags(small_study()))
    client.create_experiment("of somebody else")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pages = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "ui", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(180, pages.terminate)  # 5 s on an idle machine
    killer.start()
    try:
        assert pages.stdout is not None
        address = pages.stdout.readline().strip()
        home_page, _, charts = address.partition("/#/")
        assert home_page == f"http://127.0.0.1:{port}"
        assert charts.startswith(f"experiments/{newest}/runs?viewStateShareKey=orch-1&compareRunsMode=CHART")
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"MLflow" in page.read()
        pages.send_signal(signal.SIGINT)
        assert pages.wait(60) == 0
        assert pages.stderr is not None
        assert pages.stderr.read() == "Starting MLflow's server…\nMLflow's server runs until Ctrl-C.\n"
        with socket.socket() as probe:  # all of its processes are gone
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    finally:
        killer.cancel()
        pages.terminate()  # not killed: MLflow's server is in a session of its own, and would stay
        pages.communicate(timeout=60)


# -- settings ----------------------------------------------------------------------------------------------
def test_the_store_lies_beside_the_ledger_unless_told() -> None:
    def stored(**environ: str) -> str | None:
        return from_environment({"ORCH_HOME": "/data", **environ}).mlflow

    assert stored() == "sqlite:////data/mlflow.db"
    assert stored(ORCH_MLFLOW="off") is None
    for uri in ("http://host:5000", "https://ada:pw@host/x", "postgresql+psycopg2://h/db", "databricks"):
        assert stored(MLFLOW_TRACKING_URI=uri) == uri
    assert stored(MLFLOW_TRACKING_URI="./mlruns", ORCH_MLFLOW="off") is None


@pytest.mark.parametrize(
    ("uri", "begins"),
    [
        ("./mlruns", "MLFLOW_TRACKING_URI begins with './mlruns'. Allowed: "),
        ("file:///data", "MLFLOW_TRACKING_URI begins with 'file'. Allowed: "),
        ("http://", "MLFLOW_TRACKING_URI begins with 'http'. Allowed: "),
        ("http://:5000", "MLFLOW_TRACKING_URI names no host after http://. Allowed: "),
        ("http://[::1", "MLFLOW_TRACKING_URI names no host after http://. Allowed: "),
    ],
)
def test_an_address_that_is_none_is_refused_in_a_sentence(uri: str, begins: str) -> None:
    with pytest.raises(BadSpec) as bad:
        from_environment({"MLFLOW_TRACKING_URI": uri, "ORCH_MLFLOW": "on"})
    [sentence] = bad.value.problems
    assert sentence.startswith(begins)
    assert sentence.endswith("To mirror nothing, set ORCH_MLFLOW=off.")


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_home_whose_name_mlflow_would_misread_is_refused_unless_nothing_is_mirrored(name: str) -> None:
    with pytest.raises(BadSpec, match="Name another folder in ORCH_HOME"):
        from_environment({"ORCH_HOME": f"/data/{name}"})
    assert from_environment({"ORCH_HOME": f"/data/{name}", "ORCH_MLFLOW": "off"}).mlflow is None


def test_a_home_that_may_not_be_looked_at_is_a_finding_of_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:  # who runs the tests may be root, whom no folder refuses
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", refused)
        with pytest.raises(BadSpec, match=r"cannot be looked at \(Permission denied\)"):
            from_environment({"ORCH_HOME": "/of/another"})


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(BadSpec) as bad:
        from_environment({"ORCH_MLFLOW": "maybe"})
    assert bad.value.problems == ["ORCH_MLFLOW is 'maybe'. Allowed: on, off."]


def test_the_doctor_looks_at_the_mirror(home: Path) -> None:
    def found(**environ: str) -> tuple[bool, bool, str]:
        finding = examine({"ORCH_HOME": str(home), **environ})[-1]
        assert finding.what == "MLflow"
        return finding.ok, finding.needed, finding.found

    assert found(ORCH_MLFLOW="off") == (True, False, "switched off (ORCH_MLFLOW=off)")
    assert found() == (True, False, f"sqlite:///{home}/mlflow.db (not made yet)")
    with socket.socket() as deaf:  # bound and not listening: whoever connects is refused
        deaf.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        assert found(MLFLOW_TRACKING_URI=uri) == (False, False, uri)
    with socket.create_server(("127.0.0.1", 0)) as other:  # it answers, and is no web server
        uri = f"http://127.0.0.1:{other.getsockname()[1]}"

        def greet() -> None:
            with other.accept()[0] as visitor:
                visitor.recv(1000)
                visitor.sendall(b"220 mail.example.org ready\r\n\r\n")

        greeting = threading.Thread(target=greet)
        greeting.start()
        assert found(MLFLOW_TRACKING_URI=uri) == (False, False, uri)
        greeting.join()
