"""What does `orch join` try before it joins, and what becomes of a machine that is told to end meanwhile?"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

import orchestrator.client
from orchestrator.backends import daemon, joined
from orchestrator.runs import provenance, shared
from tests.orchestrator.conftest import Orch

URL = "http://127.0.0.1:1"


class Server:
    """The service's side of it, on this machine."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.locks = runs, True

    def __call__(self, url: str, **more: Any) -> Server:
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None: ...

    def cluster(self) -> dict[str, Any]:
        there = {"address": "127.0.0.1:2", "token": "t", "versions": provenance.of_hosts()}
        return {**there, "runs": str(self.runs), "word": shared.word_of(self.runs)}

    def sees(self, name: str) -> bool:
        seen = shared.is_held(self.runs, name)
        assert shared.heard(self.runs, name)
        return seen and self.locks


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path / "runs")
    monkeypatch.setattr(orchestrator.client, "Client", made)
    monkeypatch.setattr(joined, "join", lambda *_, **__: "127.0.0.1:2")
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    return made


def test_it_holds_a_lock_while_the_server_looks_and_says_where_that_is_not_seen(
    orch: Orch, server: Server
) -> None:
    assert orch("join", URL).err == ""
    assert shared.locks_reach(server.runs)
    server.locks = False
    said = orch("join", URL)
    assert (said.code, said.err) == (0, f"{shared.no_locks([socket.gethostname()])}\n")
    assert shared.without_locks(server.runs) == {socket.gethostname()}
    server.locks = True
    assert orch("join", URL).err == ""
    assert shared.locks_reach(server.runs)


@pytest.mark.parametrize("meanwhile", ["join", "keep"])
def test_told_to_end_while_it_joins_or_stays_it_leaves(
    meanwhile: str, orch: Orch, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(daemon, "stop", stopped.append)
    monkeypatch.setattr(joined, meanwhile, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    said = orch("join", URL, "--stay")
    assert (said.code, stopped) == (0, [home])
    assert said.out.endswith(f"Stopped the workers of {home}.\n")
