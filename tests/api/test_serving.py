"""One process for everybody: the engine in its thread, where it may listen, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, service
from orchestrator.api.auth import digest
from orchestrator.errors import BackendLost, BadSpec, LedgerBusy, MoveRefused
from orchestrator.ledger import Store, open_ledger
from orchestrator.records import Role, StudyState, Token
from orchestrator.running import Runner
from orchestrator.serving import Address, is_loopback, listen, require_admin
from orchestrator.settings import Settings
from tests.faults.world import World, created, small_study, world

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0


def eventually(look: Callable[[], Any]) -> Any:
    give_up_at = time.monotonic() + WITHIN_S
    while not (seen := look()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    return seen


# -- the engine in its thread --------------------------------------------------------------------------------
class Thread:
    """A runner over simulated machines whose time passes with every tick."""

    def __init__(self, place: World) -> None:
        self.place, self.said = place, list[str]()
        self.troubles: list[Exception] = []
        self.gone: list[bool] = []  # whether Ray is found to have gone, at the next looks
        self.opened = 0
        settings = Settings(place.folder, "memory://", 3)

        def open_host(settings: Settings, store: Store, *, workers: int | None = None) -> service.Host:
            self.opened += 1
            return service.Host(settings, store, place.clock, Driven(self), 3, alive=self._alive)

        self.runner = Runner(settings, place.store, say=self.said.append, open_host=open_host)

    def _alive(self) -> bool:
        return not self.gone.pop() if self.gone else True


class Driven:
    def __init__(self, thread: Thread) -> None:
        self._thread = thread
        self._engine = thread.place.engine(who=service.whoami())
        self.backend, self.who = thread.place.backend, self._engine.who

    def tick(self, *, launch: bool = True) -> Any:
        if self._thread.troubles:
            raise self._thread.troubles.pop()
        return self._thread.place.step(self._engine)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("orchestrator.backends.daemon.stop", lambda home: None)
    return world(tmp_path)


@pytest.fixture
def thread(place: World) -> Iterator[Thread]:
    made = Thread(place)
    yield made
    made.runner.ask_to_end()
    assert made.runner.join(WITHIN_S)


def test_all_studies_of_the_ledger_run_and_new_ones_are_taken_up(place: World, thread: Thread) -> None:
    created(place, small_study())
    thread.runner.start()
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    created(place, small_study(name="later"), study_id="s2")
    thread.runner.nudge()
    eventually(lambda: place.store.study("later").state is StudyState.COMPLETED)
    assert thread.runner.standing().state == "leading"
    assert thread.opened == 1


@pytest.mark.fault(15)
def test_while_another_leads_it_watches_and_then_takes_over(place: World, thread: Thread) -> None:
    epoch = place.store.lead("another")
    created(place, small_study())
    thread.runner.start()
    eventually(lambda: thread.runner.standing().state == "watching")
    assert thread.opened == 0  # it has not touched the workers
    place.store.release(epoch)
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert place.store.leader() == service.whoami()


@pytest.mark.parametrize("error", [LedgerBusy("away"), BackendLost("away"), RuntimeError("a mistake")])
def test_whatever_goes_wrong_is_said_once_and_tried_again(
    place: World, thread: Thread, error: Exception
) -> None:
    created(place, small_study())
    thread.troubles = [error, error]
    thread.runner.start()
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert len([s for s in thread.said if "away" in s or "a mistake" in s]) == 1
    assert thread.opened == (1 if isinstance(error, LedgerBusy) else 3)


@pytest.mark.fault(8)
def test_workers_that_have_gone_are_left_and_opened_anew(place: World, thread: Thread) -> None:
    created(place, small_study())
    thread.gone = [True, False]
    thread.runner.start()
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert thread.opened == 2
    assert thread.said.count("The workers' Ray has gone. It is started again.") == 1


def test_a_study_that_cannot_be_launched_here_is_named_and_the_others_go_on(
    place: World, thread: Thread
) -> None:
    created(place, small_study())
    row = place.store.study("small")
    broken = {**row.spec, "name": "broken", "entrypoint": "not.there"}
    place.store.create_study(replace(row, study_id="s9", name="broken", spec=broken))
    thread.runner.start()
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert "not.there" in thread.runner.standing().unrunnable["s9"]
    assert any("The study s9 cannot be run here" in sentence for sentence in thread.said)


# -- where it may listen -------------------------------------------------------------------------------------
@pytest.mark.fault(27)
def test_only_with_an_admin_s_token_may_others_reach_it() -> None:
    store = open_ledger("memory://")
    now = time.time()
    for refused in (
        None,
        Token("reader", "d1", Role.READ, now),
        Token("old", "d2", Role.ADMIN, now, expires_at=now - 1),
        Token("gone", "d3", Role.ADMIN, now, revoked_at=now),
    ):
        if refused is not None:
            store.add_token(refused)
        with listen(Address("0.0.0.0", 0)) as everywhere:
            assert not is_loopback(everywhere)
            with pytest.raises(BadSpec) as caught:
                require_admin(store, everywhere)
        assert "orch token create NAME --role admin" in str(caught.value)
    store.add_token(Token("ada", "d4", Role.ADMIN, now, expires_at=now + 60))
    with listen(Address("0.0.0.0", 0)) as everywhere:
        require_admin(store, everywhere)


def test_this_machine_alone_is_known_by_its_address() -> None:
    for host in ("127.0.0.1", "localhost", "127.8.9.1"):
        with listen(Address(host, 0)) as listening:
            assert is_loopback(listening)


def test_a_port_that_is_taken_or_a_host_that_is_not_ours_is_a_sentence() -> None:
    with listen(Address("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = (Address("127.0.0.1", port), Address("203.0.113.1", 0), Address("no.such.host.invalid", 0))
        for address in refused:
            with pytest.raises(MoveRefused) as caught:
                listen(address)
            assert str(caught.value).startswith(f"Nothing can listen on {address.host}:{address.port}")


def test_the_command_refuses_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    assert cli.run(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    said = capsys.readouterr()
    assert "there is no valid token of an admin" in said.err
    assert said.out == ""
    assert cli.run(["serve", "--engine-only", "--api-only"]) == 2


# -- a real server -------------------------------------------------------------------------------------------
@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`orch serve --api-only` with a token, and its URL."""
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    store.add_token(Token("ada", digest("secret"), Role.ADMIN, 0.0))
    store.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "serve", "--api-only", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "ORCH_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(WITHIN_S, process.kill)
    killer.start()
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        killer.cancel()
        process.kill()
        process.communicate()


def _get(url: str, **headers: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer secret", **headers})
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
        return json.load(answer)


def test_a_server_answers_streams_and_ends_at_a_word(served: tuple[subprocess.Popen[str], str]) -> None:
    process, url = served
    assert _get(f"{url}/api/v1/health/ready")["engine"] == "off"
    assert _get(f"{url}/api/v1/studies") == {"items": [], "next": None}
    with pytest.raises(urllib.error.HTTPError) as caught:
        _get(f"{url}/api/v1/studies", Authorization="Bearer wrong")
    with caught.value as refused:
        assert refused.code == 401
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WITHIN_S) as listener:
        listener.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n")
        said = b""
        while b"retry: 1000" not in said:
            said += listener.recv(4096)
        assert b"text/event-stream" in said
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)  # also with a stream that is open
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, err
    assert time.monotonic() - begun < 10
    assert "Traceback" not in err
    assert "secret" not in err


HANGS = """
import sys, threading
from pathlib import Path
from orchestrator import serving
from orchestrator.ledger import open_ledger
from orchestrator.settings import Settings
serving.LEAVE_WITHIN_S = 0.3
serving._answer = lambda *parts: (print("ready", flush=True), threading.Event().wait())
store = open_ledger("memory://")
where = serving.Address("127.0.0.1", 0)
serving.serve(Settings(Path("."), "memory://", 1), store, address=where, engine=False, say=print, ready=print)
"""


def test_a_server_in_which_something_hangs_ends_all_the_same() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0
        assert out == "Not everything has ended in time; it is left. Nothing is lost.\n"
    finally:
        process.kill()
