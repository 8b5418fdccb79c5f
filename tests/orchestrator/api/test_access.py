"""Who may do what: tokens and their roles, cookies of browsers, this machine alone, the audit."""

from __future__ import annotations

import io
import logging
import os
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from dashboards.web import routes
from orchestrator.api.app import build, furnish
from orchestrator.api.auth import COOKIE, role_of
from orchestrator.ledger.records import Role
from studies import catalog
from tests.orchestrator.api.conftest import KEY, Make, Service, spec
from trainer.config import TrainConfig, named_files
from trainer.training.entrypoint import check

STUDIES = "/api/v1/studies"
OPEN = {"/api/v1/health/live", "/api/v1/health/ready", "/api/v1/version", "/api/v1/session"}


@pytest.mark.fault(27)
def test_every_route_but_the_open_ones_wants_a_token(make: Make) -> None:
    service = make()
    document = service.ask("GET", "/api/v1/openapi.json").json
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert bool(operation.get("security")) == (path not in OPEN), path
            if path in OPEN:
                continue
            where = path.format(study="s", trial="s.a.0.0", name="x", size="quick", request_id=1, host="h")
            body = {} if verb == "post" else None
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic YTpi"}):
                said = service.anybody(verb.upper(), where, body, **headers)
                assert said.status in (401, 422), (verb, where)
                assert said.status == 401 or body == {}, where  # a body that cannot be read is told first
                if said.status == 401:
                    assert said.headers["www-authenticate"] == "Bearer"


@pytest.mark.fault(27)
@pytest.mark.parametrize("role", list(Role))
def test_a_role_opens_what_it_covers_and_no_more(make: Make, role: Role) -> None:
    service = make()
    study = service.ran().study_id
    ask = service.ask.by(service.token(role))
    wanted = {
        ("GET", STUDIES): Role.READ,
        ("POST", "/api/v1/plans"): Role.READ,
        ("GET", "/api/v1/metrics"): Role.READ,
        ("POST", STUDIES): Role.RUN,
        ("GET", "/api/v1/hosts"): Role.READ,
        ("POST", "/api/v1/hosts/h/drain"): Role.ADMIN,
        ("GET", "/api/v1/cluster"): Role.ADMIN,
        ("POST", f"{STUDIES}/{study}/resume"): Role.RUN,
        ("GET", "/api/v1/audit"): Role.ADMIN,
        ("DELETE", f"{STUDIES}/{study}"): Role.ADMIN,
    }
    for (verb, path), needed in wanted.items():
        said = ask(verb, path, {"spec": spec(name="other")} if path in (STUDIES, "/api/v1/plans") else None)
        assert (said.status == 403) == (not role.covers(needed)), (verb, path, said.body)
        if said.status == 403:
            assert said.json["detail"] == f"The token '{role}' has the role {role}; this needs {needed}."


@pytest.mark.fault(27)
def test_a_token_that_has_expired_or_was_revoked_opens_nothing(make: Make) -> None:
    service = make()
    now = service.parts.clock.time()
    short, other = service.token("read", expires_at=now + 60), service.token("read", name="other")
    assert [service.ask.by(t)("GET", STUDIES).status for t in (short, other)] == [200, 200]
    service.place.clock.advance(60)
    service.store.revoke_token("other", at=now + 60)
    expired, revoked = (service.ask.by(t)("GET", STUDIES) for t in (short, other))
    assert (expired.status, "has expired" in expired.json["detail"]) == (401, True)
    assert (revoked.status, "was revoked" in revoked.json["detail"]) == (401, True)
    assert service.anybody("GET", STUDIES).status == 401


PLANS = "/api/v1/plans"


def test_who_may_only_look_makes_the_service_import_no_code_but_ours(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "imported"
    (tmp_path / "not_ours.py").write_text(
        f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n"
        "def check(c): return []\ndef shape_key(c): return ''\nrun = check\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    service = make()
    reads, runs = (service.ask.by(service.token(role)) for role in ("read", "run"))
    inner = {"population": {"entrypoint": "not_ours", "members": 2, "every_steps": 20}}
    members = spec(entrypoint="orchestrator.backends.population")
    arms = [{"name": "a", "method": "fixed", "config": inner}]
    for asked in (
        {"spec": spec(entrypoint="not_ours")},
        {"spec": {**members, "base": {**members["base"], **inner}}},
        {"spec": {**members, "arms": arms}},
        {"preset": {"name": "rivals", "size": "smoke", "set": {"population.entrypoint": "not_ours"}}},
    ):
        said = reads("POST", PLANS, asked)
        assert (said.status, "'not_ours' needs the role run" in said.json["detail"]) == (403, True), said.body
    assert not trace.exists()
    assert reads("POST", PLANS, {"spec": {**spec(), "entrypoint": 3}}).status == 422
    for ours in ("orchestrator.rehearsal", "trainer.run"):
        assert reads("POST", PLANS, {"spec": spec(entrypoint=ours)}).status == 200
    for preset in catalog.names():
        assert reads("POST", PLANS, {"preset": {"name": preset, "size": "smoke"}}).status == 200
    assert runs("POST", PLANS, {"spec": spec(entrypoint="not_ours")}).status == 200
    assert trace.exists()


def test_who_may_only_look_makes_the_service_look_for_no_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "secret.json"
    there.write_text('{"curves": {"alpha": []}}')
    (tmp_path / "text.de").write_text("x")
    looked_for: list[str] = []

    def noted(of: Any, name: str) -> None:
        real = getattr(of, name)

        def note(path: Any, *rest: Any, **more: Any) -> Any:
            looked_for.extend([str(path)] if str(tmp_path) in str(path) else [])
            return real(path, *rest, **more)

        monkeypatch.setattr(of, name, note)

    service = make()
    reads, runs = (service.ask.by(service.token(role)) for role in ("read", "run"))
    for of, name in ((os, "stat"), (os, "scandir"), (os, "listdir"), (os, "open"), (io, "open")):
        noted(of, name)
    path, absent = str(there), str(tmp_path / "none.npz")
    asked: list[dict[str, Any]] = []
    for base in (
        {"schedule": {"name": path}},
        {"schedule": {"name": absent}},
        {"schedule": {"name": path}, "guidance": {"estimator": "held-out", "learn": ["alpha"]}},
        {"data": {"source": "files", "path": path}},
        {"data": {"path": absent}},
        {"data": {"task": "files", "path": path}},
        {"data": {"task": f"{path}.py"}},
    ):
        arms = [{"name": "a", "method": "fixed", "config": base}]
        flat = {f"{section}.{key}": v for section, keys in base.items() for key, v in keys.items()}
        asked.append({"spec": {**spec(entrypoint="trainer.run"), "arms": arms}})
        asked.append({"spec": spec(entrypoint="trainer.run", base=base)})
        asked.append({"preset": {"name": "eta-sweep", "size": "smoke", "set": flat}})
    for each in asked:
        said = reads("POST", PLANS, each)
        assert said.status == 403, said.body
        key, name = ("data.", path) if "data" in str(each) and path in str(each) else ("", "")
        assert key in said.json["detail"]
        assert "which needs the role run. Leave it out." in said.json["detail"]
        assert name in said.json["detail"] or len(name) > 70
    assert looked_for == []
    runs("POST", PLANS, asked[0])
    assert looked_for  # the same, of who may: so it would have been seen


def test_every_text_of_a_config_that_names_a_file_is_known_as_one(tmp_path: Path) -> None:
    """Each text of a run's config in turn is set to a path: what then looks there is among `named_files`."""
    whole = TrainConfig().to_dict()
    paths = [str(tmp_path / "there.json"), str(tmp_path / "there.py")]
    for path in paths:
        Path(path).write_text("{}")
    texts = [
        (section, key)
        for section, keys in whole.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if isinstance(value, str)
    ]
    assert ("data", "path") in texts
    seen: set[str] = set()
    for (section, key), path in product(texts, paths):
        config = {**whole, section: {**whole[section], key: path}}
        with pytest.MonkeyPatch.context() as patched:
            real = os.stat

            def stat(where: Any, *rest: Any, real: Any = real, name: str = key, **more: Any) -> Any:
                if str(where) in paths:
                    seen.add(name)
                return real(where, *rest, **more)

            patched.setattr(os, "stat", stat)
            check(config)
        if key in seen:
            assert f"{section}.{key}" in named_files(config)
    assert seen == {"path", "name", "task", "vocabulary_path"}


# -- the key of the home ------------------------------------------------------------------------------------
def test_the_key_of_the_home_opens_everything_and_nothing_else_does(make: Make) -> None:
    service = make()
    assert service.anybody("GET", STUDIES).status == 401
    assert service.anybody.by(KEY + "x")("GET", STUDIES).status == 401
    assert service.anybody.by("")("GET", STUDIES).status == 401
    for path in (STUDIES, "/api/v1/audit"):
        assert service.anybody.by(KEY)("GET", path).status == 200
    service.token("admin")  # a token beside it takes nothing from it
    assert service.anybody.by(KEY)("GET", STUDIES).status == 200


@pytest.mark.parametrize("path", ["/api/v1/health/live", "/api/v1/health/ready", "/api/v1/version"])
def test_health_is_told_to_everybody(make: Make, path: str) -> None:
    assert make().anybody("GET", path).status == 200


@pytest.mark.parametrize("header", ["x-forwarded-for", "x-real-ip", "x-forwarded-proto", "via", "forwarded"])
def test_a_header_of_a_proxy_neither_opens_nor_closes(make: Make, header: str) -> None:
    assert make().anybody("GET", STUDIES, **{header: "127.0.0.1"}).status == 401
    service = make()
    assert service.ask("GET", STUDIES, **{header: "10.0.0.9"}).status == 200


# -- an open service: this machine alone ---------------------------------------------------------------------
def test_when_open_this_machine_may_do_everything_under_its_own_name(make: Make) -> None:
    ask = make(open_=True).anybody
    for host in ("127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000"):
        assert ask("GET", STUDIES, host=host).status == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "["):
        assert ask("GET", STUDIES, host=host).status == 403
    assert ask("GET", STUDIES, host="127.8.0.2:8000").status == 200  # --host 127.8.0.2
    assert ask("GET", STUDIES, host="127.0.0.1000").status == 403


def test_when_open_a_stale_cookie_locks_nobody_out(make: Make) -> None:
    service = make(open_=True)
    worn = {"cookie": f"{COOKIE}=of-another-ledger"}
    assert service.anybody("GET", STUDIES, **worn).status == 200
    assert service.anybody("GET", STUDIES, host="evil.example", **worn).status == 403
    body = {"spec": spec()}
    assert service.anybody("POST", STUDIES, body, origin="http://evil.example", **worn).status == 403
    assert service.anybody("POST", STUDIES, body, **worn).status == 201
    service.token("read")
    assert service.anybody("GET", STUDIES, **worn).status == 401
    assert make().anybody("GET", STUDIES, **worn).status == 401


def test_when_open_a_page_elsewhere_changes_nothing(make: Make) -> None:
    service = make(open_=True)
    body = {"spec": spec()}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        assert service.anybody("POST", STUDIES, body, origin=origin).status == 403
    assert service.store.studies() == []
    assert service.anybody("POST", STUDIES, body, origin="http://127.0.0.1:8000").status == 201


def test_an_open_service_asks_for_a_token_as_soon_as_there_is_one(make: Make) -> None:
    service = make(open_=True)
    assert service.anybody("GET", STUDIES).status == 200
    service.token("read")
    assert service.anybody("GET", STUDIES).status == 401
    assert service.ask("GET", STUDIES).status == 200  # the key of the home


# -- browsers ------------------------------------------------------------------------------------------------
def _form(service: Service, token: str, path: str = "/session", **headers: str) -> tuple[int, str]:
    said = service.ask(
        "POST", path, f"token={token}".encode(), content_type="application/x-www-form-urlencoded", **headers
    )
    return said.status, said.headers.get("set-cookie", "")


@pytest.mark.parametrize("path", ["/session", "/api/v1/session"])
def test_a_cookie_counts_as_the_token_it_was_made_of(make: Make, path: str) -> None:
    service = make()
    secret = service.token("run")
    status, cookie = _form(service, secret, path)
    assert status == 303
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    worn = cookie.split(";")[0]
    assert secret not in cookie
    assert service.anybody("GET", STUDIES, cookie=f"{COOKIE}={secret}").status == 401  # it is no token
    assert service.anybody.by(worn.partition("=")[2])("GET", STUDIES).status == 401  # nor is a token one
    assert service.anybody("GET", STUDIES, cookie=worn).status == 200
    body = {"spec": spec()}
    own, other = "http://127.0.0.1:8000", "http://evil.example"
    assert service.anybody("POST", STUDIES, body, cookie=worn).status == 403
    assert service.anybody("POST", STUDIES, body, cookie=worn, origin=other).status == 403
    assert service.anybody("POST", STUDIES, body, cookie=worn, origin=own).status == 201
    assert "Max-Age=0" in service.anybody("DELETE", path).headers["set-cookie"]


def test_a_wrong_token_makes_no_cookie(make: Make) -> None:
    service = make()
    service.token("run")
    assert _form(service, "wrong") == (401, "")
    assert _form(service, "") == (422, "")
    assert _form(service, service.token("run", name="b"), origin="http://evil.example") == (403, "")
    assert service.anybody("GET", STUDIES, cookie=f"{COOKIE}=wrong").status == 401


def test_without_a_script_the_form_signs_in_and_leads_to_the_page(make: Make) -> None:
    service = make()
    secret = service.token("read")
    page = routes.router(service.store, presets=[], slots=1, role_of=role_of)
    app = build(page)
    furnish(app, service.parts)
    ask = replace(service.anybody, app=app)
    sent = ask("GET", "/")
    assert (sent.status, sent.headers["location"]) == (303, "/login?next=%2F")
    text = ask("GET", sent.headers["location"]).body.decode()
    found = re.search(r'<form id="login"[^>]* method="(\w+)" action="([^"]+)">', text)
    assert found is not None
    verb, address = found.groups()
    names = re.findall(r'<input[^>]* name="(\w+)"', text)
    assert (verb, names) == ("post", ["user", "token"])
    fields = urlencode({"user": "orch", "token": secret}).encode()
    form = {"content_type": "application/x-www-form-urlencoded", "origin": "http://127.0.0.1:8000"}
    said = ask(verb.upper(), address, fields, **form)
    assert (said.status, said.headers["location"]) == (303, "/")
    there = ask("GET", said.headers["location"], cookie=said.headers["set-cookie"].split(";")[0])
    assert (there.status, "There is no study yet." in there.body.decode()) == (200, True)


def test_pages_learn_the_role_of_whoever_looks(make: Make) -> None:
    service = make(open_=True)
    page = APIRouter()

    @page.get("/")
    def first(request: Request) -> PlainTextResponse:
        said = PlainTextResponse(str(role_of(request)))
        said.headers["content-security-policy"] = "default-src 'self'"
        return said

    app = build(page)
    furnish(app, service.parts)
    ask = replace(service.anybody, app=app)
    assert ask("GET", "/").body == b"admin"  # on this machine, without tokens
    assert ask("GET", "/", host="evil.example").status == 403
    secret = service.token("read")
    assert ask("GET", "/").body == b"None"
    assert ask("GET", "/", authorization="bearer wrong").body == b"None"
    assert ask.by(secret)("GET", "/").body == b"read"
    _, cookie = _form(service, secret)
    said = ask("GET", "/", cookie=cookie.split(";")[0])
    assert (said.body, said.headers["content-security-policy"]) == (b"read", "default-src 'self'")


# -- what is kept --------------------------------------------------------------------------------------
@pytest.mark.fault(27)
def test_every_change_is_audited_and_no_secret_is_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, reader = service.token("admin", name="ada"), service.token("read", name="bob")
    ada, bob = service.ask.by(secret), service.ask.by(reader)
    study = ada("POST", STUDIES, {"spec": spec()}).json["study_id"]
    ada("GET", STUDIES)
    ada("DELETE", f"{STUDIES}/{study}")
    assert secret not in ada("DELETE", f"{STUDIES}/{study}?token={secret}").body.decode()
    bob("POST", f"{STUDIES}/{study}/pause")
    service.ask.by("stolen")("POST", STUDIES, {"spec": spec()})
    service.store.revoke_token("bob", at=service.parts.clock.time())
    bob("POST", f"{STUDIES}/{study}/cancel")
    lines = ada("GET", "/api/v1/audit").json["items"]
    assert {(line["who"], line["verb"], line["path"], line["status"]) for line in lines} == {
        ("ada", "POST", STUDIES, 201),
        ("ada", "DELETE", f"{STUDIES}/{study}", 409),
        ("ada", "DELETE", f"{STUDIES}/{study}", 422),
        ("bob", "POST", f"{STUDIES}/{study}/pause", 403),
        ("unknown at 127.0.0.1", "POST", STUDIES, 401),
        ("bob (the token was revoked)", "POST", f"{STUDIES}/{study}/cancel", 401),
    }
    everything = repr(service.store.tokens()) + repr(lines) + caplog.text
    assert secret not in everything
    assert reader not in everything
