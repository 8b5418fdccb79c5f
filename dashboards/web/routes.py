"""Which addresses does the live page have? Routes over the ledger; whatever is written goes to the API.

Every route reads in a thread of its own (plain `def`), and answers with HTML that loads nothing from
elsewhere and runs no script but ours. The pages of the studies, a study and a trial each have a fragment,
`…/live`, with the parts of it that change; the page's script swaps those in.
"""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboards.report import ink, pages
from dashboards.web import words
from dashboards.web.compare import MOST_COMPARED, compare_view
from dashboards.web.study import (
    SORTS,
    TRIAL_STATES,
    TRIALS_A_PAGE,
    Answers,
    Asked,
    Preset,
    Shelves,
    study_view,
)
from dashboards.web.trial import find, trial_view
from orchestrator.ground.errors import LedgerBusy, LedgerDamaged, MirrorLost, NotFound, OrchError
from orchestrator.ledger import Store
from orchestrator.readings.hosts import hosts, slices
from orchestrator.readings.states import Status
from orchestrator.runs.shared import no_locks
from orchestrator.tracking.destination import Destination
from orchestrator.tracking.sync import run_page, study_page

__all__ = ["HEADERS", "Preset", "router"]

API = "/api/v1"
FOLDER = Path(__file__).parents[1]  # templates and static files are in dashboards itself
# Our own files by name. The report's style and its drawing are the page's too: one look.
FILES = {
    "style.css": ("templates/style.css", "text/css"),
    "page.css": ("static/page.css", "text/css"),
    "page.js": ("static/page.js", "text/javascript"),
    "figures.js": ("templates/figures.js", "text/javascript"),
    "new.js": ("static/new.js", "text/javascript"),
    "icon.svg": ("static/icon.svg", "image/svg+xml"),
}
PLOTLY = "plotly.min.js"
A_YEAR = "public, max-age=31536000, immutable"
MOST_STARTS = 10_000_000
# Nothing from elsewhere, no script or style in the page itself, and no page of others around it. Pictures
# from `blob:` are those that the page's own script makes, to be saved as PNG.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HEADERS = {**SAFE, "Cache-Control": "private, no-cache"}

Given = Mapping[str, Any]  # what a template is given


def router(
    store: Store,
    *,
    presets: Sequence[Preset],
    slots: int,
    role_of: Callable[[Request], str | None],
    signed_in: Callable[[Request], bool] = lambda _: False,
    enter: Callable[[Request], Response | None] = lambda _: None,
    link_command: str = "orch token link",
    runs: Path | None = None,
    mlflow: Destination | None = None,
    now: Callable[[], float] = time.time,
) -> APIRouter:
    """The page's routes, to be included at the root, beside the API at /api/v1.

    `role_of`: read, run or admin; None for somebody unknown, who is sent to /login. `signed_in`: whether
    there is something to sign out of. `enter`: takes in a browser that follows a link with a key; None where
    the link does not work any more. `link_command`: what prints such a link. `slots`: the parallelism that
    wall-clock is stated at. `runs`: where the attempts' folders lie. `mlflow`: where studies are mirrored to.
    """
    routes = APIRouter(include_in_schema=False)
    files = _Files()
    read = _Readings(store, presets, Answers(store, slots=slots, runs=runs), runs, mlflow, now)
    shown = _Pages(files, role_of, signed_in, read.several_hosts)

    for path, template, make in (
        ("/", "studies", read.studies),
        ("/live", "studies_live", read.studies),
        ("/studies/{name}", "study", read.study),
        ("/studies/{name}/live", "study_live", read.study),
        ("/studies/{name}/compare", "compare", read.compare),
        ("/studies/{name}/compare/live", "compare_live", read.compare),
        ("/trials/{name}", "trial", read.trial),
        ("/trials/{name}/live", "trial_live", read.trial),
        ("/hosts", "hosts", read.hosts),
        ("/hosts/live", "hosts_live", read.hosts),
        ("/new", "new", read.creating),
    ):
        routes.add_api_route(path, shown.page(f"web_{template}.html.j2", make))

    @routes.get("/trials/{name}/mlflow")
    def run_page(request: Request, name: str) -> Response:
        return shown.elsewhere(request, lambda: read.run_page(name))

    @routes.get("/studies/{name}/mlflow")
    def charts(request: Request, name: str) -> Response:
        return shown.elsewhere(request, lambda: read.study_page(name))

    @routes.get("/login")
    def login_page(request: Request) -> Response:
        return shown.login(request, enter if "key" in request.query_params else None, link_command)

    @routes.get("/static/{name}")
    def file(request: Request, name: str) -> Response:
        return files.respond(request, name)

    return routes


# -- what is shown -----------------------------------------------------------------------------------------
class _Readings:
    """What each template is given: read from the ledger, in the thread of whoever asks."""

    def __init__(
        self,
        store: Store,
        presets: Sequence[Preset],
        answers: Answers,
        runs: Path | None,
        mlflow: Destination | None,
        now: Callable[[], float],
    ) -> None:
        self._store, self._presets, self._mlflow, self._now = store, presets, mlflow, now
        self._runs = runs
        self._shelves, self._answers = Shelves(store), answers

    def studies(self, request: Request) -> Given:
        state = request.query_params.get("state", "")
        state = state if state in set(Status) else ""
        shelf = self._shelves.page(state=state, start=_whole(request, "start"))
        return {"here": "studies", "live": "/live", "events": f"{API}/events", "shelf": shelf}

    def hosts(self, request: Request) -> Given:
        found, led = hosts(self._store, self._runs), self._store.leader() is not None
        given = {"hosts": found, "slices": slices(found), "led": led}
        given |= {"no_locks": no_locks([h.name for h in found if not h.locks])}
        return {"here": "hosts", "live": "/hosts/live", "events": f"{API}/events", **given}

    def several_hosts(self) -> bool:
        """One machine alone needs no page of its own."""
        return len(self._store.hosts()) > 1

    def study(self, request: Request) -> Given:
        of = study_view(
            self._store, self._answers, request.path_params["name"], _asked(request), now=self._now()
        )
        return {
            "here": "study",
            "live": f"/studies/{of.study.study_id}/live",
            "events": f"{API}/studies/{of.study.study_id}/events",
            "of": of,
            **pages.shared(of.found.answer),
            "shown": request.query_params.get("figures", ""),
            "trial_states": TRIAL_STATES,
            "page_of_trials": TRIALS_A_PAGE,
            "mlflow": self._mlflow,
        }

    def trial(self, request: Request) -> Given:
        shown = request.query_params.get("figures", "")
        of = trial_view(self._store, request.path_params["name"], runs=self._runs, shown=shown)
        return {
            "here": "trial",
            "live": f"/trials/{of.trial.trial_id}/live",
            "events": f"{API}/studies/{of.study.study_id}/events",
            "of": of,
            "shown": shown,
            "mlflow": self._mlflow if of.attempts else None,  # before the first there is nothing to see
        }

    def compare(self, request: Request) -> Given:
        shown = request.query_params.get("figures", "")
        asked = request.query_params.getlist("trial")
        of = compare_view(self._store, request.path_params["name"], asked, shown=shown)
        return {
            "here": "compare",
            "live": f"/studies/{of.study.study_id}/compare/live",
            "events": f"{API}/studies/{of.study.study_id}/events",
            "of": of,
            "shown": shown,
            "most": MOST_COMPARED,
        }

    def run_page(self, name: str) -> str:
        study, trial = find(self._store, name)
        return run_page(self._mirror(), study, trial)

    def study_page(self, name: str) -> str:
        return study_page(self._mirror(), self._store.study(name))

    def _mirror(self) -> Destination:
        if self._mlflow is None:
            raise NotFound("Studies are not mirrored to MLflow here (ORCH_MLFLOW=off).")
        return self._mlflow

    def creating(self, request: Request) -> Given:
        names = [preset.name for preset in self._presets]
        asked = request.query_params.get("preset", "")
        return {
            "here": "new",
            "presets": self._presets,
            "chosen": asked if asked in names else next(iter(names), ""),
            "sizes": list(dict.fromkeys(size for preset in self._presets for size in preset.sizes)),
        }


def _asked(request: Request) -> Asked:
    """What the address says of the trials; what it cannot mean is as if it were not there."""
    query = request.query_params
    state, sort = query.get("state", ""), query.get("sort", "trial")
    return Asked(
        arm=query.get("arm", ""),
        state=state if state in TRIAL_STATES else "",
        sort=sort if sort.removeprefix("-") in SORTS else "trial",
        start=_whole(request, "start"),
    )


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    return min(int(text), MOST_STARTS) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


# -- pages -------------------------------------------------------------------------------------------------
class _Pages:
    """Templates to responses; refusals and troubles become pages as well."""

    def __init__(
        self,
        files: _Files,
        role_of: Callable[[Request], str | None],
        signed_in: Callable[[Request], bool],
        several_hosts: Callable[[], bool],
    ) -> None:
        self._role_of, self._signed_in, self._several_hosts = role_of, signed_in, several_hosts
        self._environment = pages.environment(html=True)
        self._environment.filters |= words.filters()
        self._environment.globals |= {"asset": files.address, "api": API, "plotly_styles": files.styles}
        self._environment.globals["several_hosts"] = False  # where no page could be read

    def page(self, template: str, make: Callable[[Request], Given]) -> Callable[[Request], Response]:
        """A route that shows what is read for it."""

        def respond(request: Request) -> Response:
            def made(role: str | None) -> Response:
                if role is not None:
                    given = make(request)
                    return self._made(
                        request, template, {**given, "several_hosts": self._several_hosts()}, role
                    )
                if template.endswith("_live.html.j2"):
                    return HTMLResponse("Sign in first.", 401, SAFE)
                return _to_login(request)

            return self._told(request, made)

        return respond

    def login(
        self, request: Request, enter: Callable[[Request], Response | None] | None, link_command: str
    ) -> Response:
        """Where one signs in; straight on for the browser that follows a link that still works."""

        def made(role: str | None) -> Response:
            entered = None if enter is None else enter(request)
            if entered is not None:
                entered.headers.update({**SAFE, "Cache-Control": "no-store"})
                return entered
            given = {
                "here": "login",
                "link_command": link_command,
                "used": enter is not None,
                "needs_none": role is not None and not self._signed_in(request),
            }
            status = 200 if enter is None else 401
            return self._made(request, "web_login.html.j2", given, role, status)

        return self._told(request, made)

    def elsewhere(self, request: Request, find: Callable[[], str]) -> Response:
        """On to an address that has to be found first."""

        def made(role: str | None) -> Response:
            return _to_login(request) if role is None else RedirectResponse(find(), 303, SAFE)

        return self._told(request, made)

    def _told(self, request: Request, make: Callable[[str | None], Response]) -> Response:
        """What was made for whoever looks, or a page that tells why not."""
        role = None  # the ledger may be away when it is asked who that is
        try:
            role = self._role_of(request)
            return make(role)
        except OrchError as error:
            what, status = next(TROUBLES[kind] for kind in TROUBLES if isinstance(error, kind))
            given = {"what": what, "why": str(error)}
            made = self._made(request, "web_missing.html.j2", given, role, status)
            if status == 503:
                made.headers["Retry-After"] = "5"
            return made

    def _made(
        self, request: Request, template: str, given: Given, role: str | None, status: int = 200
    ) -> Response:
        usual = {
            "here": "",
            "live": "",
            "can_run": role in ("run", "admin"),
            "can_delete": role == "admin",
            "only_reads": role == "read",
            "signed_in": role is not None and self._signed_in(request),
        }
        html = self._environment.get_template(template).render({**usual, **given})
        return HTMLResponse(html, status, HEADERS)


TROUBLES: Mapping[type[OrchError], tuple[str, int]] = {
    NotFound: ("Not found", 404),
    LedgerBusy: ("The ledger does not answer", 503),
    LedgerDamaged: ("The ledger is damaged", 503),
    MirrorLost: ("MLflow does not answer", 503),
    OrchError: ("This cannot be shown", 500),
}


def _to_login(request: Request) -> Response:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/login?{urlencode({'next': back})}", 303, SAFE)


# -- files -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _File:
    body: bytes
    packed: bytes
    kind: str
    version: str


class _Files:
    """Styles, scripts and plotly, under an address that changes with them, so that browsers may keep them."""

    def __init__(self) -> None:
        self._read = cache(self._fresh)
        self.styles = cache(self._styles)

    def address(self, name: str) -> str:
        version = ink.plotly_version() if name == PLOTLY else self._read(name).version
        return f"/static/{name}?{urlencode({'v': version})}"

    def _styles(self) -> tuple[str, ...]:
        """What has to stand in a page so that plotly adds no style to it, which our policy would refuse."""
        return ink.plotly_styles(self._read(PLOTLY).body.decode())

    def respond(self, request: Request, name: str) -> Response:
        if name != PLOTLY and name not in FILES:
            return Response("There is no such file.", 404, SAFE, "text/plain")
        file = self._read(name)
        tag = f'"{file.version}"'
        named = request.query_params.get("v") == file.version
        headers = {
            **SAFE,
            "Cache-Control": A_YEAR if named else "no-cache",
            "ETag": tag,
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("If-None-Match") == tag:
            return Response(None, 304, headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return Response(file.packed, 200, {**headers, "Content-Encoding": "gzip"}, file.kind)
        return Response(file.body, 200, headers, file.kind)

    def _fresh(self, name: str) -> _File:
        if name == PLOTLY:
            kind, version = "text/javascript", ink.plotly_version()
            body = ink.plotly_script().encode()
        else:
            path, kind = FILES[name]
            body = (FOLDER / path).read_bytes()
            version = hashlib.sha256(body).hexdigest()[:12]
        return _File(body, gzip.compress(body, 6), kind, version)
