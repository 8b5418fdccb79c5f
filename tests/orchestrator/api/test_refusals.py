"""What no request may do: bodies that are bombs, names that are paths, more than its share."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from tests.orchestrator.api.conftest import Make, spec

STUDIES = "/api/v1/studies"


def _spec_with(text: str) -> bytes:
    return json.dumps({"spec": spec(base={"steps": "HERE"})}).replace('"HERE"', text).encode()


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (_spec_with("NaN"), 400, "spec.base.steps is NaN"),
        (_spec_with("-Infinity"), 400, "spec.base.steps is infinite"),
        (_spec_with("1e309"), 400, "too large for a number"),
        (_spec_with("9" * 5000), 400, "4,300 digits"),
        (_spec_with(r'"a\u0000b"'), 400, "a null character"),
        (_spec_with(r'"\ud800"'), 400, "surrogate"),
        (_spec_with('1, "steps": 2'), 400, "the key 'steps' appears twice"),
        (_spec_with("[" * 60 + "]" * 60), 400, "at most 40 levels"),
        (b"[" * 500_000, 400, "at most 40 levels"),
        (b'{"a":' * 100_000, 400, "at most 40 levels"),
        (b"\xff\xfe", 400, "not UTF-8"),
        (b"{", 400, "line 1"),
        (b"x" * (2**20 + 1), 413, "1,048,576 bytes"),
        (b"[]", 422, "Input should be"),
        (b"null", 422, "the body"),
        (b"{}", 422, "give either preset or spec"),
        (b'{"spec": {}}', 422, "lacks 'name'"),
        (b'{"sepc": {}}', 422, "Unknown key 'sepc'"),
        (_spec_with(str(10**400)), 400, "too large"),
    ],
)
def test_a_body_that_cannot_be_taken_is_refused_at_once(
    make: Make, body: bytes, status: int, sentence: str
) -> None:
    service = make()
    service.ask("GET", "/api/v1/health/live")  # all that is loaded once is loaded
    tracemalloc.start()
    begun = time.monotonic()
    said = service.ask("POST", STUDIES, body)
    took_s, (_, peak) = time.monotonic() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (said.status, said.headers["content-type"]) == (status, "application/problem+json")
    assert sentence in said.json["detail"]
    assert said.json["status"] == status
    assert took_s < 1
    assert peak < 60e6
    assert service.store.studies() == []


def test_a_body_whose_length_is_not_told_is_counted(make: Make) -> None:
    service = make()
    said = service.ask("POST", STUDIES, [b"x" * 2**16] * 800)  # 50 MB
    assert said.status == 413


def test_a_length_that_is_a_lie_is_refused(make: Make) -> None:
    service = make()
    assert service.ask("POST", STUDIES, b"{}", content_length="50000000").status == 413
    assert service.ask("POST", STUDIES, b"{}", content_length="-1").status == 413


NAMES = ("../../etc/x", "C:\\", "%2e%2e", "a/b", ".hidden", "", "x" * 81, "x" * 10_000, "<script>", "a b")


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_could_be_a_path_is_refused(make: Make, name: str) -> None:
    service = make()
    for body in ({"spec": spec() | {"name": name}}, {"spec": spec(), "name": name}):
        said = service.ask("POST", STUDIES, body)
        assert (said.status, said.headers["content-type"]) == (422, "application/problem+json")
        assert len(said.body) < 2000
    for verb, path in (("GET", f"{STUDIES}/{name}"), ("DELETE", f"{STUDIES}/{name}/")):
        assert service.ask(verb, path).status in (404, 405, 422) or name == ""


@pytest.mark.fault(23)
@pytest.mark.parametrize("path", [f"{STUDIES}/a\0b", f"{STUDIES}?name=%00", f"{STUDIES}?name=%0"])
def test_a_null_character_in_an_address_is_refused(make: Make, path: str) -> None:
    said = make().ask("GET", path)
    assert said.status in (200, 400)
    assert said.status == 400 or path.endswith("%0")


def test_addresses_and_verbs_that_are_not_there_are_problems_too(make: Make) -> None:
    service = make()
    for verb, path, status in (("GET", "/api/v1/nothing", 404), ("PUT", STUDIES, 405), ("GET", "/", 404)):
        said = service.ask(verb, path)
        assert (said.status, said.json["status"]) == (status, status)
        assert said.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "verbs"),
    [
        (STUDIES, "GET, POST"),
        (f"{STUDIES}/x", "GET, DELETE"),
        ("/session", "POST, DELETE"),
        ("/api/v1/session", "POST, DELETE"),
        (f"{STUDIES}/x/pause", "POST"),
        ("/api/v1/openapi.json", "GET, HEAD"),
    ],
)
def test_a_verb_that_is_not_taken_is_answered_with_all_that_are(make: Make, path: str, verbs: str) -> None:
    service = make()
    for verb in ("PUT", "PATCH", "VERB"):
        said = service.ask(verb, path)
        assert (said.status, said.headers["allow"]) == (405, verbs)


def test_verbs_that_a_client_invents_are_counted_as_one(make: Make) -> None:
    service = make()
    for i in range(20):
        service.ask(f"VERB{i}", "/api/v1/version")
    service.ask("GET", "/api/v1/version")
    counts = service.ask.app.state.counts
    assert counts == {("other", 405): 20, ("GET", 200): 1}


def test_a_key_that_appears_twice_among_many_is_found_in_one_pass(make: Make) -> None:
    keys = ",".join(f'"{i}":0' for i in range(60_000))
    service, began = make(), time.process_time()
    said = service.ask("POST", STUDIES, f'{{{keys},"59999":0}}'.encode())
    assert (said.status, "the key '59999' appears twice" in said.json["detail"]) == (400, True)
    assert time.process_time() - began < 5  # 0.1 s, and a minute where each is compared with each


def test_a_client_that_asks_too_much_waits_and_others_do_not(make: Make) -> None:
    service = make(requests_per_s=2)
    statuses = [service.ask("GET", "/api/v1/health/live").status for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    said = service.ask("GET", "/api/v1/health/live")
    assert (said.json["type"], said.headers["retry-after"]) == ("urn:orch:too-many-requests", "1")
    service.ask.client = "10.0.0.2"
    assert service.ask("GET", "/api/v1/health/live").status == 200
    service.ask.client = "127.0.0.1"
    service.place.clock.advance(1)
    statuses = [service.ask("GET", "/api/v1/health/live").status for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_every_answer_forbids_a_browser_to_guess_and_to_load(make: Make) -> None:
    service = make()
    for path in ("/api/v1/version", "/api/v1/nothing", STUDIES):
        headers = service.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_what_nobody_foresaw_is_a_problem_without_its_secrets(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    service = make()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    service.store.studies = broken  # type: ignore[method-assign]
    said = service.ask("GET", STUDIES)
    assert (said.status, said.json["type"]) == (500, "urn:orch:unexpected")
    assert "hunter2" not in said.body.decode()
    assert "hunter2" in caplog.text  # for whoever runs the service
