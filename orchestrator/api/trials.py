"""What is known of a trial: its result, what it said, its curves, its learned schedule?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, JsonValue

from dashboards.evidence import frames, series
from orchestrator.api.auth import Reader, Runs
from orchestrator.api.deps import Cursor, Here, Limit, StudyName, TrialName, cursor, place
from orchestrator.api.errors import told
from orchestrator.api.studies import STEERED, submitted
from orchestrator.api.views import view
from orchestrator.ledger import named, paging
from orchestrator.ledger.codec import finite
from orchestrator.ledger.records import AttemptRow, TrialRow, TrialState
from orchestrator.ledger.rules import no_arm
from orchestrator.runs import schedules
from orchestrator.runs.folders import Storage
from trainer.protocol import SCHEDULE

MOST_POINTS = 10_000
BIGGEST_ID = 2**63 - 1  # of a database

router = APIRouter(tags=["trials"])


@view(TrialRow, "config")
class TrialLine(BaseModel):
    attempts: int = Field(description="How many have begun.")
    losses: int = Field(description="Attempts that the machinery lost, since it was last asked to retry.")
    failures: int = Field(description="Attempts in which the training code failed, since then.")
    value: float | None = Field(description="The objective.")
    seed: JsonValue = Field(description="The seed in its config; null: it has none.")


class TrialPage(BaseModel):
    items: list[TrialLine]
    next: str | None


@view(AttemptRow)
class AttemptView(BaseModel):
    resumed_from: str | None = Field(description="The checkpoint that it went on from; null: from none.")
    damaged: list[str] = Field(
        description="Checkpoints that it was to go on from and that are damaged, the newest first."
    )


class TrialView(TrialLine):
    config: dict[str, JsonValue]
    tried: list[AttemptView]


class LogEntry(BaseModel):
    event_id: int
    attempt: int
    sequence: int
    kind: str
    step: int
    at: float
    payload: dict[str, JsonValue]


class LogPage(BaseModel):
    items: list[LogEntry]
    next: int | None = Field(description="`after` of the next page; null: there is no more now.")


class Curve(BaseModel):
    name: str
    kind: Literal["value", "hyper"]
    steps: list[int]
    values: list[float]


class Trajectories(BaseModel):
    trial_id: str
    state: TrialState
    curves: list[Curve]


class Schedule(BaseModel):
    trial_id: str
    curves: dict[str, list[JsonValue]] = Field(description="Every step's multiplier and hyperparameters.")


@router.get(
    "/studies/{study}/trials",
    summary="List a study's trials",
    response_model=TrialPage,
    responses=told(401, 403, 404),
)
def list_study_trials(
    study: StudyName,
    parts: Here,
    _: Reader,
    arm: Annotated[str | None, Query(max_length=80)] = None,
    state: TrialState | None = None,
    limit: Limit = 100,
    cursor_: Annotated[Cursor, Query(alias="cursor")] = None,
) -> Any:
    """By arm, replicate and index."""
    row = parts.store.study(study)
    arms = [each["name"] for each in row.spec["arms"]]
    if arm is not None and arm not in arms:
        raise no_arm(row.name, arm, arms)
    after = None if cursor_ is None else place(cursor_, str, int, int)
    found = parts.store.trials(
        row.study_id,
        arm=arm,
        states=None if state is None else {state},
        limit=limit + 1,
        after=after,
    )
    page = found[:limit]
    more = cursor(page[-1].arm, page[-1].replicate, page[-1].index) if len(found) > limit else None
    return finite({"items": [_told(trial) for trial in page], "next": more})


@router.get("/trials/{trial}", summary="Get a trial", response_model=TrialView, responses=told(401, 403, 404))
def get_trial(trial: TrialName, parts: Here, _: Reader) -> Any:
    """A trial, its whole config, its result and its attempts."""
    row = named(parts.store, trial)
    attempts = parts.store.attempts(row.trial_id)
    return finite({**_told(row), "tried": [{**vars(each), "damaged": each.damaged} for each in attempts]})


def _told(trial: TrialRow) -> dict[str, Any]:
    return {**vars(trial), "seed": trial.config.get("seed")}


@router.get(
    "/trials/{trial}/logs",
    summary="List what a trial reported",
    response_model=LogPage,
    responses=told(401, 403, 404),
)
def list_trial_logs(
    trial: TrialName,
    parts: Here,
    _: Reader,
    after: Annotated[int, Query(ge=0, le=BIGGEST_ID, description="The event_id to go on from.")] = 0,
    limit: Limit = 500,
) -> Any:
    """What a trial reported, in order. Tracebacks stand with the trial's attempts."""
    row = named(parts.store, trial)
    found = parts.store.events(after=after, trial_id=row.trial_id, limit=limit)
    items = [{"event_id": stored.event_id, **vars(stored.event)} for stored in found]
    return finite({"items": items, "next": found[-1].event_id if len(found) == limit else None})


@router.get(
    "/trials/{trial}/trajectories",
    summary="Get a trial's curves",
    response_model=Trajectories,
    responses=told(401, 403, 404),
)
def get_trial_trajectories(
    trial: TrialName,
    parts: Here,
    _: Reader,
    name: Annotated[str | None, Query(max_length=80, description="This curve only.")] = None,
    after: Annotated[int, Query(ge=-1, le=BIGGEST_ID, description="Steps beyond this one.")] = -1,
    most: Annotated[
        int, Query(ge=2, le=MOST_POINTS, description="Points of each curve, evenly chosen.")
    ] = 1000,
) -> Any:
    """Losses and hyperparameters by step; of a step that was reported twice the last report."""
    row = named(parts.store, trial)
    heard = frames.curves_of(paging.events(parts.store, trial_id=row.trial_id))
    curves = []
    for kind, found in (("value", heard.values), ("hyper", heard.hyper)):
        for label, points in found.items():
            if name in (None, label):
                kept = series.thinned(tuple(p for p in points if p[0] > after), most=most)
                steps, values = [step for step, _ in kept], [value for _, value in kept]
                curves.append({"name": label, "kind": kind, "steps": steps, "values": values})
    return {"trial_id": row.trial_id, "state": row.state, "curves": curves}


@router.get(
    "/trials/{trial}/schedule",
    summary="Get a trial's learned schedule",
    response_model=Schedule,
    responses=told(401, 403, 404),
)
def get_trial_schedule(trial: TrialName, parts: Here, _: Reader) -> Any:
    """The learned schedule, step by step; 404 for a trial that left none."""
    row = named(parts.store, trial)
    storage = Storage(parts.settings.runs)
    curves = schedules.read(storage.latest(row.study_id, row.trial_id, row.attempts, SCHEDULE))
    return finite({"trial_id": row.trial_id, "curves": curves})


@router.post("/trials/{trial}/retry", summary="Retry a failed trial", **STEERED)
async def retry_trial(trial: TrialName, parts: Here, caller: Runs) -> Any:
    """Try a failed trial again, from its newest checkpoint."""
    row = await run_in_threadpool(named, parts.store, trial)
    return await submitted(parts, caller, row.study_id, "retry", {"trial_id": row.trial_id})
