"""A person's repository with changes that were not committed: is it theirs that a trial tells, not orch's?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from dashboards.report import answer
from dashboards.web import routes
from orchestrator.ledger.records import AttemptRow, AttemptState
from orchestrator.readings.overview import code_words, commit_of
from orchestrator.study.canonical import canonical
from orchestrator.tracking.mapping import provenance_tags
from tests.dashboards.asgi import get
from tests.faults.world import created, small_study, world
from tests.orchestrator.conftest import Orch


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of the repository in which orch is called; its `net_of_mine.py` has been changed since."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    net = folder / "net_of_mine.py"
    net.write_text("from orchestrator.rehearsal import check, run, shape_key\n")

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", "net_of_mine.py")
    git("commit", "-qm", "first")
    git("remote", "add", "origin", "https://me:t0ken@example.org/net.git")
    net.write_text(net.read_text() + "# not committed\n")
    yield git("rev-parse", "HEAD")
    sys.modules.pop("net_of_mine", None)


def _provenance(code: dict[str, Any]) -> AttemptRow:
    return AttemptRow("s.a.0.0", 1, AttemptState.COMPLETED, 0.0, provenance={"code": code})


def test_the_command_line_shows_repository_commit_and_diff(
    orch: Orch, machines: dict[int, Any], commit: str, tmp_path: Path
) -> None:
    spec = tmp_path / "small.json"
    spec.write_text(canonical(small_study(entrypoint="net_of_mine")))
    path = list(sys.path)
    assert orch("study", "create", str(spec)).code == 0
    assert sys.path == path
    (attempt,) = orch("trial", "show", "small.base.0.0", "--json").json["attempts"]
    code = attempt["provenance"]["code"]
    assert (code["repository"], code["commit"]) == ("https://example.org/net.git", commit)
    assert "+# not committed" in Path(code["diff"]).read_text()
    assert Path(code["diff"]).is_relative_to(tmp_path / "runs")
    shown = orch("trial", "show", "small.base.0.0").out
    assert (
        f"  code        https://example.org/net.git at {commit[:10]}, with uncommitted changes "
        f"(diff: {code['diff']})" in shown
    )
    assert "t0ken" not in Path(code["diff"]).read_text() + str(attempt)


def test_the_page_the_report_and_mlflow_tell_the_same(commit: str, tmp_path: Path) -> None:
    place = world(tmp_path / "runs")
    created(place, small_study(entrypoint="net_of_mine"))
    place.drive(place.engine(), "s1")
    (attempt,) = place.store.attempts("s1.base.0.0")
    app = FastAPI()
    app.include_router(routes.router(place.store, presets=[], slots=2, role_of=lambda _: "admin"))
    assert f'<p class="small">Its code: {code_words(attempt)}</p>' in get(app, "/trials/s1.base.0.0").text
    tags = provenance_tags(attempt.provenance)
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["mlflow.source.git.repoURL"] == "https://example.org/net.git"
    versions = dict(answer.gather(place.store, "s1", slots=1).versions)
    assert versions["repository"] == "https://example.org/net.git"
    assert versions["commit"] == f"{commit[:12]} (changed)"
    assert versions["diff"].startswith("code/")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ({}, ""),
        ({"distribution": "net", "version": "1.2"}, "net 1.2, as it is installed"),
        (
            {"root": "/net", "commit": "c0ffee" * 6, "dirty": False},
            "/net at c0ffeec0ff, without uncommitted changes",
        ),
        (
            {"root": "/net", "commit": "c0ffee" * 6, "dirty": None, "notes": ["git status did not say (x)."]},
            "/net at c0ffeec0ff, and whether it had uncommitted changes is not known. git status did not say "
            "(x).",
        ),
        (
            {"root": "/net", "commit": None, "notes": ["It has no commit yet."]},
            "/net. It has no commit yet.",
        ),
        (
            {"file": "/net.py", "notes": ["It lies in no git repository."]},
            "/net.py. It lies in no git repository.",
        ),
    ],
)
def test_what_is_known_of_the_code_is_told(code: dict[str, Any], told: str) -> None:
    assert code_words(_provenance(code)) == told


@pytest.mark.parametrize("git", [{"commit": "c0ffee" * 6, "dirty": True}, None])
def test_attempts_of_before_stay_readable(git: dict[str, Any] | None) -> None:
    """They were told the commit of orch itself."""
    attempt = AttemptRow("s.a.0.0", 1, AttemptState.COMPLETED, 0.0, provenance={"git": git})
    assert code_words(attempt) == ""
    assert commit_of(attempt) == ("" if git is None else "c0ffeec0ff")
    told = None if git is None else git["commit"]
    assert provenance_tags(attempt.provenance).get("mlflow.source.git.commit") == told
