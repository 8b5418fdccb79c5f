"""Does a worker load the code that was checked, with its siblings, and tell what it loaded?"""

from __future__ import annotations

import os
import socket
import sys
import types
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.records import AttemptRow, AttemptState
from orchestrator.ledger.rules import heard
from orchestrator.runs.folders import read_journal
from orchestrator.runs.worker import Worker
from orchestrator.study.whereabouts import Code, digest
from tests.orchestrator.runs.test_worker import entrypoint as entrypoint
from tests.orchestrator.runs.test_worker import launch as launch
from tests.orchestrator.runs.test_worker import to_the_end


def test_what_a_run_loads_after_it_began_is_told_with_its_first_report(
    launch: Any, entrypoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most training code imports what it trains with inside `run`."""
    loaded = {"numpy": "1"}
    monkeypatch.setattr("orchestrator.runs.provenance.packages", lambda: dict(loaded))
    monkeypatch.setitem(sys.modules, "imports_late", types.SimpleNamespace(now=loaded.update))
    name = entrypoint(
        "import imports_late",
        "imports_late.now(jax='2')",
        "reporter(Report(1, 'train', {'a': 1.0}))",
        "reporter(Report(2, 'train', {'a': 1.0}))",
        "imports_late.now(scipy='3')",
        "return Outcome('completed', {})",
    )
    worker, job = Worker(), launch(entrypoint=name)
    worker.begin(job)
    progress, _ = to_the_end(worker, job)
    assert [event.kind for event in progress.events] == ["started", "train", "loaded", "train", "loaded"]
    assert [event.sequence for event in progress.events] == [1, 2, 3, 4, 5]
    assert read_journal(job.folder, *job.key)[0] == progress.events
    row = reduce(heard, progress.events, AttemptRow(*job.key, AttemptState.RUNNING, 0.0))
    assert row.provenance["packages"] == {"numpy": "1", "jax": "2", "scipy": "3"}
    assert row.provenance["pid"] == os.getpid()


def test_a_run_in_the_person_s_folder_finds_its_siblings_in_all_its_threads(
    launch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before what is installed of the same name; a run of an installed entrypoint does not."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    own, installed = tmp_path / "own", tmp_path / "installed"
    for folder in (own, installed):
        folder.mkdir()
        (folder / "sibling_layers.py").write_text(f"FROM = {str(folder)!r}\n")
    monkeypatch.syspath_prepend(str(installed))
    text = (
        "import threading\nfrom trainer.protocol import *\n"
        "def run(config, reporter, workdir, place):\n    found = []\n"
        "    def late():\n        import sibling_layers\n        found.append(sibling_layers.FROM)\n"
        "    thread = threading.Thread(target=late)\n    thread.start()\n    thread.join()\n"
        "    return Outcome('completed', {}, reason=found[0])\n"
    )
    (own / "with_a_thread.py").write_text(text)
    (installed / "installed_with_a_thread.py").write_text(text)
    worker = Worker()
    for name, folder, first in (
        ("with_a_thread", own, True),
        ("installed_with_a_thread", installed, False),
    ):
        code = Code(str(own), first, str(folder / f"{name}.py"))
        job = launch(name, entrypoint=name, code=code)
        worker.begin(job)
        _, ended = to_the_end(worker, job)
        assert ended.outcome is not None, ended
        assert ended.outcome.reason == str(folder)
        assert sys.path.count(str(own)) == 1
        del sys.modules["sibling_layers"], sys.modules[name]


def test_a_worker_that_finds_another_file_than_was_checked_does_not_run_it(
    launch: Any, entrypoint: Any, tmp_path: Path
) -> None:
    name = entrypoint("return Outcome('completed', {})")
    job = launch(entrypoint=name, code=Code(str(tmp_path), False, "/checked/net.py"))
    worker = Worker()
    worker.begin(job)
    _, ended = to_the_end(worker, job)
    assert ended.how == "unable"
    assert f"The entrypoint {name!r} was checked as /checked/net.py, and the worker has" in ended.reason


def test_a_file_with_other_contents_than_were_checked_is_refused_or_told_as_it_is_set(
    launch: Any,
    entrypoint: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = entrypoint("return Outcome('completed', {})")
    file = __import__(name).__file__ or ""
    same, other = (Code(str(tmp_path), False, file, of) for of in (digest(file), "0" * 64))
    refused, told = "unable", "outcome"
    for code, setting, how in ((same, "refuse", told), (other, "refuse", refused), (other, "tell", told)):
        monkeypatch.setenv("ORCH_OTHER_CODE", setting)
        worker, job = Worker(), launch(f"{setting}-{how}", entrypoint=name, code=code)
        worker.begin(job)
        ended = to_the_end(worker, job)[1]
        assert ended.how == how, ended
    assert "was checked with other contents than" in capsys.readouterr().err


def test_a_machine_that_lacks_what_a_config_names_is_unable_and_the_trainer_says_so(
    launch: Any, tmp_path: Path
) -> None:
    """So that another host runs it: no failure of the code."""
    missing = tmp_path / "t5"
    job = launch(entrypoint="trainer.run", config={"init": str(missing)})
    worker = Worker()
    worker.begin(job)
    _, ended = to_the_end(worker, job)
    assert ended.how == "unable"
    assert ended.reason == (
        f"{socket.gethostname()} cannot run it: init: {missing} is to hold a model, and there is no such "
        f"folder. Allowed are a folder of a T5 that transformers wrote, and the folder of a finished run."
    )
    wrong = launch("wrong", entrypoint="trainer.run", config={"steps": 0})
    worker = Worker()
    worker.begin(wrong)
    _, ended = to_the_end(worker, wrong)
    assert ended.how == "raised"  # wrong anywhere
