"""What stands in for `orch serve` in the tests of the page? The routes that the page asks, over a real
ledger, and an engine over simulated workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from dashboards import web
from orchestrator import service
from orchestrator.clock import SystemClock
from orchestrator.errors import BadSpec, NameTaken, OrchError
from orchestrator.ledger import Store, open_ledger
from orchestrator.plan import plan
from orchestrator.reading import override
from orchestrator.spec import StudySpec
from studies import catalog
from tests.faults.world import world

ENDED = threading.Event()
SLOTS = 2


def presets() -> list[web.Preset]:
    return [web.Preset(n, catalog.get(n, "smoke").question, tuple(catalog.sizes())) for n in catalog.names()]


def app(
    store: Store, *, role: str | None = "admin", mlflow: str | None = None, rehearse: bool = True
) -> FastAPI:
    made = FastAPI()

    @made.exception_handler(OrchError)
    def refused(request: Request, error: Any) -> JSONResponse:
        status = 422 if isinstance(error, BadSpec) else 409 if isinstance(error, NameTaken) else 404
        known = {k: getattr(error, k) for k in ("problems", "study_id") if hasattr(error, k)}
        return JSONResponse({"title": "Refused", "status": status, "detail": str(error), **known}, status)

    def wanted(body: dict[str, Any]) -> StudySpec:
        asked = body["preset"]
        spec = catalog.get(asked["name"], asked.get("size", "quick"))
        sets = [f"{path}={json.dumps(value)}" for path, value in asked.get("set", {}).items()]
        spec = override(
            spec,
            name=body.get("name"),
            trials=asked.get("trials"),
            replicates=asked.get("replicates"),
            sets=sets,
        )
        return spec.model_copy(update={"entrypoint": service.REHEARSAL})

    @made.post("/api/v1/plans")
    def plans(body: dict[str, Any]) -> Any:
        return plan(wanted(body), slots=SLOTS).to_dict()

    @made.post("/api/v1/studies", status_code=201)
    def create(body: dict[str, Any]) -> Any:
        row = service.create(store, wanted(body), clock=SystemClock()).study
        return {"study": row.name, "study_id": row.study_id}

    @made.post("/api/v1/studies/{study}/{verb}", status_code=202)
    def steer(study: str, verb: str) -> Any:
        wish = service.ask(store, store.study(study), verb, {}, clock=SystemClock())
        return {"wish_id": wish.wish_id, "verb": verb, "answer": None}

    @made.post("/api/v1/trials/{trial}/retry", status_code=202)
    def retry(trial: str) -> Any:
        study = store.study(trial.partition(".")[0])
        wish = service.ask(store, study, "retry", {"trial_id": trial}, clock=SystemClock())
        return {"wish_id": wish.wish_id, "verb": "retry", "answer": None}

    @made.get("/api/v1/events")
    def events(request: Request) -> StreamingResponse:
        return StreamingResponse(_stream(store, None), media_type="text/event-stream")

    @made.get("/api/v1/studies/{study}/events")
    def study_events(study: str) -> StreamingResponse:
        return StreamingResponse(_stream(store, study), media_type="text/event-stream")

    @made.get("/api/v1/trials/{trial}/logs")
    def logs(trial: str) -> PlainTextResponse:
        return PlainTextResponse("the log")

    made.include_router(
        web.router(store, presets=presets(), slots=SLOTS, role_of=lambda _: role, mlflow=mlflow)
    )
    return made


def _stream(store: Store, study: str | None) -> Iterator[str]:
    """Of what is new from now on; ends with the server."""
    after = max((stored.event_id for stored in store.events(limit=100_000)), default=0)
    yield "retry: 1000\n\n"
    while not ENDED.wait(0.1):
        for stored in store.events(after=after, study_id=study):
            after = stored.event_id
            yield f"id: {after}\nevent: {stored.event.kind}\ndata: {{}}\n\n"
        yield ": still here\n\n"


@contextmanager
def running(folder: Path, *, pace_s: float = 0.02) -> Iterator[str]:
    """The address of a server with an engine that runs whatever is created; both end with the block."""
    import uvicorn

    ENDED.clear()
    url = f"sqlite:///{folder / 'ledger.db'}"
    store, engines = open_ledger(url), open_ledger(url)
    place = world(folder / "runs", slots=SLOTS, store=engines)

    def drive() -> None:
        engine = place.engine()
        while not ENDED.wait(pace_s):
            place.step(engine)

    server = uvicorn.Server(
        uvicorn.Config(app(store), port=0, log_level="warning", timeout_graceful_shutdown=1, lifespan="off")
    )
    threads = [threading.Thread(target=target) for target in (server.run, drive)]
    for thread in threads:
        thread.start()
    try:
        while not server.started:
            ENDED.wait(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        ENDED.set()
        server.should_exit = True
        for thread in threads:
            thread.join(20)
        store.close()
        engines.close()
