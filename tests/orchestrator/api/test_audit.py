"""Which refused writes are in the audit log, and can strangers fill it?"""

from __future__ import annotations

import pytest

from orchestrator.api.auth import COOKIE
from orchestrator.ground.errors import LedgerBusy
from tests.orchestrator.api.conftest import Make, Service, spec

STUDIES = "/api/v1/studies"
HERE = "unknown at 127.0.0.1"


def lines(service: Service, limit: int = 500) -> list[tuple[str, str, str, int]]:
    return [(line.who, line.verb, line.path, line.status) for line in service.store.audited(limit=limit)]


def test_every_kind_of_refused_write_leaves_a_line_with_the_name_of_whoever_asked(make: Make) -> None:
    service = make()
    ada = service.ask.by(service.token("admin", name="ada"))
    bob = service.ask.by(service.token("read", name="bob"))
    study = ada("POST", STUDIES, {"spec": spec()}).json["study_id"]
    service.place.clock.advance(1)
    for ask, verb, path, body, status, who in (
        (service.anybody, "POST", STUDIES, {"spec": spec()}, 401, HERE),
        (bob, "POST", STUDIES, {"spec": spec(name="b")}, 403, "bob"),
        (ada, "DELETE", f"{STUDIES}/none", None, 404, "ada"),
        (ada, "POST", "/api/v1/nothing", {}, 404, "ada"),
        (ada, "PUT", STUDIES, None, 405, "ada"),
        (ada, "POST", STUDIES, {"spec": {}}, 422, "ada"),
        (ada, "DELETE", f"{STUDIES}/{study}", None, 409, "ada"),
        (ada, "POST", STUDIES, b"{", 400, "ada"),
        (service.anybody, "POST", STUDIES, b"{", 400, HERE),
        (ada, "POST", STUDIES, b"x" * (2**20 + 1), 413, "ada"),
    ):
        assert ask(verb, path, body).status == status, (verb, path, status)
        assert lines(service, 1) == [(who, verb, path, status)]
        service.place.clock.advance(1)
    assert lines(service)[-1] == ("ada", "POST", STUDIES, 201)
    before = lines(service)
    assert [service.anybody("GET", path).status for path in (STUDIES, "/api/v1/nothing")] == [401, 404]
    assert lines(service) == before  # what only reads changes nothing


def test_who_asks_too_much_is_written_down_too(make: Make) -> None:
    service = make(requests_per_s=1)
    statuses = [service.ask("DELETE", f"{STUDIES}/none").status for _ in range(6)]
    assert statuses == [404] * 5 + [429]
    assert sorted(lines(service))[-1] == (HERE, "DELETE", f"{STUDIES}/none", 429)
    assert len(lines(service)) == 6


def test_a_change_by_cookie_that_another_page_asks_for_is_written_down_with_its_name(make: Make) -> None:
    service = make()
    form = {"content_type": "application/x-www-form-urlencoded"}
    secret = service.token("run", name="bob")
    cookie = service.anybody("POST", "/session", f"token={secret}".encode(), **form).headers["set-cookie"]
    worn = cookie.split(";")[0]
    assert worn.startswith(f"{COOKIE}=")
    service.place.clock.advance(1)
    said = service.anybody("POST", STUDIES, {"spec": spec()}, cookie=worn, origin="http://evil.example")
    assert said.status == 403
    assert lines(service) == [("bob", "POST", STUDIES, 403), ("bob", "POST", "/session", 303)]


def test_strangers_cannot_fill_the_log_and_what_is_left_out_is_counted(make: Make) -> None:
    service = make(requests_per_s=100_000)
    ask, told = service.anybody, service.store.audit
    written: list[str] = []

    def audit(line: object) -> None:
        written.append(getattr(line, "path", ""))
        told(line)  # type: ignore[arg-type]

    service.store.audit = audit  # type: ignore[method-assign]
    for _ in range(1000):
        assert ask("POST", STUDIES, {}).status == 401
    assert written == [STUDIES] * 300
    assert service.ask("DELETE", f"{STUDIES}/none").status == 404  # somebody known is always written down
    assert written[300:] == [f"{STUDIES}/none", "700 more refused writes, each not written down"]
    service.place.clock.advance(10)
    for _ in range(20):
        ask("POST", STUDIES, {})
    assert written[302:] == [STUDIES] * 10


def test_a_line_that_cannot_be_written_is_logged_and_hides_no_answer(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    service = make()

    def away(_: object) -> None:
        raise LedgerBusy("away")

    service.store.audit = away  # type: ignore[method-assign]
    assert service.anybody("POST", STUDIES, {}).status == 401
    assert "An audit line was not written (away)" in caplog.text
