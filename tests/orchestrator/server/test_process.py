"""One process for everybody: the engine in its thread, where it may listen, how it ends."""

from __future__ import annotations

import json
import os
import re
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
from urllib.parse import urlsplit

import pytest

from orchestrator import cli
from orchestrator.ground.errors import BackendLost, BadSpec, LedgerBusy, MoveRefused
from orchestrator.ground.identity import whoami
from orchestrator.ground.keys import digest
from orchestrator.ground.settings import Settings
from orchestrator.ledger import Store, open_ledger
from orchestrator.ledger.records import Role, StudyState, Token
from orchestrator.server.process import Address, is_loopback, listen, require_loopback, url_of
from orchestrator.service import host as service
from orchestrator.service.runner import Runner
from tests.faults.world import World, created, small_study, world

ROOT = Path(__file__).parents[3]
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
        self._engine = thread.place.engine(who=whoami())
        self.backend, self.who = thread.place.backend, self._engine.who

    def tick(self, *, launch: bool = True) -> Any:
        if self._thread.troubles:
            raise self._thread.troubles.pop()
        return self._thread.place.step(self._engine)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("orchestrator.backends.daemon.stop", lambda home, **_: None)
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
    assert thread.runner.status().state == "leading"
    assert thread.opened == 1


@pytest.mark.fault(15)
def test_while_another_leads_it_watches_and_then_takes_over(place: World, thread: Thread) -> None:
    epoch = place.store.lead("another")
    created(place, small_study())
    thread.runner.start()
    eventually(lambda: thread.runner.status().state == "watching")
    assert thread.opened == 0  # it has not touched the workers
    place.store.release(epoch)
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert place.store.leader() == whoami()


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
    assert thread.said.count("The workers' Ray has gone. Studies go on once it is back.") == 1


def test_a_study_that_cannot_be_launched_here_is_named_and_the_others_go_on(
    place: World, thread: Thread
) -> None:
    created(place, small_study())
    row = place.store.study("small")
    broken = {**row.spec, "name": "broken", "entrypoint": "not.there"}
    place.store.create_study(replace(row, study_id="s9", name="broken", spec=broken))
    thread.runner.start()
    eventually(lambda: place.store.study("small").state is StudyState.COMPLETED)
    assert "not.there" in thread.runner.status().unrunnable["s9"]
    assert any("The study s9 cannot be run here" in sentence for sentence in thread.said)


# -- where it may listen -------------------------------------------------------------------------------------
@pytest.mark.fault(27)
def test_what_others_can_reach_is_never_open() -> None:
    with listen(Address("0.0.0.0", 0)) as everywhere:
        assert not is_loopback(everywhere)
        with pytest.raises(BadSpec) as caught:
            require_loopback(everywhere)
        assert everywhere.fileno() == -1  # nobody gets through meanwhile
    assert str(caught.value) == (
        "0.0.0.0 can be reached from other machines, and with --open anybody could run studies here. Leave "
        "--open out, or serve this machine alone, with --host 127.0.0.1."
    )
    with listen(Address("127.0.0.1", 0)) as here:
        require_loopback(here)


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_what_listens_everywhere_is_asked_at_the_loopback(host: str, shown: str) -> None:
    with listen(Address(host, 0)) as listening:
        assert url_of(listening) == f"http://{shown}:{listening.getsockname()[1]}"


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
    assert cli.run(["serve", "--open", "--host", "0.0.0.0", "--port", "0"]) == 2
    said = capsys.readouterr()
    assert "with --open anybody could run studies here" in said.err
    assert said.out == ""
    assert cli.run(["serve", "--engine-only", "--open"]) == 2
    assert cli.run(["serve", "--engine-only", "--api-only"]) == 2


# -- a real server -------------------------------------------------------------------------------------------
class Process:
    """`orch serve --api-only`, and what it printed first."""

    def __init__(self, home: Path, *words: str, **more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "serve", "--api-only", "--port", "0", *words],
            cwd=ROOT,
            env={**os.environ, "ORCH_HOME": str(home), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._killer = threading.Timer(WITHIN_S, self.process.kill)
        self._killer.start()
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        self.url = "{0.scheme}://{0.netloc}".format(urlsplit(self.said))

    def end(self) -> str:
        """What it said on stderr."""
        self._killer.cancel()
        self.process.terminate()
        _, err = self.process.communicate(timeout=WITHIN_S)
        return err


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`orch serve --api-only` with a token, and its URL."""
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    store.add_token(Token("ada", digest("secret"), Role.ADMIN, 0.0))
    store.close()
    running = Process(tmp_path)
    try:
        yield running.process, running.url
    finally:
        running.process.kill()
        running.end()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _status(url: str, **headers: str) -> tuple[int, Any]:
    """Of one answer, redirects not followed, and its headers."""
    asked = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.build_opener(_NoRedirects()).open(asked, timeout=WITHIN_S) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers


def test_a_service_asks_for_its_key_and_the_command_line_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for name in ("ORCH_TOKEN", "ORCH_URL"):
        monkeypatch.delenv(name, raising=False)
    running = Process(home)
    try:
        url, studies = running.url, f"{running.url}/api/v1/studies"
        assert re.fullmatch(rf"{url}/login\?key=orch_[\w-]{{43}}", running.said)
        assert (_status(studies)[0], _status(f"{url}/api/v1/health/ready")[0]) == (401, 200)
        status, headers = _status(running.said)
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"].split(";")[0]
        assert _status(studies, Cookie=cookie)[0] == 200
        assert _status(running.said)[0] == 401  # it worked once

        monkeypatch.setenv("ORCH_HOME", str(home))
        assert cli.run(["study", "list", "--server", url, "--json"]) == 0
        assert cli.run(["token", "link", "--server", url]) == 0
        said = capsys.readouterr()
        link = said.out.splitlines()[-1]
        assert "Open it in a browser within 10 minutes. It works once." in said.err
        assert [_status(link)[0] for _ in range(2)] == [303, 401]
        monkeypatch.setenv("ORCH_HOME", str(elsewhere))
        assert cli.run(["study", "list", "--server", url]) == 3
        assert capsys.readouterr().err.endswith(
            f" The key in {elsewhere}/key would be sent, and cannot be read; ORCH_TOKEN is not set. Set "
            f"ORCH_HOME to the folder of the service that answers at {url}, or ORCH_TOKEN to a token.\n"
        )
    finally:
        err = running.end()
    assert f"  orch token link --server {url}\n" in err
    key = (home / "key").read_text().strip()
    assert key not in err + running.said

    again = Process(home)  # the key and the browser's session outlive the process
    try:
        assert (home / "key").read_text().strip() == key
        assert _status(f"{again.url}/api/v1/studies", Cookie=cookie)[0] == 200
        assert _status(f"{again.url}/api/v1/studies", Authorization=f"Bearer {key}")[0] == 200
    finally:
        again.end()


def test_an_open_service_asks_nobody_and_says_so_where_there_are_tokens(tmp_path: Path) -> None:
    running = Process(tmp_path, "--open")
    try:
        assert running.said == f"{running.url}/"
        assert _status(f"{running.url}/api/v1/studies")[0] == 200
        assert _status(f"{running.url}/api/v1/studies", Host="evil.example")[0] == 403
    finally:
        running.end()
    store = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    store.add_token(Token("ada", digest("secret"), Role.ADMIN, 0.0))
    store.close()
    again = Process(tmp_path, "--open")
    try:
        assert "/login?key=" in again.said
        assert _status(f"{again.url}/api/v1/studies")[0] == 401
    finally:
        err = again.end()
    assert "There are tokens, and as long as there are, --open opens nothing" in err


def test_a_service_that_others_reach_is_guarded_without_any_token_made_for_it(tmp_path: Path) -> None:
    running = Process(tmp_path, "--host", "0.0.0.0")
    try:
        assert running.said.startswith("http://127.0.0.1:")
        assert _status(f"{running.url}/api/v1/studies")[0] == 401
        assert _status(f"{running.url}/api/v1/studies", **{"X-Forwarded-For": "127.0.0.1"})[0] == 401
        key = (tmp_path / "key").read_text().strip()
        assert _status(f"{running.url}/api/v1/studies", Authorization=f"Bearer {key}")[0] == 200
    finally:
        running.end()


@pytest.mark.parametrize(("proxies", "refused"), [("", True), ("127.0.0.1", False)])
def test_a_client_here_evades_no_rate_by_naming_other_addresses(
    tmp_path: Path, proxies: str, refused: bool
) -> None:
    running = Process(tmp_path, ORCH_REQUESTS_PER_S="1", ORCH_PROXIES=proxies)
    try:
        live = f"{running.url}/api/v1/health/live"
        asked = [_status(live, **{"X-Forwarded-For": f"1.2.3.{i}"})[0] for i in range(50)]
        assert (429 in asked) == refused
    finally:
        running.end()


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
from orchestrator.server import process as serving
from orchestrator.ledger import open_ledger
from orchestrator.ground.settings import Settings
serving.LEAVE_WITHIN_S = 0.3
serving._answer = lambda *parts, **named: (print("ready", flush=True), threading.Event().wait())
store = open_ledger("memory://")
where = serving.Address("127.0.0.1", 0)
settings = Settings(Path(sys.argv[1]), "memory://", 1)
serving.serve(settings, store, address=where, engine=False, say=print, ready=print)
"""


def test_a_server_in_which_something_hangs_ends_all_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGS, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0
        assert out == "Not everything has ended in time; it is left. Nothing is lost.\n"
    finally:
        process.kill()
