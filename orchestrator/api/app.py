"""How are the nouns put together into one application?"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request

from orchestrator.api import (
    docs,
    errors,
    events,
    files,
    health,
    hosts,
    presets,
    results,
    sessions,
    studies,
    trials,
)
from orchestrator.api.audit import Audit
from orchestrator.api.deps import Parts
from orchestrator.api.middleware import Buckets, Guard
from orchestrator.ground.errors import BadSpec, nearest

PREFIX = "/api/v1"
ABOUT = "Learn hyperparameters while the model trains, and check the gain against Bayesian optimization."


def create_app(parts: Parts, *, page: APIRouter | None = None) -> FastAPI:
    """The API, and with `page` what a browser shows, at the root. Who may look there the page asks itself,
    by `auth.role_of`."""
    app = build(page)
    furnish(app, parts)
    return app


def build(page: APIRouter | None = None) -> FastAPI:
    """The routes alone; `furnish` gives them what they work with."""
    app = _Documented(
        title="orch",
        version="1",
        description=ABOUT,
        lifespan=_lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        servers=[{"url": "/", "description": "This service"}],
        generate_unique_id_function=lambda route: route.name,  # verbs and nouns, such as create_study
        docs_url=None,  # `docs` serves its own, since these load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever the request calls its host
    )
    errors.install(app)
    app.add_middleware(Guard)
    nouns = (presets.router, studies.router, trials.router, files.router, results.router, events.router)
    for router in (*nouns, hosts.router, health.router, sessions.router):
        app.include_router(router, prefix=PREFIX, dependencies=[Depends(_known_queries)])
    app.include_router(sessions.router, include_in_schema=False)
    app.include_router(docs.router)
    if page is not None:
        app.include_router(page, include_in_schema=False)
    return app


def furnish(app: FastAPI, parts: Parts) -> None:
    app.state.parts = parts
    app.state.buckets = Buckets(parts.settings.requests_per_s, now=parts.clock.monotonic)
    app.state.counts = Counter()  # how many requests were answered how: for /metrics
    app.state.audit = Audit(parts)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.parts.tail.close()
    await app.state.audit.tell_untold()


class _Documented(FastAPI):
    """Its errors are problem+json, and its document says so."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            for verbs in super().openapi()["paths"].values():
                for operation in verbs.values():
                    for status, response in operation["responses"].items():
                        _as_problem(int(status), response)
        return super().openapi()


def _as_problem(status: int, response: dict[str, Any]) -> None:
    if status >= 400:
        response["content"] = {errors.MEDIA_TYPE: next(iter(response["content"].values()))}
    if status in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}


def _known_queries(request: Request) -> None:
    """A misspelt filter would silently show everything."""
    allowed = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in allowed:
            hint, known = nearest(name, allowed), ", ".join(allowed) or "none"
            raise BadSpec(f"Nothing is known of ?{name[:60]}=.{hint} Allowed here: {known}.")
