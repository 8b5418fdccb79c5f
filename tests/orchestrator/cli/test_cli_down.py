"""When does `orch down` end the workers, and when does it leave them to whoever uses them?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.backends import daemon
from orchestrator.cli import output
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store
from orchestrator.service import host
from tests.orchestrator.conftest import Orch


def test_down_without_workers_says_so(orch: Orch, home: Path) -> None:
    said = orch("down")
    assert (said.code, said.out) == (0, f"No workers run for {home} on this machine.\n")
    assert not home.exists()


def test_down_refuses_while_another_process_leads(
    orch: Orch, ledger: Callable[[], Store], home: Path, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch("study", "create", spec, "--no-run")
    monkeypatch.setattr(daemon, "find", lambda home: "127.0.0.1:1")
    leader = ledger()
    assert leader.lead("another") is not None
    said = orch("down")
    assert said.code == output.REFUSED
    assert "with --force" in said.err
    assert orch("down", "--force").code == 0
    leader.close()


def test_down_by_force_ends_the_workers_of_a_ledger_that_is_broken(
    orch: Orch, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(daemon, "find", lambda home: "127.0.0.1:1")
    monkeypatch.setattr(daemon, "stop", stopped.append)
    home.mkdir()
    (home / "ledger.db").write_text("no database")
    assert orch("down").code == output.USAGE
    assert stopped == []
    assert orch("down", "--force").code == 0
    assert stopped == [home]


@pytest.mark.parametrize("starting", [True, False], ids=["which starts them now", "which runs studies"])
def test_down_refuses_while_a_process_of_another_ledger_has_the_workers(
    orch: Orch, home: Path, monkeypatch: pytest.MonkeyPatch, starting: bool
) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(daemon, "find", lambda home: None if starting else "127.0.0.1:1")
    monkeypatch.setattr(daemon, "stop", stopped.append)
    theirs = host.claimed(Settings(home, "postgresql://host/other", 1))
    assert theirs is not None
    with theirs:
        said = orch("down")
        assert said.code == output.REFUSED
        assert "with the ORCH_LEDGER of that process" in said.err
        assert stopped == []
        assert orch("down", "--force").code == 0
    assert stopped == [home]
    assert orch("down").code == 0  # that process has gone
