"""How does a browser sign in and out? Links that work once; sessions that end with their token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dashboards.web import routes
from orchestrator.api import sessions
from orchestrator.api.app import build, furnish
from orchestrator.api.auth import COOKIE, role_of
from orchestrator.api.links import LINK_S, MOST_LINKS, Links
from orchestrator.ground.keys import digest
from tests.orchestrator.api.conftest import KEY, Asking, Make, Said, Service, spec

STUDIES = "/api/v1/studies"
LINKS = "/api/v1/session/links"
OWN = "http://127.0.0.1:8000"


@pytest.fixture
def service(make: Make) -> Service:
    """A service with its page, whose ledger is a file."""
    return _with_page(make("sqlite"))


def _with_page(service: Service) -> Service:
    app = build(
        routes.router(
            service.store,
            presets=[],
            slots=1,
            role_of=role_of,
            signed_in=lambda request: COOKIE in request.cookies,
            enter=sessions.enter,
            link_command="orch token link --server http://127.0.0.1:9",
        )
    )
    furnish(app, service.parts)
    return replace(service, ask=replace(service.ask, app=app))


def _link(ask: Asking) -> str:
    said = ask("POST", LINKS)
    assert (said.status, said.json["expires_in_s"]) == (201, LINK_S), said.body
    path: str = said.json["path"]
    return path


def _worn(said: Said) -> str:
    """The cookie that an answer gives, as a browser sends it back."""
    assert said.status == 303, said.body
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.headers["set-cookie"].split("; "))
    return said.headers["set-cookie"].split(";")[0]


def _form(ask: Asking, token: str, **headers: str) -> Said:
    form = {"content_type": "application/x-www-form-urlencoded", **headers}
    return ask("POST", "/session", f"token={token}".encode(), **form)


# -- links ---------------------------------------------------------------------------------------------------
def test_a_link_signs_a_browser_in_once(service: Service) -> None:
    path = _link(service.ask)
    said = service.anybody("GET", path)
    assert (said.headers["location"], said.headers["cache-control"]) == ("/", "no-store")
    worn = _worn(said)
    assert path.partition("key=")[2] not in worn
    assert KEY not in worn
    assert service.anybody("GET", "/", cookie=worn).status == 200
    assert service.anybody("POST", STUDIES, {"spec": spec()}, cookie=worn, origin=OWN).status == 201
    again = service.anybody("GET", path)
    assert (again.status, "set-cookie" in again.headers) == (401, False)
    text = again.body.decode()
    assert "This link does not work any more. A link works once, and for 10 minutes." in text
    assert "orch token link --server http://127.0.0.1:9" in text
    assert service.anybody("GET", "/", cookie=worn).status == 200  # who is in stays in
    assert ("local key", "GET", "/login", 303) in {
        (line.who, line.verb, line.path, line.status) for line in service.store.audited()
    }
    assert path.partition("key=")[2] not in repr(service.store.audited())


def test_an_address_without_a_key_shows_which_command_prints_one(service: Service) -> None:
    sent = service.anybody("GET", "/studies/x")
    assert (sent.status, sent.headers["location"]) == (303, "/login?next=%2Fstudies%2Fx")
    said = service.anybody("GET", sent.headers["location"])
    assert said.status == 200
    assert "<pre><code>orch token link --server http://127.0.0.1:9</code></pre>" in said.body.decode()
    assert "does not work any more" not in said.body.decode()


def test_a_link_that_nobody_uses_works_for_ten_minutes(service: Service) -> None:
    early, late = _link(service.ask), _link(service.ask)
    service.place.clock.advance(LINK_S - 1)
    _worn(service.anybody("GET", early))
    service.place.clock.advance(1)
    assert service.anybody("GET", late).status == 401


@pytest.mark.parametrize("key", ["", "x", "orch_" + "A" * 43, "%00", "é"])
def test_a_key_that_was_guessed_opens_nothing(service: Service, key: str) -> None:
    _link(service.ask)
    said = service.anybody("GET", f"/login?key={key}")
    assert (said.status in (400, 401), "set-cookie" in said.headers) == (True, False)


def test_of_fifty_browsers_with_one_link_one_gets_in() -> None:
    links = Links(now=lambda: 0.0)
    key = links.path("d").partition("key=")[2]
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: links.redeem(key), range(50)))
    assert sorted(found, key=str) == [None] * 49 + ["d"]


def test_links_are_kept_as_hashes_and_nobody_s_links_push_out_another_s() -> None:
    links = Links(now=lambda: 0.0)
    own = links.path("ada").partition("key=")[2]
    bobs = [links.path("bob").partition("key=")[2] for _ in range(MOST_LINKS + 1)]
    assert own not in repr(vars(links))
    assert [links.redeem(key) for key in (own, bobs[0], *bobs[1:])] == ["ada", None, *["bob"] * MOST_LINKS]


def test_a_link_opens_what_its_token_opens_and_goes_with_it(service: Service) -> None:
    ask = service.ask.by(service.token("read", name="bob"))
    used, unused = _link(ask), _link(ask)
    worn = _worn(service.anybody("GET", used))
    assert service.anybody("POST", STUDIES, {"spec": spec()}, cookie=worn, origin=OWN).status == 403
    service.store.revoke_token("bob", at=service.parts.clock.time())
    assert service.anybody("GET", unused).status == 401
    assert service.anybody("GET", STUDIES, cookie=worn).status == 401


def test_a_browser_s_session_makes_no_links(service: Service) -> None:
    worn = _worn(service.anybody("GET", _link(service.ask)))
    said = service.anybody("POST", LINKS, cookie=worn, origin=OWN)
    assert (said.status, said.json["detail"]) == (
        403,
        "A link is made with a token, and a browser's session is none.",
    )
    assert service.anybody("POST", LINKS).status == 401


def test_an_open_service_needs_no_link(make: Make) -> None:
    said = make(open_=True).anybody("POST", LINKS)
    assert (said.status, said.json) == (201, {"path": "/", "expires_in_s": None})


def test_no_link_survives_the_process(make: Make) -> None:
    path = _link(make("sqlite").ask)
    assert _with_page(make("sqlite")).anybody("GET", path).status == 401


# -- sessions ------------------------------------------------------------------------------------------------
def test_signing_out_ends_the_session_wherever_its_cookie_was_copied_to(service: Service) -> None:
    one, two = (_worn(_form(service.anybody, KEY)) for _ in range(2))
    assert [service.anybody("GET", STUDIES, cookie=worn).status for worn in (one, two)] == [200, 200]
    said = service.anybody("DELETE", "/api/v1/session", cookie=one, origin=OWN)
    assert (said.status, "Max-Age=0" in said.headers["set-cookie"]) == (204, True)
    ended = service.anybody("GET", STUDIES, cookie=one)
    assert (ended.status, ended.json["detail"]) == (401, "The session has ended. Sign in again.")
    assert service.anybody("GET", "/", cookie=one).status == 303
    assert service.anybody("GET", STUDIES, cookie=two).status == 200  # another browser stays signed in
    assert ("local key", "DELETE", "/api/v1/session", 204) in {
        (line.who, line.verb, line.path, line.status) for line in service.store.audited()
    }


def test_another_page_signs_nobody_out(service: Service) -> None:
    worn = _worn(_form(service.anybody, KEY))
    assert service.anybody("DELETE", "/session", cookie=worn, origin="http://evil.example").status == 403
    assert service.anybody("GET", STUDIES, cookie=worn).status == 200


def test_a_session_survives_a_restart_and_its_key_is_in_no_row(make: Make) -> None:
    first = make("sqlite")
    worn = _worn(_form(first.anybody, first.token("run", name="bob")))
    key = worn.partition("=")[2]
    kept = first.store.session(digest(key))
    assert kept is not None
    assert key not in repr(kept)
    second = make("sqlite")
    assert second.anybody("GET", STUDIES, cookie=worn).status == 200
    second.anybody("DELETE", "/session", cookie=worn)
    assert make("sqlite").anybody("GET", STUDIES, cookie=worn).status == 401


def test_a_session_ends_with_its_token_also_if_another_of_its_name_is_made(service: Service) -> None:
    now = service.parts.clock.time()
    short = _worn(_form(service.anybody, service.token("read", name="short", expires_at=now + 60)))
    bob = _worn(_form(service.anybody, service.token("run", name="bob")))
    service.store.revoke_token("bob", at=now)
    said = service.anybody("GET", STUDIES, cookie=bob)
    assert (said.status, said.json["detail"]) == (
        401,
        "The token 'bob' was revoked. Make one with: orch token create",
    )
    service.place.clock.advance(1)
    service.store.add_token(replace(service.store.tokens()[0], digest="other", revoked_at=None))
    assert service.anybody("GET", STUDIES, cookie=bob).status == 401
    assert service.anybody("GET", STUDIES, cookie=short).status == 200
    service.place.clock.advance(60)
    assert service.anybody("GET", STUDIES, cookie=short).status == 401


def test_a_session_of_the_key_ends_after_thirty_days_and_with_the_key(service: Service) -> None:
    said = _form(service.anybody, KEY)
    worn = _worn(said)
    assert "Max-Age=2592000" in said.headers["set-cookie"]
    other = replace(service.parts, key=digest("another key"))
    furnish(service.ask.app, other)
    assert service.anybody("GET", STUDIES, cookie=worn).status == 401
    furnish(service.ask.app, service.parts)
    assert service.anybody("GET", STUDIES, cookie=worn).status == 200
    service.place.clock.advance(30 * 86_400)
    assert service.anybody("GET", STUDIES, cookie=worn).status == 401


def test_who_signs_in_again_leaves_no_session_behind(service: Service) -> None:
    first = _worn(_form(service.anybody, KEY))
    _worn(_form(service.anybody, KEY, cookie=first))
    assert service.anybody("GET", STUDIES, cookie=first).status == 401


def test_the_cookie_is_for_tls_alone_where_the_browser_speaks_it(make: Make) -> None:
    service = make(proxies=_networks("10.0.0.0/8"))
    asked: dict[str, Any] = {"x_forwarded_proto": "https"}
    assert "Secure" not in _form(service.anybody, KEY, **asked).headers["set-cookie"]  # nobody vouches for it
    proxy = replace(service.anybody, client="10.1.2.3")
    assert "Secure" in _form(proxy, KEY, **asked).headers["set-cookie"]
    assert "Secure" not in _form(proxy, KEY).headers["set-cookie"]


def _networks(given: str) -> Any:
    from orchestrator.ground.settings import from_environment

    return from_environment({"ORCH_HOME": "data", "ORCH_PROXIES": given}).proxies
