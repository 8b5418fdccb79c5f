"""How does a program hear what happens, as it happens? Server-sent events, after the last one it knows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from orchestrator.api.auth import Reader
from orchestrator.api.deps import Here, Parts, StudyName
from orchestrator.api.errors import told
from orchestrator.api.trials import BIGGEST_ID

router = APIRouter(tags=["events"])

MEDIA_TYPE = "text/event-stream"
# OpenAPI has a word for what each event holds since 3.2; readers of 3.1 pass over it.
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "the event_id, to go on after"},
        "event": {"type": "string", "description": "the kind: started, or that of the report"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "properties": {
                    "event_id": {"type": "integer"},
                    "study_id": {"type": "string"},
                    "trial_id": {"type": "string"},
                    "attempt": {"type": "integer"},
                    "kind": {"type": "string"},
                    "step": {"type": "integer"},
                    "at": {"type": "number", "description": "unix seconds, by the worker's clock"},
                    "payload": {"type": "object"},
                },
                "required": ["event_id", "study_id", "trial_id", "attempt", "kind", "step", "at", "payload"],
            },
        },
    },
}
STREAM: dict[str, Any] = {
    "response_class": StreamingResponse,
    "responses": {
        200: {
            "description": "`id: <event_id>`, `event: <kind>`, `data: {event_id, study_id, trial_id, "
            "attempt, kind, step, at, payload}`; a comment at least every 15 s.",
            "content": {MEDIA_TYPE: {"itemSchema": EVENT}},
        },
        **told(401, 403, 404),
    },
}
LastSeen = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=BIGGEST_ID, description="Go on after this event; else from now."),
]
After = Annotated[
    int | None, Query(ge=0, le=BIGGEST_ID, description="The same, for those who cannot send headers.")
]


@router.get("/studies/{study}/events", summary="Stream a study's events", **STREAM)
async def stream_study_events(
    study: StudyName, parts: Here, _: Reader, last_seen: LastSeen = None, after: After = None
) -> StreamingResponse:
    """What the trials of one study say."""
    row = await run_in_threadpool(parts.store.study, study)
    return await _stream(parts, row.study_id, after if last_seen is None else last_seen)


@router.get("/events", summary="Stream the events of all studies", **STREAM)
async def stream_events(
    parts: Here, _: Reader, last_seen: LastSeen = None, after: After = None
) -> StreamingResponse:
    """What all trials say."""
    return await _stream(parts, None, after if last_seen is None else last_seen)


async def _stream(parts: Parts, study_id: str | None, after: int | None) -> StreamingResponse:
    told = b""
    if after is None:  # a place to come back to, for one that is cut off before it hears anything
        after = await run_in_threadpool(parts.store.newest_event)
        told = f"id: {after}\n".encode()
    # X-Accel-Buffering: proxies such as nginx would hold back what is said.
    return StreamingResponse(
        _placed(told, parts.tail.listen(study_id=study_id, after=after)),
        media_type=MEDIA_TYPE,
        headers={"X-Accel-Buffering": "no"},
    )


async def _placed(place: bytes, said: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """The place goes before the greeting, which carries no event."""
    async with aclosing(said):
        async for piece in said:
            yield place + piece
            place = b""
