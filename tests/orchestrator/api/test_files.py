"""What a trial printed and the files that its outcome named, over HTTP: all of it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.files import PRINTED, Printed
from orchestrator.runs import output
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal
from orchestrator.runs.output import OUTPUT
from tests.orchestrator.api.conftest import Make, Service
from trainer.protocol import Outcome

TRIAL = "/api/v1/trials/small.base.0.0"


@pytest.fixture
def ended(make: Make) -> Service:
    service = make()
    service.ran()
    return service


@pytest.fixture
def folder(ended: Service) -> Path:
    """That of the attempt of TRIAL."""
    study_id = ended.store.study("small").study_id
    return ended.parts.settings.runs / study_id / f"{study_id}.base.0.0" / "attempt-1"


def _get(service: Service, path: str) -> Any:
    said = service.ask("GET", path)
    assert said.status == 200, said.body
    return said.json


def _names(folder: Path, *names: str) -> None:
    Journal(folder).end(Ended("outcome", outcome=Outcome("completed", files=names)))


# -- output ------------------------------------------------------------------------------------------------
def test_output_is_followed_from_next_to_next(ended: Service, folder: Path) -> None:
    empty = _get(ended, f"{TRIAL}/output")
    study_id = ended.store.study("small").study_id
    assert empty == {
        "trial_id": f"{study_id}.base.0.0",
        "attempt": 1,
        "state": "completed",
        "start": 0,
        "next": 0,
        "end": 0,
        "dropped": 0,
        "text": "",
    }
    printed = "".join(f"line {i} é\n" for i in range(50))
    (folder / OUTPUT).write_text(printed)
    seen, place = "", 0
    while (part := _get(ended, f"{TRIAL}/output?offset={place}&limit=31"))["next"] > place:
        seen, place = seen + part["text"], part["next"]
    assert seen == printed
    assert place == part["end"] == len(printed.encode())
    assert _get(ended, f"{TRIAL}/output?tail=2")["text"] == "line 48 é\nline 49 é\n"


def test_what_is_dropped_is_told(ended: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "NEWEST_BYTES", 100)
    monkeypatch.setattr(output, "HEAD_BYTES", 10)
    (folder / OUTPUT).write_text("0123456789" + "x" * 500 + "the newest")
    output.shorten(folder)
    head = _get(ended, f"{TRIAL}/output")
    assert (head["text"], head["next"], head["dropped"], head["end"]) == ("0123456789", 10, 410, 520)
    rest = _get(ended, f"{TRIAL}/output?offset=10")
    assert (rest["start"], rest["text"]) == (420, "x" * 90 + "the newest")
    said = ended.ask("GET", f"{TRIAL}/output?format=text")
    assert said.headers["content-type"] == "text/plain; charset=utf-8"
    assert said.headers["x-content-type-options"] == "nosniff"
    assert said.body.decode() == "0123456789\n… 410 bytes dropped …\n" + "x" * 90 + "the newest"
    assert (
        ended.ask("GET", f"{TRIAL}/output?format=text&tail=1").body.decode().endswith("x" * 9 + "the newest")
    )


def test_an_attempt_that_there_is_not_and_places_that_are_none_are_refused(ended: Service) -> None:
    said = ended.ask("GET", f"{TRIAL}/output?attempt=2")
    assert said.status == 404
    assert said.json["detail"] == "The trial small.base.0.0 has had 1 attempts; there is no 2."
    for query in (
        "attempt=0",
        "offset=-1",
        f"offset={2**63}",
        "limit=0",
        "limit=9999999",
        "tail=0",
        "lines=3",
    ):
        assert ended.ask("GET", f"{TRIAL}/output?{query}").status == 422, query


def test_the_example_is_an_answer() -> None:
    assert Printed.model_validate(PRINTED).text == "epoch 1 loss 2.4\n"


# -- artifacts ---------------------------------------------------------------------------------------------
def test_files_that_an_outcome_named_are_listed_and_saved(ended: Service, folder: Path) -> None:
    assert _get(ended, f"{TRIAL}/artifacts") == {"items": []}
    (folder / "plots").mkdir()
    (folder / "plots" / "loss.html").write_bytes(b"<script>alert(1)</script>")
    (folder / "unnamed.txt").write_text("1")
    _names(folder, "plots/loss.html", "gone.txt", "../../../keys")
    assert _get(ended, f"{TRIAL}/artifacts") == {"items": [{"name": "plots/loss.html", "bytes": 25}]}
    said = ended.ask("GET", f"{TRIAL}/artifacts/plots/loss.html")
    assert (said.status, said.body) == (200, b"<script>alert(1)</script>")
    assert said.headers["content-disposition"] == 'attachment; filename="loss.html"'
    assert said.headers["content-type"] == "application/octet-stream"
    assert said.headers["x-content-type-options"] == "nosniff"
    assert said.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    "name",
    ["unnamed.txt", "../attempt-1/events.jsonl", "events.jsonl", "%2e%2e/secret", "/etc/passwd", "out", ""],
)
def test_no_other_file_is_given_out(ended: Service, folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "unnamed.txt").write_text("1")
    (tmp_path / "secret").write_text("s")
    (folder / "out").symlink_to(tmp_path / "secret")
    _names(folder, "out", "../../../../secret")
    said = ended.ask("GET", f"{TRIAL}/artifacts/{name}")
    assert said.status == 404
    assert said.json["type"] == "urn:orch:not-found"


@pytest.mark.parametrize("path", ["output", "output?format=text", "artifacts", "artifacts/a.txt"])
def test_a_token_is_needed(ended: Service, folder: Path, path: str) -> None:
    (folder / "a.txt").write_text("1")
    _names(folder, "a.txt")
    assert ended.anybody("GET", f"{TRIAL}/{path}").status == 401
    assert ended.ask.by(ended.token("read"))("GET", f"{TRIAL}/{path}").status == 200
