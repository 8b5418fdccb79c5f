"""What did a trial leave behind? What it printed, and the files that its outcome named."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from orchestrator.api.auth import Reader
from orchestrator.api.deps import Here, TrialName
from orchestrator.api.errors import Responses, told
from orchestrator.ledger import named
from orchestrator.ledger.records import TrialState
from orchestrator.runs import artifacts, output
from orchestrator.runs.folders import Storage

MOST_PLACES = 2**63 - 1
MOST_LINES = 10_000
PRINTED: JsonDict = {
    "trial_id": "3f2a9c1d04be.base.0.0",
    "attempt": 1,
    "state": "running",
    "start": 0,
    "next": 17,
    "end": 17,
    "dropped": 0,
    "text": "epoch 1 loss 2.4\n",
}
# A file may hold anything: it is saved, and never shown as a page of ours.
AS_A_FILE = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}

router = APIRouter(tags=["trials"])


class Printed(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [PRINTED]})

    trial_id: str
    attempt: int = Field(description="Whose output this is; 0: none has begun.")
    state: TrialState = Field(description="Of the trial, before the output was read.")
    start: int = Field(description="Where the text begins, in bytes; beyond `offset`: dropped.")
    next: int = Field(description="The `offset` of what follows.")
    end: int = Field(description="Bytes printed so far.")
    dropped: int = Field(description="Bytes of them that are not kept.")
    text: str = Field(description="As it was printed, with its colours; what is no UTF-8 as U+FFFD.")


class ArtifactLine(BaseModel):
    name: str = Field(description="Its path in the attempt's folder.")
    bytes: int


class ArtifactList(BaseModel):
    items: list[ArtifactLine]


def _content(kind: str) -> Responses:
    return {200: {"content": {kind: {"schema": {"type": "string"}}}}}


@router.get(
    "/trials/{trial}/output",
    summary="Get what a trial printed",
    response_model=Printed,
    responses=_content("text/plain") | told(401, 403, 404),
)
def get_trial_output(
    trial: TrialName,
    parts: Here,
    _: Reader,
    attempt: Annotated[int | None, Query(ge=1, le=10_000, description="Which (default: the newest).")] = None,
    offset: Annotated[int, Query(ge=0, le=MOST_PLACES, description="Go on from this byte.")] = 0,
    limit: Annotated[int, Query(ge=1, le=output.MOST_READ, description="Bytes at most; json.")] = 200_000,
    tail: Annotated[
        int | None, Query(ge=1, le=MOST_LINES, description="Its last lines alone, in place of `offset`.")
    ] = None,
    form: Annotated[Literal["json", "text"], Query(alias="format")] = "json",
) -> Response:
    """Stdout and stderr of one attempt, in order. To follow it, ask again with `offset` = `next`. As text all
    that is kept at once."""
    row = named(parts.store, trial)
    number = output.attempt_of(trial, row.attempts, attempt)
    folder = Storage(parts.settings.runs).folder(row.study_id, row.trial_id, number)
    if form == "text":
        pieces = output.everything(folder, offset=offset)
        if tail is not None:
            pieces = iter([output.tail(folder, lines=tail).text])
        return StreamingResponse(pieces, media_type="text/plain; charset=utf-8")
    if tail is None:
        found = output.read(folder, offset=offset, most=limit)
    else:
        found = output.tail(folder, lines=tail, most=limit)
    told_of = {"trial_id": row.trial_id, "attempt": number, "state": str(row.state), **vars(found)}
    return JSONResponse(told_of)


@router.get(
    "/trials/{trial}/artifacts",
    summary="List the files of a trial",
    response_model=ArtifactList,
    responses=told(401, 403, 404),
)
def list_trial_artifacts(trial: TrialName, parts: Here, _: Reader) -> Any:
    """The files that the outcome named and that are there; none while it runs."""
    return {"items": [{"name": each.name, "bytes": each.bytes} for each in _artifacts(parts, trial)]}


@router.get(
    "/trials/{trial}/artifacts/{name:path}",
    summary="Get a file of a trial",
    response_class=FileResponse,
    responses=_content("application/octet-stream") | told(401, 403, 404),
)
def get_trial_artifact(
    trial: TrialName, name: Annotated[str, Path(max_length=artifacts.MOST_NAME)], parts: Here, _: Reader
) -> Response:
    """One of them, to be saved."""
    found = artifacts.named(_artifacts(parts, trial), name)
    return FileResponse(
        found.path,
        media_type="application/octet-stream",
        filename=found.name.rpartition("/")[2],
        headers=AS_A_FILE,
    )


def _artifacts(parts: Here, trial: str) -> list[artifacts.Artifact]:
    row = named(parts.store, trial)
    return artifacts.of_trial(Storage(parts.settings.runs), row.study_id, row.trial_id, attempts=row.attempts)
