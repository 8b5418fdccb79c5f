"""Is the service alive, can it answer, who leads, which release is it, and what does Prometheus count?"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from orchestrator.api.auth import Admin, Reader
from orchestrator.api.deps import Here, Limit, Parts
from orchestrator.api.errors import Responses, told
from orchestrator.api.views import view
from orchestrator.ground.release import VERSION
from orchestrator.ledger.records import NOT_ENDED, AuditLine
from orchestrator.readings.states import status, under_way

router = APIRouter(tags=["health"])


class Live(BaseModel):
    status: Literal["live"]


class Ready(BaseModel):
    status: Literal["ready"]
    leader: str | None = Field(description="user@host:pid of the process that leads; null: nobody does.")
    engine: str = Field(description="Of this process: off, starting, leading, watching, waiting or ended.")
    trouble: str = Field(description="What the engine waits for; empty when nothing is wrong.")
    unrunnable: dict[str, str] = Field(description="Studies that cannot be launched here, and why.")


class Version(BaseModel):
    version: str
    api: Literal["v1"]
    python: str


@view(AuditLine)
class AuditEntry(BaseModel):
    pass


class AuditLog(BaseModel):
    items: list[AuditEntry]


@router.get("/health/live", summary="Check that the process answers", response_model=Live, responses=told())
async def get_liveness() -> Any:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready", summary="Check that the ledger answers", response_model=Ready, responses=told())
def get_readiness(parts: Here) -> Any:
    """The ledger answers; who leads. 503 while it does not, and once a read has met damage in it."""
    parts.store.require_sound()
    engine = parts.engine()
    return {
        "status": "ready",
        "leader": parts.store.leader(),
        "engine": engine.state,
        "trouble": engine.trouble,
        "unrunnable": dict(engine.unrunnable),
    }


@router.get("/version", summary="Get the version", response_model=Version, responses=told())
async def get_version() -> Any:
    return {"version": VERSION, "api": "v1", "python": platform.python_version()}


@router.get("/audit", summary="List the audit log", response_model=AuditLog, responses=told(401, 403))
def list_audit_lines(parts: Here, _: Admin, limit: Limit = 100) -> Any:
    """Who asked for which change, the newest first."""
    return {"items": [vars(line) for line in parts.store.audited(limit=limit)]}


_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get(
    "/metrics",
    summary="Get metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={**_TEXT, **told(401, 403)},
)
def get_metrics(request: Request, parts: Here, _: Reader) -> PlainTextResponse:
    """The counts that Prometheus collects, in its text format."""
    lines = _lines(parts, request.app.state.counts)
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


def _lines(parts: Parts, counts: Mapping[tuple[str, int], int]) -> Iterator[str]:
    studies = parts.store.studies()
    trials: Counter[str] = Counter()
    going_on = [s.study_id for s in studies if s.state in NOT_ENDED]
    counted = parts.store.counts_of(going_on)
    for of_study in counted.values():
        for (_, _, state), count in of_study.items():
            trials[state] += count
    of_state = Counter(str(status(s.state, under_way(counted.get(s.study_id, {})))) for s in studies)
    engine = parts.engine()
    at = engine.ticked_at
    age = None if at is None else {"": parts.clock.monotonic() - at}
    answered = {_label(verb=v, status=s): n for (v, s), n in sorted(counts.items())}
    families: tuple[tuple[str, str, str, Mapping[str, float] | None], ...] = (
        ("orch_studies", "gauge", "Studies by state.", {_label(state=s): n for s, n in of_state.items()}),
        (
            "orch_trials",
            "gauge",
            "Trials by state, of studies that have not ended.",
            {_label(state=s): n for s, n in trials.items()},
        ),
        ("orch_live_attempts", "gauge", "Attempts under way.", {"": len(parts.store.live_attempts())}),
        ("orch_events_total", "counter", "Events ever appended.", {"": parts.store.newest_event()}),
        ("orch_listeners", "gauge", "Open event streams of this process.", {"": len(parts.tail)}),
        ("orch_engine_leading", "gauge", "1 while this process leads.", {"": int(engine.state == "leading")}),
        ("orch_engine_tick_age_seconds", "gauge", "Since the last tick.", age),
        ("orch_http_requests_total", "counter", "Requests by verb and status.", answered),
    )
    for name, kind, about, samples in families:
        if samples is not None:
            yield f"# HELP {name} {about}"
            yield f"# TYPE {name} {kind}"
            yield from (f"{name}{labels} {value:g}" for labels, value in samples.items())


def _label(**labels: object) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
