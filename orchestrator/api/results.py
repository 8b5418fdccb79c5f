"""What was found? The report, the tables, the figures and the verdict of a study, as it stands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field, JsonValue

from dashboards.evidence import (
    attribution,
    cells,
    contrasts,
    csv_tables,
    explain,
    frames,
    headline,
    latex,
    paper_t5,
    series,
    table_forms,
)
from dashboards.evidence import verdict as judging
from dashboards.report import figures as ink
from dashboards.report import pages
from dashboards.report.answer import answer_dict, gather, table_dict, table_of, verdict_of
from orchestrator.api.auth import Reader
from orchestrator.api.deps import Here, StudyName
from orchestrator.api.errors import told
from orchestrator.api.views import view
from orchestrator.ground.errors import NotFound
from orchestrator.ledger.codec import finite
from orchestrator.readings.states import Status

router = APIRouter(tags=["answers"])

# A report is one file with its scripts inside. It is shown, and let do nothing: in a sandbox of its own it
# has no cookie of ours, and it may load nothing.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


class Interval(BaseModel):
    low: float | None
    high: float | None


@view(contrasts.Contrast)
class Contrast(BaseModel):
    """Challenger against incumbent. `mean` is positive where the challenger is better."""

    interval: Interval | None
    p: float | None
    p_holm: float | None
    differences: list[float | None]


@view(attribution.Control, "kept", "p")
class Control(BaseModel):
    contrast: Contrast | None


@view(attribution.Column)
class Column(BaseModel):
    controls: list[Control]


@view(cells.Cell)
class Cell(BaseModel):
    """A column of a claim that one-sided tests judge."""

    effect: float | None


@view(judging.Verdict)
class Judged(BaseModel):
    contrast: Contrast | None
    controls: list[Control]
    columns: list[Column]
    cells: list[Cell]


@view(headline.Side)
class Side(BaseModel):
    values: dict[int, float | None] = Field(description="By seed, or replicate.")


@view(headline.Headline)
class Headline(BaseModel):
    sides: list[Side] = Field(description="The claim's challenger and incumbent; none without a claim.")


@view(explain.Explanation)
class Explanation(BaseModel):
    text: str = Field(description="The whole paragraph.")


@view(paper_t5.Statement)
class Statement(BaseModel):
    where: str = Field(description="In the paper.")


class Verdict(BaseModel):
    study: str
    status: Status
    headline: Headline
    explanation: Explanation
    verdict: Judged
    sooner: list[dict[str, JsonValue]] = Field(
        default=[], description="After which of its steps each learned row had base's last loss."
    )
    statements: list[Statement] = Field(
        default=[], description="What the paper states of pretraining, beside what this study found."
    )
    contradictions: list[str] = Field(default=[], description="Where the paper says two things of one.")
    notes: list[str] = Field(default=[], description="What its rows and the paper's tables cannot show.")


class Table(BaseModel):
    metric: str
    lower_is_better: bool
    columns: list[str]
    cells: list[dict[str, JsonValue]]
    paper: str | None = Field(description="The paper's table that is shown for comparison.")
    averaged: bool = Field(default=False, description="Whether the last column is the mean of the others.")
    paper_best: str | None = Field(default=None, description="The paper's table of the best of its runs.")
    notes: list[str]


class TableOf(BaseModel):
    study: str
    status: Status
    table: Table


class FigureLine(BaseModel):
    name: str
    title: str
    caption: str
    plots: list[str] = Field(description="The panels' titles.")


class FigureList(BaseModel):
    items: list[FigureLine]


class Plot(BaseModel):
    title: str
    figure: dict[str, JsonValue] = Field(description="A plotly figure.")


class Figure(BaseModel):
    name: str
    title: str
    caption: str
    switch: list[str] = Field(description="Units of the cost axis; traces carry theirs in `meta`.")
    plots: list[Plot]


def _texts(**types: str) -> dict[int | str, dict[str, Any]]:
    content = {kind.replace("_", "/"): {"schema": {"type": "string"}} for kind in types.values()}
    return {200: {"content": content}}


@router.get(
    "/studies/{study}/report",
    summary="Get a study's report",
    response_model=dict[str, JsonValue],
    responses=_texts(html="text/html", md="text/markdown") | told(401, 403, 404),
)
def get_study_report(
    study: StudyName,
    parts: Here,
    _: Reader,
    form: Annotated[Literal["html", "md", "json"], Query(alias="format")] = "html",
    slots: Annotated[
        int | None,
        Query(ge=1, le=1024, description="Parallel runs, for the wall-clock time (default: those here)."),
    ] = None,
) -> Response:
    """The whole answer, also before the end: one page that needs no network, Markdown, or every number."""
    row = parts.store.study(study)
    settings = parts.settings
    answer = gather(parts.store, row.study_id, slots=slots or settings.workers, runs=settings.runs)
    if form == "json":
        return JSONResponse(finite(answer_dict(answer, values=True)))
    if form == "md":
        return PlainTextResponse(pages.markdown(answer), media_type="text/markdown")
    return HTMLResponse(pages.page(answer), headers={"Content-Security-Policy": REPORT_POLICY})


@router.get(
    "/studies/{study}/tables",
    summary="Get a study's table",
    response_model=TableOf,
    responses=_texts(md="text/markdown", csv="text/csv", latex="text/x-tex") | told(401, 403, 404),
)
def get_study_table(
    study: StudyName,
    parts: Here,
    _: Reader,
    metric: Annotated[str | None, Query(max_length=80)] = None,
    form: Annotated[Literal["json", "md", "csv", "latex"], Query(alias="format")] = "json",
) -> Response:
    """The results in the shape of the paper's table."""
    frame, made = table_of(parts.store, parts.store.study(study).study_id, metric)
    if form == "json":
        told_of = {
            "study": frame.spec.name,
            "status": str(frame.status),
            "table": table_dict(made, values=True),
        }
        return JSONResponse(finite(told_of))
    write, kind = {
        "md": (table_forms.to_markdown, "text/markdown"),
        "csv": (csv_tables.to_csv, "text/csv"),
        "latex": (latex.to_latex, "text/x-tex"),
    }[form]
    return PlainTextResponse(write(made), media_type=kind)


@router.get(
    "/studies/{study}/figures",
    summary="List a study's figures",
    response_model=FigureList,
    responses=told(401, 403, 404),
)
def list_study_figures(study: StudyName, parts: Here, _: Reader) -> Any:
    """Which figures have something to show."""
    return {
        "items": [
            {**_named(each), "plots": [plot.title for plot in each.plots]} for each in _drawn(study, parts)
        ]
    }


@router.get(
    "/studies/{study}/figures/{name}",
    summary="Get a figure",
    response_model=Figure,
    responses=told(401, 403, 404),
)
def get_study_figure(
    study: StudyName, name: Annotated[str, Path(pattern="^[a-z-]{1,40}$")], parts: Here, _: Reader
) -> Any:
    """One figure, as plotly draws it."""
    drawn = {each.key: each for each in _drawn(study, parts)}
    if name not in drawn:
        raise NotFound(f"There is no figure {name!r}. There are: {', '.join(drawn) or 'none yet'}.")
    each = drawn[name]
    plots = [{"title": plot.title, "figure": plot.figure} for plot in each.plots]
    return finite({**_named(each), "switch": each.switch, "plots": plots})


def _drawn(study: str, parts: Here) -> list[Any]:
    frame = frames.read(parts.store, parts.store.study(study).study_id)
    return list(ink.figures(frame, frames.curves(parts.store, series.closely(frame))))


def _named(figure: Any) -> dict[str, Any]:
    return {"name": figure.key, "title": figure.title, "caption": figure.caption}


@router.get(
    "/studies/{study}/verdict",
    summary="Get a study's verdict",
    response_model=Verdict,
    responses=told(401, 403, 404),
)
def get_study_verdict(study: StudyName, parts: Here, _: Reader) -> Any:
    """Whether the registered claim is supported, refuted or undecided, and what would decide it."""
    frame, told = verdict_of(parts.store, parts.store.study(study).study_id)
    return {"study": frame.spec.name, "status": frame.status, **finite(told)}
