"""How is a study created, listed, looked at and steered over HTTP?"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, JsonValue

from dashboards.report import outcomes
from orchestrator.api.auth import Admin, Caller, Reader, Runs
from orchestrator.api.bodies import StrictRoute
from orchestrator.api.deps import BIGGEST, Cursor, Here, Limit, Parts, StudyName, cursor, place
from orchestrator.api.errors import told
from orchestrator.api.presets import Asked, Strict, example, wanted
from orchestrator.api.views import view
from orchestrator.engine.checks import require_installed
from orchestrator.engine.requests import more_seeds
from orchestrator.ground.errors import BadSpec, KeyUsed, MoveRefused, NotFound
from orchestrator.ledger.codec import finite
from orchestrator.ledger.records import Receipt, StudyRow, Wish
from orchestrator.readings import overview as overviews
from orchestrator.readings.overview import listed, overview
from orchestrator.readings.states import Status, status, stored, under_way
from orchestrator.service import asking, creation
from orchestrator.study.spec import FRESH_PER_REPLICATE, MOST_TRIALS, StudySpec

LOOK_S = 0.05  # between two looks at whether a request has been answered
KEY = r"^[\x21-\x7e]{1,200}$"

router = APIRouter(tags=["studies"], route_class=StrictRoute)


class AskedStudy(Asked):
    """A study to be created."""

    model_config = example(
        {
            "preset": {"name": "eta-sweep", "size": "smoke", "replicates": 2},
            "name": "sweep",
            "refuse_above": 1.5,
            "attach": True,
        }
    )

    attach: bool = Field(
        False,
        description="With true, a study of that name with an equal spec answers 200; else its name is taken.",
    )


class Created(BaseModel):
    study: str
    study_id: str
    status: Status
    created_at: float
    created: bool
    attached: bool


class StudyLine(BaseModel):
    study: str
    study_id: str
    status: Status
    ended: int
    requested: int
    created_at: float
    answer: str | None = Field(description="The claim's outcome; null for a study that has not completed.")


class StudyPage(BaseModel):
    items: list[StudyLine]
    next: str | None = Field(description="`cursor` of the next page; null: this is the last.")


@view(overviews.ArmLine)
class ArmLine(BaseModel):
    """One arm over all its replicates."""

    losses: int = Field(description="Attempts that the machinery lost.")
    failures: int = Field(description="Attempts in which the training code failed.")


class ArmList(BaseModel):
    items: list[ArmLine]


class StudyView(BaseModel):
    study: str
    study_id: str
    status: Status
    reason: str
    trials: int = Field(description="Of the search; confirmations and controls stand apart.")
    confirmations: int
    controls: int
    ended: int
    requested: int
    run_hours: float
    chip_hours: float
    wasted_hours: float
    no_valid_result: bool
    failure: str = Field(description="Why nothing worked, of a study that ended without a completed run.")
    failed_trial: str = Field(description="Of such a study: one that failed, by name.")
    waits: str = Field(description="Why the next of its trials has no host yet.")
    created_at: float
    arms: list[ArmLine]
    spec: dict[str, JsonValue]


@view(Wish)
class WishView(BaseModel):
    """A request, as the release before calls it."""


class WishList(BaseModel):
    items: list[WishView]


@view(Wish)
class RequestView(BaseModel):
    """Something that was asked for. answer: null until whoever leads has obeyed; "" for done."""

    request_id: int
    wish_id: int = Field(deprecated=True, description="The older name of request_id.")


class RequestList(BaseModel):
    items: list[RequestView]


class Extension(Strict):
    """Either `arms`, or `seeds`."""

    model_config = example({"arms": {"bo-alpha": 4}})

    arms: dict[str, Annotated[int, Field(ge=1, le=MOST_TRIALS)]] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="How many more trials each arm gets, in each replicate.",
    )
    seeds: int | None = Field(
        None,
        ge=1,
        le=FRESH_PER_REPLICATE,
        description="More fresh seeds, in the confirmations of both sides of the claim.",
    )
    arm: str | None = Field(None, max_length=80, description="With `seeds`: in those of this arm alone.")

    def detail(self, spec: StudySpec) -> dict[str, int]:
        """More trials by arm."""
        if self.seeds is not None and self.arms is None:
            return more_seeds(spec, self.seeds, self.arm)
        if self.arms is None or self.seeds is not None or self.arm is not None:
            raise BadSpec("Give either arms, or seeds (and with it, if you like, the arm).")
        return self.arms


# -- create ----------------------------------------------------------------------------------------------
@router.post(
    "/studies",
    summary="Create a study",
    status_code=201,
    response_model=Created,
    responses={200: {"model": Created, "description": "Attached"}, **told(401, 403, 404, 409)},
)
def create_study(
    asked: AskedStudy,
    parts: Here,
    caller: Runs,
    response: Response,
    idempotency_key: Annotated[
        str | None, Header(pattern=KEY, description="Repeated with it, a request is answered as before.")
    ] = None,
) -> Any:
    """Write a study down, to be run by whoever leads. 201: it is new. 409: its name is taken."""
    key = None if idempotency_key is None else f"{caller.name}/{idempotency_key}"
    digest = hashlib.sha256(asked.model_dump_json().encode()).hexdigest()
    if key is not None and (before := parts.store.receipt(key)) is not None:
        return _again(before, digest)
    spec = wanted(asked, slots=parts.settings.workers)
    require_installed(spec)
    row = creation.new_study(spec, study_id=parts.new_id(), created_at=parts.clock.time())
    answer = _made(row, running=0, attached=False)
    receipt = None if key is None else Receipt(key, digest, row.study_id, answer)
    try:
        made = creation.written(parts.store, row, attach=asked.attach, receipt=receipt)
    except KeyUsed:
        found = parts.store.receipt(key or "")
        if found is None:  # deleted meanwhile
            raise
        return _again(found, digest)
    if made.attached:
        response.status_code = 200
        running = len(parts.store.live_attempts(made.study.study_id))
        return _made(made.study, running=running, attached=True)
    parts.nudge()
    response.headers["Location"] = f"/api/v1/studies/{row.study_id}"
    return answer


def _made(row: StudyRow, *, running: int, attached: bool) -> dict[str, Any]:
    return {
        "study": row.name,
        "study_id": row.study_id,
        "status": str(status(row.state, running)),
        "created_at": row.created_at,
        "created": not attached,
        "attached": attached,
    }


def _again(receipt: Receipt, digest: str) -> Mapping[str, Any]:
    if receipt.digest != digest:
        raise KeyUsed("This idempotency key was used before, for another request. Give each request its own.")
    return receipt.answer


# -- look ------------------------------------------------------------------------------------------------
@router.get("/studies", summary="List studies", response_model=StudyPage, responses=told(401, 403))
def list_studies(
    parts: Here,
    _: Reader,
    state: Status | None = None,
    name: Annotated[str | None, Query(max_length=80, description="A part of the name.")] = None,
    limit: Limit = 100,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> Any:
    """All studies, the newest first."""
    rows = parts.store.studies(None if state is None else {stored(state)})
    rows = sorted((s for s in rows if not name or name in s.name), key=_newest_first)
    if state is not None:
        counts = parts.store.counts_of([row.study_id for row in rows])
        rows = [row for row in rows if status(row.state, under_way(counts[row.study_id])) is state]
    if cursor_ is not None:
        at, study_id = place(cursor_, float, str)
        rows = [row for row in rows if _newest_first(row) > (-at, study_id)]
    page = rows[:limit]
    more = cursor(page[-1].created_at, page[-1].study_id) if len(rows) > limit else None
    answers = outcomes.of_studies(parts.store, page, parts.settings.home / outcomes.FILE)
    items = [{**line, "answer": answers[line["study_id"]]} for line in listed(parts.store, page)]
    return finite({"items": items, "next": more})


def _newest_first(row: StudyRow) -> tuple[float, str]:
    return (-row.created_at, row.study_id)


@router.get(
    "/studies/{study}", summary="Get a study", response_model=StudyView, responses=told(401, 403, 404)
)
def get_study(study: StudyName, parts: Here, _: Reader) -> Any:
    """How a study stands, arm by arm, and its spec."""
    row = parts.store.study(study)
    view = overview(parts.store, row)
    return finite(
        {
            **view.to_dict(),
            "requested": view.requested,
            "created_at": row.created_at,
            "spec": row.spec,
        }
    )


@router.get(
    "/studies/{study}/arms",
    summary="List a study's arms",
    response_model=ArmList,
    responses=told(401, 403, 404),
)
def list_study_arms(study: StudyName, parts: Here, _: Reader) -> Any:
    return finite({"items": overview(parts.store, parts.store.study(study)).to_dict()["arms"]})


@router.get(
    "/studies/{study}/requests",
    summary="List the requests to a study",
    response_model=RequestList,
    responses=told(401, 403, 404),
)
def list_study_requests(study: StudyName, parts: Here, _: Reader) -> Any:
    """The requests to this study and their answers."""
    row = parts.store.study(study)
    return {"items": [_told(each) for each in parts.store.wishes(row.study_id)]}


@router.get(
    "/studies/{study}/requests/{request_id}",
    summary="Get a request to a study",
    response_model=RequestView,
    responses=told(401, 403, 404),
)
def get_study_request(
    study: StudyName, request_id: Annotated[int, Path(ge=1, le=BIGGEST)], parts: Here, _: Reader
) -> Any:
    """One request, and its answer once there is one."""
    row, found = parts.store.study(study), parts.store.asked(request_id)
    if found is None or found.study_id != row.study_id:
        raise NotFound(
            f"{row.name} has no request {request_id}. GET /studies/{row.name}/requests lists them."
        )
    return _told(found)


@router.get(
    "/studies/{study}/wishes",
    summary="List the requests to a study, by their older name",
    response_model=WishList,
    responses=told(401, 403, 404),
    deprecated=True,
)
def list_study_wishes(study: StudyName, parts: Here, _: Reader) -> Any:
    """The older name of /studies/{study}/requests."""
    row = parts.store.study(study)
    return finite({"items": [vars(each) for each in parts.store.wishes(row.study_id)]})


def _told(request: Wish) -> dict[str, Any]:
    told: dict[str, Any] = finite({**vars(request), "request_id": request.wish_id})
    return told


# -- steer -----------------------------------------------------------------------------------------------
STEERED: dict[str, Any] = {
    "status_code": 202,
    "response_model": RequestView,
    "responses": told(401, 403, 404, 409),
}


@router.post("/studies/{study}/pause", summary="Pause a study", **STEERED)
async def pause_study(study: StudyName, parts: Here, caller: Runs) -> Any:
    """Running trials save a checkpoint and stop."""
    return await submitted(parts, caller, study, "pause", {})


@router.post("/studies/{study}/drain", summary="Drain a study", **STEERED)
async def drain_study(study: StudyName, parts: Here, caller: Runs) -> Any:
    """Nothing more is launched; running trials go on to their end."""
    return await submitted(parts, caller, study, "drain", {})


@router.post("/studies/{study}/resume", summary="Resume a study", **STEERED)
async def resume_study(study: StudyName, parts: Here, caller: Runs) -> Any:
    """Go on with a study that was paused or drained."""
    return await submitted(parts, caller, study, "resume", {})


@router.post("/studies/{study}/cancel", summary="Cancel a study", **STEERED)
async def cancel_study(study: StudyName, parts: Here, caller: Runs) -> Any:
    """End a study for good: what runs is stopped, what waits is not begun."""
    return await submitted(parts, caller, study, "cancel", {})


@router.post(
    "/studies/{study}/extend", summary="Extend a study", **{**STEERED, "responses": told(401, 403, 404, 409)}
)
async def extend_study(study: StudyName, more: Extension, parts: Here, caller: Runs) -> Any:
    """Add trials to arms, or fresh seeds to the claim's confirmations; also of a study that has ended."""

    def detail() -> dict[str, int]:
        return more.detail(StudySpec.stored(parts.store.study(study).spec))

    return await submitted(parts, caller, study, "extend", await run_in_threadpool(detail))


@router.delete(
    "/studies/{study}",
    summary="Delete a study",
    status_code=204,
    response_model=None,
    responses={
        202: {"model": RequestView, "description": "Nobody leads now; it will be done."},
        **told(401, 403, 404, 409),
    },
)
async def delete_study(study: StudyName, parts: Here, caller: Admin) -> Response:
    """Delete a study that has ended, with its files."""
    row = await run_in_threadpool(parts.store.study, study)
    try:
        request = await submitted(parts, caller, row.study_id, "delete", {})
    except NotFound:
        return Response(status_code=204)
    return Response(RequestView(**request).model_dump_json(), 202, media_type="application/json")


async def submitted(
    parts: Parts, caller: Caller, study: str, verb: str, detail: Mapping[str, Any]
) -> dict[str, Any]:
    """Store a request, and wait a moment for its answer, which keeps no thread. MoveRefused carries a
    refusal; NotFound: the study is gone."""

    def store() -> Wish:
        row = parts.store.study(study)
        asked = asking.submit(parts.store, row, verb, detail, clock=parts.clock, by=caller.name)
        parts.nudge()
        return asked

    request_id = (await run_in_threadpool(store)).wish_id
    give_up_at = time.monotonic() + parts.answer_within_s
    while True:
        found = await run_in_threadpool(parts.store.asked, request_id)
        if found is None:
            raise NotFound("The study has been deleted.")
        if found.answer:
            raise MoveRefused(found.answer)
        if found.answer is not None or time.monotonic() >= give_up_at:
            return _told(found)
        await asyncio.sleep(LOOK_S)
