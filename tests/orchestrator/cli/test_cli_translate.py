"""Which folder does `orch translate` give the trainer, and what does it say where no run is named first?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.backends.simulated import Fault
from orchestrator.cli import orch, train, translate
from orchestrator.ledger import open_ledger
from tests.faults.world import created, small_study, world
from trainer.protocol import PARAMS


def test_options_before_the_run_are_a_sentence() -> None:
    answer = CliRunner().invoke(orch, ["translate", "--text", "a", "x.base.0.0"])
    assert answer.exit_code == 2
    assert "The run or trial comes first, then its options, and the first word is --text." in answer.output


def test_a_trial_is_translated_with_the_newest_parameters_that_an_attempt_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    monkeypatch.delenv("ORCH_LEDGER", raising=False)
    store = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        place = world(tmp_path / "runs", store=store, faults=[Fault("*", 1, "preempt", 1)])
        created(place, small_study())
        place.drive(place.engine(), "s1")
        assert store.trial("s1.base.0.0").attempts == 2
    finally:
        store.close()
    first = tmp_path / "runs" / "s1" / "s1.base.0.0" / "attempt-1"
    assert translate.folder_of("s1.base.0.0") == str(first.with_name("attempt-2"))
    (first / PARAMS).touch()
    assert translate.folder_of("s1.base.0.0") == str(first)
    assert translate.folder_of(str(tmp_path)) == str(tmp_path)  # a run's own folder


def test_train_begins_with_a_trial_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "folder_of", lambda name: f"/runs/{name}")
    named = "s1.base.0.0"
    assert train.with_folders(("--init", named, "--steps", "3")) == (
        "--init", f"/runs/{named}", "--steps", "3",
    )  # fmt: skip
    assert train.with_folders((f"--init={named}",)) == (f"--init=/runs/{named}",)
    paths = ("--init", "t5.v1.1.small/", "--pair", named)
    assert train.with_folders(paths) == paths
