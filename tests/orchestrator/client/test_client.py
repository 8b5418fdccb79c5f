"""Does the Python client launch, follow, steer and read a study, whatever befalls the connection?"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.client import Client, Heard, NotFound, at_rest, calls
from orchestrator.client.events import messages
from orchestrator.ground import errors, keys
from orchestrator.runs.contract import Ended
from orchestrator.runs.folders import Journal
from tests.orchestrator.client.conftest import Serve, Server, slow, spec, stop
from trainer.protocol import Outcome

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def ended(server: Server) -> str:
    """The name of a study that has ended."""
    with Client(server.url, token=server.key) as client:
        made = client.create(spec=spec("ended"))
        assert client.wait(made["study_id"], timeout_s=120)["status"] == "completed"
    return "ended"


# -- a study from its launch to its table ----------------------------------------------------------------
def test_a_study_is_launched_followed_and_read(client: Client, tmp_path: Path) -> None:
    heard: list[Heard] = []
    made = client.create(spec=spec("followed"))
    seen = client.wait("followed", on_event=heard.append, timeout_s=120)
    assert (seen["status"], seen["ended"], seen["requested"]) == ("completed", 8, 8)
    assert at_rest(seen)
    trials = list(client.trials("followed"))
    assert {trial["state"] for trial in trials} == {"completed"}
    by_trial = {
        trial["trial_id"]: [h.event_id for h in heard if h.trial_id == trial["trial_id"]] for trial in trials
    }
    for trial_id, ids in by_trial.items():
        assert ids == [entry["event_id"] for entry in client.logs(trial_id)]
    table = client.table("followed")
    assert table["study"] == "followed"
    assert client.table("followed", form="md").startswith("**followed: loss**")
    assert client.verdict("followed")["verdict"]["answer"] == "no claim"
    page = client.report("followed", tmp_path / "page.html")
    assert page.read_text().startswith("<!doctype html>")
    best = f"{made['study_id']}.base.0.0"
    curves = {curve["name"]: curve for curve in client.trajectories(best, name="loss")}
    assert curves["loss"]["steps"][-1] == 40
    assert client.trial("followed.base.0.0")["tried"][0]["state"] == "completed"


def test_the_same_key_makes_one_study_and_another_body_with_it_is_refused(client: Client) -> None:
    first = client.create(spec=spec("keyed"), key="k-1")
    assert client.create(spec=spec("keyed"), key="k-1") == first
    with pytest.raises(errors.KeyUsed, match="used before"):
        client.create(spec=spec("keyed-2"), key="k-1")


def test_presets_are_planned_and_created_by_name(client: Client) -> None:
    names = [preset["name"] for preset in client.presets()]
    assert "eta-sweep" in names
    spec = client.preset("eta-sweep", "smoke")
    planned = client.plan(preset="eta-sweep", size="smoke", slots=7)
    assert planned["slots"] == 7
    assert planned["total"]["runs"] == client.plan(spec=spec)["total"]["runs"]
    made = client.create(preset="eta-sweep", size="smoke", name="mine", set={"score.beam": 2})
    assert made["study"] == "mine"
    client.cancel("mine")


def test_a_running_study_is_paused_resumed_and_cancelled(client: Client) -> None:
    study = client.create(spec=slow("steered"))["study_id"]
    assert client.pause(study)["answer"] == ""
    assert client.study(study)["status"] in ("pausing", "paused")
    assert client.resume(study)["answer"] == ""
    assert client.cancel(study)["answer"] == ""
    with pytest.raises(errors.MoveRefused, match="cancelled"):
        client.resume(study)
    assert client.wait(study, timeout_s=60)["status"] == "cancelled"
    assert client.delete(study)
    with pytest.raises(errors.NotFound):
        client.study(study)


def test_a_study_is_drained_and_waited_for(client: Client) -> None:
    study = client.create(spec=slow("drains", trial_s=4))["study_id"]
    assert client.drain(study)["answer"] == ""
    assert client.wait(study, timeout_s=60)["status"] == "drained"
    assert client.cancel(study)["answer"] == ""


# -- refusals --------------------------------------------------------------------------------------------
def test_refusals_are_the_errors_of_the_command_line(client: Client, ended: str) -> None:
    with pytest.raises(errors.NotFound, match="There is no study 'nothing'"):
        client.study("nothing")
    with pytest.raises(errors.NameTaken, match="exists already") as taken:
        client.create(spec=spec(ended, question="Another?"))
    assert taken.value.name == ended
    assert taken.value.study_id == client.study(ended)["study_id"]
    with pytest.raises(errors.BadSpec) as bad:
        client.create(spec={**spec("bad"), "arms": [], "stesp": 1})
    assert len(bad.value.problems) >= 2
    with pytest.raises(errors.MoveRefused, match="completed"):
        client.pause(ended)
    with pytest.raises(errors.BadSpec, match="either preset= or spec="):
        client.create()
    with pytest.raises(errors.BadSpec, match="cannot be written as JSON"):
        client.plan(spec={"name": float("nan")})
    with pytest.raises(errors.NotFound):
        client.figure(ended, "none")


def test_without_its_token_a_service_is_closed(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.ground.keys import digest
    from orchestrator.ledger import open_ledger
    from orchestrator.ledger.records import Role, Token

    (tmp_path / "home").mkdir()
    store = open_ledger(f"sqlite:///{tmp_path}/home/ledger.db")
    store.add_token(Token("ada", digest("orch_secret"), Role.READ, 0.0, None))
    store.close()
    server = serve("--api-only", home=tmp_path / "home")
    monkeypatch.delenv("ORCH_TOKEN", raising=False)
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "elsewhere"))
    with Client(server.url) as client, pytest.raises(errors.NotAllowed, match="A token is needed"):
        list(client.studies())
    monkeypatch.setenv("ORCH_TOKEN", "orch_secret")
    monkeypatch.setenv("ORCH_URL", f"{server.url}/")
    with Client() as client:
        assert list(client.studies()) == []
        with pytest.raises(errors.NotAllowed, match="this needs run"):
            client.create(spec=spec("mine"))
    stop(server)


def test_on_the_service_s_machine_its_key_is_found_in_the_home(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCH_TOKEN", raising=False)
    monkeypatch.setenv("ORCH_HOME", str(server.home))
    with Client(server.url) as client:
        assert client.presets()
        made = client.link()
    assert made["url"].startswith(f"{server.url}/login?key=orch_")
    assert made["expires_in_s"] == 600
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    other = keys.ensure(tmp_path, say=print)
    with Client(server.url) as client, pytest.raises(errors.NotAllowed) as refused:
        list(client.studies())
    assert str(refused.value) == (
        f"Invalid token. The key in {tmp_path}/key was sent, since ORCH_TOKEN is not set. Set "
        f"ORCH_HOME to the folder of the service that answers at {server.url}, or ORCH_TOKEN to a token."
    )
    monkeypatch.setenv("ORCH_TOKEN", "orch_another")
    with Client(server.url) as client, pytest.raises(errors.NotAllowed) as refused:
        list(client.studies())
    assert str(refused.value) == "Invalid token."
    assert other not in str(refused.value)


@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "https://orch.example"])
def test_the_key_of_the_home_is_sent_to_this_machine_alone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.client.http import Wire

    monkeypatch.delenv("ORCH_TOKEN", raising=False)
    monkeypatch.setenv("ORCH_HOME", str(tmp_path))
    key = keys.ensure(tmp_path, say=print)

    def sent(to: str) -> str | None:
        wire = Wire(to, "", patience_s=0.0, timeout_s=1.0, wait=lambda _: None)
        header: str | None = wire._http.headers.get("authorization")
        wire.close()
        return header

    assert sent("http://127.0.0.1:1") == f"Bearer {key}"
    assert sent(url) is None


def test_an_address_or_token_that_can_be_none_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCH_URL", raising=False)
    with pytest.raises(errors.BadSpec, match="in ORCH_URL"):
        Client()
    with pytest.raises(errors.BadSpec, match="'ftp://here'"):
        Client("ftp://here")
    with pytest.raises(errors.BadSpec, match="characters that no token has"):
        Client("http://127.0.0.1:1", token="a\nb")


# -- connections that break ------------------------------------------------------------------------------
@contextmanager
def answering(answers: Callable[[str, str, dict[str, str]], Answer]) -> Iterator[str]:
    """A server of our own that answers as it is told, and closes each connection."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answers(self.command, self.path, dict(self.headers))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def busy(retry_after: str) -> Answer:
    told = {"type": "urn:orch:ledger-unreachable", "title": "", "status": 503, "detail": "It is busy."}
    return (
        503,
        {"Content-Type": "application/problem+json", "Retry-After": retry_after},
        json.dumps(told).encode(),
    )


def test_a_deletion_is_waited_for_until_the_study_is_gone_or_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = {"request_id": 7, "study_id": "s1", "verb": "delete", "answer": None}
    gone = {"type": "urn:orch:not-found", "title": "", "status": 404, "detail": "There is none."}
    problem = (404, {"Content-Type": "application/problem+json"}, json.dumps(gone).encode())
    said = [fine(request), fine(request), problem, fine(request)]
    asked: list[tuple[str, str]] = []

    def answers(verb: str, path: str, _: dict[str, str]) -> Answer:
        asked.append((verb, path))
        return said.pop(0)

    with answering(answers) as url, Client(url, wait=lambda s: None) as client:
        assert client.delete("small")
        monkeypatch.setattr(calls, "ANSWER_WITHIN_S", 0.0)
        assert not client.delete("small")
    look = ("GET", "/api/v1/studies/s1/requests/7")
    delete = ("DELETE", "/api/v1/studies/small")
    assert asked == [delete, look, look, delete]


def fine(body: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def test_a_busy_service_is_asked_again_after_the_time_it_names() -> None:
    waits: list[float] = []
    said = [busy("3"), busy("0"), fine({"version": "1.2"})]
    with answering(lambda *_: said.pop(0)) as url, Client(url, wait=waits.append) as client:
        assert client.version() == "1.2"
    assert waits == [3.0, 0.5]


def test_what_has_a_key_is_sent_again_with_that_key_and_a_request_is_sent_once() -> None:
    keys: list[str | None] = []

    def answers(verb: str, path: str, headers: dict[str, str]) -> Answer:
        keys.append(headers.get("Idempotency-Key"))
        return busy("0") if len(keys) != 2 else fine({"study_id": "s1"})

    with answering(answers) as url, Client(url, wait=lambda s: None) as client:
        assert client.create(preset="eta-sweep")["study_id"] == "s1"
        assert keys[0] is not None
        assert keys == [keys[0]] * 2
        with pytest.raises(errors.LedgerBusy, match="It is busy"):
            client.pause("s1")
    assert len(keys) == 3


def test_patience_ends() -> None:
    waits: list[float] = []
    with (
        answering(lambda *_: busy("20")) as url,
        Client(url, patience_s=10, wait=waits.append) as client,
        pytest.raises(errors.LedgerBusy),
    ):
        client.version()
    assert waits == []
    with (
        Client(url, patience_s=0.0) as client,
        pytest.raises(errors.ServiceLost, match=f"{url} cannot be reached"),
    ):
        client.version()


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_not_orch_is_said_to_be_none(status: int) -> None:
    with (
        answering(lambda *_: (status, {"Content-Type": "text/html"}, b"<h1>Sign in</h1>")) as url,
        Client(url) as client,
        pytest.raises(errors.ServiceLost, match="is not orch"),
    ):
        client.version()


def test_events_go_on_after_the_last_one_when_the_connection_breaks() -> None:
    told = [
        {"event_id": n, "study_id": "s1", "trial_id": "s1.a.0.0", "attempt": 1, "kind": "train", "step": n,
         "at": 0.0, "payload": {}, "new": 1}
        for n in (5, 6, 7)
    ]  # fmt: skip
    bodies = [
        b"retry: 1000\n\nid: 4\n\n",  # nothing yet, but a place to come back to
        b"retry: 1000\n\n: still here\n\n" + b"".join(_event(event) for event in told[:2]),
        b"id: 7\nevent: train\nda",  # cut off within an event: it comes again
        b"".join(_event(event) for event in told[2:]),
    ]
    places: list[str | None] = []

    def answers(verb: str, path: str, headers: dict[str, str]) -> Answer:
        places.append(headers.get("Last-Event-ID"))
        return 200, {"Content-Type": "text/event-stream"}, bodies.pop(0)

    with answering(answers) as url, Client(url, wait=lambda s: None) as client:
        events = client.events("s1")
        assert [next(events).event_id for _ in told] == [5, 6, 7]
    assert places == [None, "4", "6", "6"]


def _event(told: dict[str, Any]) -> bytes:
    return f"id: {told['event_id']}\nevent: train\ndata: {json.dumps(told)}\n\n".encode()


def test_messages_are_read_as_the_standard_says() -> None:
    lines = ["retry: 9", "", "id: 3", "event: x", "data: a", "data:b", ": comment", "", "data", "", "id: 4"]
    assert list(messages(lines)) == [(None, None), (3, None), (3, "a\nb"), (3, None)]


def test_a_restarted_service_is_found_again_and_nothing_is_missed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    first = serve(home=tmp_path / "home")
    with Client(first.url, token=first.key) as client:
        study = client.create(spec=spec("restarted"))["study_id"]
        seen: list[int] = []
        events = client.events(study, after=0)
        seen.append(next(events).event_id)
        stop(first)
        second = serve(home=tmp_path / "home", port=int(first.url.rsplit(":", 1)[1]))
        assert client.wait(study, timeout_s=120)["status"] == "completed"
        logged = sorted(
            e["event_id"] for trial in client.trials(study) for e in client.logs(trial["trial_id"])
        )
        while len(seen) < len(logged):
            seen.append(next(events).event_id)
        assert seen == logged
    stop(second)


@pytest.mark.parametrize(("timeout_s", "waited"), [(None, 10.0), (43.0, 3.0)])
def test_a_look_that_outlasted_an_outage_puts_off_the_next_by_seconds_only(
    timeout_s: float | None, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waits = [0.0], []
    looks = iter([("running", 40.0), ("completed", 0.1)])

    def study(_: Client, name: str) -> dict[str, Any]:
        status, took_s = next(looks)
        now[0] += took_s
        return {"study": name, "status": status, "arms": []}

    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Client, "study", study)
    with Client("http://127.0.0.1:1", wait=waits.append) as client:
        assert client.wait("any", timeout_s=timeout_s)["status"] == "completed"
    assert waits == [waited]


# -- what a trial leaves -----------------------------------------------------------------------------------
def test_output_is_followed_and_files_are_saved_whole(server: Server, tmp_path: Path) -> None:
    with Client(server.url, token=server.key) as client:
        client.create(spec=spec("leaves", claim=None))
        study_id = client.wait("leaves", timeout_s=120)["study_id"]
        folder = server.home / "runs" / study_id / f"{study_id}.base.0.0" / "attempt-1"
        trial = "leaves.base.0.0"
        assert (client.output(trial)["text"], client.artifacts(trial)) == ("", [])
        (folder / "output.log").write_text("one\ntwo\n")
        assert client.output(trial, offset=4) == {**client.output(trial), "start": 4, "text": "two\n"}
        assert client.output(trial, attempt=1, tail=1)["text"] == "two\n"
        (folder / "plots").mkdir()
        (folder / "plots" / "a+b.bin").write_bytes(bytes(range(256)) * 100)
        Journal(folder).end(Ended("outcome", outcome=Outcome("completed", files=("plots/a+b.bin",))))
        assert client.artifacts(trial) == [{"name": "plots/a+b.bin", "bytes": 25600}]
        saved = client.artifact(trial, "plots/a+b.bin", tmp_path / "saved")
        assert saved.read_bytes() == bytes(range(256)) * 100
        with pytest.raises(NotFound, match="has no artifact 'b'"):
            client.artifact(trial, "b", tmp_path / "b")
        with pytest.raises(NotFound, match="there is no 2"):
            client.output(trial, attempt=2)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
