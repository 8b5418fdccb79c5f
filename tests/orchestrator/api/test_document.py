"""Does the OpenAPI document say what is true, and does the service say how it stands?"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.api.presets import AskedPlan
from orchestrator.api.studies import AskedStudy, Extension
from orchestrator.ground.errors import LedgerBusy
from orchestrator.ledger.records import StudyState
from tests.orchestrator.api.conftest import Make, Service


def _operations(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (verb, path, operation)
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]


def test_the_document_declares_problems_and_sizes(make: Make) -> None:
    document = make().ask("GET", "/api/v1/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for verb, path, operation in _operations(document):
        answers = operation["responses"]
        assert {"400", "413", "422", "429", "503"} <= answers.keys(), path
        if operation.get("security"):
            assert {"401", "403"} <= answers.keys(), path
        if path.endswith("/events"):
            assert list(answers["200"]["content"]) == ["text/event-stream"]
        for status, answer in answers.items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (verb, path, status)
                assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
        assert all("schema" in p for p in operation.get("parameters", ()))
    assert [server["url"] for server in document["servers"]] == ["/"]


def test_every_operation_is_a_verb_and_a_noun_and_has_a_plain_summary(make: Make) -> None:
    document = make().ask("GET", "/api/v1/openapi.json").json
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(names) == len(set(names))
    verbs = "list|get|create|plan|pause|drain|resume|cancel|extend|retry|delete|stream|use|check"
    assert [name for name in names if not re.fullmatch(rf"({verbs})_[a-z_]+", name)] == []
    summaries = [operation["summary"] for _, _, operation in _operations(document)]
    assert len(summaries) == len(set(summaries))
    assert [each for each in summaries if not re.fullmatch(r"[A-Z][a-zA-Z' ,]+", each)] == []
    assert {"create_study", "stream_study_events", "list_studies"} <= set(names)
    assert "Create a study" in summaries


def test_every_body_has_an_example_that_the_service_takes(service: Service) -> None:
    document = service.ask("GET", "/api/v1/openapi.json").json
    bodies = {
        operation["operationId"]: content
        for _, _, operation in _operations(document)
        for content in operation.get("requestBody", {"content": {}})["content"].values()
    }
    assert bodies.keys() == {
        "create_study", "plan_study", "extend_study", "create_session", "check_storage",
    }  # fmt: skip
    for name, content in bodies.items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert [content["example"]] if "example" in content else schema["examples"], name
    models = {"create_study": AskedStudy, "plan_study": AskedPlan, "extend_study": Extension}
    for name, model in models.items():
        (body,) = document["components"]["schemas"][model.__name__]["examples"]
        assert bodies[name]["schema"]["$ref"].endswith(f"/{model.__name__}")
        assert model.model_validate_json(json.dumps(body))
        path = {"create_study": "studies", "plan_study": "plans"}.get(name)
        if path:
            assert service.ask("POST", f"/api/v1/{path}", body).status in (200, 201)


def test_it_is_ready_while_the_ledger_answers_and_says_who_leads(service: Service) -> None:
    assert service.ask("GET", "/api/v1/health/ready").json["leader"] is None
    service.engine.tick()
    ready = service.ask("GET", "/api/v1/health/ready")
    assert (ready.status, ready.json["leader"], ready.json["engine"]) == (200, service.engine.who, "off")
    assert service.ask("GET", "/api/v1/version").json["api"] == "v1"


def test_damage_in_the_ledger_is_503_and_from_then_on_it_is_not_ready(make: Make, tmp_path: Path) -> None:
    service = make("sqlite")
    service.ran()
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'studies'")
    assert service.ask("GET", "/api/v1/health/ready").status == 200
    with file.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(bytes(4096))
    service.store._engine.dispose()  # type: ignore[attr-defined]  # as if its pages had left the cache
    for path in ("/api/v1/studies", "/api/v1/health/ready"):
        said = service.ask("GET", path)
        assert (said.status, said.json["type"]) == (503, "urn:orch:ledger-damaged")
        assert said.json["detail"].startswith(f"The ledger {file} is damaged (")
        assert "put a backup in its place" in said.json["detail"]
    assert service.ask("GET", "/api/v1/health/live").status == 200


def test_a_ledger_that_is_away_is_told_as_such_and_comes_back(make: Make) -> None:
    service = make()
    study = service.created()
    paths = ("/api/v1/health/ready", "/api/v1/studies", f"/api/v1/studies/{study}", "/api/v1/metrics")

    def away(*_: Any, **__: Any) -> Any:
        raise LedgerBusy("The ledger does not answer now: it restarts. Try again in a moment.")

    for name in ("study", "studies", "leader", "tokens"):
        setattr(service.store, name, away)
    for path in paths:
        said = service.ask("GET", path)
        assert (said.status, said.headers["retry-after"]) == (503, "2"), path
        assert said.json["type"] == "urn:orch:ledger-unreachable"
    assert service.ask("GET", "/api/v1/health/live").status == 200
    for name in ("study", "studies", "leader", "tokens"):
        delattr(service.store, name)
    assert [service.ask("GET", path).status for path in paths] == [200] * 4


def test_metrics_count_studies_trials_and_requests(service: Service) -> None:
    service.ran()
    service.created(name="open")
    said = service.ask("GET", "/api/v1/metrics")
    lines = dict(line.rsplit(" ", 1) for line in said.body.decode().splitlines() if line[0] != "#")
    assert lines[f'orch_studies{{state="{StudyState.COMPLETED}"}}'] == "1"
    assert lines['orch_http_requests_total{verb="POST",status="201"}'] == "2"
    assert lines["orch_events_total"] == str(service.store.newest_event())
    assert int(lines['orch_trials{state="running"}']) == int(lines["orch_live_attempts"]) > 0
